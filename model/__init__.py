"""Level, window, network, labels and plausibility: arrays and geometry in, a `Segmentation` out."""

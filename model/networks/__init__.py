"""The three networks as torch modules, their sizes as a card holds them, and what their channels mean.

In: image tensors (N, 1, D, H, W) and, where a network takes it, guidance.
Out: logits.
Edge: none.
May import: nothing of model.
"""

"""Draw synthetic patients: one seed in, an MR study with known labels and measurements out.

In: a seed and options of the acquisition.
Out: `build(seed)` as image and labels; a DICOM study, `truth.json` and `labels.npz` on disk.
Edge: none.
May import: errors.
"""

from __future__ import annotations

from training.phantom.phantom import build

__all__ = ["build"]

"""Run a network: torch, OpenVINO or the label-coded fake behind one port.

In: a `Patch`, a network and `EngineOptions`.
Out: class logits on the patch's grid.
Edge: none; converted networks are cached in the folder given.
May import: roots, level, networks, patch, grid, errors.
"""

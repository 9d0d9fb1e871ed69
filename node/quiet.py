"""Keep libraries quiet: what they complain of they quote, names too. Imported by every command, so it imports little."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Keep the DICOM libraries from logging and warning."""
    for name in ("pydicom", "highdicom"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)(\.|$)")

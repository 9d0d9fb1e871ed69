"""Why the pixels of a series cannot be used: each class is one reason with its remedy."""

from __future__ import annotations

from dicomseg.errors import SeriesRefused


class PixelsUndecodable(SeriesRefused):
    """The pixel data of one object cannot be decoded; send it again or in another transfer syntax."""

    code = "pixels-undecodable"


class PixelsWrongSize(SeriesRefused):
    """The decoded pixels do not have the size the header says; send the object again."""

    code = "pixels-wrong-size"


class PixelsNotGrey(SeriesRefused):
    """The pixels are colours; use the original MR series."""

    code = "pixels-not-grey"


class PixelsConstant(SeriesRefused):
    """All voxels have one value; nothing can be seen in the series."""

    code = "pixels-constant"


class PixelsMissing(SeriesRefused):
    """Slices between others have one value: their pixels were lost; send the series again."""

    code = "pixels-missing"


class PixelsNotFinite(SeriesRefused):
    """Voxels are NaN or infinite; use the original MR series."""

    code = "pixels-not-finite"

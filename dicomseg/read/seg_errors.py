"""Why a segmentation cannot be the labels of a series: one class, a code per reason."""

from __future__ import annotations

from dicomseg.errors import InputRefused


class SegRefused(InputRefused):
    """The segmentation cannot be used as labels of this series; correct it in the viewer and send it again."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code

"""Errors of a model bundle, an engine, the window and the orientation."""

from __future__ import annotations

from dicomseg.errors import InputRefused, LumbarError


class BundleError(LumbarError):
    """The model bundle cannot be used; see the message for the file and the rule."""

    code = "bundle-refused"
    exit_code = 6


class EngineError(LumbarError):
    """The engine asked for is not available on this machine; choose another in [model]."""

    code = "engine-unavailable"
    exit_code = 6


class EngineFailed(EngineError):
    """The engine computed values that are not finite; set [model] device to cpu or check the bundle."""

    code = "engine-failed"


class WindowRefused(InputRefused):
    """The window at L4/5 holds nothing to segment: constant or non-finite voxels."""

    code = "window-refused"


class OrientationRefused(InputRefused):
    """The image fits a patient in another position than registered; correct Patient Position and send it again."""

    code = "orientation_unexpected"

"""Judge result folders and DICOM files by every validator that is installed, and by checks of our own.

In: a result folder, a folder of them, or DICOM files, untrusted.
Out: a `Report`: findings by tool and object, and which tools are absent.
Edge: none.
May import: store, errors.
"""

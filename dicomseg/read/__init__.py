"""Turn files into instances, a regular grid or a geometry problem, and a source with pixels; judge by rules.

In: paths of DICOM files, untrusted.
Out: `Instance`, `Grid` or `GeometryProblem`, `Verdict`, `Source`.
Edge: none.
May import: volume, structures, errors.
"""

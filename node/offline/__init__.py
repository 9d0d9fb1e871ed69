"""Select and process files without server and journal.

In: paths of DICOM files.
Out: verdicts, or result folders; with `--send`, deliveries without retry.
Edge: none.
May import: work, deliver, store, config, durable, errors, faults.
"""

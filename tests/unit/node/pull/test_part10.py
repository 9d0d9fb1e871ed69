"""The file meta information of a file that a stranger sends."""

from __future__ import annotations

import pytest

from node.pull.part10 import FileHead, read_head
from node.store.spool import file_meta

META = file_meta("1.2.840.10008.5.1.4.1.1.4", "1.2.3.4", "1.2.840.10008.1.2.1", "PACS")


def test_class_instance_syntax_and_the_begin_of_the_data_set() -> None:
    head = read_head(META + b"\x08\x00data")
    assert head == FileHead(
        "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4", "1.2.840.10008.1.2.1", len(META)
    )


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>", META[:200], META[132:], bytes(128) + b"DICM", bytes(128) + b"DICM\x02\x00\xff\xff" + b"\xff" * 99,
     bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\xff\xff" + bytes(70_000)],
)  # fmt: skip
def test_what_is_no_dicom_file_has_no_head(raw: bytes) -> None:
    assert read_head(raw) is None

"""The unit tier mirrors the packages as far as CONTRIBUTING says it does."""

from __future__ import annotations

from tests.support import mirror


def test_every_unit_test_file_is_named_after_its_module_or_a_listed_subject() -> None:
    files = {p.relative_to(mirror.ROOT).as_posix() for p in mirror.UNIT.rglob("test_*.py")}
    assert files - {mirror.test_file_of(m) for m in mirror.modules()} == mirror.SUBJECTS


def test_modules_that_no_test_names_are_listed() -> None:
    listed = mirror.LIST.read_text(encoding="utf-8").splitlines()
    assert mirror.unnamed() == listed, "renew the list: python tests/support/mirror.py"

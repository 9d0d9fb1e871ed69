"""Where processes share the tests, a file stays in one of them, the browser's files too, and the longest begin."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.support.scheduling import pytest_collection_modifyitems, share_of


def _item(nodeid: str, timeout_s: float = 0) -> Any:
    marker = SimpleNamespace(args=(timeout_s,)) if timeout_s else None
    return SimpleNamespace(nodeid=nodeid, get_closest_marker=lambda _: marker)


def test_a_file_is_a_share_and_the_files_of_the_browser_are_one() -> None:
    assert share_of("tests/unit/node/test_a.py::test_b[c::d]") == "tests/unit/node/test_a.py"
    one, other = (f"tests/end_to_end/test_browser_{n}.py::test_it" for n in ("link", "words"))
    assert share_of(one) == share_of(other)


def test_the_longest_share_begins_and_stays_together() -> None:
    long, short = "tests/unit/test_long.py", "tests/integration/test_short.py"
    items = [
        _item("tests/unit/test_other.py::test_1"),
        _item(f"{long}::test_1"),
        _item(f"{short}::test_1"),
        _item(f"{long}::test_2", 900),
    ]
    whole = list(items)
    pytest_collection_modifyitems(SimpleNamespace(), items)  # type: ignore[arg-type]
    assert items == whole  # one process alone takes them as they come
    pytest_collection_modifyitems(SimpleNamespace(workerinput={}), items)  # type: ignore[arg-type]
    assert items == [whole[1], whole[3], whole[2], whole[0]]

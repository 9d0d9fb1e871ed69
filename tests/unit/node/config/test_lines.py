from __future__ import annotations

from node.config.lines import line_of


def test_line_of_knows_arrays_of_tables_and_inner_spaces() -> None:
    text = '[a]\nx = 1\n[[ b . c ]]\n"y" = 1\n[[b.c]]\ny = 2\n'
    assert line_of(text, ("a", "x")) == 2
    assert line_of(text, ("b", "c", 0, "y")) == 4
    assert line_of(text, ("b", "c", 1, "y")) == 6
    assert line_of(text, ("b", "c", 1, "z")) == 5

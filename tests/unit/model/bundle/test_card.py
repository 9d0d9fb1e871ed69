"""A card is read only when schema, tables, files and digest agree; no weights are loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.bundle.card import (
    CARD,
    LEVEL_WEIGHTS,
    SCHEMA,
    WEIGHTS,
    digest_of,
    grid_table,
    read_card,
    seal,
    structure_table,
)
from model.errors import BundleError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle whose weights are bytes of no meaning: a card vouches for bytes."""
    (tmp_path / WEIGHTS).write_bytes(b"segmentation weights")
    (tmp_path / LEVEL_WEIGHTS).write_bytes(b"level weights")
    card = {"schema": SCHEMA, "name": "tiny", "version": "3.1", "architecture": {}}
    (tmp_path / CARD).write_text(json.dumps(seal(card, tmp_path)))
    return tmp_path


def test_a_sealed_card_names_files_tables_and_digest(folder: Path) -> None:
    card = read_card(folder)
    assert card["files"].keys() == {WEIGHTS, LEVEL_WEIGHTS}
    assert card["grid"] == grid_table()
    assert card["grid"]["window"] == [128, 240, 180]
    assert [row["id"] for row in card["structures"][:3]] == ["l4", "ivd", "l5"]
    assert card["digest"] == digest_of(card, folder)
    assert len(card["digest"]) == 64


def test_another_wording_of_the_padding_does_not_count(folder: Path) -> None:
    reseal(folder, grid={**grid_table(), "padding": "behind"})
    assert read_card(folder)["grid"]["padding"] == "behind"


def reseal(folder: Path, **changes: Any) -> None:
    """Change the card as someone would who also computes the digest."""
    card = {**json.loads((folder / CARD).read_text()), **changes}
    card = {k: v for k, v in card.items() if v is not None and k != "digest"}
    card["digest"] = digest_of(card, folder)
    (folder / CARD).write_text(json.dumps(card))


@pytest.mark.parametrize("name", [WEIGHTS, LEVEL_WEIGHTS])
def test_a_changed_byte_is_refused_by_the_file_s_name(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-5] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=name) as refusal:
        read_card(folder)
    assert refusal.value.exit_code == 6


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / LEVEL_WEIGHTS).unlink()
    with pytest.raises(BundleError, match=r"level\.safetensors"):
        read_card(folder)


def test_a_changed_card_is_refused(folder: Path) -> None:
    path = folder / CARD
    path.write_text(path.read_text().replace('"3.1"', '"3.2"'))
    with pytest.raises(BundleError, match="digest"):
        read_card(folder)


def test_another_structure_table_is_refused(folder: Path) -> None:
    table = structure_table()
    table[0], table[2] = {**table[0], "id": "l5"}, {**table[2], "id": "l4"}
    reseal(folder, structures=table)
    with pytest.raises(BundleError, match="structure table"):
        read_card(folder)


@pytest.mark.parametrize(
    "grid", [None, {"spacing_mm": [0.8, 0.8, 0.8], "window": [128, 240, 180]}, "paper"]
)
def test_another_grid_is_refused(folder: Path, grid: Any) -> None:
    reseal(folder, grid=grid)
    with pytest.raises(BundleError, match="the grid differs"):
        read_card(folder)


def test_another_schema_is_refused(folder: Path) -> None:
    reseal(folder, schema=SCHEMA + 1)
    with pytest.raises(BundleError, match=f"schema {SCHEMA + 1}"):
        read_card(folder)


@pytest.mark.parametrize("text", [None, "", "[]", "{"])
def test_a_folder_without_a_card_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / CARD).write_text(text)
    with pytest.raises(BundleError, match=r"card\.json"):
        read_card(tmp_path)

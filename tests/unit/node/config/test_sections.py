from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from dicomseg.draw.languages import LANGUAGES
from node.config.destinations import DicomDestination, FolderDestination
from node.config.example import example
from node.config.file import read_config
from node.config.profiles import OBJECT_FILES, ObjectFile
from node.config.render import render
from node.config.sections import ResultsConfig
from node.deliver.offers import SOP_CLASSES
from node.errors import ConfigError
from tests.support.paths import ROOT

SMALLEST = '[node]\nae_title = "NODE"\n'


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_file_is_every_key_with_its_default_and_sentence() -> None:
    assert (ROOT / "config.toml").read_text(encoding="utf-8") == example()


def test_shipped_values_are_the_models_defaults(tmp_path: Path) -> None:
    shipped = read_config(ROOT / "config.toml")
    bare = read_config(_file(tmp_path, SMALLEST.replace("NODE", "LUMBARNODE")))
    for name in ("receive", "select", "track", "work", "model", "results"):
        assert getattr(shipped, name) == getattr(bare, name)


def test_every_key_has_a_sentence() -> None:
    lines = example().splitlines()
    for above, line in itertools.pairwise(lines):
        if re.match(r"#?\w+ = ", line):
            assert above.startswith("# "), f"{line!r} has no comment above it"
            assert above.endswith("."), above


def test_commented_destinations_work_when_uncommented(tmp_path: Path) -> None:
    text = re.sub(r"^#(?=\[\[|\w+ = )", "", example(), flags=re.MULTILINE)
    kinds = [d.kind for d in read_config(_file(tmp_path, text)).destinations]
    assert kinds == ["folder", "dicom", "dicomweb"]
    assert tomllib.loads(text)["node"]["destination"][1]["ae_title"] == "PACS"


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    text = SMALLEST + (
        'state = "here"\n[[node.destination]]\nname = "f"\nkind = "folder"\npath = "out"\n'
        '[model]\nbundle = "b"\n'
    )
    found = read_config(_file(tmp_path, text))
    (destination,) = found.destinations
    assert isinstance(destination, FolderDestination)
    assert (found.node.state, destination.path) == (tmp_path / "here", tmp_path / "out")
    assert found.model.bundle == str(tmp_path / "b")


def test_effective_file_is_read_back_equal(tmp_path: Path) -> None:
    text = SMALLEST + (
        '[[node.destination]]\nname = "p"\nkind = "dicom"\nae_title = "PACS"\nhost = "h"\nport = 104\n'
        '[[select.rule]]\nname = "r"\nall = ["is_mr"]\n'
    )
    once = read_config(_file(tmp_path, text))
    again = read_config(_file(tmp_path, render(once)))
    assert again == once
    assert isinstance(again.destinations[0], DicomDestination)


def test_values_are_frozen(tmp_path: Path) -> None:
    found = read_config(_file(tmp_path, SMALLEST))
    with pytest.raises(ValueError, match="frozen"):
        found.track.quiet_seconds = 1.0  # type: ignore[misc]


def test_languages_are_those_of_the_page() -> None:
    assert set(get_args(ResultsConfig.model_fields["language"].annotation)) == set(LANGUAGES)


def test_every_object_of_a_result_can_be_chosen_and_has_a_class() -> None:
    assert set(SOP_CLASSES) == set(OBJECT_FILES) == set(get_args(ObjectFile))


@pytest.mark.parametrize(
    ("objects", "is_refused"),
    [('["summary.dcm", "surface.dcm"]', True), ('["midplane.dcm", "summary.dcm"]', False)],
)
def test_a_destination_of_pictures_alone_needs_pictures(
    tmp_path: Path, objects: str, is_refused: bool
) -> None:
    text = (
        f'{SMALLEST}[[node.destination]]\nname = "f"\nkind = "folder"\npath = "out"\nobjects = {objects}\n'
        "[results]\npictures = false\n"
    )
    if not is_refused:
        assert read_config(_file(tmp_path, text)).results.pictures is False
        return
    with pytest.raises(ConfigError, match=r'"f" takes pictures only.*set pictures = true'):
        read_config(_file(tmp_path, text))

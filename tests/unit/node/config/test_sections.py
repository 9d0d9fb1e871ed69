from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest

from node.config import sections as config
from node.config.sections import ConfigRefused, DicomDestination, FolderDestination, load
from node.config.text import line_of
from tests.support.paths import ROOT

SMALLEST = '[node]\nae_title = "NODE"\n'


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigRefused) as refused:
        load(_file(tmp_path, text))
    assert refused.value.exit_code == 2
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_shipped_file_is_every_key_with_its_default_and_sentence() -> None:
    assert (ROOT / "config.toml").read_text(encoding="utf-8") == config.example()


def test_shipped_values_are_the_models_defaults(tmp_path: Path) -> None:
    shipped = load(ROOT / "config.toml")
    bare = load(_file(tmp_path, SMALLEST.replace("NODE", "LUMBARNODE")))
    for name in ("receive", "select", "track", "work", "model", "results"):
        assert getattr(shipped, name) == getattr(bare, name)


def test_every_key_has_a_sentence() -> None:
    lines = config.example().splitlines()
    for above, line in itertools.pairwise(lines):
        if re.match(r"#?\w+ = ", line):
            assert above.startswith("# "), f"{line!r} has no comment above it"
            assert above.endswith("."), above


def test_commented_destinations_work_when_uncommented(tmp_path: Path) -> None:
    text = re.sub(r"^#(?=\[\[|\w+ = )", "", config.example(), flags=re.MULTILINE)
    kinds = [d.kind for d in load(_file(tmp_path, text)).destinations]
    assert kinds == ["folder", "dicom", "dicomweb"]
    assert tomllib.loads(text)["node"]["destination"][1]["ae_title"] == "PACS"


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    text = SMALLEST + (
        'state = "here"\n[[node.destination]]\nname = "f"\nkind = "folder"\npath = "out"\n'
        '[model]\nbundle = "b"\n'
    )
    found = load(_file(tmp_path, text))
    (destination,) = found.destinations
    assert isinstance(destination, FolderDestination)
    assert (found.node.state, destination.path) == (tmp_path / "here", tmp_path / "out")
    assert found.model.bundle == str(tmp_path / "b")


def test_effective_file_is_read_back_equal(tmp_path: Path) -> None:
    text = SMALLEST + (
        '[[node.destination]]\nname = "p"\nkind = "dicom"\nae_title = "PACS"\nhost = "h"\nport = 104\n'
        '[[select.rule]]\nname = "r"\nall = ["is_mr"]\n'
    )
    once = load(_file(tmp_path, text))
    again = load(_file(tmp_path, config.config_text.render(once)))
    assert again == once
    assert isinstance(again.destinations[0], DicomDestination)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (SMALLEST + "prot = 104\n", 3, 'unknown key "node.prot"; did you mean "port"?'),
        (SMALLEST + "[reciev]\n", 3, 'unknown key "reciev"; did you mean "receive"?'),
        (
            SMALLEST + "\n# c\n[track]\nquiet_secs = 3\n",
            6,
            'unknown key "track.quiet_secs"; did you mean "quiet_seconds"?',
        ),
        (
            SMALLEST
            + '[[node.destination]]\nname = "a"\nkind = "folder"\npath = "o"\n'
            + '[[node.destination]]\nname = "b"\nkind = "dicom"\nhots = "h"\nae_title = "P"\nport = 1\nhost = "x"\n',
            10,
            'unknown key "node.destination.hots"; did you mean "host"?',
        ),
        (
            SMALLEST + 'station = "magnetom-of-ward-7"\n',
            3,
            '"node.station": string should have at most 16',
        ),
        (
            SMALLEST + '[results]\nmanufacturer = "a\\\\b"\n',
            4,
            '"results.manufacturer": string should match',
        ),
        (SMALLEST + "port = 70000\n", 3, '"node.port": input should be less than or equal to'),
        ('[node]\nhost = "h"\n', 1, '"node.ae_title" is missing'),
        ("", 1, '"node" is missing'),
        (
            SMALLEST + '[[select.rule]]\nname = "r"\nall = ["is_t2_spase"]\n',
            5,
            'no predicate "is_t2_spase"; did you mean "is_t2_space"?',
        ),
        (SMALLEST + '[[select.rule]]\nname = "r"\n', 3, "the rule asks nothing"),
        (SMALLEST + "[receive]\ndisk_low_mb = 9\ndisk_high_mb = 8\n", 3, "disk_high_mb is below"),
        (SMALLEST + '[receive]\npeers = ["nowhere"]\n', 4, '"receive.peers"'),
        (
            SMALLEST
            + '[track]\nexpected_count = "query"\nquery = "pax"\n'
            + '[[node.destination]]\nname = "pacs"\nkind = "dicom"\nae_title = "P"\nport = 1\nhost = "x"\n',
            3,
            'query = "pax" is no dicom or dicomweb destination; did you mean "pacs"?',
        ),
        (
            SMALLEST + '[track]\nexpected_count = "query"\n',
            3,
            "destination; none is configured; name the one that sends",
        ),
        ('[node]\nae_title = "SEVENTEEN LETTERS"\n', 2, '"node.ae_title"'),
        (
            SMALLEST + '[[node.destination]]\nname = "a"\nkind = "ftp"\n',
            3,
            "'ftp'",
        ),
        (
            SMALLEST + 2 * '[[node.destination]]\nname = "a"\nkind = "folder"\npath = "o"\n',
            3,
            'two destinations are named "a"',
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    message = _refusal(tmp_path, text)
    assert f"config.toml:{line}: " in message
    assert said in message


def test_bad_toml_and_no_file_are_named(tmp_path: Path) -> None:
    assert "line 1" in _refusal(tmp_path, "[node\n")
    with pytest.raises(ConfigRefused, match="give the file with --config"):
        load(tmp_path / "absent.toml")


def test_line_of_knows_arrays_of_tables_and_inner_spaces() -> None:
    text = '[a]\nx = 1\n[[ b . c ]]\n"y" = 1\n[[b.c]]\ny = 2\n'
    assert line_of(text, ("a", "x")) == 2
    assert line_of(text, ("b", "c", 0, "y")) == 4
    assert line_of(text, ("b", "c", 1, "y")) == 6
    assert line_of(text, ("b", "c", 1, "z")) == 5


def test_values_are_frozen(tmp_path: Path) -> None:
    found = load(_file(tmp_path, SMALLEST))
    with pytest.raises(ValueError, match="frozen"):
        found.track.quiet_seconds = 1.0  # type: ignore[misc]

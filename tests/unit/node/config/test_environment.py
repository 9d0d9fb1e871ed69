"""Environment variables over the file: every key, entries of lists, and what is wrong with a name."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel

from node.config.environment import PREFIX, entry_word, with_variables
from node.config.example import example
from node.config.file import load_config, read_config
from node.config.key_types import is_list, models_in
from node.config.sections import Config
from node.errors import ConfigError

SMALLEST: Final = '[node]\nae_title = "NODE"\n'
PACS: Final = (
    '[[node.destination]]\nname = "pacs-1"\nkind = "dicom"\nae_title = "P"\nport = 1\nhost = "x"\n'
)
FOLDER: Final = '[[node.destination]]\nname = "a"\nkind = "folder"\npath = "o"\n'
DESTINATION: Final = "LUMBAR_NODE__NODE__DESTINATION__"


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _lines(path: Path | None, environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read_config(path, environ)
    return str(refused.value).splitlines()


def _leaves(table: type[BaseModel], prefix: str, value: Any) -> dict[str, str]:
    """Return a variable for every key below a table, with the value that the shipped file has."""
    found: dict[str, str] = {}
    for key, field in table.model_fields.items():
        name, inner = f"{prefix}{key.upper()}", models_in(field.annotation)
        if inner and not is_list(field.annotation):
            found |= _leaves(inner[0], f"{name}__", value.get(key, {}))
        elif key in value:
            content = value[key]
            found[name] = content if isinstance(content, str) else json.dumps(content)
    return found


def test_every_key_of_the_shipped_file_by_variables_alone(tmp_path: Path) -> None:
    variables = _leaves(Config, PREFIX, tomllib.loads(example()))
    assert len(variables) > 40
    by_file = read_config(_file(tmp_path, example()), {})
    by_variables = read_config(_file(tmp_path, ""), variables)
    assert by_variables == by_file


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    found = read_config(
        _file(tmp_path, SMALLEST + "port = 1\n" + PACS),
        {
            "LUMBAR_NODE__NODE__PORT": "104",
            "LUMBAR_NODE__NODE__STATION": "104",
            "LUMBAR_NODE__RECEIVE__CALLED_AE_TITLES": '["NODE", "OLD"]',
            "LUMBAR_NODE__TRACK__QUIET_SECONDS": "5",
            "LUMBAR_NODE__RESULTS__PICTURES": "false",
            "LUMBAR_NODE__TRAINING__SCHEDULE__MARGIN": "0.5",
            f"{DESTINATION}PACS_1__HOST": "10.0.0.1",
            f"{DESTINATION}0__PORT": "105",
            "LUMBAR_NODE_CONFIG": "elsewhere",
            "OTHER__NODE__PORT": "7",
        },
    )
    assert (found.node.port, found.node.station) == (104, "104")
    assert found.receive.called_ae_titles == ("NODE", "OLD")
    assert (found.track.quiet_seconds, found.results.pictures) == (5.0, False)
    assert found.training.schedule.margin == 0.5
    (pacs,) = found.destinations
    assert pacs.kind == "dicom"
    assert (pacs.name, pacs.host, pacs.port) == ("pacs-1", "10.0.0.1", 105)


def test_a_new_destination_and_a_complete_list(tmp_path: Path) -> None:
    new = {f"{DESTINATION}OUT__KIND": "folder", f"{DESTINATION}OUT__PATH": "out"}
    found = read_config(_file(tmp_path, SMALLEST + FOLDER), new)
    assert [d.name for d in found.destinations] == ["a", "out"]
    assert found.destinations[1].model_dump()["path"] == tmp_path / "out"
    sources = load_config(tmp_path / "config.toml", new).sources()
    assert sources["node", "destination", 1, "name"] == f"{DESTINATION}OUT__KIND"
    listed = '[{"name": "web", "kind": "dicomweb", "url": "http://h/d"}]'
    found = read_config(
        _file(tmp_path, SMALLEST + FOLDER), {"LUMBAR_NODE__NODE__DESTINATION": listed}
    )
    assert [d.name for d in found.destinations] == ["web"]


def test_variables_alone_need_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = read_config(None, {"LUMBAR_NODE__NODE__AE_TITLE": "ALONE"})
    assert (found.node.ae_title, found.node.state) == ("ALONE", tmp_path / "state")
    (line,) = _lines(None, {"LUMBAR_NODE__NODE__PORT": "1"})
    assert line == 'LUMBAR_NODE__NODE__AE_TITLE: "node.ae_title" is missing; it has no default'


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("NODE__PROT", "1", "no such key; did you mean LUMBAR_NODE__NODE__PORT?"),
        ("NODE__Port", "1", "no such key; did you mean LUMBAR_NODE__NODE__PORT?"),
        ("NODE__PORT__X", "1", "no such key; did you mean LUMBAR_NODE__NODE__PORT?"),
        ("TRACK__QUIET", "1", "no such key; did you mean LUMBAR_NODE__TRACK__QUERY?"),
        ("", "1", "no such key; did you mean LUMBAR_NODE__WEB__TLS?"),
        ("NODE", "1", "is a section; give its keys, e.g. LUMBAR_NODE__NODE__AE_TITLE"),
        ("NODE__DESTINATION__PACS_1", "x", f"is an entry of a list; give its keys, e.g. {DESTINATION}PACS_1__NAME"),
        ("NODE__DESTINATION__PACS_1__HOTS", "x", f"no such key; did you mean {DESTINATION}PACS_1__HOST?"),
        ("NODE__DESTINATION__1__HOST", "x", "there is no entry 1; there are 1, numbered from 0"),
        ("NODE__DESTINATION__PASC_1__HOST", "x", f'no entry is called "pasc_1"; did you mean {DESTINATION}PACS_1__HOST?; a new one needs {DESTINATION}PASC_1__KIND, too'),
        ("NODE__PORT", "1O4", '"node.port" must be a whole number without quotes, not "1O4"'),
        ("NODE__PORT", "", '"node.port" must be a whole number without quotes'),
        ("NODE__AE_TITLE", "SEVENTEEN LETTERS", '"node.ae_title": an AE title has 1 to 16 ASCII characters, no backslash and no space at either end (this one has 17)'),
        ("NODE__DESTINATION__PACS_1__PORT", "0", '"node.destination.port" must be at least 1, not 0'),
        ("RECEIVE__CALLED_AE_TITLES", "OLD", '"receive.called_ae_titles" must be a list, as ["…"], not "OLD"'),
        ("RESULTS__PICTURES", "yes", '"results.pictures" must be true or false, without quotes, not "yes"'),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_named_with_the_remedy(
    tmp_path: Path, name: str, value: str, expected: str
) -> None:
    path = _file(tmp_path, SMALLEST + PACS)
    assert _lines(path, {PREFIX + name: value}) == [f"{PREFIX}{name}: {expected}"]


def test_errors_of_file_and_variables_are_listed_together(tmp_path: Path) -> None:
    path = _file(tmp_path, SMALLEST + "port = 0\nhost = 5\n")
    lines = _lines(path, {"LUMBAR_NODE__TRACK__QUIET_SECONDS": "x"})
    assert [line.split(" ")[0] for line in lines] == [
        f"{path}:3:",
        f"{path}:4:",
        "LUMBAR_NODE__TRACK__QUIET_SECONDS:",
    ]


def test_a_password_in_a_variable_is_not_shown(tmp_path: Path) -> None:
    path = _file(tmp_path, SMALLEST)
    shown = "\n".join(_lines(path, {"LUMBAR_NODE__NODE__PORT": "http://user:hunter2@h"}))
    assert "hunter2" not in shown
    shown = "\n".join(_lines(path, {"LUMBAR_NODE__NODE__PASSWORD": "hunter2"}))
    assert "hunter2" not in shown


def test_two_entries_of_one_word_are_addressed_by_number() -> None:
    raw = {"node": {"destination": [{"name": "a-b"}, {"name": "a_b"}]}}
    with pytest.raises(ConfigError, match="2 entries are called so; use the number from 0"):
        with_variables(raw, {f"{DESTINATION}A_B__HOST": "x"}, Config)
    found = with_variables(raw, {f"{DESTINATION}1__HOST": "x"}, Config)
    assert found.raw["node"]["destination"][1]["host"] == "x"
    assert raw["node"]["destination"][1] == {"name": "a_b"}, "the file's own tables are left"
    assert entry_word("a--b.c") == "A_B_C"


def test_sources_name_line_or_variable_of_what_is_not_the_default(tmp_path: Path) -> None:
    path = _file(tmp_path, SMALLEST + "port = 11112\nhost = '0.0.0.0'\n" + FOLDER)
    environ = {f"{DESTINATION}A__PATH": "elsewhere", "LUMBAR_NODE__TRACK__QUIET_SECONDS": "30"}
    sources = load_config(path, environ).sources()
    assert sources == {
        ("node", "ae_title"): f"{path}:2",
        ("node", "host"): f"{path}:4",
        ("node", "destination", 0, "name"): f"{path}:6",
        ("node", "destination", 0, "kind"): f"{path}:7",
        ("node", "destination", 0, "path"): f"{DESTINATION}A__PATH",
        ("track", "quiet_seconds"): "LUMBAR_NODE__TRACK__QUIET_SECONDS",
    }


def test_a_variable_that_asks_for_a_section_which_is_absent_is_named(tmp_path: Path) -> None:
    path = _file(tmp_path, SMALLEST)
    (line,) = _lines(path, {"LUMBAR_NODE__RECEIVE__TLS": "mutual"})
    assert line.startswith(
        'LUMBAR_NODE__RECEIVE__TLS: "tls": [receive] tls = "mutual" needs [tls] certificate'
    )
    in_file = _file(tmp_path, SMALLEST + '[receive]\ntls = "mutual"\n')
    (line,) = _lines(in_file, {"LUMBAR_NODE__NODE__PORT": "11112"})
    assert line.startswith(f"{in_file}:"), "the file asks for it"
    (line,) = _lines(_file(tmp_path, SMALLEST + "[tls]\n"), {"LUMBAR_NODE__RECEIVE__TLS": "mutual"})
    assert line.startswith(f"{in_file}:3:"), "the section is there to be completed"

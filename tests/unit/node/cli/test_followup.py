"""`followup` on a state folder with studies of several patients."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from node.cli.app import run
from tests.support.visits import Clinic, content

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(clinic: Clinic, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:  # fmt: skip
    home = clinic.state.parent
    (home / "config.toml").write_text('[node]\nae_title = "NODE"\n[[node.destination]]\nname = "f"\nkind = "folder"\npath = "f"\n')  # fmt: skip
    monkeypatch.chdir(home)
    return lambda *arguments: (run(arguments), *capsys.readouterr())


def test_a_patient_is_found_by_id_and_by_study(clinic: Clinic, call: Call) -> None:
    clinic.visit(1, "20250301", content(10.0))
    clinic.visit(2, "20260301", content(12.0))
    code, out, err = call("followup", "PID-7")
    assert (code, err) == (0, "")
    assert "exceeds the uncertainty" in out
    assert "PID-7" not in out
    assert call("followup", "1.1.1") == (0, out, "")
    code, out, _ = call("followup", "1.1.2", "--json")
    (patient,) = json.loads(out)["patients"]
    assert [s["study"] for s in patient["studies"]] == ["1.1.1", "1.1.2"]
    assert patient["steps"][0]["changes"]["OC"]["exceeds"] is True


def test_one_study_says_so_and_two_patients_are_apart(clinic: Clinic, call: Call) -> None:
    clinic.visit(1, "20250301", content(10.0))
    assert "one study only" in call("followup", "PID-7")[1]
    clinic.visit(2, "20260301", content(12.0), PatientBirthDate="19990101")
    out = call("followup", "PID-7")[1]
    assert out.count("with this Patient ID:") == 2
    assert "exceeds" not in out


def test_pictures_are_written_into_a_folder(clinic: Clinic, call: Call, tmp_path: Path) -> None:
    odd = content(12.0, extra={"../../evil": content()["extra"]["psoas_area_left"]})
    clinic.visit(1, "20250301", content(10.0))
    clinic.visit(2, "20260301", odd)
    clinic.visit(3, "20260301", content(11.0), PatientSex="M")
    folder = tmp_path / "plots"
    assert call("followup", "PID-7", "--plots", str(folder))[0] == 0
    written = {p.name for p in folder.iterdir()}
    assert {"OC.svg", "DAA.svg", "psoas_area_left.svg", "2-OC.svg"} <= written
    assert not list(tmp_path.glob("**/*evil*"))
    assert (folder / "OC.svg").read_text().startswith("<svg")
    taken = tmp_path / "file"
    taken.write_text("")
    assert call("followup", "PID-7", "--plots", str(taken))[0] == 2


def test_an_unknown_patient_ends_with_status_3(clinic: Clinic, call: Call) -> None:
    code, out, err = call("followup", "PID-8")
    assert (code, out) == (3, "")
    assert err.startswith("lumbar-node: no result of this patient or study is here")

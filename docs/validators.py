"""Make the table of `docs/reference/validators.md`: five kinds of study, every validator, a real PACS.

    python docs/validators.py WORK

Writes the studies into WORK, processes each with the shipped model, judges every result by `lumbar-node verify`,
sends it to an Orthanc of its own by STOW-RS and fetches it back by WADO-RS, and leaves the counts in
`docs/reference/validators.json`, from which `docs/generate.py` makes the tables. Takes about ten minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pydicom
from dicomweb_client.api import DICOMwebClient

from node.free_ports import free_ports

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from node.demo import servers
from node.verify.report import TOGETHER
from node.verify.run import OWN
from tests.support import compare_results, study_kinds
from tests.support.study_kinds import KINDS, ROOT

COUNTS = ROOT / "docs" / "reference" / "validators.json"
ORTHANC = "Orthanc"
"""Column of what a PACS gives back."""


def judge(results: Path) -> dict[str, Any]:
    """Return the report of `lumbar-node verify` on a folder of results."""
    command = [sys.executable, "-m", "node", "verify", str(results), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 4}:
        raise SystemExit(done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@contextmanager
def pacs(folder: Path) -> Iterator[str]:
    """Run an Orthanc and give the address of its DICOMweb interface."""
    ports = servers.Ports(*free_ports(4))
    running = servers.start_orthanc(folder, ports)
    try:
        yield f"{ports.pacs_url}/dicom-web"
    finally:
        servers.stop(running)


def returned(url: str, path: Path) -> bool:
    """Store an object, retrieve it again, and return whether every attribute and pixel came back."""
    client = DICOMwebClient(url, timeout=120)
    sent = pydicom.dcmread(path)
    client.store_instances([sent])
    ids = (str(sent.StudyInstanceUID), str(sent.SeriesInstanceUID), str(sent.SOPInstanceUID))
    back = client.retrieve_instance(*ids, media_types=(("application/dicom", "*"),))
    syntax = sent.file_meta.TransferSyntaxUID
    return bool(back == pydicom.dcmread(path) and back.file_meta.TransferSyntaxUID == syntax)


def counts(folder: Mapping[str, Any], url: str) -> dict[str, dict[str, list[int]]]:
    """Return [errors, warnings, known] by object and column of one result."""
    table: dict[str, dict[str, list[int]]] = {name: {} for name in folder["names"]}
    for answer in folder["answers"]:
        cell = table[answer["name"]].setdefault(answer["tool"], [0, 0, 0])
        for finding in answer["findings"]:
            cell[("error", "warning", "known").index(finding["severity"])] += finding["count"]
    for name, cells in table.items():
        if name != TOGETHER:
            cells[ORTHANC] = [int(not returned(url, Path(folder["folder"]) / name)), 0, 0]
    return table


def known(report: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Return (tool, reason, count) of the known findings in all results."""
    found: dict[tuple[str, str], int] = {}
    for folder in report["folders"]:
        for answer in folder["answers"]:
            for finding in answer["findings"]:
                if finding["severity"] == "known":
                    key = (answer["tool"], finding["reason"])
                    found[key] = found.get(key, 0) + finding["count"]
    return sorted((tool, reason, count) for (tool, reason), count in found.items())


def tools(report: Mapping[str, Any], url: str) -> list[tuple[str, str, str]]:
    """Return (column, program, version) of every tool that was used, the PACS included."""
    rows = [(t["tool"], t["program"], t["version"]) for t in report["tools"] if not t["remedy"]]
    system = httpx.get(url.replace("/dicom-web", "/system"), timeout=10).json()
    return [*rows, (ORTHANC, "Orthanc, DICOMweb plugin", str(system["Version"]))]


def measure(work: Path) -> dict[str, Any]:
    """Make, process and judge every kind of study."""
    inputs, results = work / "inputs", work / "results"
    if not inputs.exists():
        study_kinds.make(inputs)
    if not results.exists():
        compare_results.run(ROOT, inputs, results)
    report = judge(results)
    with pacs(work / "orthanc") as url:
        found = {Path(f["folder"]).parent.name: counts(f, url) for f in report["folders"]}
        used = tools(report, url)
    return {
        "columns": [*dict.fromkeys(t for t, _, _ in used if t != ORTHANC), OWN, ORTHANC],
        "tools": used,
        "known": known(report),
        "kinds": {title: found[name] for name, title in KINDS.items()},
    }


if __name__ == "__main__":
    found = measure(Path(sys.argv[1]).resolve())
    COUNTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

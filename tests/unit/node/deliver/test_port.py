from __future__ import annotations

from pathlib import Path

import pytest

from node.config.destinations import DicomDestination, DicomwebDestination, FolderDestination
from node.deliver.dicom import Pacs
from node.deliver.dicomweb import DicomwebServer
from node.deliver.factory import build_all
from node.deliver.folder import Folder
from node.deliver.port import result_files
from node.durable import publish
from node.errors import DamagedResult, PeerUnreachable
from tests.support.result_folders import list_objects


def test_each_kind_is_built_from_its_section() -> None:
    configs = (
        FolderDestination(name="f", kind="folder", path=Path("/x")),
        DicomDestination(name="d", kind="dicom", ae_title="PACS", host="h", port=104),
        DicomDestination(
            name="e", kind="dicom", ae_title="PACS", host="h", port=104, calling_ae_title="OTHER"
        ),
        DicomwebDestination(name="w", kind="dicomweb", url="http://h/dicom-web/"),
    )
    built = build_all(configs, "NODE")
    assert built["f"] == Folder("f", Path("/x"))
    assert built["d"] == Pacs("d", "PACS", "h", 104, "NODE", 30.0)
    other, web = built["e"], built["w"]
    assert isinstance(other, Pacs)
    assert other.calling_ae_title == "OTHER"
    assert isinstance(web, DicomwebServer)
    assert web.url == "http://h/dicom-web"


def test_authorization_is_read_from_its_file_at_each_request(tmp_path: Path) -> None:
    secret = tmp_path / "authorization"
    secret.write_text("Bearer abc\n")
    server = DicomwebServer("w", "http://127.0.0.1:9", 1.0, str(secret))
    with server.client() as client:
        assert client.headers["Authorization"] == "Bearer abc"
    secret.unlink()
    with pytest.raises(PeerUnreachable, match="authorization_file"):
        server.echo()


def test_published_folder_is_whole_and_the_first_wins(tmp_path: Path) -> None:
    first = publish(tmp_path / "out", "r", {"a": b"1", "b": b"2"})
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {"a": b"1", "b": b"2"}
    assert publish(tmp_path / "out", "r", {"a": b"other"}) == first
    assert (first / "a").read_bytes() == b"1"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["r"]


def test_left_over_part_of_a_kill_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path, "r", {"a": b"1"})
    monkeypatch.undo()
    assert not (tmp_path / "r").exists()
    publish(tmp_path, "r", {"a": b"2"})
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_pictures_that_a_result_does_not_list_are_no_damage(tmp_path: Path) -> None:
    for name in ("seg.dcm", "summary.dcm"):
        (tmp_path / name).write_bytes(b"x")
    list_objects(tmp_path)
    wanted = ("seg.dcm", "summary.dcm", "report.dcm", "surface.dcm")
    assert [f.name for f in result_files(tmp_path, wanted)] == ["seg.dcm", "summary.dcm"]
    with pytest.raises(DamagedResult, match=r"volumes\.dcm: not in the list"):
        result_files(tmp_path, ("seg.dcm", "volumes.dcm"))
    (tmp_path / "summary.dcm").unlink()
    with pytest.raises(DamagedResult, match=r"summary\.dcm: No such file"):
        result_files(tmp_path, wanted)

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from typer.testing import CliRunner

from dicomseg.structures import BY_ID
from training.cli.app import app
from training.data.cases import Case, list_cases_in, load_case
from training.data.prepare import spider_case
from training.errors import ImportRefused, LabelTableError, SourceMissing, UsageError
from training.importing import manifest
from training.importing.deidentify import read_or_create_secret
from training.importing.importer import ImportOptions, ImportSummary, import_all
from training.importing.label_table import LabelTable, Target, covered, half_covered, read_table
from training.importing.nifti import patient_id_from, pending, read_patients

# Label value: structure, centre and half size in LPS mm; nothing is symmetrical.
BLOBS: Mapping[int, tuple[str, tuple[float, float, float], tuple[float, float, float]]] = {
    11: ("l4", (2, 0, 16), (17, 12, 9)),
    12: ("ivd", (3, 0, 1), (17, 12, 5)),
    13: ("l5", (5, 2, -14), (17, 12, 9)),
    14: ("dura", (4, 22, 0), (6, 5, 18)),
    15: ("aa", (9, -21, 2), (6, 5, 16)),
    16: ("pm.left", (33, 6, 1), (8, 9, 14)),
    17: ("pm.right", (-25, 4, -2), (6, 8, 14)),
}
CENTRE = np.array([-12.0, 31.0, 400.0])
TABLE: LabelTable = {
    str(n): Target(name.partition(".")[0], name.partition(".")[2] or None)  # type: ignore[arg-type]
    for n, (name, _, _) in BLOBS.items()
}
SIZE = (50, 46, 36)
LPS = np.eye(3)
SPACING = (2.0, 1.5, 1.75)


def grid(turn: Any = LPS, size: tuple[int, int, int] = SIZE) -> SimpleITK.Image:
    """An empty grid about the blobs; columns of `turn` are the LPS directions of x, y, z."""
    made = SimpleITK.Image(list(size), SimpleITK.sitkFloat32)
    made.SetSpacing(SPACING)
    made.SetDirection(np.asarray(turn, dtype=float).ravel().tolist())
    middle = np.asarray(turn) @ ((np.array(size) - 1) / 2 * SPACING)
    made.SetOrigin((CENTRE + np.array([4, 4, 1]) - middle).tolist())
    return made


def points_of(image: SimpleITK.Image) -> np.ndarray[Any, Any]:
    """LPS mm of every voxel, (z, y, x, 3)."""
    kji = np.stack(np.indices(image.GetSize()[::-1]), axis=-1)[..., ::-1]
    turn = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    return np.asarray(kji @ turn.T + image.GetOrigin())


def filled(like: SimpleITK.Image, array: Any) -> SimpleITK.Image:
    made = SimpleITK.GetImageFromArray(array)
    made.CopyInformation(like)
    return made


def painted(empty: SimpleITK.Image, seed: int = 1) -> tuple[SimpleITK.Image, SimpleITK.Image]:
    """An image and its label map of the blobs."""
    points = points_of(empty) - CENTRE
    labels = np.zeros(points.shape[:-1], dtype=np.int16)
    for value, (_, centre, half) in BLOBS.items():
        labels[(np.abs(points - centre) <= half).all(axis=-1)] = value
    noise = np.random.default_rng(seed).integers(0, 40, labels.shape)
    return filled(empty, (labels * 60 + noise).astype(np.int16)), filled(empty, labels)


def write(folder: Path, name: str, image: SimpleITK.Image, labels: SimpleITK.Image) -> None:
    for kind, volume in (("images", image), ("labels", labels)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(volume, str(folder / kind / f"{name}.nii.gz"))


def imported(
    folder: Path, table: LabelTable = TABLE, patients: Mapping[str, str] | None = None
) -> tuple[ImportSummary, list[str]]:
    out, notes = folder / "out", []  # type: ignore[var-annotated]
    options = ImportOptions(
        out, "nifti", "CC0", read_or_create_secret(out / "pseudonym.key"), "2026-11-23"
    )
    pairs = pending(folder / "images", folder / "labels", table, patients)
    return import_all(pairs, options, notes.append), notes


def only(folder: Path) -> Case:
    (path,) = list_cases_in(folder / "out")
    return load_case(path)


def centre_of(case: Case, name: str) -> np.ndarray[Any, Any]:
    structure, _, side = name.partition(".")
    ijk = np.argwhere(case.labels == BY_ID[structure].value)  # type: ignore[index]
    points = ijk @ case.affine[:3, :3].T + case.affine[:3, 3]
    if side:
        points = points[(points[:, 0] > CENTRE[0] + 4) == (side == "left")]
    return np.asarray(points.mean(axis=0))


_TILT = np.array([[0.98, 0.199, 0], [-0.199, 0.98, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    "turn",
    [LPS, np.diag([-1.0, -1, 1]), np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]) @ _TILT],
    ids=["lps", "ras", "sagittal tilted"],
)
def test_every_label_keeps_its_place_in_the_patient(tmp_path: Path, turn: Any) -> None:
    write(tmp_path, "sub-01", *painted(grid(turn, (56, 52, 52))))
    done, _ = imported(tmp_path)
    assert not done.refused
    case = only(tmp_path)
    for value, (name, centre, _) in BLOBS.items():
        assert centre_of(case, name) == pytest.approx(CENTRE + centre, abs=1.0), name
        ijk = np.linalg.inv(case.affine) @ [*(CENTRE + centre), 1]
        i, j, k = np.rint(ijk[:3]).astype(int)
        assert case.image[i, j, k] == pytest.approx(value * 60 + 20, abs=25), name
    assert case.labelled == ("l4", "ivd", "l5", "dura", "aa", "pm")
    assert case.level_centre_lps == pytest.approx(tuple(CENTRE + BLOBS[12][1]), abs=1.0)
    assert case.card["origin"] == "nifti"


def test_names_and_ids_do_not_reach_the_cases(tmp_path: Path) -> None:
    write(tmp_path, "Doe_Jane_19711224", *painted(grid()))
    imported(tmp_path, patients={"Doe_Jane_19711224": "MRN4711"})
    for file in (p for p in (tmp_path / "out").rglob("*") if p.is_file()):
        assert not re.search(rb"Doe_Jane|19711224|MRN4711", file.read_bytes()), file.name


def test_another_grid_is_refused_and_both_files_named(tmp_path: Path) -> None:
    image, labels = painted(grid())
    write(tmp_path, "a", image, labels[:-1, :, :])
    moved = SimpleITK.Image(labels)
    moved.SetOrigin([v + 0.5 for v in labels.GetOrigin()])
    write(tmp_path, "b", image, moved)
    done, _ = imported(tmp_path)
    assert "a.nii.gz and a.nii.gz have (50, 46, 36) and (49, 46, 36) voxels" in done.refused[0]
    assert re.search(r"corners of b\.nii\.gz and b\.nii\.gz lie 0\.5 mm apart", done.refused[1])


def test_values_that_the_table_does_not_name_are_refused_by_value(tmp_path: Path) -> None:
    image, labels = painted(grid())
    array = SimpleITK.GetArrayFromImage(labels)
    array[0, 0, :3] = (7, 99, 12)
    write(tmp_path, "a", image, filled(labels, array))
    done, _ = imported(tmp_path)
    assert "a.nii.gz: rule known-labels: values 7, 99 are not in the table" in done.refused[0]
    done, _ = imported(tmp_path, {**TABLE, "7": Target(None), "99": Target(None)})
    assert len(done.imported) == 1


@pytest.mark.parametrize("value", [12.5, np.nan])
def test_label_values_that_are_no_integers_are_refused(tmp_path: Path, value: float) -> None:
    image, labels = painted(grid())
    array = SimpleITK.GetArrayFromImage(labels).astype(np.float32)
    array[0, 0, 0] = value
    write(tmp_path, "a", image, filled(labels, array))
    done, _ = imported(tmp_path)
    assert re.search(rf"values {value:g} are not in the table", done.refused[0])


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda a: np.where(a > 900, np.nan, a), r"rule finite: \d+ of 82800 voxels are NaN"),
        (lambda a: np.where(a > 900, np.inf, a), "rule finite"),
        (lambda a: a * 0 + 7, "rule not-constant: all 82800 voxels are 7"),
    ],
)
def test_images_that_show_nothing_are_refused(tmp_path: Path, spoil: Any, rule: str) -> None:
    image, labels = painted(grid())
    array = spoil(SimpleITK.GetArrayFromImage(image).astype(np.float32)).astype(np.float32)
    write(tmp_path, "bad", filled(image, array), labels)
    write(tmp_path, "good", image, labels)
    done, _ = imported(tmp_path)
    assert re.match(rf"bad\.nii\.gz: {rule}", done.refused[0])
    assert len(done.imported) == 1


def test_damaged_files_lonely_images_and_four_axes_are_refused(tmp_path: Path) -> None:
    image, labels = painted(grid())
    for name in ("cut", "lonely", "time"):
        write(tmp_path, name, image, labels)
    file = tmp_path / "images" / "cut.nii.gz"
    file.write_bytes(file.read_bytes()[:2000])
    (tmp_path / "labels" / "lonely.nii.gz").unlink()
    several = SimpleITK.JoinSeries([image, image])
    SimpleITK.WriteImage(several, str(tmp_path / "images" / "time.nii.gz"))
    done, _ = imported(tmp_path)
    assert done.imported == ()
    assert "cut.nii.gz: rule readable" in done.refused[0]
    assert "rule pair: no label map is called lonely" in done.refused[1]
    assert "time.nii.gz: rule one-volume: shape (50, 46, 36, 2)" in done.refused[2]


def test_an_image_that_does_not_tell_left_from_right_is_refused(tmp_path: Path) -> None:
    image, labels = painted(grid())
    write(tmp_path, "a", image, labels)
    (tmp_path / "images" / "a.nii.gz").unlink()
    file = tmp_path / "images" / "a.nii"
    SimpleITK.WriteImage(image, str(file))
    raw = bytearray(file.read_bytes())
    raw[252:256] = bytes(4)  # qform_code and sform_code, NIfTI-1
    file.write_bytes(raw)
    done, _ = imported(tmp_path)
    assert "a.nii: rule orientation" in done.refused[0]


def test_mirrored_labels_are_refused(tmp_path: Path) -> None:
    image, labels = painted(grid())
    write(tmp_path, "a", image, labels)
    swapped = {**TABLE, "16": TABLE["17"], "17": TABLE["16"]}
    assert "rule sides" in imported(tmp_path, swapped)[0].refused[0]


def test_a_case_without_the_disc_is_refused(tmp_path: Path) -> None:
    image, labels = painted(grid())
    write(tmp_path, "a", image, labels)
    array = SimpleITK.GetArrayFromImage(labels)
    write(
        tmp_path, "b", filled(image, 2 + 0 * array + array), filled(labels, array * (array != 12))
    )
    done, _ = imported(tmp_path, {k: Target(None) if k == "12" else t for k, t in TABLE.items()})
    assert "rule level: the L4/5 disc (ivd) is not labelled" in done.refused[0]
    done, _ = imported(tmp_path)
    assert "b.nii.gz: rule level: the L4/5 disc (ivd) has no voxels" in done.refused[0]


def test_the_same_image_twice_is_refused_whatever_the_axes(tmp_path: Path) -> None:
    image, labels = painted(grid())
    write(tmp_path, "a", image, labels)
    write(tmp_path, "b", *(SimpleITK.DICOMOrient(v, "RAS") for v in (image, labels)))
    done, _ = imported(tmp_path)
    assert len(done.imported) == 1
    assert f"b.nii.gz: rule duplicate: the same image is case {done.imported[0]}" in done.refused[0]


def test_an_import_that_was_interrupted_resumes(tmp_path: Path) -> None:
    for n, name in enumerate(("a", "b", "c")):
        write(tmp_path, name, *painted(grid(), n))
    out = tmp_path / "out"
    options = ImportOptions(
        out, "nifti", "CC0", read_or_create_secret(out / "pseudonym.key"), "2026-11-23"
    )

    def killed() -> Any:
        pairs = pending(tmp_path / "images", tmp_path / "labels", TABLE)
        yield next(pairs)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_all(killed(), options)
    done, _ = imported(tmp_path)
    assert (len(done.existing), len(done.imported), done.refused) == (1, 2, ())
    again, _ = imported(tmp_path)
    assert (len(again.existing), again.imported) == (3, ())


def test_patients_come_from_the_table_from_bids_or_from_the_name(tmp_path: Path) -> None:
    assert patient_id_from("sub-07_ses-2_T2w", None) == "07"
    assert patient_id_from("case_12", None) == "case_12"
    assert patient_id_from("sub-07", {"other": "1"}) == ""
    file = tmp_path / "patients.csv"
    file.write_text("file,patient\na.nii.gz, P1 \nb_0000.nii.gz,P1\nc,\n")
    assert read_patients(file) == {"a": "P1", "b": "P1", "c": ""}
    for bad in ("name,patient\na,1\n", "file,patient\na,1\na.nii,2\n"):
        file.write_text(bad)
        with pytest.raises(UsageError, match=r"patients\.csv"):
            read_patients(file)


def test_scans_of_one_patient_share_a_pseudonym_and_one_without_id_is_refused(
    tmp_path: Path,
) -> None:
    for n, name in enumerate(("a", "b", "c")):
        write(tmp_path, name, *painted(grid(), n))
    done, _ = imported(tmp_path, patients={"a": "P1", "b": "P1"})
    assert len({load_case(p).patient_id for p in list_cases_in(tmp_path / "out")}) == 1
    assert [r.split(":")[:2] for r in done.refused] == [["c.nii.gz", " rule patient-id"]]


def test_the_table_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "table.toml"
    for text, message in (
        ("[labels]\n1 = 'l3'", "1 = 'l3' is not a structure"),
        ("[labels]\n1 = 'aa.left'", "1 = 'aa.left' is not a structure"),
        ("[labels]\n1 = 4", "1 = 4 is not a structure"),
        ("[labels]\n1 = 'background'", "every label is background"),
        ("[other]\n1 = 'l4'", r"no table \[labels\]"),
        ("[labels", "give a TOML file"),
    ):
        file.write_text(text)
        with pytest.raises(LabelTableError, match=message):
            read_table(file)
    file.write_text("[labels]\n1 = 'l4'\n'psoas, left' = 'pm.left'\n9 = 'background'")
    table = read_table(file)
    assert table == {"1": Target("l4"), "psoas, left": Target("pm", "left"), "9": Target(None)}
    assert covered(table.values()) == ("l4",)
    assert half_covered(table.values()) == ("pm.left",)


def test_a_folder_without_volumes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"no \.nii"):
        imported(tmp_path)


def test_a_manifest_of_another_kind_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", *painted(grid()))
    (tmp_path / "out").mkdir()
    for text in ("[]", "{", '{"schema": 9, "cases": []}'):
        (tmp_path / "out" / "manifest.json").write_text(text)
        with pytest.raises(ImportRefused, match=r"manifest\.json"):
            imported(tmp_path)


def test_a_volume_that_no_patient_fills_is_refused_before_it_is_resampled(tmp_path: Path) -> None:
    image, labels = painted(grid())
    for volume in (image, labels):
        volume.SetSpacing((200.0, 200.0, 200.0))
    write(tmp_path, "a", image, labels)
    assert (
        "rule large-enough: the volume is 7200 × 9200 × 10000 mm"
        in imported(tmp_path)[0].refused[0]
    )


def test_a_full_disk_ends_with_one_line_and_a_second_run_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a", *painted(grid()))
    lines = "".join(f"{key} = '{target.text}'\n" for key, target in TABLE.items())
    (tmp_path / "table.toml").write_text("[labels]\n" + lines)
    given = ["import", "--out", str(tmp_path / "out"), "--licence", "CC0", "--nifti"]
    given += [str(tmp_path / "images"), str(tmp_path / "labels")]
    given += ["--labels", str(tmp_path / "table.toml")]

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out/x.npz")

    with monkeypatch.context() as broken:
        broken.setattr(manifest, "write_manifest", full)
        done = CliRunner().invoke(app, given)
    assert str(done.exception).startswith("out/x.npz: No space left on device")
    assert getattr(done.exception, "exit_code", None) == 4
    assert "1 imported" in CliRunner().invoke(app, given).output


@pytest.mark.shared
def test_a_spider_patient_becomes_the_case_that_prepare_makes(tmp_path: Path, shared: Path) -> None:
    folder = shared / "data" / "spider"
    files = (folder / "5.image.nii.gz", folder / "5.l45_labels.nii.gz")
    table: LabelTable = {
        str(n): Target(name)  # type: ignore[arg-type]
        for n, name in enumerate(("l4", "ivd", "l5", "dura"), start=1)
    }
    options = ImportOptions(
        tmp_path, "nifti", "CC BY 4.0", read_or_create_secret(tmp_path / "key"), "2026-11-23"
    )
    import_all(pending(*files, table), options)
    ours, theirs = load_case(list_cases_in(tmp_path)[0]), spider_case(folder, "5")
    assert np.array_equal(ours.labels, theirs.labels)
    assert np.allclose(ours.image, theirs.image, atol=1e-3)
    assert np.allclose(ours.affine, theirs.affine)


def test_the_command_names_what_it_refuses_and_ends_with_4(tmp_path: Path) -> None:
    image, labels = painted(grid())
    write(tmp_path, "good", image, labels)
    write(tmp_path, "bad", filled(image, 0 * SimpleITK.GetArrayFromImage(image)), labels)
    lines = "".join(f"{key} = '{target.text}'\n" for key, target in TABLE.items())
    (tmp_path / "table.toml").write_text("[labels]\n" + lines)
    given = ["import", "--out", str(tmp_path / "out"), "--licence", "CC0", "--nifti"]
    given += [str(tmp_path / "images"), str(tmp_path / "labels")]
    done = CliRunner().invoke(app, [*given, "--labels", str(tmp_path / "table.toml")])
    assert "bad.nii.gz: rule not-constant" in done.output
    assert "1 imported" in done.output
    assert getattr(done.exception, "exit_code", None) == 4
    assert getattr(CliRunner().invoke(app, given).exception, "exit_code", None) == 2

"""Pairs of image and label map by their names, and what an import of them does."""

from __future__ import annotations

import errno
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from typer.testing import CliRunner

from tests.support.labelled_volumes import (
    BLOBS,
    CENTRE,
    LPS,
    NAMES,
    TABLE,
    as_slicer,
    centre_of,
    filled,
    grid,
    imported,
    only,
    painted,
    pair,
    write,
)
from training.cli.app import app
from training.data.cases import list_cases_in, load_case
from training.data.prepare import spider_case
from training.errors import ImportRefused, LabelTableError, SourceMissing, UsageError
from training.importing import manifest
from training.importing.deidentify import read_or_create_secret
from training.importing.files import patient_id_from, pending, read_patients
from training.importing.importer import ImportOptions, import_all
from training.importing.label_table import LabelTable, Target, covered, half_covered, read_table

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
    assert case.card["origin"] == "volumes"


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
    names = "image images/{0} and label map labels/{0}"
    assert (
        f"{names.format('a.nii.gz')} have (50, 46, 36) and (49, 46, 36) voxels" in done.refused[0]
    )
    assert f"corners of {names.format('b.nii.gz')} lie 0.5 mm apart" in done.refused[1]


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
    assert re.search(rf"\d+ values, {value:g}, are no label values", done.refused[0])


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
    with pytest.raises(SourceMissing, match="no volume"):
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


def test_labels_in_another_order_of_axes_keep_their_place(tmp_path: Path) -> None:
    image, labels = painted(grid())
    for n, order in enumerate(((2, 0, 1), (1, 0, 2))):
        turned = SimpleITK.Flip(SimpleITK.PermuteAxes(labels, order), (True, False, True))
        folder = tmp_path / str(n)
        pair(image, turned, folder, "p.nii.gz", "p.nii.gz")
        assert not imported(folder)[0].refused
        for name in ("aa", "pm.left", "pm.right", "l4"):
            place = next(b[1] for b in BLOBS.values() if b[0] == name)
            found = centre_of(only(folder), name)
            assert np.abs(found - CENTRE - place).max() < 1.0, name


def test_labels_that_went_through_floating_point_are_rounded_and_it_is_told(
    tmp_path: Path,
) -> None:
    image, labels = painted(grid())
    array = SimpleITK.GetArrayFromImage(labels).astype(np.float32)
    write(tmp_path / "a", "p", image, filled(labels, array * 1.0001))
    done, notes = imported(tmp_path / "a")
    assert len(done.imported) == 1
    assert any("label values were rounded, by 0.0017 at most" in n for n in notes)
    write(tmp_path / "b", "p", image, filled(labels, array + 0.3))
    done, _ = imported(tmp_path / "b")
    assert re.search(r"8 values, 0\.3, 11\.3.*, are no label values", done.refused[0])
    write(tmp_path / "c", "p", image, SimpleITK.Cast(image, SimpleITK.sitkInt32))
    assert "make an image, not labels" in imported(tmp_path / "c")[0].refused[0]


@pytest.mark.parametrize(
    "content",
    [
        "file;patient\np.nii.gz;MÜLLER\n".encode("cp1252"),
        "﻿File\tPatient\tNote\np.nii.gz\tMÜLLER\tx\n".encode(),
        "patient,file\nMÜLLER,p\n".encode("utf-16"),
        "file,patient\r\n\r\nP.NII.GZ, MÜLLER\r\n".encode(),
    ],
    ids=["Excel", "tabs", "utf-16", "case"],
)
def test_tables_of_patients_come_in_every_usual_form(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "patients.csv").write_bytes(content)
    assert read_patients(tmp_path / "patients.csv") == {"p": "MÜLLER"}


def test_a_name_is_one_patient_however_its_letters_are_composed(tmp_path: Path) -> None:
    for n, form in enumerate(("NFC", "NFD")):
        name = unicodedata.normalize(form, "Müller")  # type: ignore[arg-type]
        write(tmp_path / str(n), name, *painted(grid(), seed=n))
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / str(n) / kind / f"{name}.nii.gz").rename(tmp_path / kind / f"{n}.nii.gz")
    table = {
        "0": unicodedata.normalize("NFC", "Müller"),
        "1": unicodedata.normalize("NFD", "Müller"),
    }
    done, _ = imported(tmp_path, patients=table)
    assert len(done.imported) == 2
    cards = [p.read_text() for p in (tmp_path / "out").glob("import-*.json")]
    assert len({re.search(r'"patient_id": "([^"]+)"', c)[1] for c in cards}) == 1  # type: ignore[index]


def test_files_without_a_partner_and_two_of_one_name_are_named(tmp_path: Path) -> None:
    image, labels = painted(grid())
    pair(image, labels, tmp_path, "a.nii.gz", "b.nii.gz")
    pair(image, labels, tmp_path, "c.nii.gz", "C.mha")
    pair(image, labels, tmp_path, "c.nrrd", "C.mha")
    done, _ = imported(tmp_path)
    text = "\n".join(done.refused)
    assert "no label map is called a" in text
    assert "no image is called b" in text
    assert "c.nii.gz, c.nrrd are one name; keep one image" in text


def test_bids_and_endings_of_label_maps_make_pairs(tmp_path: Path) -> None:
    image, labels = painted(grid())
    pair(image, labels, tmp_path / "flat", "p_0000.nii.gz", "P-label.nii.gz")
    assert len(imported(tmp_path / "flat")[0].imported) == 1
    bids = tmp_path / "bids" / "images" / "sub-01" / "anat"
    below = tmp_path / "bids" / "labels" / "sub-01" / "anat"
    for folder in (bids, below):
        folder.mkdir(parents=True)
    SimpleITK.WriteImage(image, str(bids / "sub-01_acq-space_T2w.nii.gz"))
    SimpleITK.WriteImage(labels, str(below / "sub-01_acq-space_T2w_label-spine_dseg.nii.gz"))
    done, _ = imported(tmp_path / "bids")
    assert len(done.imported) == 1, done.refused


def test_a_table_is_needed_where_numbers_name_nothing(tmp_path: Path) -> None:
    image, labels = painted(grid())
    pair(image, labels, tmp_path, "p.mha", "p.mha")
    given = ["import", "--out", str(tmp_path / "out"), "--licence", "CC0", "--volumes"]
    given += [str(tmp_path / "images"), str(tmp_path / "labels")]
    done = CliRunner().invoke(app, given)
    assert isinstance(done.exception, UsageError)
    assert "numbers in a label map name no structure" in str(done.exception)
    pair(image, as_slicer(labels, NAMES), tmp_path, "p.mha", "p.seg.nrrd")
    (tmp_path / "labels" / "p.mha").unlink()
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "1 imported" in done.output

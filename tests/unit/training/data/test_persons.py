"""Series of one person under different ids, and who is held out with whom."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from typer.testing import CliRunner

from tests.support.labelled_volumes import TABLE, filled, grid, imported, painted, write
from training.cli.app import app
from training.data.cases import list_cases_in
from training.data.folds import check_folds, draw_folds, read_or_draw_folds
from training.data.held_out import never_sampled, split_cases
from training.data.persons import PATIENT_KEY, read_persons
from training.errors import CaseUnreadable, FoldsError
from training.evaluate.crossval_plan import Cohort, with_all_of_their_patients
from training.importing.label_table import Target


def stretched(seed: int) -> tuple[SimpleITK.Image, SimpleITK.Image]:
    """Another person: blobs of other places and sizes, by the seed."""
    image, labels = painted(grid(), seed)
    turn = np.deg2rad(np.random.default_rng(seed).uniform(8, 25) * (-1) ** seed)
    sheared = np.array(
        [[1, 0, 0], [0, np.cos(turn), np.sin(turn)], [0, -np.sin(turn), np.cos(turn)]]
    )
    factors = np.random.default_rng(seed).uniform((0.9, 0.7, 0.8), (1.1, 1.3, 1.2))
    for volume in (image, labels):
        volume.SetSpacing((np.array(volume.GetSpacing()) * factors).tolist())
        volume.SetDirection(sheared.ravel().tolist())
    return image, labels


def two_series_of_one(folder: Path) -> tuple[list[str], list[str]]:
    """Import two series of one person under two ids with equal labels, and four other persons; ids and lines."""
    image, labels = painted(grid(), 1)
    write(folder, "mueller-t2", image, labels)
    noise = np.random.default_rng(9).normal(500, 200, SimpleITK.GetArrayFromImage(image).shape)
    write(folder, "case-0815", filled(image, noise.astype(np.int16)), labels)
    for seed in range(2, 6):
        write(folder, f"other-{seed}", *stretched(seed))
    done, notes = imported(folder)
    assert not done.refused
    return list(done.imported), notes


def test_equal_labels_under_two_ids_are_named_once_and_held_out_together(tmp_path: Path) -> None:
    _, notes = two_series_of_one(tmp_path)
    (line,) = [note for note in notes if "of one person" in note]
    persons = read_persons(list_cases_in(tmp_path / "out"))
    (link,) = persons.links
    assert line == link.text
    assert line.endswith("are of one person (labels agree, Dice 1.00): held out together")
    assert len(set(persons.by_path.values())) == 5
    _, slabs, held = split_cases(tmp_path / "out", [link.first])
    assert {p.stem for p in held} == {link.first, link.second}
    assert len(slabs) == 4
    path = next(p for p in list_cases_in(tmp_path / "out") if p.stem == link.second)
    assert never_sampled(tmp_path / "out", [path]) == (link.first, link.second)


def test_folds_keep_them_together_and_those_that_do_not_are_refused(tmp_path: Path) -> None:
    two_series_of_one(tmp_path)
    paths = list_cases_in(tmp_path / "out")
    persons = read_persons(paths)
    (link,) = persons.links
    for seed in range(8):
        folds = draw_folds(paths, 2, seed)
        check_folds(folds, {path.stem: person for path, person in persons.by_path.items()})
    others = [p.stem for p in paths if p.stem not in {link.first, link.second}]
    parts = {
        "test": [link.first, *others[:2]],
        "validation": [],
        "train": [link.second, *others[2:]],
    }
    swapped = {"test": parts["train"], "validation": [], "train": parts["test"]}
    file = tmp_path / "folds.json"
    file.write_text(json.dumps({"schema": 1, "seed": 1, "folds": [parts, swapped]}))
    with pytest.raises(FoldsError, match="is in test and in train; draw new folds"):
        read_or_draw_folds(file, paths, 2)


def test_a_crossvalidation_leaves_the_second_series_out_of_every_training(tmp_path: Path) -> None:
    two_series_of_one(tmp_path)
    paths = {p.stem: p for p in list_cases_in(tmp_path / "out")}
    (link,) = read_persons(list(paths.values())).links
    tested = {link.first: paths[link.first]}
    cohort = Cohort(tmp_path / "out", tested, tmp_path)
    assert with_all_of_their_patients(tested, cohort) == tuple(sorted((link.first, link.second)))


def test_the_same_image_in_another_folder_and_under_another_id_is_found(tmp_path: Path) -> None:
    image, labels = painted(grid())
    one_body = SimpleITK.Cast(labels, SimpleITK.sitkInt16)
    array = SimpleITK.GetArrayFromImage(one_body)
    array[array == 11] = 0
    write(tmp_path / "a", "x", image, labels)
    write(tmp_path / "b", "y", image * 2 + 7, filled(labels, array[:, ::1]))
    assert not imported(tmp_path / "a")[0].refused
    assert not imported(tmp_path / "b", {**TABLE, "11": Target(None)})[0].refused
    paths = [*list_cases_in(tmp_path / "a" / "out"), *list_cases_in(tmp_path / "b" / "out")]
    (link,) = read_persons(paths).links
    assert link.why == "equal images"


def card(folder: Path, case: str, patient: str, key: object = None) -> Path:
    content = {"patient_id": patient, "card": {} if key is None else {PATIENT_KEY: key}}
    (folder / f"{case}.json").write_text(json.dumps(content))
    return folder / f"{case}.npz"


def test_an_absent_issuer_contradicts_none(tmp_path: Path) -> None:
    paths = [
        card(tmp_path, "a", "A", {"id": "1", "issuer": True}),
        card(tmp_path, "b", "B", {"id": "1", "issuer": False}),
        card(tmp_path, "c", "C", {"id": "2", "issuer": True}),
        card(tmp_path, "d", "D", {"id": "2", "issuer": True}),
        card(tmp_path, "e", "E"),
        card(tmp_path, "f", "F", "?"),
        card(tmp_path, "phantom-1", "G", {"id": "2", "issuer": False}),
    ]
    persons = read_persons(paths)
    assert [persons.by_path[p] for p in paths] == ["A", "A", "C", "D", "E", "F", "G"]
    assert [link.why for link in persons.links] == ["equal patient ids, one without its issuer"]


def test_links_pass_on(tmp_path: Path) -> None:
    """A is B by one key and B is C by another."""
    both = {"id": "1", "issuer": False}
    paths = [card(tmp_path, n, p, both) for n, p in (("x", "C"), ("y", "B"), ("z", "B"))]
    paths.append(card(tmp_path, "w", "A", both))
    assert set(read_persons(paths).by_path.values()) == {"A"}
    with pytest.raises(CaseUnreadable):
        read_persons([tmp_path / "absent.npz"])


def test_commands_name_who_is_one_person(tmp_path: Path) -> None:
    two_series_of_one(tmp_path)
    done = CliRunner().invoke(
        app,
        ["to-nnunet", "--cases", str(tmp_path / "out"), "--out", str(tmp_path / "raw"), "--count", "2"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "are of one person (labels agree" in done.output
    splits = json.loads((tmp_path / "raw" / "Dataset501_Lumbar" / "splits_final.json").read_text())
    (link,) = read_persons(list_cases_in(tmp_path / "out")).links
    for split in splits:
        assert len({link.first, link.second} & set(split["val"])) in {0, 2}


def test_a_table_of_patients_goes_before_likeness_and_is_doubted_in_one_line(
    tmp_path: Path,
) -> None:
    image, labels = painted(grid(), 1)
    write(tmp_path, "a", image, labels)
    write(tmp_path, "b", painted(grid(), 2)[0], labels)
    done, notes = imported(tmp_path, patients={"a": "A", "b": "B"})
    assert len(done.imported) == 2
    (line,) = [note for note in notes if "look like one person" in note]
    assert "the table of patients names two: correct it if it is wrong" in line
    paths = list_cases_in(tmp_path / "out")
    assert len(set(read_persons(paths).by_path.values())) == 2
    assert len(split_cases(tmp_path / "out", [paths[0].stem])[2]) == 1

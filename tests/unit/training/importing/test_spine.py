"""Labels of the complete spine from a hospital's table, and what no reader knows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from tests.support.labelled_volumes import (
    NAMES,
    TABLE,
    as_slicer,
    filled,
    grid,
    imported,
    only,
    painted,
    pair,
    write,
)
from tests.support.whole_spines import FIRST_MM, STEP_MM, painted_spine
from training.data.cases import IGNORED
from training.errors import ImportRefused, LabelTableError
from training.importing.label_table import Target, read_table, target_of_name
from training.importing.spine import arches_of

WHOLE = {
    "1": Target("l5"), "2": Target("l4"), "202": Target("ivd"), "100": Target("dura"),
    **{str(n): Target(None, further=n) for n in (3, 4, 5, 201, 203, 204, 205)},
}  # fmt: skip


def test_further_discs_of_a_hospital_are_known_and_nothing_beyond_is(tmp_path: Path) -> None:
    write(tmp_path, "a", *painted_spine(arches=False))
    assert not imported(tmp_path, WHOLE)[0].refused
    case = only(tmp_path)
    assert sorted(case.disc_centres) == ["l12", "l23", "l34", "l45", "l5s1"]
    assert case.disc_centres["l23"][2] == pytest.approx(FIRST_MM + STEP_MM * 2.5, abs=1.0)
    assert not case.names_all_discs()
    assert case.source == "imported"
    assert case.other_discs() == [3, 4, 5]


def test_at_another_disc_vessels_and_muscles_are_unknown(tmp_path: Path) -> None:
    write(tmp_path, "a", *painted_spine(arches=False))
    imported(tmp_path, WHOLE)
    case = replace(only(tmp_path), labelled=("l4", "ivd", "l5", "dura", "aa", "ivc"))
    assert case.at_disc(3).labelled == ("l4", "ivd", "l5", "dura")
    assert replace(case, labelled=("l4", "ivd", "l5")).at_disc(3).labelled == ("l4", "ivd", "l5")


def test_without_further_labels_there_is_no_spine(tmp_path: Path) -> None:
    write(tmp_path, "a", *painted(grid()))
    imported(tmp_path)
    assert only(tmp_path).spine is None
    assert set(only(tmp_path).disc_centres) == {"l45"}


def test_names_of_the_table_are_the_levels(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text('[labels]\n3 = "body.l3"\n2 = "l4"\n203 = "disc.l34"\n99 = "ignored"\n')
    table = read_table(file)
    assert [table[k].spine for k in ("3", "2", "203", "99")] == [3, 2, 203, 0]
    assert [table[k].text for k in ("3", "203", "99")] == ["body.l3", "disc.l34", "ignored"]
    assert target_of_name("Disc.L34") == table["203"]
    assert target_of_name("disc of somebody") is None
    file.write_text('[labels]\n3 = "disc.l3"\n')
    with pytest.raises(LabelTableError, match=r"known: .*disc\.l34"):
        read_table(file)


def test_voxels_that_a_reader_marked_as_unknown_are_ignored(tmp_path: Path) -> None:
    image, labels = painted(grid())
    array = SimpleITK.GetArrayFromImage(labels)
    marked = array.copy()
    marked[:, :6] = 99
    write(tmp_path, "a", image, filled(labels, marked))
    assert not imported(tmp_path, {**TABLE, "99": Target(None, further=IGNORED)})[0].refused
    case = only(tmp_path)
    share = float((case.labels == IGNORED).mean())
    assert share == pytest.approx(6 / array.shape[1], rel=0.15)
    assert case.spine is None


def test_segments_of_slicer_may_be_further_discs(tmp_path: Path) -> None:
    image, labels = painted(grid())
    names = {**NAMES, 15: "disc.L34"}
    pair(image, as_slicer(labels, names), tmp_path, "p.mha", "p.seg.nrrd")
    assert not imported(tmp_path, {})[0].refused
    assert set(only(tmp_path).disc_centres) == {"l34", "l45"}


def test_only_what_is_behind_the_canals_front_or_parted_from_the_body_is_an_arch() -> None:
    spine = np.zeros((20, 30, 20), np.uint8)
    spine[:, 15:20, 7:13] = 100
    spine[5:15, 4:14, 3:17] = 2
    spine[8:12, 14:20, 4:7] = 2  # pedicle
    spine[2:4, 5:8, 3:6] = 2  # crumb
    arches = arches_of(spine)
    assert set(spine[arches]) == {2}
    assert not arches[5:15, 4:14].any()
    assert arches[8:12, 15:20, 4:7].all()
    assert arches[2:4, 5:8, 3:6].all()
    with pytest.raises(ImportRefused, match="rule arches"):
        arches_of(np.where(spine == 100, 0, spine))


OURS = {**{str(n): Target(None) for n in (3, 4, 5, 201, 203, 204, 205)}, **{k: WHOLE[k] for k in ("1", "2", "202", "100")}}  # fmt: skip


def test_arches_in_a_hospitals_labels_are_named_and_cut_off_on_request(tmp_path: Path) -> None:
    for name, arches in (("with", True), ("without", False)):
        write(tmp_path / name, "a", *painted_spine(arches=arches))
        write(tmp_path / f"cut {name}", "a", *painted_spine(arches=arches))
    said = imported(tmp_path / "with", OURS)[1]
    (line,) = [note for note in said if "arches" in note]
    assert re.search(r"[12]\d% of l4 and l5 lie beside and behind the canal", line)
    assert "--cut-arches cuts them off" in line
    assert not [note for note in imported(tmp_path / "without", OURS)[1] if "arches" in note]
    imported(tmp_path / "cut with", OURS, cut_arches=True)
    (refused,) = imported(tmp_path / "with", OURS, cut_arches=True)[0].refused
    assert "rule duplicate" in refused  # not taken for the case that is there, whose arches are on
    imported(tmp_path / "cut without", OURS, cut_arches=True)
    cut, plain = (only(tmp_path / f"cut {name}").labels for name in ("with", "without"))
    whole = only(tmp_path / "without").labels
    for value in (1, 3):
        for ours, theirs in ((cut, plain), (plain, whole)):
            both = ((ours == value) & (theirs == value)).sum()
            assert 2 * both / ((ours == value).sum() + (theirs == value).sum()) > 0.97
    assert np.array_equal(cut == 2, plain == 2)


def test_arches_without_a_canal_cannot_be_cut_off(tmp_path: Path) -> None:
    write(tmp_path, "a", *painted_spine())
    table = {**OURS, "100": Target(None)}
    done, _ = imported(tmp_path, table, cut_arches=True)
    assert "rule arches: no spinal canal is drawn" in done.refused[0]
    assert len(imported(tmp_path, table)[0].imported) == 1

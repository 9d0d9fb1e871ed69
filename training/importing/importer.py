"""Import external labelled images: main loop, resampling, manifest.

`dicom` and `files` find the files and yield `PendingPair`; `rules` holds what every pair must obey. The image
is resampled linearly, each label as a soft mask of which the strongest wins, as for every other prepared case.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK

from dicomseg.errors import InputRefused
from dicomseg.structures import BY_ID, Side, StructureId
from dicomseg.volume import Array, Points
from training.data.cases import CORRECTION, Case, Point, list_cases_in, save_case
from training.data.persons import PATIENT_KEY, read_persons
from training.data.prepare import build_axial_grid, centroid, fit_disc_normal, grid_affine, resample
from training.errors import CaseUnreadable, ImportRefused
from training.importing import findings, manifest
from training.importing.deidentify import Secret, deidentify
from training.importing.findings import Drawn
from training.importing.label_table import Target, covered, half_covered
from training.importing.manifest import Manifest, ManifestEntry
from training.importing.pairs import LabelledImage, PendingPair
from training.importing.rules import check_anatomy, check_extent, check_voxels
from training.importing.spine import disc_centres, spine_labels, treat_arches, write_ignored

DICOM_FOLDER: Final = "dicom"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What applies to every pair of an import. source: dicom, dicomweb, volumes. today: ISO 8601."""

    out: Path
    source: str
    licence: str
    secret: Secret
    today: str
    keep_dicom: bool = False
    mirrored_vessels: bool = False
    """Take persons whose arteries lie to the right of their veins."""
    cut_arches: bool = False
    """Cut the arches off labels of vertebrae."""


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """Outcome of an import: ids of new and of existing cases, one line per refusal, and the case of each pair's name."""

    imported: tuple[str, ...]
    existing: tuple[str, ...]
    refused: tuple[str, ...]
    by_name: Mapping[str, str] = field(default_factory=dict)


def import_all(
    pairs: Iterable[PendingPair],
    options: ImportOptions,
    report: Callable[[str], None] = lambda _: None,
) -> ImportSummary:
    """Import every pair that obeys the rules; others are reported and skipped.

    Raises:
        ImportRefused: the folder is in use by another import or holds another manifest.
    """
    imported: list[str] = []
    existing: list[str] = []
    refused: list[str] = []
    by_name: dict[str, str] = {}
    with manifest.locked(options.out):
        book = manifest.read_manifest(options.out)
        for pair in pairs:
            try:
                entry, is_new = _import(pair, options, book, report)
            except InputRefused as refusal:
                refused.append(f"{pair.name}: {str(refusal).removeprefix(f'{pair.name}: ')}")
                report(refused[-1])
                continue
            if is_new:
                book = book.with_entry(entry)
                manifest.write_manifest(book, options.out)
            (imported if is_new else existing).append(entry.case)
            by_name[pair.name] = entry.case
        _report_links(options.out, imported, report)
    return ImportSummary(tuple(imported), tuple(existing), tuple(refused), by_name)


def _report_links(folder: Path, imported: Sequence[str], report: Callable[[str], None]) -> None:
    """Name each new case that is of the person of another one, under another patient id."""
    with suppress(CaseUnreadable):  # of an older case; who trains on it is stopped
        for link in read_persons(list_cases_in(folder) if imported else []).links:
            if not {link.first, link.second}.isdisjoint(imported):
                report(link.text)


def _import(
    pair: PendingPair, options: ImportOptions, book: Manifest, report: Callable[[str], None]
) -> tuple[ManifestEntry, bool]:
    if not pair.patient_id.strip():
        raise ImportRefused(
            "rule patient-id: no patient id; without one the case cannot be assigned to a fold"
        )
    patient_id = unicodedata.normalize("NFC", pair.patient_id.strip())
    patient = pair.public_id or options.secret.pseudonym(patient_id, pair.issuer)
    made_of = f"{pair.digest} cut" if options.cut_arches else pair.digest
    source_key = options.secret.digest("source", patient, made_of)
    existing = book.by_source(source_key)
    if existing is not None:
        return existing, False
    labelled = pair.load()
    image_key = options.secret.digest("image", *_voxel_bytes(labelled.image))
    duplicate = book.by_image(image_key)
    if duplicate is not None:
        raise ImportRefused(
            f"rule duplicate: the same image is case {duplicate.case}; remove that one to replace its labels"
        )
    case, notes = prepare_case(labelled, f"import-{image_key[:12]}", patient, options)
    if not pair.public_id:
        known = {
            "id": options.secret.digest("patient-id", patient_id),
            "issuer": bool(pair.issuer),
            "named": pair.named,
        }
        case = replace(case, card={**case.card, PATIENT_KEY: known})
    for note in notes:
        report(f"{pair.name}: {note}")
    files = _save(case, labelled, options)
    return (
        ManifestEntry(
            case.case_id,
            patient,
            options.source,
            options.licence,
            case.labelled,
            labelled.labels_by,
            options.today,
            files,
            image_key,
            source_key,
        ),
        True,
    )


def _save(case: Case, labelled: LabelledImage, options: ImportOptions) -> dict[str, str]:
    """Write the case, and its de-identified objects if asked for; return sha256 by name."""
    written = []
    if options.keep_dicom:
        folder = options.out / DICOM_FOLDER / case.case_id
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for number, dataset in enumerate(labelled.objects()):
            written.append(folder / f"{number:05d}.dcm")
            deidentify(dataset, options.secret).save_as(written[-1], enforce_file_format=True)
    arrays = save_case(case, options.out)
    written += [arrays, arrays.with_suffix(".json")]
    return {p.relative_to(options.out).as_posix(): manifest.file_sha256(p) for p in written}


def _voxel_bytes(image: SimpleITK.Image) -> tuple[str, bytes]:
    """Return size and values along the patient's axes: slice order and file format do not matter."""
    turned = SimpleITK.DICOMOrient(image, "LPS")  # type: ignore[no-untyped-call]
    array = SimpleITK.GetArrayViewFromImage(turned)
    return str(array.shape), np.ascontiguousarray(array, dtype="<f4").tobytes()


def prepare_case(
    labelled: LabelledImage, case_id: str, patient: str, options: ImportOptions
) -> tuple[Case, list[str]]:
    """Bring image and labels to the canonical grid; return the case and notes for the user.

    Raises:
        ImportRefused: voxels or labels break a rule.
    """
    check_voxels(labelled.image)
    check_extent(labelled.image)
    targets = [target for target, _ in labelled.masks]
    known = covered(targets)
    if "ivd" not in known:
        raise ImportRefused(
            "rule level: the L4/5 disc (ivd) is not labelled; it is needed to place the window"
        )
    grid = build_axial_grid(labelled.image)
    affine = grid_affine(grid)
    drawn, sides, totals = _labels_on(labelled.masks, grid, known)
    labels, spine = drawn.labels, spine_labels(labelled.masks, grid)
    arches = treat_arches(labels, spine, cut=labelled.with_arches or options.cut_arches)
    overlaps = findings.check_overlaps(
        drawn, totals
    )  # first: what covers the disc leaves it no voxel
    check_anatomy(labels, sides, affine)
    disc = np.asarray(centroid(labels == BY_ID["ivd"].value, affine))
    if not options.mirrored_vessels:
        findings.check_vessels(drawn, known, disc)
    taken = findings.take(drawn, known, disc)
    labels, known = taken.labels, taken.known
    write_ignored(labelled.masks, grid, labels, spine)
    notes = [findings.describe(drawn, known), *labelled.notes, *arches, *overlaps, *taken.notes]
    notes += [f"{t} without the other side is not used" for t in half_covered(targets)]
    if labelled.labels_by == "automatic":
        notes.append("its labels were made by an algorithm; a human reader is not named")
    centre, normal = centroid(labels == BY_ID["ivd"].value, affine), _level_normal(labels, affine)
    labels[np.isin(labels, [BY_ID[s].value for s in labelled.context])] = 0
    if labelled.context:
        notes.append(f"{', '.join(sorted(labelled.context))}: no reader drew it; not labelled in the case")  # fmt: skip
        known = tuple(s for s in known if s not in labelled.context)
    card = {
        "licence": options.licence,
        "left_right_known": True,
        "interpolation": "linear",
        "origin": options.source,
        "labels_by": labelled.labels_by,
        **labelled.acquisition,
    }
    if labelled.correction is not None:
        card |= {CORRECTION: dict(labelled.correction)}
    image = resample(labelled.image, grid)
    discs = ({} if spine is None else disc_centres(spine, affine)) | {"l45": centre}
    case = Case(
        case_id, patient, labelled.rules, image, labels, affine, known, centre, normal, discs, card, spine
    )  # fmt: skip
    return case, notes


def _labels_on(
    masks: Sequence[tuple[Target, SimpleITK.Image]],
    grid: SimpleITK.Image,
    known: Sequence[StructureId],
) -> tuple[Drawn, dict[tuple[StructureId, Side], float], dict[StructureId, int]]:
    """Return the label of the strongest mask, background where the masks leave more than any of them.

    Also the x in LPS mm of the centre of each labelled side, and the voxels of each structure as it was drawn. One mask
    at a time is in memory.
    """
    sides: dict[tuple[StructureId, Side], float] = {}
    affine, shape = grid_affine(grid), tuple(grid.GetSize()[::-1])  # type: ignore[no-untyped-call]
    labels, best, total = np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape)
    bits, totals = np.zeros(shape, np.uint8), dict.fromkeys(known, 0)
    for structure in known:
        soft = np.zeros(shape, np.float32)
        for target, mask in masks:
            if target.structure != structure:
                continue
            resampled = resample(mask, grid)
            if target.side is not None and (resampled > 0.5).any():
                sides[structure, target.side] = centroid(resampled > 0.5, affine)[0]
            soft = np.maximum(soft, resampled)
        inside = soft > 0.5
        totals[structure] = int(inside.sum())
        bits[inside] |= 1 << (BY_ID[structure].value - 1)
        stronger = soft > best
        labels[stronger] = BY_ID[structure].value
        np.copyto(best, soft, where=stronger)
        total += soft
    labels[best <= 1.0 - total] = 0
    with_sides = {target.structure for target, _ in masks if target.side is not None}
    seen = {
        name: frozenset(side for n, side in sides if n == name)
        for name in known
        if name in with_sides
    }
    return Drawn(labels, affine, findings.overlaps_of(bits), seen), sides, totals


def _level_normal(labels: Array, affine: Points) -> Point:
    """Return the normal of the disc towards the head; straight up where a vertebra is missing."""
    has_bodies = all((labels == BY_ID[name].value).any() for name in ("l4", "l5"))
    return fit_disc_normal(labels, affine) if has_bodies else (0.0, 0.0, 1.0)

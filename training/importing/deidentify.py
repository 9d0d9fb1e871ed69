"""Identifiers replaced: keyed pseudonyms, and the Basic Profile of PS3.15 for objects that are kept.

What an attribute becomes is decided by the table and the actions of `dicom-anonymizer` (PS3.15 Table
E.1-1). Ours are three things it leaves open: nested items are treated like the data set, UIDs follow
from the project's secret so that they agree between runs, and referenced images stay referenced.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from training.errors import ImportRefused, SecretError

SECRET_NAME: Final = "pseudonym.key"  # noqa: S105 - a file name
TABLE_EDITION: Final = "dicomfields_2026c"
"""Edition of Table E.1-1 in `dicom-anonymizer`."""
METHOD: Final = "PS3.15 Basic Application Confidentiality Profile, 2026c"
Tag = tuple[int, ...]
Action = Callable[[Dataset, Tag], None]

_KEY: Final = re.compile(r"[0-9a-f]{64}")
_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Secret:
    """The project's key: the same identifier gives the same pseudonym, which cannot be reversed without the key."""

    key: bytes = field(repr=False)

    def digest(self, *parts: str | bytes) -> str:
        """Return the HMAC-SHA256 of the parts, 64 hexadecimal digits; part lengths are included."""
        mac = hmac.new(self.key, digestmod=hashlib.sha256)
        for part in parts:
            raw = part.encode() if isinstance(part, str) else part
            mac.update(len(raw).to_bytes(8, "big"))
            mac.update(raw)
        return mac.hexdigest()

    def pseudonym(self, patient_id: str, issuer: str = "") -> str:
        """Return the name of a patient in the cohort, e.g. ``P-6f1c09ab77d2e340``."""
        return f"P-{self.digest('patient', issuer, patient_id)[:16]}"

    def uid(self, old: str) -> UID:
        """Return the UID in place of `old`: the 2.25 form of 128 keyed bits (PS3.5 B.2)."""
        return UID(f"2.25.{int(self.digest('uid', old)[:32], 16)}")


def read_or_create_secret(file: Path) -> Secret:
    """Read the project's secret; create it, readable by its owner alone, where there is none.

    Raises:
        SecretError: it is malformed, unreadable, or others may read it.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _create(file)
        if stat.S_IMODE(file.stat().st_mode) & _OPEN_TO_OTHERS:
            raise SecretError(f"{file}: others may read the secret; chmod 600 {file}")
        text = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise SecretError(
            f"{file}: {type(error).__name__}; give a file that can be read"
        ) from error
    if not _KEY.fullmatch(text):
        raise SecretError(f"{file}: not 64 hexadecimal digits; restore it from your back-up")
    return Secret(bytes.fromhex(text))


def _create(file: Path) -> None:
    """Write a new secret and keep it out of version control; an existing one is left alone."""
    if file.exists():
        return
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as out:
        out.write(secrets.token_hex(32) + "\n")
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(unfinished, file)  # unlike a rename, never over the secret of another process
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()
    ignore = file.parent / ".gitignore"
    known = ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else []
    if file.name not in known:
        ignore.write_text("\n".join([*known, file.name]) + "\n", encoding="utf-8")


def deidentify(dataset: Dataset, secret: Secret) -> Dataset:
    """Return a de-identified copy; `dataset` is not changed.

    Patient ID and name become the pseudonym. Pixels are not examined: burned-in text is refused
    where the header declares it.

    Raises:
        ImportRefused: burned-in annotation, or an attribute that cannot be read.
    """
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        raise ImportRefused(
            "rule burned-in-annotation: text is burned into the pixels; leave it out"
        )
    try:
        kept = copy.deepcopy(dataset)
        issuer = str(dataset.get("IssuerOfPatientID", "") or "")
        _walk(kept, _rules(), secret)
        kept.remove_private_tags()
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise ImportRefused(
            f"rule de-identifiable: an attribute cannot be read ({type(error).__name__}); leave it out"
        ) from error
    kept.PatientID = secret.pseudonym(str(dataset.get("PatientID", "")).strip(), issuer)
    kept.PatientName = kept.PatientID
    _declare(kept)
    _renew_meta(kept, dataset)
    return kept


def _declare(kept: Dataset) -> None:
    """Declare that and how identifiers were removed (PS3.15 E.1.1, PS3.3 C.7.1.1)."""
    kept.PatientIdentityRemoved = "YES"
    kept.DeidentificationMethod = METHOD
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    kept.DeidentificationMethodCodeSequence = [code]
    kept.LongitudinalTemporalInformationModified = "REMOVED"


def _renew_meta(kept: Dataset, dataset: Dataset) -> None:
    """Return a file meta group with nothing in it but what reading needs; an empty preamble."""
    old, meta = getattr(dataset, "file_meta", None) or Dataset(), FileMetaDataset()
    meta.MediaStorageSOPClassUID = kept.SOPClassUID
    meta.MediaStorageSOPInstanceUID = kept.SOPInstanceUID
    if "TransferSyntaxUID" in old:
        meta.TransferSyntaxUID = old.TransferSyntaxUID
    kept.file_meta = meta
    kept.preamble = b"\0" * 128


@lru_cache(maxsize=1)
def _rules() -> Mapping[Tag, Action]:
    """Return the library's actions: tag, or (group, element, two masks) for repeating groups, to action."""
    # An extra, without type hints.
    from dicomanonymizer import simpledicomanonymizer as library  # type: ignore[import-untyped]  # noqa: PLC0415

    actions: Mapping[Tag, Action] = library.initialize_actions(TABLE_EDITION)
    # X/Z/U*: of these sequences the contained UIDs are replaced, or a SEG would lose its images.
    starred = library.delete_or_empty_or_replace_UID
    return {tag: library.keep if act is starred else act for tag, act in actions.items()}


def _rule_for(group: int, element: int, rules: Mapping[Tag, Action]) -> Action | None:
    exact = rules.get((group, element))
    if exact is not None or group not in range(0x5000, 0x6100):
        return exact
    for tag, action in rules.items():
        if len(tag) == 4 and group & tag[2] == tag[0] and element & tag[3] == tag[1] & tag[3]:
            return action
    return None


def _walk(dataset: Dataset, rules: Mapping[Tag, Action], secret: Secret) -> None:
    """Apply the rules to the data set and to the items of every sequence that is left."""
    for tag in list(dataset.keys()):
        key = (tag.group, tag.element)
        action = _rule_for(*key, rules)
        if action is not None:
            _apply(dataset, key, action, secret)
        if tag in dataset and dataset[tag].VR == "SQ":
            for item in dataset[tag].value:
                _walk(item, rules, secret)


def _apply(dataset: Dataset, tag: tuple[int, int], action: Action, secret: Secret) -> None:
    element = dataset[tag]
    if action.__name__ == "delete":  # the library would keep a dummy for a date
        del dataset[tag]
        return
    if element.VR == "UI":
        if element.VM > 1:
            element.value = [secret.uid(str(old)) for old in element.value]
        elif element.value:
            element.value = secret.uid(str(element.value))
        return
    try:
        action(dataset, tag)
    except NotImplementedError:  # a value representation for which the library has no dummy
        del dataset[tag]

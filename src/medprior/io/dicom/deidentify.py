"""De-identification by PS3.15 Annex E: the standard's own table, UIDs replaced by keyed ones, private
elements out, and the proof written down.
"""

from __future__ import annotations

import hmac
import re
from copy import deepcopy
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_has_tag, repeater_has_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import generate_uid

from ... import __version__
from ...errors import BadOption, WrongKind, optional
from .read.open import door

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement

__all__ = ["deidentify", "keyed_uid"]

TABLE = "dicomfields_2026c"
_BURNED_IN = ("US", "IVUS", "XA", "RF", "SC", "OT", "XC", "ES", "GM", "SM", "OP")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_KEPT_CLASSES = re.compile(r"^1\.2\.840\.10008\.")
_HEAD = ("HEAD", "BRAIN", "FACE", "NECK", "SKULL", "ORBIT", "SINUS", "JAW")


def keyed_uid(secret: bytes, old: str) -> str:
    """The same new UID for the same old one, wherever the secret is the same; without the secret a guess
    cannot be tested.
    """
    return str(generate_uid(entropy_srcs=[hmac.new(secret, old.encode(), sha256).hexdigest()]))


def deidentify(
    dataset: Dataset, *, secret: bytes, allow_burned_in: bool = False
) -> tuple[Dataset, tuple[str, ...]]:
    """A copy of ``dataset`` without identity (Basic Application Level Confidentiality Profile), and what a
    person must still look at.

    secret: at least 16 bytes that the site keeps; it decides the new UIDs, so that no table of them is
    needed. allow_burned_in: take kinds whose pixels often carry text (US, SC, XA, Burned In Annotation not
    NO): only after looking at them. The proof goes into (0012,0062) to (0012,0064), (0028,0303) and
    Contributing Equipment (109104). Raises BadOption for a short secret, WrongKind for pixels that may carry
    text.
    """
    if len(secret) < 16:
        raise BadOption(
            f"secret: wanted at least 16 bytes, got {len(secret)}",
            "make one with secrets.token_bytes(32) and keep it on the site",
        )
    reason = "" if allow_burned_in else _may_carry_text(dataset)
    if reason:
        raise WrongKind(
            f"not de-identified: {reason}, names may be written in the pixels",
            "look at the pictures, then allow_burned_in=True",
        )
    with door(Path("data set")):
        return _clean(deepcopy(dataset), secret), _to_look_at(dataset)


def _may_carry_text(dataset: Dataset) -> str:
    modality, kind = str(dataset.get("Modality", "")), str(dataset.get("SOPClassUID", ""))
    if modality in _BURNED_IN or kind.startswith(_SECONDARY_CAPTURE):
        return f"modality {modality or 'unknown'}"
    stated = str(dataset.get("BurnedInAnnotation", ""))
    return "" if stated == "NO" else f"Burned In Annotation is {stated or 'not stated'}"


def _to_look_at(dataset: Dataset) -> tuple[str, ...]:
    words = " ".join(
        str(dataset.get(k, "")) for k in ("BodyPartExamined", "StudyDescription", "SeriesDescription")
    ).upper()
    if dataset.get("Modality") in ("MR", "CT", "PT") and (
        not words.strip() or any(part in words for part in _HEAD)
    ):
        return (
            "a head can be recognised by its face: remove the face or keep only the brain before it leaves "
            "the site",
        )
    return ()


def _clean(dataset: Dataset, secret: bytes) -> Dataset:
    optional("dicomanonymizer", "dicom", "de-identification")
    from dicomanonymizer import anonymize_dataset
    from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
    from dicomanonymizer.simpledicomanonymizer import initialize_actions

    def replace_uid(holder: Dataset, tag: tuple[int, int]) -> None:
        element: DataElement | None = holder.get(tag)
        if element is None or not element.value:
            return
        several = not isinstance(element.value, str)
        values = [
            v if _KEPT_CLASSES.match(str(v)) else keyed_uid(secret, str(v))
            for v in (element.value if several else [element.value])
        ]
        element.value = values if several else values[0]

    rules = dict.fromkeys(dicomfields_2026c.U_TAGS, replace_uid) | dict.fromkeys(
        dicomfields_2026c.X_Z_U_STAR_TAGS, _keep
    )

    def apply(holder: Dataset) -> None:
        """The table works on one level; what lies in sequences that stay is cleaned the same way."""
        anonymize_dataset(
            holder, rules, delete_private_tags=True, base_rules_gen=partial(initialize_actions, TABLE)
        )
        for element in holder:
            if element.VR == "SQ":
                for item in element.value:
                    apply(item)

    apply(dataset)
    _drop_unknown(dataset)
    _prove(dataset)
    _new_file(dataset)
    return dataset


def _drop_unknown(dataset: Dataset) -> None:
    """Even elements that the standard does not list could hold anything; group lengths say how long the names
    were.
    """
    for element in list(dataset):
        if element.tag.element == 0 or (
            not dictionary_has_tag(element.tag) and not repeater_has_tag(element.tag)
        ):
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                _drop_unknown(item)


def _new_file(dataset: Dataset) -> None:
    """A preamble may be another file, and the meta information repeats the old UID and names who sent it:
    only the transfer syntax stays.
    """
    syntax = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    dataset.preamble = b"\0" * 128  # type: ignore[attr-defined]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = (
        dataset.get("SOPClassUID"),
        dataset.get("SOPInstanceUID"),
    )
    if syntax:
        dataset.file_meta.TransferSyntaxUID = syntax


def _keep(holder: Dataset, tag: tuple[int, int]) -> None:
    """References to other images stay; the UIDs inside are replaced on the next level."""


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _prove(dataset: Dataset) -> None:
    """What was done, in the standard's own words."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = f"medprior {__version__}: PS3.15 2026c Basic Profile"
    dataset.DeidentificationMethodCodeSequence = [
        _code("113100", "Basic Application Confidentiality Profile")
    ]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [_code("109104", "De-identifying Equipment")]
    equipment.Manufacturer, equipment.ManufacturerModelName, equipment.SoftwareVersions = (
        "medprior",
        "medprior",
        __version__,
    )
    dataset.ContributingEquipmentSequence = [equipment]

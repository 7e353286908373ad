"""De-identification of one data set by PS3.15 Annex E: the standard's own table, UIDs replaced by keyed ones,
private elements and free text out, and the proof written down.
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
from ...errors import BadOption, MissingExtra, WrongKind, optional
from .read.open import dicom_errors
from .terms import is_defined

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement

__all__ = ["deidentified", "keyed_uid", "pseudonym"]

TABLE = "dicomfields_2026c"
_BURNED_IN = ("US", "IVUS", "XA", "RF", "SC", "OT", "XC", "ES", "GM", "SM", "OP")
_PLAIN = ("CT", "MR", "PT", "NM")
"""Kinds whose original images carry no text as a rule: where nothing is stated, a person must still look."""
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_KEPT_CLASSES = re.compile(r"^1\.2\.840\.10008\.")
_FREE_TEXT = {"AE", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT"}
_KEPT_TEXT = {"PatientID", "PatientName"}
"""Pseudonyms by now."""
_TERMED = {"ConvolutionKernel", "RescaleType", "BodyPartExamined", "ViewPosition", "PatientPosition"}
"""Kept where they hold a term, as scanners write it: anything else may have been typed."""
_CODE = {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"}
_SCHEMES = {"DCM", "SCT", "SRT", "SNM3", "UCUM", "RADLEX", "LN", "NCIt", "FMA", "UMLS", "RADELEMENT"}
"""Coding schemes of the standard: what a site has made up itself may name persons or places."""
_VENDORS = (
    *("SIEMENS", "GE ", "GEMS", "PHILIPS", "CANON", "TOSHIBA", "HITACHI", "UIH", "UNITED IMAGING"),
    *("FUJI", "AGFA", "CARESTREAM", "KODAK", "KONICA", "SAMSUNG", "HOLOGIC", "SHIMADZU", "MINDRAY"),
)
"""A Manufacturer that begins with none of these may be a person's text."""
_HEAD = ("HEAD", "BRAIN", "FACE", "NECK", "SKULL", "ORBIT", "SINUS", "JAW")


def keyed_uid(secret: bytes, old: str) -> str:
    """The same new UID for the same old one, wherever the secret is the same; without the secret a guess
    cannot be tested.
    """
    return str(generate_uid(entropy_srcs=[hmac.new(secret, old.encode(), sha256).hexdigest()]))


def pseudonym(secret: bytes, patient: str) -> str:
    """The same new patient ID for the same old one, wherever the secret is the same; "" for none."""
    text = f"patient|{patient.strip()}".encode(errors="replace")
    return "P" + hmac.new(secret, text, sha256).hexdigest()[:15].upper() if patient.strip() else ""


def deidentified(
    dataset: Dataset, *, secret: bytes, allow_burned_in: bool = False
) -> tuple[Dataset, tuple[str, ...]]:
    """A copy of ``dataset`` without identity (Basic Application Level Confidentiality Profile), and what a
    person must still look at.

    secret: at least 16 bytes that the site keeps; it decides the new UIDs and patient IDs, so that no table
    of them is needed. allow_burned_in: take kinds whose pixels often carry text (US, SC, XA, Burned In
    Annotation YES, or not stated where the pixels are no plain CT, MR, PET or NM image): only after looking
    at them. The proof goes into (0012,0062) to (0012,0064), (0028,0303) and Contributing Equipment (109104).
    Raises BadOption for a short secret, WrongKind for pixels that may carry text, MissingExtra without
    dicom-anonymizer.
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
    with dicom_errors(Path("data set")):
        made = _clean(deepcopy(dataset), secret)
        if patient := pseudonym(secret, str(dataset.get("PatientID") or dataset.get("PatientName") or "")):
            made.PatientID = made.PatientName = patient
        return made, _to_look_at(dataset)


def _may_carry_text(dataset: Dataset) -> str:
    modality, kind = str(dataset.get("Modality", "")), str(dataset.get("SOPClassUID", ""))
    if modality in _BURNED_IN or kind.startswith(_SECONDARY_CAPTURE):
        return f"modality {modality or 'unknown'}"
    stated = str(dataset.get("BurnedInAnnotation", ""))
    plain = modality in _PLAIN and not stated and "ORIGINAL" in _words(dataset.get("ImageType"))
    return "" if stated == "NO" or plain else f"Burned In Annotation is {stated or 'not stated'}"


def _words(value: object) -> list[str]:
    """The values of an element as text."""
    several = value is not None and not isinstance(value, str)
    return [str(one) for one in value] if several else [str(value or "")]  # type: ignore[attr-defined]


def _to_look_at(dataset: Dataset) -> tuple[str, ...]:
    words = " ".join(
        str(dataset.get(k, "")) for k in ("BodyPartExamined", "StudyDescription", "SeriesDescription")
    ).upper()
    found = []
    if str(dataset.get("BurnedInAnnotation", "")) != "NO":
        found.append("the pixels may carry text: it is not stated that they carry none")
    if dataset.get("Modality") in ("MR", "CT", "PT") and (
        not words.strip() or any(part in words for part in _HEAD)
    ):
        found.append(
            "a head can be recognised by its face: remove the face or keep only the brain before it leaves "
            "the site"
        )
    return tuple(found)


def _clean(dataset: Dataset, secret: bytes) -> Dataset:
    optional("dicomanonymizer", "dicom", "de-identification")
    try:
        from dicomanonymizer import anonymize_dataset
        from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
        from dicomanonymizer.simpledicomanonymizer import initialize_actions
    except ImportError as error:
        raise MissingExtra("dicom-anonymizer", "dicom", "de-identification") from error

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
    """Elements that the standard does not list could hold anything, and so could free text and dates that its
    table keeps. Group lengths say how long the names were.
    """
    coded = str(dataset.get("CodingSchemeDesignator", "")) in _SCHEMES
    for element in list(dataset):
        unknown = not dictionary_has_tag(element.tag) and not repeater_has_tag(element.tag)
        if element.tag.element == 0 or unknown or _is_prose(element, coded):
            del dataset[element.tag]
            if element.keyword == "RescaleType":  # wanted beside a slope: unspecified
                dataset.RescaleType = "US"
        elif element.VR == "SQ":
            for item in element.value:
                _drop_unknown(item)


def _is_prose(element: DataElement, coded: bool) -> bool:
    """Free text that no standard vouches for. coded: it stands in a code of a known scheme."""
    if element.keyword in _TERMED:
        return not is_defined(element.keyword, element.value)
    if element.keyword in _CODE:
        return not coded
    if element.keyword == "Manufacturer":
        return not str(element.value).upper().startswith(_VENDORS)
    return element.VR in _FREE_TEXT and element.keyword not in _KEPT_TEXT and bool(element.value)


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

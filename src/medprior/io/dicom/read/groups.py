"""What a DICOM header says of its patient's groups."""

from __future__ import annotations

from ...groups import Tags, age_band, age_between, one_line, sex_named
from .open import Header, quiet

__all__ = ["TAG_ELEMENTS", "tags_in_header"]

TAG_ELEMENTS = (
    "PatientSex",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
    "AcquisitionDate",
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionName",
    "ProtocolName",
)
"""All that is asked for."""


def tags_in_header(header: Header) -> Tags:
    """Of one file; what is damaged or of another form counts as not said. The band of an age that is not
    stated comes from birth and study date.
    """
    said = {name: _text(header, name) for name in TAG_ELEMENTS}
    maker, model = one_line(said["Manufacturer"]), one_line(said["ManufacturerModelName"])
    return Tags(
        sex_named(said["PatientSex"]),
        age_band(said["PatientAge"])
        or age_between(said["PatientBirthDate"], said["StudyDate"] or said["AcquisitionDate"]),
        model if model.casefold().startswith(maker.casefold()) else one_line(f"{maker} {model}"),
        one_line(said["InstitutionName"]),
        one_line(said["ProtocolName"]),
    )


def _text(header: Header, keyword: str) -> str:
    try:
        with quiet():
            return header.text(keyword)
    except (
        Exception
    ):  # the exception classes of strangers: a value that is none of its kind must not cost the scan
        return ""

"""What every request has: fields given by name, an identity without personal data, and errors in one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from cyclopts import Group, Parameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...data.plain import JsonObject
from ...errors import BadOption, did_you_mean
from ...io.dataset.layout import Layout

__all__ = [
    "HasFolder",
    "HasLayout",
    "HasScan",
    "HasScans",
    "OneScan",
    "Request",
    "WithPrior",
    "advanced",
    "explained",
    "option",
    "unsaid",
]


ADVANCED = Parameter(group=Group("Advanced options", sort_key=2))
"""Marks a field that ``--help`` shows below the common ones."""


def option(default: Any, description: str, **limits: Any) -> Any:
    """A common option, given by its name (``--name`` on the command line)."""
    return Field(default=default, description=description, kw_only=True, **limits)


def advanced(default: Any, description: str, **limits: Any) -> Any:
    """An option that few need; ``--help`` shows it in a group of its own."""
    field = option(default, description, **limits)
    field.metadata.append(ADVANCED)
    return field


class Request(BaseModel):
    """Options of every job."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    job: ClassVar[str] = ""
    known_as: ClassVar[dict[str, str]] = {}
    private: ClassVar[tuple[str, ...]] = (
        *("out", "fresh", "device", "input", "folder", "prior", "like"),
        *("workers", "cluster", "jobs"),
    )
    """Fields that say where things are, not what is done: a run is the same run without them (inputs and
    priors count by their SHA-256). known_as: the names by which records know other fields.
    """

    out: Path | None = option(None, "Folder for the results. Default: runs/JOB-XXXXXXXX.")
    seed: int = option(
        0,
        "Seed of every random draw. The same seed on the same machine gives the same bytes.",
        ge=0,
        lt=2**63,
    )
    device: Literal["auto", "cpu", "cuda"] = advanced(
        "auto", "Where the network runs. auto takes a GPU if there is one."
    )
    fresh: bool = advanced(False, "Start over, even if the same run is complete.")

    def identity(self) -> JsonObject:
        """What makes this run this run: all fields that change the numbers, as JSON."""
        said = self.model_dump(mode="json", exclude=set(self.private))
        return {"job": self.job, **{self.known_as.get(name, name): value for name, value in said.items()}}


def unsaid(value: object) -> bool:
    """Not written down where nothing was said: requests of former versions stay what they were."""
    return value in (None, "auto") or value is False


class HasPrior(BaseModel):
    prior: str = Field(
        description="Name of a bundled prior (medprior info lists them) or the folder of your own.",
        kw_only=True,
    )


class HasScan(BaseModel):
    """One scan, and how its file is read."""

    input: Path = Field(
        description="The scan: DICOM file or folder, NIfTI, PNG, TIFF, JPEG, NPZ, or a zip archive of one."
    )
    series: str | None = advanced(None, "DICOM series to read from a folder, by its UID.")
    volume: str | None = advanced(
        None,
        "Volume of a series that holds several (echoes, b-values, times), by its name.",
        exclude_if=unsaid,
    )
    keep_slices: str | None = advanced(
        None, "DICOM slices to take, such as 3-17, counted from 1 along their normal.", exclude_if=unsaid
    )
    resample: bool = advanced(
        False,
        "Interpolate DICOM slices that lie unevenly or tilted onto an even, upright grid.",
        exclude_if=unsaid,
    )
    index: int | None = advanced(None, "Image to read from an NPZ stack, counted from 0.", ge=0)
    unit: str | None = advanced(None, "Unit of the values if the file does not state one, e.g. HU.")
    modality: str | None = advanced(
        None, "DICOM modality code (CT, MR, DX, US) if the file does not state one."
    )


class HasLayout(BaseModel):
    """Where the labels and patients of a data set are read from; see ``io.dataset.layout.Layout``."""

    labels: Path | None = advanced(
        None, "Table (CSV or TSV) with the label and the patient of each file.", exclude=True
    )
    path_column: str | None = advanced(
        None, "labels: column of the file names. Common titles are found by themselves.", exclude_if=unsaid
    )
    label_column: str | None = advanced(None, "labels: column of the labels.", exclude_if=unsaid)
    patient_column: str | None = advanced(None, "labels: column of the patients.", exclude_if=unsaid)
    patient_pattern: str | None = advanced(
        None, r"Regular expression that finds the patient in a file name, e.g. '^(\d+)_'.", exclude_if=unsaid
    )
    folders: Literal["auto", "labels", "patients"] = advanced(
        "auto",
        "What the sub-folders are. auto takes labels, and refuses what looks like patients.",
        exclude_if=unsaid,
    )
    LAYOUT: ClassVar[tuple[str, ...]] = (
        *("labels", "path_column", "label_column", "patient_column", "patient_pattern", "folders"),
    )

    @property
    def layout(self) -> Layout:
        """As ``io.dataset.scan`` takes it."""
        return Layout(
            self.labels,
            self.path_column,
            self.label_column,
            self.patient_column,
            self.patient_pattern,
            self.folders,
        )

    @model_validator(mode="after")
    def _layout_can_be(self) -> Self:
        try:
            _ = self.layout
        except BadOption as error:
            raise ValueError(str(error)) from None
        return self


class _Folder(BaseModel):
    folder: Path = Field(
        description="The data set: sub-folders are labels, or a table says more (docs/train.md)."
    )


class HasFolder(HasLayout, _Folder):
    """A job on a data set."""


class HasScans(HasFolder):
    """A job on the scans of a data set, and which of them a prior takes."""

    unit: str | None = advanced(None, "Unit of the values if the files do not state one, e.g. HU.")
    modality: str | None = advanced(
        None, "DICOM modality code (CT, MR, DX, US) if the files do not state one."
    )
    allow_other: bool = advanced(
        False, "Accept scans of another modality or unit than the prior's. Recorded in run.json."
    )
    allow_synthetic: bool = advanced(
        False, "Also take images that are marked synthetic. Recorded in run.json."
    )


# Fields stand in the reverse order of the bases: what is given by its place comes first, as a command line
# wants it.


class WithPrior(Request, HasPrior):
    """A job that needs a prior."""


class OneScan(WithPrior, HasScan):
    """A job on one scan by a prior."""

    allow_other: bool = advanced(
        False,
        "Accept a scan of another modality or unit than the prior's. detect "
        "also accepts one that looks unlike the calibration scans. Recorded in run.json.",
    )


def explained(error: ValidationError, names: Sequence[str] = ()) -> BadOption:
    """pydantic's findings as one line: field, what is wrong, what came. names: the known fields, for the
    nearest to an unknown one.
    """
    lines, remedy = [], ""
    for found in error.errors(include_url=False):
        name = ".".join(str(part) for part in found["loc"])
        if found["type"] == "extra_forbidden":
            lines.append(f"{name}: unknown option")
            remedy = did_you_mean(name, list(names))
        elif found["type"] == "value_error":
            lines.append(str(found["ctx"]["error"]) if "ctx" in found else found["msg"])
        else:
            got = "" if found["type"] == "missing" else f", got {found['input']!r}"
            lines.append(f"{name}: {found['msg'][0].lower()}{found['msg'][1:]}{got}")
    return BadOption("; ".join(lines), remedy)

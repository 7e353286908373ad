"""What an index keeps of the pixels of a file or a series: computed here or in a process of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ....data.labels import label_values
from ....data.volume import Volume
from ....errors import Corrupt, FileProblem, MedpriorError
from ...disk.limits import Limits
from ...read import kind_of, read, read_all
from ..index import LEAST_SIDE, read_item
from ..layout import Listed
from .twins import pixel_hash, thumbnail

if TYPE_CHECKING:
    from ...dicom.read.tree import DicomSeries

__all__ = ["FileFacts", "PixelFacts", "Task", "look_at_file", "look_at_series", "said_of"]

_DOUBT = "a damaged file lies beside its slices and may have been one of them"


@dataclass(frozen=True, slots=True)
class Task:
    """What holds for all files of a data set."""

    folder: Path
    options: dict[str, str]
    limits: Limits


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """One image as ``Item`` has it. part, label, patient: as the file says. label_map: it is none to learn
    from, and nothing else was looked at.
    """

    part: str
    label: str
    patient: str
    label_map: bool = False
    shape: tuple[int, ...] = ()
    channels: int = 1
    unit: str = ""
    modality: str = ""
    spacing_mm: tuple[float, ...] | None = None
    synthetic: bool = False
    digest: str = ""
    thumb: str = ""
    warnings: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    others: str = ""
    values: tuple[float, float] | None = None
    volume: str = ""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The images of a file or series, and (reason, what to do) where one could not be used."""

    seen: tuple[PixelFacts, ...]
    fault: tuple[str, str] | None = None


def look_at_file(task: Task, entry: Listed, kind: str) -> FileFacts:
    """A file that is no DICOM: one image, or each of a stack."""
    seen: list[PixelFacts] = []
    try:
        for part, volume, label, patient in _volumes(task, entry.path, kind):
            seen.append(_seen(task, entry, PixelFacts(part, label, patient), volume))
    except MedpriorError as error:
        return FileFacts(tuple(seen), said_of(error))
    return FileFacts(tuple(seen))


def look_at_series(task: Task, entry: Listed, one: DicomSeries, doubt: bool) -> FileFacts:
    """A DICOM series. doubt: a damaged file beside it may be one of its slices."""
    from ...dicom.read.series import read_series

    try:
        volume = read_series(one, limit=task.limits)
        if doubt:
            source = volume.provenance
            volume = replace(volume, provenance=replace(source, warnings=(*source.warnings, _DOUBT)))
        return FileFacts((_seen(task, entry, PixelFacts(one.id, "", one.patient), volume),))
    except MedpriorError as error:
        return FileFacts((), said_of(error))


def said_of(error: MedpriorError) -> tuple[str, str]:
    """(reason, what to do)."""
    return error.reason if isinstance(error, FileProblem) else Exception.__str__(error), error.remedy


def _seen(task: Task, entry: Listed, named: PixelFacts, volume: Volume) -> PixelFacts:
    """Raises Corrupt for an image from which nothing can be learned, FileProblem for what lies beside it."""
    if volume.unit == "label" and not entry.stated and task.options.get("unit") != "label":
        return replace(named, label_map=True)
    values = _value_range(entry.path, named.part, volume)
    beside = _beside(task, entry, volume)
    source = volume.provenance
    return replace(
        named,
        shape=volume.shape,
        channels=volume.data.shape[0],
        unit=volume.unit,
        modality=volume.modality,
        spacing_mm=volume.spacing_mm,
        synthetic=source.synthetic or any(other.provenance.synthetic for other in beside.values()),
        digest=pixel_hash(volume),
        thumb=thumbnail(volume),
        warnings=source.warnings,
        classes=_classes(entry, beside["mask"]) if "mask" in beside else (),
        others=_joined(beside),
        values=values,
        volume=source.volume,
    )


def _volumes(task: Task, path: Path, kind: str) -> Iterator[tuple[str, Volume, str, str]]:
    """(part, volume, label, patient) of one file that is no DICOM."""
    unit, modality = task.options.get("unit"), task.options.get("modality")
    if kind == "npz":
        from ...arrays import holds_stack, read_stack

        if holds_stack(path, task.limits):
            stack = read_stack(path, limits=task.limits, unit=unit, modality=modality)
            found = zip(stack.images, stack.labels, stack.patients, strict=True)
            yield from ((str(n), *one) for n, one in enumerate(found))
            return
    if kind == "nifti":
        for one in read_all(path, limits=task.limits, unit=unit, modality=modality):
            yield one.provenance.volume, one, "", ""
        return
    yield "", read_item(path, kind, task.options, task.limits), "", ""


def _beside(task: Task, entry: Listed, volume: Volume) -> dict[str, Volume]:
    """Its other channels and its mask, by name. Raises Corrupt where one of them lies on another grid."""
    if not (entry.beside or entry.mask):
        return {}
    from ....data.grids import on_grid_of  # brings torch, which most scans do without

    found: dict[str, Volume] = {}
    for name, path in entry.beside:
        other = read_item(task.folder / path, kind_of(task.folder / path), task.options, task.limits)
        if fault := on_grid_of(volume, other)[1]:
            raise Corrupt(
                entry.path,
                f"its channel {name} {fault}",
                "resample it onto the scan, or leave the cell empty",
            )
        if other.data.shape[0] != 1:
            raise Corrupt(
                entry.path,
                f"its channel {name} holds {other.data.shape[0]} channels, wanted one",
                "give each its own column",
            )
        found[name] = other
    if entry.mask:
        found["mask"] = read(task.folder / entry.mask, unit="label", limits=task.limits)
        if fault := on_grid_of(volume, found["mask"])[1]:
            raise Corrupt(
                entry.path,
                f"its mask {fault}",
                "resample it onto the scan by nearest neighbour, or leave the cell empty",
            )
    return found


def _classes(entry: Listed, mask: Volume) -> tuple[int, ...]:
    """The values above 0 of a mask. Raises Corrupt where it is no label map."""
    try:
        return tuple(value for value in label_values(mask.data) if value)
    except ValueError as error:
        raise Corrupt(entry.path, f"its mask {error}", "round or threshold it first") from None


def _value_range(path: Path, part: str, volume: Volume) -> tuple[float, float]:
    """The lowest and the highest value. Raises Corrupt for an image from which nothing can be learned."""
    low, high = float(volume.data.min()), float(volume.data.max())
    if low == high:
        which = f" (image {part})" if part else ""
        raise Corrupt(path, f"is constant: every value is {low:g}{which}", "remove it")
    if sorted(volume.shape)[-2] < LEAST_SIDE:
        size, kind = " x ".join(map(str, volume.shape)), "picture" if volume.ndim == 2 else "volume"
        raise Corrupt(path, f"is a {kind} of {size}, too small for a network", "remove it")
    return low, high


def _joined(beside: Mapping[str, Volume]) -> str:
    """One digest of all that lies beside an image, "" where nothing does."""
    return (
        hashlib.sha256(
            "|".join(f"{name}:{pixel_hash(beside[name])}" for name in sorted(beside)).encode()
        ).hexdigest()
        if beside
        else ""
    )

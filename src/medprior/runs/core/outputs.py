"""What a job hands back to be written: volumes, numbers, and the section of the report that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...data.volume import Volume
from ...errors import Unsupported
from ...io.write import write
from ..page.blocks import Section

__all__ = ["Outcome", "Output", "file_name", "suffix_of", "write_scored", "written"]

SUFFIXES = {
    "dicom": ".dcm",
    "nifti": ".nii.gz",
    "picture": ".png",
    "npz": ".npz",
    "hdf5": ".nii.gz",
    "memory": ".nii.gz",
}


@dataclass(frozen=True, slots=True)
class Output:
    """One file to write. kind: of ``io.write.KINDS``; like: the volume that was the input; suffix: "" means
    that of the input's format.

    window: (low, high) for a picture; None: the values themselves.
    """

    name: str
    volume: Volume
    kind: str
    like: Volume | None = None
    suffix: str = ""
    window: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """sections: of the report, the first says most. preview: (title, picture). overrides: what was allowed
    although it does not fit.

    scored: (scan from DICOM, ``io.dicom_sr.Scored``) for a structured report beside the outputs. tables: text
    files among the outputs, by name.
    """

    outputs: Sequence[Output]
    metrics: Mapping[str, Any]
    sections: Sequence[Section]
    preview: Sequence[tuple[str, Image.Image]]
    overrides: Sequence[str] = field(default_factory=tuple)
    scored: tuple[Volume, Any] | None = None
    tables: Mapping[str, str] = field(default_factory=dict)


def file_name(label: str | None) -> str:
    """A label as the start of a file's name: it comes from somebody's card, so nothing in it may lead out of
    the folder or be no name at all.
    """
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in label or "image")[:48]


def suffix_of(volume: Volume) -> str:
    """The suffix of a result in the format of the input; a DICOM series has none, it is a folder."""
    source = volume.provenance.format
    return "" if source == "dicom" and volume.ndim == 3 else SUFFIXES[source]


def written(output: Output, folder: Path, *, prior_hash: str, seed: int) -> Path:
    """Write one output below ``folder``. Values that an 8 or 16 bit picture cannot hold are clipped, and the
    history says so.
    """
    suffix = output.suffix or suffix_of(output.like or output.volume)
    path = folder / f"{output.name}{suffix}"
    volume, window = output.volume, output.window
    if suffix != ".png":
        window = None
    elif window is None:
        top = 65535 if output.like is not None and output.like.data.max() >= 255.5 else 255
        clipped = np.clip(volume.data, 0, top)
        if (clipped != volume.data).any():
            volume = replace(volume, data=clipped).noted(
                f"clipped to 0..{top}, what the picture's format holds"
            )
    marks = {"kind": output.kind, "prior_hash": prior_hash, "seed": seed}
    try:
        return write(volume, path, like=output.like, window=window, **marks)
    except Unsupported:
        if output.kind != "mask":
            raise
        # a frame of a film that does not say where it lies has no DICOM Segmentation; its findings shall not
        # be lost for that
        return write(volume, folder / f"{output.name}.nii.gz", like=output.like, **marks)


def write_scored(scan: Volume, scored: Any, folder: Path, *, prior_hash: str, seed: int) -> Path:
    """structured_report.dcm among the outputs in ``folder``; findings are tied to the segmentation that lies
    there already.
    """
    from ...io.dicom.write.structured_report import write_report

    segmentation = next(
        (path for name in ("findings", "findings.dcm") if (path := folder / name).exists()), None
    )
    path = folder / "structured_report.dcm"
    write_report(scored, path, like=scan, segmentation=segmentation, prior_hash=prior_hash, seed=seed)
    return path

"""The one door out: the format by the name of the file, the array order, geometry and unit of the input."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..data.plain import JsonObject
from ..data.volume import Provenance, Volume
from ..errors import BadOption, Diverged, did_you_mean, optional
from .disk.files import write_json
from .disk.stamp import RESEARCH_ONLY, stamp_text
from .source_order import in_source_order

__all__ = ["KINDS", "SIDE", "side_file", "write"]

SIDE = ".medprior"
"""The folder of side files, beside the files that they are about."""

_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,11}", re.IGNORECASE)
"""What a suffix looks like: the last number of a folder that is named by a UID is none."""

KINDS = {
    "reconstructed": True,
    "augmented": True,
    "synthesized": True,
    "healthy twin": True,
    "counterfactual": True,
    "map": False,
    "mask": False,
    "structures": False,
    "converted": False,
}
"""What a volume is, and whether a generative model decided some of its content: then it is marked synthetic,
whatever its provenance says.
"""


def write(
    volume: Volume,
    path: str | Path,
    *,
    like: Volume | None = None,
    kind: str = "reconstructed",
    prior_hash: str = "",
    seed: int | None = None,
    window: tuple[float, float] | None = None,
) -> Path:
    """Write a Volume whole or not at all; the format follows the name: .nii, .nii.gz, .png, .tif, .npz, .dcm,
    or a folder for a DICOM series.

    like: the volume that was the input: where it has the format of the output, its array order is restored;
    its bit depth and DICOM headers are followed. kind: one of KINDS; in DICOM a "mask" becomes a Segmentation
    of findings (``write_segmentation``, which also says what it raises), "structures" one of what masks
    taught. prior_hash, seed: what made it. window: (low, high) shown as black and white in a picture. NIfTI,
    pictures and NPZ get a side file ``.medprior/<name>.json`` with the marks and the history. Gives back the
    path that was written. Raises BadOption for an unknown kind or suffix, ShapeMismatch for a volume that
    the format cannot hold, Diverged for numbers that are not finite, FileProblem when the disk refuses.
    """
    path = Path(path)
    if kind not in KINDS:
        raise BadOption(f"kind: unknown {kind!r}", did_you_mean(kind, list(KINDS)))
    if not np.isfinite(volume.data).all():
        raise Diverged(0, 0.0, "the volume to be written")
    made = KINDS[kind] or volume.provenance.synthetic
    name = path.name.lower()
    if name.endswith(".dcm") or not _SUFFIX.fullmatch(path.suffix):
        return _write_dicom(volume, path, like, kind, prior_hash, seed)
    if window is not None and not name.endswith((".png", ".tif", ".tiff")):
        raise BadOption("window: only pictures are shown through a window", "leave it out: values are kept")
    if name.endswith((".nii", ".nii.gz")):
        from .nifti.nifti import write_nifti

        same_format = (like or volume).provenance.format == "nifti"
        write_nifti(
            in_source_order(volume, like) if same_format else volume,
            path,
            dtype=_stored_type(volume, kind),
            synthetic=made,
            spaces=(like or volume).provenance.spaces,
        )
    elif name.endswith((".png", ".tif", ".tiff")):
        from .pictures import write_picture

        deep = like is not None and like.provenance.format == "picture" and like.data.max() >= 255.5
        write_picture(volume, path, window=window, bits=16 if deep else None, synthetic=made)
    elif name.endswith(".npz"):
        from .arrays import write_array_volume

        write_array_volume(volume, path, synthetic=made)
    else:
        raise BadOption(
            f"out: unknown suffix {path.suffix!r}",
            "use .nii.gz, .nii, .png, .tif, .npz, .dcm, or a folder for a DICOM series",
        )
    write_json(side_file(path), _record(volume, path, like, kind, prior_hash, seed, made))
    return path


def _write_dicom(
    volume: Volume, path: Path, like: Volume | None, kind: str, prior_hash: str, seed: int | None
) -> Path:
    if kind in ("mask", "structures"):
        optional("highdicom", "dicom", "a DICOM segmentation, map or report")
        from .dicom.write.segmentation import (
            write_segmentation,  # highdicom is heavy, and only masks and maps need it
        )

        marks = {"prior_hash": prior_hash, "seed": seed, "structures": kind == "structures"}
        write_segmentation(volume, path, like=like, **marks)
        return path
    from .dicom.write.instances import write_dicom

    write_dicom(volume, path, like=like, kind=kind, prior_hash=prior_hash, seed=seed)
    return path


def side_file(path: Path) -> Path:
    """Where the JSON of a file lies: ``scan.nii.gz`` has ``.medprior/scan.nii.gz.json`` beside it."""
    return path.parent / SIDE / f"{path.name}.json"


def _stored_type(volume: Volume, kind: str) -> str:
    """Hounsfield units as int16, labels as whole numbers, anything else (and every map) float32; float32 too
    where values would not fit.
    """
    low, high = float(volume.data.min()), float(volume.data.max())
    if kind == "mask" or volume.unit == "label":
        whole = bool((volume.data == np.rint(volume.data)).all())
        return (
            ("uint8" if 0 <= low and high < 256 else "int16")
            if whole and -32768 <= low and high <= 32767
            else "float32"
        )
    if volume.unit == "HU" and kind != "map" and -32768.5 < low and high < 32767.5:
        return "int16"
    return "float32"


def _record(
    volume: Volume, path: Path, like: Volume | None, kind: str, prior_hash: str, seed: int | None, made: bool
) -> JsonObject:
    """What the side file says. No source path or name: a file name may be somebody's identity."""
    source: Provenance = volume.provenance
    return {
        "medprior": 1,
        "file": path.name,
        "notice": stamp_text(made),
        "use": RESEARCH_ONLY,
        "synthetic": made,
        "kind": kind,
        "unit": volume.unit,
        "modality": volume.modality,
        "source_format": (like.provenance if like is not None else source).format,
        "history": list(source.history),
        "warnings": list(source.warnings),
        "prior_sha256": prior_hash,
        "seed": seed,
    }

"""Arrays in NPZ: stacks of images, measured k-space, sinograms, and the volumes that medprior writes. Pickle
is never allowed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.acquisitions import KSpace, Sinogram
from ..data.volume import Provenance, Volume
from ..errors import BadOption, Corrupt, ShapeMismatch, Unsupported, file_faults
from .disk.archives import load_npz, member_names
from .disk.decoder import read_apart
from .disk.faults import some
from .disk.files import write_file
from .disk.limits import Limits, regular_file
from .disk.stamp import RESEARCH_ONLY, stamp_text
from .hdf5 import made_whole, read_kspace_hdf5, slices_in_hdf5

__all__ = [
    "ImageStack",
    "count_slices",
    "holds_stack",
    "measured_in",
    "read_array_volume",
    "read_kspace",
    "read_sinogram",
    "read_stack",
    "write_array_volume",
]


@dataclass(frozen=True, slots=True)
class ImageStack:
    """Images of one file that lie beside each other, not above each other: each has its own label and patient
    ("" when not said).
    """

    images: tuple[Volume, ...]
    labels: tuple[str, ...]
    patients: tuple[str, ...]


def holds_stack(path: Path, limits: Limits) -> bool:
    """True for an NPZ with an array ``hu`` or ``images``."""
    return bool({"hu.npy", "images.npy"} & set(member_names(path, limits)))


def read_stack(
    path: str | Path, *, limits: Limits | None = None, unit: str | None = None, modality: str | None = None
) -> ImageStack:
    """The 2-D images of an NPZ: ``hu`` (N, rows, columns) in Hounsfield units, or ``images`` (N, rows,
    columns) with ``labels``.

    Optional arrays: ``patient`` and ``pixel_spacing_mm``, one entry an image. unit, modality: for ``images``,
    which do not state them. Raises Unsupported when the archive holds something else, Corrupt for values
    or lengths that are wrong.
    """
    path = Path(path)
    arrays = load_npz(path, limits)
    key = next((k for k in ("hu", "images") if k in arrays), None)
    if key is None:
        raise Unsupported(
            path,
            f"holds no stack of images, but {some(arrays)}",
            "wanted an array hu or images (N, rows, columns)",
        )
    values = arrays[key]
    if values.ndim != 3 or values.dtype.kind not in "iuf":
        raise Corrupt(
            path, f"{key}: wanted real numbers (N, rows, columns), got {values.dtype} {values.shape}"
        )
    _finite(path, key, values)
    if key == "hu":
        unit, modality = unit or "HU", modality or "CT"
    spacings = _each(path, arrays, "pixel_spacing_mm", len(values))
    images = tuple(
        Volume(
            values[n][None].astype(np.float32),
            unit=unit or "a.u.",
            modality=modality or "",
            spacing_mm=_spacing(path, spacings[n]) if spacings is not None else None,
            provenance=Provenance(sources=(path,), format="npz", history=(f"image {n} of {key} in an NPZ",)),
        )
        for n in range(len(values))
    )
    labels = _each(path, arrays, "labels", len(values))
    patients = _each(path, arrays, "patient", len(values))
    none = ("",) * len(values)
    return ImageStack(
        images, none if labels is None else _words(labels), none if patients is None else _words(patients)
    )


def _words(values: NDArray) -> tuple[str, ...]:
    return tuple(str(v) for v in values.reshape(-1))


def _each(path: Path, arrays: dict[str, NDArray], key: str, count: int) -> NDArray | None:
    """An optional array with one entry an image."""
    values = arrays.get(key)
    if values is not None and (values.size != count or len(np.atleast_1d(values)) != count):
        raise Corrupt(path, f"{key}: wanted {count} entries, one an image, got {values.shape}")
    return values


def _spacing(path: Path, value: float) -> tuple[float, float]:
    if not (np.isfinite(value) and value > 0):
        raise Corrupt(path, f"pixel_spacing_mm: wanted a number above 0, got {value}")
    return (float(value), float(value))


def _finite(path: Path, key: str, values: NDArray) -> None:
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise Corrupt(path, f"{key}: {bad:,} of {values.size:,} values are NaN or infinite")


def measured_in(path: Path, kind: str, limits: Limits | None = None) -> str:
    """What was measured, "kspace" or "sinogram"; "" in a file that holds an image. kind: of ``kind_of``."""
    if kind == "hdf5":
        return "kspace"
    members = set(member_names(path, limits or Limits())) if kind == "npz" else set()
    return "sinogram" if "sinogram.npy" in members else "kspace" if "kspace.npy" in members else ""


def count_slices(path: Path, limits: Limits) -> int:
    """How many slices of k-space an HDF5 file holds. Raises what ``read_kspace`` raises."""
    return read_apart(path, limits, slices_in_hdf5, path, limits)


def read_kspace(path: str | Path, *, index: int | None = None, limits: Limits | None = None) -> KSpace:
    """Measured k-space of one slice: HDF5 in the layout of fastMRI or ISMRMRD, or NPZ with ``kspace`` (coils,
    kx, ky), centred.

    index: which slice of a file with several, counted from 0. A sample counts as measured where any coil is
    not zero, or as the file says. Raises Unsupported for another layout or a trajectory that is not
    Cartesian, else Corrupt, TooLarge, Truncated or FileProblem.
    """
    path, limits = Path(path), limits or Limits()
    regular_file(path)
    with file_faults(path), open(path, "rb") as file:
        start = file.read(4)
    if start != b"PK\x03\x04":
        return made_whole(path, read_apart(path, limits, read_kspace_hdf5, path, index, limits), limits)
    arrays = load_npz(path, limits)
    values = arrays.get("kspace")
    if values is None:
        raise Unsupported(path, f"holds no array kspace, but {some(arrays)}")
    if values.dtype.kind != "c" or values.ndim not in (2, 3):
        raise Corrupt(
            path, f"kspace: wanted complex numbers (coils, kx, ky), got {values.dtype} {values.shape}"
        )
    if index not in (None, 0):
        raise BadOption(f"index: wanted 0, the file holds one slice, got {index}")
    values = values.reshape((-1, *values.shape[-2:]))
    _finite(path, "kspace", values)
    mask = arrays["mask"].astype(bool) if "mask" in arrays else (values != 0).any(0)
    if mask.shape != values.shape[1:]:
        raise Corrupt(path, f"mask: wanted {values.shape[1:]}, got {mask.shape}")
    return KSpace(
        values,
        mask,
        provenance=Provenance(sources=(path,), format="npz", history=(f"k-space from NPZ, {values.shape}",)),
    )


def read_sinogram(path: str | Path, *, limits: Limits | None = None) -> Sinogram:
    """An NPZ with ``sinogram`` (views, bins), ``angles_deg`` (views,) and, as JSON text, ``geometry_json``.

    Raises Unsupported when an array is missing, Corrupt when its shape, values or text are wrong.
    """
    path = Path(path)
    arrays = load_npz(path, limits)
    missing = {"sinogram", "angles_deg"} - set(arrays)
    if missing:
        raise Unsupported(path, f"holds no array {' or '.join(sorted(missing))}, but {some(arrays)}")
    values, degrees = arrays["sinogram"], arrays["angles_deg"]
    if (
        values.ndim != 2
        or values.dtype.kind not in "iuf"
        or degrees.shape != values.shape[:1]
        or degrees.dtype.kind not in "iuf"
    ):
        raise Corrupt(
            path,
            f"wanted sinogram (views, bins) and one angle a view, got {values.dtype} {values.shape} and "
            f"{degrees.dtype} {degrees.shape}",
        )
    _finite(path, "sinogram", values)
    _finite(path, "angles_deg", degrees)
    provenance = Provenance(sources=(path,), format="npz", history=(f"sinogram from NPZ, {values.shape}",))
    return Sinogram(
        values.astype(np.float32), np.deg2rad(degrees.astype(np.float64)), _geometry(path, arrays), provenance
    )


def _geometry(path: Path, arrays: dict[str, NDArray]) -> dict[str, float | str]:
    if "geometry_json" not in arrays:
        return {}
    try:
        stated = json.loads(str(arrays["geometry_json"][()]))
    except (ValueError, RecursionError) as error:
        raise Corrupt(path, f"geometry_json is not valid JSON ({error})") from error
    if not isinstance(stated, dict) or not all(isinstance(v, (int, float, str)) for v in stated.values()):
        raise Corrupt(path, "geometry_json: wanted names with numbers or text")
    return stated


def read_array_volume(
    path: Path,
    *,
    limits: Limits,
    index: int | None = None,
    unit: str | None = None,
    modality: str | None = None,
) -> Volume:
    """One Volume out of an NPZ: what ``write_array_volume`` wrote, or image ``index`` of a stack (not needed
    when there is only one).

    Raises Unsupported for measurements (k-space, sinograms), BadOption for an ``index`` that does not exist.
    """
    arrays = load_npz(path, limits)
    if "image" in arrays:
        if index is not None:
            raise BadOption(f"index: {path.name} holds one image, got {index}")
        return _ours(path, arrays, unit, modality)
    for key, function in (("kspace", "read_kspace"), ("sinogram", "read_sinogram")):
        if key in arrays:
            raise Unsupported(
                path,
                f"holds a measurement ({key}), not an image",
                f"read it with {function}, or reconstruct it",
            )
    stack = read_stack(path, limits=limits, unit=unit, modality=modality)
    if index is None and len(stack.images) > 1:
        raise Unsupported(
            path,
            f"holds {len(stack.images)} images",
            f"choose one with index (--index) 0 to {len(stack.images) - 1}",
        )
    if not 0 <= (index or 0) < len(stack.images):
        raise BadOption(f"index: wanted 0 to {len(stack.images) - 1} for {path.name}, got {index}")
    return stack.images[index or 0]


def _ours(path: Path, arrays: dict[str, NDArray], unit: str | None, modality: str | None) -> Volume:
    values, affine = arrays["image"], arrays.get("affine")
    _finite(path, "image", values)
    spacing = arrays.get("spacing_mm")
    try:
        return Volume(
            values.astype(np.float32),
            affine=affine,
            unit=unit or str(arrays.get("unit", "a.u.")),
            modality=modality or str(arrays.get("modality", "")),
            spacing_mm=tuple(float(s) for s in spacing) if spacing is not None and affine is None else None,
            provenance=Provenance(
                sources=(path,),
                format="npz",
                synthetic=bool(arrays.get("synthetic", False)),
                history=("read from NPZ",),
            ),
        )
    except (ShapeMismatch, ValueError, TypeError) as error:
        raise Corrupt(path, f"does not hold one volume ({error})") from error


def write_array_volume(volume: Volume, path: str | Path, *, synthetic: bool | None = None) -> None:
    """One Volume as NPZ: ``image`` (C, i, j[, k]) float32, ``affine`` where known, ``unit``, ``modality``,
    ``synthetic``, ``notice``.
    """
    made = volume.provenance.synthetic if synthetic is None else synthetic
    arrays: dict[str, NDArray] = {
        "image": volume.data,
        "unit": np.array(volume.unit),
        "modality": np.array(volume.modality),
        "synthetic": np.array(made),
        "notice": np.array(stamp_text(made) if made else RESEARCH_ONLY),
    }
    if volume.affine is not None:
        arrays["affine"] = volume.affine
    elif volume.spacing_mm is not None:
        arrays["spacing_mm"] = np.array(volume.spacing_mm)
    out = BytesIO()
    np.savez_compressed(out, allow_pickle=False, **arrays)
    write_file(path, out.getvalue())

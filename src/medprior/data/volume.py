"""A scan in memory: numbers, where they lie in the patient, what they mean, where they came from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import ShapeMismatch

__all__ = ["Provenance", "Volume"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a volume came from and what was done to it.

    sources: the files that were read, in slice order (empty for a volume made in memory).
    format: "dicom", "nifti", "picture", "npz", "hdf5" or "memory".
    synthetic: a generative model or an augmentation decided some of the numbers: it shows no patient.
    history: one plain sentence for each thing done, oldest first.
    axes_map: (original axis, flipped) for each array axis, so that a writer can undo the canonical order.
    warnings: what the reader repaired or assumed.
    volume: its name in the file or series it was read from, "" where that holds one only.
    spaces: codes of s-form and q-form of a NIfTI (1 scanner, 2 aligned, 3 Talairach, 4 MNI), so that a result
    names the same space.
    """

    sources: tuple[Path, ...] = ()
    format: str = "memory"
    synthetic: bool = False
    history: tuple[str, ...] = ()
    axes_map: tuple[tuple[int, bool], ...] = ()
    warnings: tuple[str, ...] = ()
    volume: str = ""
    spaces: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Volume:
    """An image or a volume with its geometry.

    data: (C, i, j) or (C, i, j, k) float32, physical units kept (HU stays HU). affine: (4, 4) float64, voxel
    (i, j, k) -> millimetres RAS+, or None when unknown; a 2-D image has a plane, too. unit: "HU", "a.u.",
    "optical density", "SUV", "label", ... modality: DICOM's code ("CT", "MR", "DX", "US", ...) or "" when
    unknown. spacing_mm: size of a voxel, one length an axis; follows from the affine; without an affine it
    may still be known (a radiograph's pixel spacing), else None.
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64] | None = None
    unit: str = "a.u."
    modality: str = ""
    spacing_mm: tuple[float, ...] | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        if self.data.ndim not in (3, 4):
            raise ShapeMismatch("Volume.data", "(C, i, j) or (C, i, j, k)", self.data.shape)
        if 0 in self.data.shape:
            raise ShapeMismatch("Volume.data", "no empty axis", self.data.shape)
        object.__setattr__(self, "data", np.asarray(self.data, dtype=np.float32))
        if self.affine is not None:
            affine = np.asarray(self.affine, dtype=np.float64)
            if affine.shape != (4, 4):
                raise ShapeMismatch("Volume.affine", "(4, 4)", affine.shape)
            with np.errstate(all="ignore"):
                size = abs(np.linalg.det(affine[:3, :3])) if np.isfinite(affine).all() else 0.0
            if not size >= 1e-12:
                raise ShapeMismatch(
                    "Volume.affine",
                    "a finite, invertible matrix",
                    affine.tolist(),
                    "pass None when the geometry is unknown",
                )
            if not np.array_equal(affine[3], (0, 0, 0, 1)):
                raise ShapeMismatch("Volume.affine", "a last row of 0 0 0 1", affine[3].tolist())
            object.__setattr__(self, "affine", affine)
            spacing = np.linalg.norm(affine[:3, : self.ndim], axis=0)
            object.__setattr__(self, "spacing_mm", tuple(float(s) for s in spacing))
        elif self.spacing_mm is not None and (
            len(self.spacing_mm) != self.ndim or not all(math.isfinite(s) and s > 0 for s in self.spacing_mm)
        ):
            raise ShapeMismatch(
                "Volume.spacing_mm",
                f"{self.ndim} lengths above 0",
                self.spacing_mm,
                "pass None when it is unknown",
            )

    def __repr__(self) -> str:
        """One line: "Volume MR 96 x 112 x 96, a.u., 2 mm, synthetic"."""
        words = [f"Volume {self.modality or 'of unknown modality'} {' x '.join(map(str, self.shape))}"]
        words += [f"{len(self.data)} channels"] if len(self.data) > 1 else []
        words.append(self.unit or "no unit")
        if self.spacing_mm is not None:
            sizes = [f"{size:.3g}" for size in self.spacing_mm]
            words.append(f"{sizes[0] if len(set(sizes)) == 1 else ' x '.join(sizes)} mm")
        words += ["synthetic"] if self.provenance.synthetic else []
        return ", ".join(words)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """The numbers, (C, i, j[, k]), for ``np.asarray``."""
        return np.array(self.data, dtype=dtype, copy=copy)

    def show(self) -> Any:
        """A ``PIL.Image``: the image, or the three middle planes, the radiological way."""
        return import_module("medprior.data.views").views_of(self)  # views need this class

    def _repr_html_(self) -> str:
        return import_module("medprior.data.views").as_html(self.show(), repr(self))

    def to_nibabel(self) -> Any:
        """A ``nibabel.Nifti1Image``: (i, j, k), or (i, j, k, C) of several channels; an image has k = 1.

        The affine is that of the volume, None when it is unknown.
        """
        from nibabel.nifti1 import Nifti1Image  # here, so that training needs torch alone

        data = self.data if self.ndim == 3 else self.data[..., None]
        return Nifti1Image(data[0] if len(data) == 1 else np.moveaxis(data, 0, -1), self.affine)

    @property
    def ndim(self) -> int:
        """2 for an image, 3 for a volume."""
        return self.data.ndim - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape, without the channels."""
        return self.data.shape[1:]

    def noted(self, sentence: str, *, synthetic: bool | None = None) -> Volume:
        """The same volume with one more line of history."""
        made = self.provenance.synthetic if synthetic is None else synthetic
        return replace(
            self,
            provenance=replace(self.provenance, history=(*self.provenance.history, sentence), synthetic=made),
        )

    def with_data(self, data: NDArray[np.floating]) -> Volume:
        """New numbers in the same place; the spatial shape must stay.

        Raises ShapeMismatch when it does not.
        """
        if data.shape[1:] != self.shape:
            raise ShapeMismatch("Volume.with_data", self.shape, data.shape[1:])
        return replace(self, data=np.asarray(data, dtype=np.float32))

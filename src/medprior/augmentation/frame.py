"""What a transform must know of an image besides its numbers: its grid, where its axes point, what its values
mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..data.axes import axcodes
from ..data.plain import JsonObject
from ..data.volume import Volume
from ..errors import BadOption, ShapeMismatch

__all__ = ["DIRECTIONS", "Frame", "Parameters"]

Parameters = Mapping[str, Any]
"""A step of a record: its name and what was drawn for it, plain numbers that JSON keeps. Their names and
kinds are declared in ``TRANSFORMS``, and ``check_step`` looks at each.
"""

DIRECTIONS = {"left-right": "RL", "front-back": "AP", "head-foot": "SI"}
"""The directions of the body, and the letters of the axes that run along them."""

SCREEN = "IL"
"""Where the axes of a picture point that does not say: i down the screen, j to the right of it, which is the
patient's left (data/axes.py).
"""

THICK = 3.0
"""Slices this many times as thick as their pixels, and stacks this many times as wide as high, are not
tilted: it would mix the one and empty the other (nnU-Net's rule for anisotropic scans and patches, Isensee et
al. 2021)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """shape: spatial. spacing: mm a voxel, or their ratios; () means cubes. codes: where each axis points,
    e.g. "RAS", "" when unknown.

    unit, modality: as in ``Volume``; "" when unknown. Raises ShapeMismatch for a shape that is neither 2-D
    nor 3-D, or for what does not fit it.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] = ()
    codes: str = ""
    unit: str = ""
    modality: str = ""

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or min(self.shape) < 1:
            raise ShapeMismatch("Frame.shape", "(i, j) or (i, j, k)", self.shape)
        spacing = tuple(float(s) for s in self.spacing) or (1.0,) * len(self.shape)
        if len(spacing) != len(self.shape) or not all(0 < s < float("inf") for s in spacing):
            raise ShapeMismatch("Frame.spacing", f"{len(self.shape)} lengths above 0", self.spacing)
        codes = self.codes or (SCREEN if len(self.shape) == 2 else "")
        if codes and (
            len(codes) != len(self.shape)
            or any(sum(c in pair for pair in DIRECTIONS.values()) != 1 for c in codes)
        ):
            raise ShapeMismatch(
                "Frame.codes",
                f"{len(self.shape)} letters of R/L, A/P, S/I",
                codes,
                'e.g. "RAS"; leave it out when it is unknown',
            )
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "codes", codes)

    @classmethod
    def of(cls, volume: Volume) -> Frame:
        """The frame of a scan."""
        return cls(
            volume.shape,
            volume.spacing_mm or (),
            axcodes(volume)[: volume.ndim],
            volume.unit,
            volume.modality,
        )

    @classmethod
    def from_dict(cls, stated: Mapping[str, Any]) -> Frame:
        """Undo ``as_dict``. Raises BadOption for anything else."""
        try:
            shape, spacing = (
                tuple(int(n) for n in stated["shape"]),
                tuple(float(s) for s in stated["spacing"]),
            )
            return cls(shape, spacing, str(stated["codes"]), str(stated["unit"]), str(stated["modality"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BadOption(
                f"record: its frame cannot be read ({type(error).__name__}: {error})",
                "give a record as it was written",
            ) from error

    def as_dict(self) -> JsonObject:
        """Plain values, for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @property
    def ndim(self) -> int:
        """2 for an image, 3 for a volume."""
        return len(self.shape)

    def axis(self, direction: str) -> int | None:
        """The array axis along a direction of the body; None if there is none or it is unknown."""
        return next((n for n, code in enumerate(self.codes) if code in DIRECTIONS[direction]), None)

    @property
    def thick(self) -> int | None:
        """The axis of thick or few slices, or None: see ``THICK``."""
        if self.ndim == 2:
            return None
        heights = [n * s for n, s in zip(self.shape, self.spacing, strict=True)]
        for axis in range(3):
            rest = [a for a in range(3) if a != axis]
            if self.spacing[axis] > THICK * max(self.spacing[a] for a in rest) or THICK * heights[axis] < min(
                heights[a] for a in rest
            ):
                return axis
        return None

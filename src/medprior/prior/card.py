"""The card of a prior: what it was made from and for. Written by the program, read before any job."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ..errors import BadOption, nearest
from .errors import ErrorTable

__all__ = ["SCHEMA", "Card"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Card:
    """Facts about a prior; goes to card.json.

    modality, unit: what it accepts, e.g. "MR" and "a.u.". channels: names, in order.
    scaling: "fixed" (low and high map to -1 and 1, for physical units), "foreground" (0 and a quantile of the foreground: MR),
    "range" (two quantiles of the whole image: X-ray, ultrasound). quantiles: of the two last; low, high: of the first.
    axes: where (i, j[, k]) point ("PL" = axial shown the radiological way), "" when not in patient space.
    spacing_mm: voxel size it was trained at, None when it varies. frame: smallest and largest image side it has seen, in voxels.
    labels: names of the classes; numbers: names of the scalars. sigma_data, path, preset, widths, blocks, ndim, doubt: the network.
    errors: the denoiser's error by noise level and spatial frequency, a table for each fineness; rules take their weight from them.
    data: counts, hash and licence of the training data. training: seeds, steps, versions. limits: one sentence each.
    """

    name: str
    modality: str
    unit: str = "a.u."
    channels: tuple[str, ...] = ("image",)
    scaling: str = "range"
    low: float = 0.0
    high: float = 1.0
    quantiles: tuple[float, float] = (0.005, 0.995)
    axes: str = ""
    spacing_mm: tuple[float, ...] | None = None
    frame: tuple[int, int] = (64, 64)
    labels: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    ndim: int = 2
    path: str = "karras"
    sigma_data: float = 0.5
    preset: str = "small"
    widths: tuple[int, ...] = (16, 32, 64, 128)
    blocks: int = 2
    doubt: bool = False
    errors: tuple[ErrorTable, ...] = ()
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    limits: tuple[str, ...] = ("research use only, not for diagnosis",)
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Card:
        """Raises BadOption for an unknown key or a newer schema."""
        known = [f.name for f in dataclasses.fields(cls)]
        for key in stored:
            if key not in known:
                raise BadOption(f"card: unknown key {key!r}", nearest(key, known))
        if stored.get("schema", SCHEMA) > SCHEMA:
            raise BadOption(f"card: schema {stored['schema']} is newer than {SCHEMA}", "update medprior")
        values = {k: _tuples(v) for k, v in stored.items()}
        try:
            values["errors"] = tuple(ErrorTable(**{k: _tuples(v) for k, v in table.items()}) for table in stored.get("errors", ()))
        except (TypeError, AttributeError) as error:
            raise BadOption(f"card: the error tables cannot be read ({error})", "update medprior, or train again") from error
        return cls(**values)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value

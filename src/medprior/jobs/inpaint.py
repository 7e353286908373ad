"""Paint: one region of a scan drawn anew, given the rest as its measurement: a finding put in, or taken out;
outside nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..data.volume import Provenance, Volume
from ..errors import BadOption
from ..operators import Gaussian, Measurement, mask
from ..prior.admit import admit, region_of, release_in
from .given import GivenPrior, GivenScan, load_scan, prior_of
from .reconstruct import Settings, reconstruct

__all__ = ["Painting", "box_mask", "paint"]

_KNOWN = 0.01
"""Noise of what is known, in network units: a draw fits the rest this closely, which an 8 bit picture hardly
shows; at last the rest is put back exactly.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Painting:
    """What is drawn. n: draws. label: a class of the card: a finding is put in by its name, and taken out by
    the name of the healthy, or by a prior that knows healthy scans alone. guidance: its weight, 1 is plain.

    Raises BadOption for no draw.
    """

    n: int = 4
    seed: int = 0
    label: str | None = None
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise BadOption(f"n: wanted at least 1 draw, got {self.n}")


def paint(
    prior: GivenPrior,
    volume: GivenScan,
    region: Volume,
    what: Painting,
    *,
    settings: Settings | None = None,
    allow_other: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Volume]:
    """n draws of what lies in a region, given everything else in the scan; on the scan's grid and unit,
    marked synthetic.

    region: one channel on the scan's grid, not 0 where it is to be drawn. Outside of it the scan stays as it
    is, to the last bit; inside nothing of it is left, except what the rest of the image says of it. The same
    seed and n give the same bytes.

    Raises ShapeMismatch for a region on another grid, BadOption (label, guidance, a region of nothing or
    of everything), WrongKind, Diverged.
    """
    prior = prior_of(prior)
    volume = load_scan(volume, prior)
    admitted = admit(prior.card, volume, allow_other=allow_other)
    drawn = region_of(prior.card, admitted, region)
    if not drawn.any() or drawn.all():
        raise BadOption(
            f"paint: the region holds {'all' if drawn.any() else 'nothing'} of the scan",
            "wanted a part: a mask that is 0 outside of it",
        )
    keep = ~(drawn.movedim(0, -1) if admitted.stack else drawn[0])
    shape = tuple(admitted.whole.shape)
    measurement = Measurement((admitted.whole * keep)[None], mask(shape, keep.float()), Gaussian(_KNOWN))
    numbers = admitted.condition.numbers if admitted.stack else None
    settings = settings or Settings(
        caution=False
    )  # caution is for a measurement that may be missed; here it only roughens (chosen on val)
    draws = reconstruct(
        prior,
        measurement,
        n=what.n,
        seed=what.seed,
        settings=settings,
        scale=(-1.0, 1.0),
        label=what.label,
        guidance=what.guidance,
        numbers=numbers,
        on_step=on_step,
    )
    asked = f", label {what.label}" if what.label is not None else ""
    told = (
        f"one region drawn anew by medprior, the rest unchanged: prior {prior.card.name}{asked}, seed "
        f"{what.seed}, number"
    )
    images = [x.movedim(-1, 0) if admitted.stack else x[None] for x in draws.values]
    return [release_in(admitted, image, region, sentence=f"{told} {i}") for i, image in enumerate(images)]


def box_mask(volume: Volume, box: tuple[int, int, int, int]) -> Volume:
    """A box of an image (first row, first column, rows, columns), of a volume in every slice, as a mask on
    its grid. Raises BadOption where it leaves it.
    """
    row, column, rows, columns = box
    if (
        min(row, column) < 0
        or min(rows, columns) < 1
        or row + rows > volume.shape[0]
        or column + columns > volume.shape[1]
    ):
        raise BadOption(
            f"box: wanted a box within {volume.shape[0]} x {volume.shape[1]}, got {box}",
            "first row, first column, rows, columns",
        )
    data = np.zeros((1, *volume.shape), np.float32)
    data[:, row : row + rows, column : column + columns] = 1
    return Volume(
        data,
        volume.affine,
        "label",
        volume.modality,
        volume.spacing_mm,
        Provenance(format=volume.provenance.format),
    )

"""The card of a prior: what it was made from and for. Written by the program, read before any job."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..data.plain import JsonObject
from ..data.records import checked
from ..errors import BadOption
from .error_table import ErrorTable

__all__ = ["SCHEMA", "Card"]

SCHEMA = 1
_MOST_LEVELS, _WIDEST, _MOST_BLOCKS, _MOST_NAMES, _LARGEST = 8, 4096, 64, 10_000, 2**16
"""What a network may be before anything is built: far more than any preset."""


@dataclass(frozen=True, slots=True, repr=False)
class Card:
    """Facts about a prior; goes to card.json.

    modality, unit: what it accepts, e.g. "MR" and "a.u.". channels: names, in order. scaling: "fixed" (low
    and high map to -1 and 1, for physical units), "foreground" (0 and a quantile of the foreground: MR),
    "range" (two quantiles of the whole image: X-ray, ultrasound). quantiles: of the two last; low, high: of
    the first. axes: where (i, j[, k]) point ("PL" = axial shown the radiological way), "" when not in patient
    space. spacing_mm: voxel size it was trained at, None when it varies. frame: smallest and largest image
    side it has seen, in voxels. labels: names of the classes; numbers: names of the scalars; ranges: of each
    of these the values at -1 and 1, () where all are so already. sigma_data, path, preset, widths, blocks,
    ndim, doubt: the network. errors: the denoiser's error by noise level and spatial frequency, a table for
    each fineness; rules take their weight from them. caution: how much wider the rules take that error,
    measured on reconstructions of held-out scans; 1 is not at all, 1.5 was chosen on val for the bundled
    networks. data: counts, hash and licence of the training data.
    training: seeds, steps, versions. limits: one sentence each.
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
    ranges: tuple[tuple[float, float], ...] = ()
    ndim: int = 2
    path: str = "karras"
    sigma_data: float = 0.5
    preset: str = "small"
    widths: tuple[int, ...] = (16, 32, 64, 128)
    blocks: int = 2
    doubt: bool = False
    errors: tuple[ErrorTable, ...] = ()
    caution: float = 1.5
    data: JsonObject = dataclasses.field(default_factory=dict)
    training: JsonObject = dataclasses.field(default_factory=dict)
    limits: tuple[str, ...] = ("research use only, not for diagnosis",)
    schema: int = SCHEMA

    def summary(self) -> str:
        """What the prior is for: "MR volumes, 2 mm, channels T1, T2"."""
        words = [f"{self.modality or 'any modality'} {'volumes' if self.ndim == 3 else 'images'}"]
        if self.spacing_mm is not None:
            words.append(f"{' x '.join(f'{size:.3g}' for size in dict.fromkeys(self.spacing_mm))} mm")
        words += [f"channels {', '.join(self.channels)}"] if len(self.channels) > 1 else []
        words += [f"labels {', '.join(self.labels)}"] if self.labels else []
        words += [f"numbers {', '.join(self.numbers)}"] if self.numbers else []
        return ", ".join(words)

    def __repr__(self) -> str:
        return f"Card {self.name}: {self.summary()}, preset {self.preset}"

    def to_json(self) -> JsonObject:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: JsonObject) -> Card:
        """Raises BadOption for an unknown key, a newer schema and values that no prior can have."""
        if isinstance(stored, dict) and isinstance(schema := stored.get("schema"), int) and schema > SCHEMA:
            raise BadOption(f"card: schema {schema} is newer than {SCHEMA}", "update medprior")
        card = checked(cls, stored, "card", "copy the whole folder again, or train again")
        wrong = _wrong(card)
        if wrong:
            raise BadOption(f"card: {wrong}", "copy the whole folder again, or train again")
        return card


def _is_class(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6


def _wrong(card: Card) -> str:
    """What of a card no job could work with; "" where nothing is. An unknown scaling would else pass for
    another, without a word.
    """
    pairs = ("SI", "AP", "LR")
    directions = {letter: pair for pair in pairs for letter in pair}
    wanted = {
        'scaling "fixed", "foreground" or "range"': card.scaling in ("fixed", "foreground", "range"),
        "low < high": card.scaling != "fixed" or card.low < card.high,
        "quantiles 0 <= a < b <= 1": 0 <= card.quantiles[0] < card.quantiles[1] <= 1,
        "ndim 2 or 3": card.ndim in (2, 3),
        "at least one channel": len(card.channels) > 0,
        "axes PL, IL or IP, or three directions of the body": card.axes in ("", "PL", "IL", "IP")
        if card.ndim == 2
        else card.axes == ""
        or (len(card.axes) == 3 and len({directions.get(letter, "") for letter in card.axes} - {""}) == 3),
        "a spacing > 0 for each dimension": card.spacing_mm is None
        or (len(card.spacing_mm) == card.ndim and min(card.spacing_mm) > 0),
        f"a frame 1 <= smallest <= largest <= {_LARGEST:,}": 1 <= card.frame[0] <= card.frame[1] <= _LARGEST,
        f"1 to {_MOST_LEVELS} widths of 1 to {_WIDEST}, 1 to {_MOST_BLOCKS} blocks": 0
        < len(card.widths)
        <= _MOST_LEVELS
        and all(1 <= width <= _WIDEST for width in card.widths)
        and 1 <= card.blocks <= _MOST_BLOCKS,
        f"at most {_MOST_NAMES:,} channels, labels and numbers": max(
            len(card.channels), len(card.labels), len(card.numbers)
        )
        <= _MOST_NAMES,
        "sigma_data > 0": card.sigma_data > 0,
        "caution >= 1": card.caution >= 1,
        "a range low < high for each number": not card.ranges
        or (len(card.ranges) == len(card.numbers) and all(low < high for low, high in card.ranges)),
        "channels of a label map by whole numbers": all(
            _is_class(name.partition(":")[2]) for name in card.channels if name.startswith("mask:")
        ),
    }
    return ", ".join(f"wanted {what}" for what, right in wanted.items() if not right)

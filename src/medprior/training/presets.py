"""Sizes of prior, each with its measured cost beside it (bench/presets.py prints the table in
docs/presets.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import BadOption, did_you_mean

__all__ = ["PRESETS", "Preset", "preset_named"]


@dataclass(frozen=True, slots=True)
class Preset:
    """widths, blocks: the network. rate: Adam's peak learning rate. batch: 64x64 patches (or equal area) a
    step.
    """

    widths: tuple[int, ...]
    blocks: int
    rate: float = 2e-3
    batch: int = 16


PRESETS = {
    "tiny": Preset((16, 32, 64), 1),
    "small": Preset((16, 32, 64, 128), 2),
    "base": Preset((32, 64, 128, 192), 2, rate=1.2e-3),
    "large": Preset((64, 128, 192, 320), 3, rate=1e-3, batch=64),
}


def preset_named(name: str) -> Preset:
    """Raises BadOption with the nearest name."""
    if name not in PRESETS:
        raise BadOption(f"preset: {name!r} is not known", did_you_mean(name, list(PRESETS)))
    return PRESETS[name]

"""Every random draw comes from a generator that was made here, from a seed that is written down."""

from __future__ import annotations

import hashlib

import torch

from ..errors import BadOption

__all__ = ["generator", "seed_for"]


def seed_for(seed: int, *names: object) -> int:
    """A 63-bit seed for one purpose of a run: the same (seed, names) gives the same number on every machine.

    names: what makes the purpose unique, e.g. ``("draw", 3)`` or ``(epoch, rank, worker, item)``.
    """
    text = "/".join(
        [str(seed), *(str(name).replace("%", "%25").replace("/", "%2F") for name in names)]
    )  # a slash in a name parts no names
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator for ``seed_for(seed, *names)``. Raises BadOption for a negative seed."""
    if seed < 0:
        raise BadOption(f"seed: wanted a whole number >= 0, got {seed}")
    return torch.Generator(device=device).manual_seed(seed_for(seed, *names))

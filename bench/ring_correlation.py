"""Where an image and its reference stop agreeing: Fourier ring correlation, patch by patch.

Scanning Fourier ring correlation (sFRC; Kc, Zeng, Soni and Badano, arXiv 2603.04673): a patch whose
correlation falls below a threshold at a low frequency already shows structure that is not the reference's.
Blur and noise make it fall, too, so a rate means something only beside another method's at the same settings.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medprior.errors import BadOption, ShapeMismatch

__all__ = ["agreement", "ring_correlation"]


def ring_correlation(x: Tensor, reference: Tensor) -> Tensor:
    """Patches (n, p, p) -> (n, p // 2 + 1): correlation of their Fourier coefficients in rings one
    coefficient wide, 0 to 0.5 cycles a voxel.

    sum Re(F G*) / (sum |F|^2 sum |G|^2)^(1/2); 1 where equal, near 0 for independent noise; 0 in a ring where
    either has nothing (Saxton and Baumeister, J. Microsc. 127, 1982). The mean of each patch is taken off
    first and a Hann window laid over it, or its borders would agree with each other.
    """
    if x.shape != reference.shape or x.ndim != 3 or x.shape[1] != x.shape[2]:
        raise ShapeMismatch(
            "ring_correlation, patches", "(n, p, p) twice", f"{tuple(x.shape)} and {tuple(reference.shape)}"
        )
    side = x.shape[-1]
    hann = torch.hann_window(side, periodic=False, dtype=torch.float64)
    window = hann[:, None] * hann
    f, g = (
        torch.fft.fft2((v.double() - v.double().mean((1, 2), keepdim=True)) * window) for v in (x, reference)
    )
    place = torch.fft.fftfreq(side, dtype=torch.float64) * side
    ring = (place[:, None] ** 2 + place**2).sqrt().round().long().flatten()
    top, left, right = (
        torch.zeros(len(x), int(ring.max()) + 1, dtype=torch.float64).index_add(1, ring, v.flatten(1))
        for v in _products(f, g)
    )
    size = (left * right).sqrt()
    return torch.where(size > 0, top / torch.where(size > 0, size, 1), 0)[:, : side // 2 + 1]


def agreement(
    x: Tensor,
    reference: Tensor,
    *,
    patch: int = 24,
    stride: int = 12,
    threshold: float = 0.5,
    where: Tensor | None = None,
) -> Tensor:
    """(n,) for each patch of two images (1, 1, i, j): the frequency, in cycles a voxel, where their
    correlation first falls below ``threshold``; else 0.5.

    where: bool (i, j); only patches that lie in it for the most part are looked at. The share of patches
    below a limit is the rate of hallucinated ones. Raises ShapeMismatch, BadOption for a patch that does not
    fit, or where none lies in ``where``.
    """
    if x.shape != reference.shape or x.ndim != 4 or x.shape[:2] != (1, 1):
        raise ShapeMismatch(
            "agreement, images", "(1, 1, i, j) twice", f"{tuple(x.shape)} and {tuple(reference.shape)}"
        )
    if not 8 <= patch <= min(x.shape[2:]) or stride < 1 or not 0 < threshold < 1:
        raise BadOption(
            f"agreement: wanted patches of 8 to {min(x.shape[2:])} voxels, a stride of at least 1 and a "
            f"threshold in 0..1, got {patch}, {stride}, {threshold}"
        )
    ours, theirs = (
        v[0, 0].unfold(0, patch, stride).unfold(1, patch, stride).reshape(-1, patch, patch)
        for v in (x, reference)
    )
    if where is not None:
        inside = (
            where.unfold(0, patch, stride).unfold(1, patch, stride).reshape(len(ours), -1).double().mean(1)
            > 0.5
        )
        ours, theirs = ours[inside], theirs[inside]
    if not len(ours):
        raise BadOption(
            "agreement: wanted at least one patch, got none inside of where",
            "use smaller patches or a larger region",
        )
    below = ring_correlation(ours, theirs)[:, 1:] < threshold
    first = torch.where(below.any(1), below.double().argmax(1) + 1, patch // 2)
    return first.double() / patch


def _products(f: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (f * g.conj()).real, f.abs().square(), g.abs().square()

"""Sparsity in wavelets, the baseline of compressed sensing (Lustig, Donoho and Pauly, MRM 58(6), 2007), with
every advantage it can have.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pywt
import torch
from torch import Tensor

from ...errors import BadOption
from ...operators import Measurement, crop
from .fista import proximal_gradient

__all__ = ["wavelet_sparse"]


def wavelet_sparse(
    measurement: Measurement,
    weight: float,
    *,
    wavelet: str = "haar",
    levels: int = 4,
    spin: bool = True,
    n: int = 200,
    tol: float = 2e-5,
    start: Tensor | None = None,
) -> Tensor:
    """argmin sum w |A x - y|^2 / 2 + weight * sum |detail coefficients of x|, (B, *domain), w of ``ridge``.

    wavelet: an orthogonal one of PyWavelets ("haar", "db2" to "db38", "sym8", "coif2", ...). levels:
    halvings; an image whose sides are no multiple of 2^levels is extended, and nothing more is measured. n,
    tol: as ``total_variation``. spin: shift the grid of the wavelets at random in each iteration and average
    the last quarter of all n (cycle spinning: Figueiredo and Nowak, IEEE Trans. Image Process. 12(8), 2003;
    what it converges to: Kamilov, Bostan and Unser, IEEE Signal Process. Lett. 21(11), 2014). Without it the
    answer is the minimum itself and has the blocks of the grid. Raises BadOption for a
    weight below 0, a wavelet that is not known or not orthogonal, levels or n below 1; Diverged.
    """
    _must_fit(weight, wavelet, levels, n)
    shape = measurement.operator.domain
    larger = [-(-s // 2**levels) * 2**levels for s in shape[1:]]
    window = crop((shape[0], *larger), [0] * len(larger), shape[1:])
    around = Measurement(
        measurement.y, measurement.operator @ window, measurement.noise, measurement.simulated
    )
    rng = np.random.default_rng(0)

    def prox(z: Tensor, L: Tensor) -> Tensor:
        shift = [int(rng.integers(2**levels)) if spin else 0 for _ in larger]
        axes = tuple(range(2, z.ndim))
        coefficients = _details(z.roll(shift, axes), wavelet, levels)
        threshold = (weight / L).cpu().numpy()
        for level in coefficients[1:]:
            for name, values in level.items():
                level[name] = np.sign(values) * np.maximum(np.abs(values) - threshold, 0)
        image = torch.from_numpy(pywt.waverecn(coefficients, wavelet, mode="periodization", axes=axes)).to(z)
        return image.roll([-s for s in shift], axes)

    begin = None if start is None else window.adjoint(start)
    return window(proximal_gradient(around, prox, "wavelets", n=n, tol=tol, start=begin, restart=not spin))


def _details(x: Tensor, wavelet: str, levels: int) -> list[Any]:
    """Periodic and orthonormal: [approximation, {kind: coefficients} of the coarsest level, ...]."""
    with warnings.catch_warnings():
        # a wavelet longer than the coarsest image meets the border; being periodic, it stays orthonormal
        warnings.filterwarnings("ignore", message="Level value of")
        return pywt.wavedecn(
            x.detach().cpu().numpy(),
            wavelet,
            mode="periodization",
            level=levels,
            axes=tuple(range(2, x.ndim)),
        )


def _must_fit(weight: float, wavelet: str, levels: int, n: int) -> None:
    if not weight >= 0 or n < 1 or levels < 1:
        raise BadOption(
            f"wavelet_sparse: wanted a weight >= 0, levels >= 1 and n >= 1, got {weight}, {levels} and {n}"
        )
    # these two come from a compiled part, which type checkers cannot see
    known, made = pywt.wavelist, pywt.Wavelet  # pyright: ignore[reportAttributeAccessIssue]
    if wavelet not in known(kind="discrete") or not made(wavelet).orthogonal:
        raise BadOption(
            f"wavelet_sparse: wanted an orthogonal wavelet, got {wavelet!r}",
            "haar, db2, db4, sym8 and coif2 are some",
        )

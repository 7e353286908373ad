"""What a measurement answers at each spatial frequency: where that is known, a system is solved in a few
steps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..data.seeds import generator
from ..errors import BadOption
from ..operators import Measurement, cg
from ..prior.rings import along_rings, by_ring

__all__ = ["fourier_filter", "ring_response", "weight_of"]


def fourier_filter(x: Tensor, gain: Tensor) -> Tensor:
    """(B, C, ...) real, with each FFT coefficient multiplied by gain (B or 1, 1, ...), which is the same for
    k and -k.
    """
    axes = tuple(range(2, x.ndim))
    half = gain[..., : x.shape[-1] // 2 + 1]
    return torch.fft.irfftn(torch.fft.rfftn(x, dim=axes) * half, s=x.shape[2:], dim=axes)


def weight_of(measurement: Measurement) -> Tensor:
    """1 / noise variance of each real component. Raises BadOption for noise of zero, UnknownNoise if it is
    not stated.
    """
    variance = torch.as_tensor(measurement.noise.variance(measurement.y), dtype=torch.float32)
    if not (variance > 0).all():
        raise BadOption(
            "noise: wanted a standard deviation > 0, got 0",
            "state the true noise; 0.005 of the range is a quiet scan",
        )
    return 1 / variance


def ring_response(measurement: Measurement) -> Tensor | None:
    """(1, 1, *size): the mean of A^H w A over each ring of frequencies, or None where no function of the ring
    alone is of help.

    w: 1 / noise variance. Projections and blur answer by ring (1 / |k| for
    projections, hence the ramp filter); masks of k-space or of the image do not. Which it is gets tried on
    noise: a short solve with and without.
    """
    operator, weight = measurement.operator, weight_of(measurement).to(measurement.y.device)
    if operator.domain_is_complex:
        return None
    probe = torch.randn((1, *operator.domain), generator=generator(0, "response")).to(weight)

    def normal(x: Tensor) -> Tensor:
        return operator.adjoint(weight * operator.apply(x))

    gains = _by_ring(probe, normal(probe))
    if not (middle := 0.1 * float(gains.mean())) > 0:
        return None

    def left(inverse: Callable[[Tensor], Tensor] | None) -> float:
        """How far six steps are from solving a system about as stiff as those of the middle levels."""
        x = cg(lambda v: normal(v) + middle * v, probe, torch.zeros_like(probe), 6, inverse=inverse)
        return float(torch.linalg.vector_norm(probe - normal(x) - middle * x))

    return gains if left(lambda r: fourier_filter(r, 1 / (gains + middle))) < left(None) else None


def _by_ring(x: Tensor, seen: Tensor) -> Tensor:
    axes = tuple(range(2, x.ndim))
    before, after = (torch.fft.fftn(v, dim=axes) for v in (x, seen))
    top, bottom = ((before.conj() * other).real.sum((0, 1)) for other in (after, before))
    return along_rings(by_ring(top, bottom).clamp_min(0), tuple(x.shape[2:]))[None, None]

"""What was measured, by what, with which noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from ..errors import BadOption, ShapeMismatch
from .noise import ComplexGaussian, Gaussian, Noise
from .operator import Operator, stack
from .pixels import diagonal

__all__ = ["Measurement", "simulate", "together"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """y = A x + noise.

    y: (B, *operator.codomain), B = 1 or the batch, finite; simulated: made by ``simulate`` and not by a
    scanner, to be said wherever it is shown. Raises ShapeMismatch for another shape or kind, BadOption for
    NaN or infinity, or where nothing was observed.
    """

    y: Tensor
    operator: Operator
    noise: Noise
    simulated: bool = False

    def __post_init__(self) -> None:
        A = self.operator
        if tuple(self.y.shape[1:]) != A.codomain or self.y.ndim == 0 or self.y.is_complex() != A.is_complex:
            wanted = f"(B, {', '.join(map(str, A.codomain))}) {'complex' if A.is_complex else 'real'}"
            got = f"{tuple(self.y.shape)} {'complex' if self.y.is_complex() else 'real'}"
            remedy = "give it a batch axis, y[None]" if tuple(self.y.shape) == A.codomain else ""
            raise ShapeMismatch(f"measurement of {A.name}", wanted, got, remedy)
        bad = int((~torch.isfinite(torch.view_as_real(self.y) if A.is_complex else self.y)).sum())
        if bad:
            raise BadOption(
                f"measurement of {A.name}: wanted finite numbers, got {bad} NaN or infinite",
                "mask the broken entries out, then set them to zero",
            )
        if not self.count:
            raise BadOption(
                f"measurement of {A.name}: wanted at least one observed entry, got none",
                "check the mask: True is where something was measured",
            )

    @property
    def count(self) -> int:
        """How many real numbers were measured of each image; a complex one counts twice, an unobserved one
        not at all.
        """
        A = self.operator
        entries = prod(A.codomain) if A.observed is None else int(A.observed.expand(A.codomain).sum())
        return entries * (2 if A.is_complex else 1)

    def misfit(self, x: Tensor) -> Tensor:
        """(B, *domain) -> (B,): sum |A x - y|^2 / variance over what was observed, divided by ``count``; near
        1 where x and noise are right.
        """
        apart = (self.operator(x) - self.y).abs() ** 2 / self.noise.variance(self.y)
        if self.operator.observed is not None:
            apart = apart * self.operator.observed.to(apart.device)
        return apart.flatten(1).sum(1) / self.count

    def shifted(self, scale: float, offset: float | Tensor) -> Measurement:
        """The same measurement, of x_net where x_phys = scale * x_net + offset: y - A(offset), by scale * A.

        offset: one number, or an array that broadcasts over (B, *domain). Noise that depends on the signal is
        frozen at y first.
        """
        A = self.operator
        like = self.y.real if A.is_complex else self.y
        number = torch.as_tensor(offset, dtype=like.dtype, device=like.device)
        shift = number.expand(torch.broadcast_shapes((1, *A.domain), tuple(number.shape)))
        return Measurement(self.y - A(shift), scale * A, self.noise.gaussian_at(self.y), self.simulated)

    def to(self, device: torch.device | str) -> Measurement:
        """The same on another device."""
        return Measurement(self.y.to(device), self.operator.to(device), self.noise, self.simulated)


def simulate(x: Tensor, operator: Operator, noise: Noise, rng: torch.Generator) -> Measurement:
    """Measure a known image (B, *domain), in the units of the operator. The result is marked simulated;
    unobserved entries are zero.
    """
    y = noise.draw(operator(x), rng)
    if operator.observed is not None:
        y = y * operator.observed.to(y.device)
    return Measurement(y, operator, noise, simulated=True)


def together(*measurements: Measurement) -> Measurement:
    """Several measurements of one image as one: each is divided by its noise, so that the whole has standard
    deviation 1.

    It is complex, with ComplexGaussian(1), where all are; else real, with Gaussian(1), a complex part as
    pairs (real, imaginary). Simulated where any is. Raises BadOption for none, ShapeMismatch for images or
    batches that differ, UnknownNoise.
    """
    whitened = [_whitened(m) for m in measurements]
    A = stack(*[m.operator for m in whitened])
    size = max(m.y.shape[0] for m in whitened)
    wrong = [m.y.shape[0] for m in whitened if m.y.shape[0] not in (1, size)]
    if wrong:
        raise ShapeMismatch("together, batch", f"1 or {size}", wrong[0])
    y = torch.cat([A.row(m.y).expand(size, -1) for m in whitened], dim=1)
    noise = ComplexGaussian(1.0) if A.is_complex else Gaussian(1.0)
    return Measurement(y, A, noise, any(m.simulated for m in measurements))


def _whitened(m: Measurement) -> Measurement:
    variance = torch.as_tensor(m.noise.variance(m.y))
    if variance.ndim > len(m.operator.codomain):
        if variance.shape[0] != 1:
            raise ShapeMismatch(
                "together, noise",
                "one law for the whole batch",
                f"{variance.shape[0]} of them",
                "join them image by image",
            )
        variance = variance[0]
    weights = variance.rsqrt()
    scaled = diagonal(m.operator.codomain, weights, domain_is_complex=m.operator.is_complex) @ m.operator
    return Measurement(
        m.y * weights.to(m.y.device),
        replace(scaled, observed=m.operator.observed),
        Gaussian(1.0),
        m.simulated,
    )

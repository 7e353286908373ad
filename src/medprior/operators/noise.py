"""What the detector adds. A noise knows how to draw itself and how large it is; unknown noise says so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import pi

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadOption, UnknownNoise

__all__ = ["ComplexGaussian", "Gaussian", "Noise", "Poisson", "Rician", "Speckle", "Unknown"]


class Noise(ABC):
    """The law of a measurement given its clean value."""

    @abstractmethod
    def draw(self, clean: Tensor, rng: torch.Generator) -> Tensor:
        """A noisy measurement, shaped as ``clean`` (B, *codomain). Drawn on the generator's device, so that
        every device gives the same.
        """

    @abstractmethod
    def variance(self, measured: Tensor) -> Tensor | float:
        """Variance of each real component, in the Gaussian approximation. measured: the measurement, or its
        clean value where known.
        """

    @abstractmethod
    def gaussian_at(self, measured: Tensor) -> Noise:
        """The Gaussian that stands for this noise around one measurement, which may then be shifted;
        Gaussians return themselves.
        """


@dataclass(frozen=True, eq=False)
class Gaussian(Noise):
    """y = clean + std * n, real. std: one number, or one an entry (broadcasts over the measurement)."""

    std: float | Tensor

    def __post_init__(self) -> None:
        _must_be_positive("Gaussian, std", self.std)

    def draw(self, clean: Tensor, rng: torch.Generator) -> Tensor:
        if clean.is_complex():
            raise BadOption(
                "Gaussian: wanted a real measurement, got a complex one", "use ComplexGaussian(std)"
            )
        return clean + _on(self.std, clean) * _normal(clean.shape, clean, rng)

    def variance(self, measured: Tensor) -> Tensor | float:
        return _on(self.std, measured) ** 2

    def gaussian_at(self, measured: Tensor) -> Noise:
        return self


@dataclass(frozen=True, eq=False)
class ComplexGaussian(Noise):
    """y = clean + std * (n1 + i n2). std: that of the real part, and of the imaginary part."""

    std: float | Tensor

    def __post_init__(self) -> None:
        _must_be_positive("ComplexGaussian, std", self.std)

    def draw(self, clean: Tensor, rng: torch.Generator) -> Tensor:
        if not clean.is_complex():
            raise BadOption(
                "ComplexGaussian: wanted a complex measurement, got a real one", "use Gaussian(std)"
            )
        n = _normal((2, *clean.shape), clean.real, rng)
        return clean + _on(self.std, clean.real) * torch.complex(n[0], n[1])

    def variance(self, measured: Tensor) -> Tensor | float:
        return _on(self.std, measured.real) ** 2

    def gaussian_at(self, measured: Tensor) -> Noise:
        return self


@dataclass(frozen=True, eq=False)
class Poisson(Noise):
    """Photon counting in transmission CT: y = -log(N / counts), N ~ Poisson(counts * exp(-line integral)) +
    electronic * n.

    counts: photons a detector element receives with nothing in the beam, one number or one a ray (a bow-tie
    filter; broadcasts over the measurement). electronic: standard deviation of the read-out noise in photons,
    which counts at low dose. A ray with less than half a photon is recorded as half of one. variance =
    exp(line) / counts + (electronic * exp(line) / counts)^2, the delta method (Sauer and Bouman, IEEE Trans.
    Signal Process. 41(2), 1993; with electronic noise: Thibault et al., Proc. SPIE 6065, 2006).
    """

    counts: float | Tensor
    electronic: float = 0.0

    def __post_init__(self) -> None:
        _must_be_positive("Poisson, counts", self.counts)
        if not 0 <= self.electronic < float("inf"):
            raise BadOption(
                f"Poisson, electronic: wanted a finite number that is not negative, got {self.electronic}"
            )

    def draw(self, clean: Tensor, rng: torch.Generator) -> Tensor:
        line = clean.to(rng.device, torch.float64)
        counts = _on(self.counts, line)
        photons = torch.poisson(counts * torch.exp(-line), generator=rng)
        if self.electronic:
            photons = photons + self.electronic * _normal(line.shape, line, rng)
        return -torch.log(photons.clamp_min(0.5) / counts).to(clean.device, clean.dtype)

    def variance(self, measured: Tensor) -> Tensor:
        share = torch.exp(measured) / _on(self.counts, measured)
        return share + (self.electronic * share) ** 2

    def gaussian_at(self, measured: Tensor) -> Noise:
        return Gaussian(self.variance(measured).sqrt())


@dataclass(frozen=True, eq=False)
class Rician(Noise):
    """Magnitude MRI: y = |clean + std * (n1 + i n2)|, clean >= 0. std: of each part of the complex signal
    before the magnitude.

    variance = 2 std^2 + nu^2 - (pi std^2 / 2) L(-nu^2 / 2 std^2)^2, L the Laguerre polynomial of order 1/2
    (Gudbjartsson and Patz, MRM 34(6), 1995). The mean lies above nu where nu < 3 std; the Gaussian
    approximation ignores that.
    """

    std: float

    def __post_init__(self) -> None:
        _must_be_positive("Rician, std", self.std)

    def draw(self, clean: Tensor, rng: torch.Generator) -> Tensor:
        n = self.std * _normal((2, *clean.shape), clean, rng)
        return torch.hypot(clean + n[0], n[1])

    def variance(self, measured: Tensor) -> Tensor:
        a = (measured.double() / self.std) ** 2 / 2
        laguerre = (1 + a) * torch.special.i0e(a / 2) + a * torch.special.i1e(a / 2)
        return (self.std**2 * (2 + 2 * a - pi / 2 * laguerre**2)).to(measured.dtype)

    def gaussian_at(self, measured: Tensor) -> Noise:
        return Gaussian(self.variance(measured).sqrt())


@dataclass(frozen=True, eq=False)
class Speckle(Noise):
    """Ultrasound and other coherent imaging, before logarithmic compression: y = clean * g, g of mean 1,
    Gamma distributed with shape ``looks``; clean >= 0.

    looks: how many independent speckle patterns were averaged; 1 is fully developed speckle in intensity.
    variance = clean^2 / looks. The Gaussian that stands for it takes clean from the mean over 5 x 5
    neighbours in the image plane: one speckle grain says little about its own mean. Source: Goodman, J. Opt.
    Soc. Am. 66(11), 1976; Gamma law of averaged intensities: Wagner et al., IEEE Trans. Sonics Ultrason.
    30(3), 1983.
    """

    looks: float

    def __post_init__(self) -> None:
        _must_be_positive("Speckle, looks", self.looks)

    def draw(self, clean: Tensor, rng: torch.Generator) -> Tensor:
        if clean.is_complex():
            raise BadOption("Speckle: wanted a real measurement, got a complex one")
        seed = int(
            torch.randint(2**62, (), generator=rng, device=rng.device)
        )  # torch draws no Gamma from a generator
        grains = np.random.default_rng(seed).gamma(self.looks, 1 / self.looks, tuple(clean.shape))
        return clean * torch.from_numpy(np.asarray(grains)).to(clean)

    def variance(self, measured: Tensor) -> Tensor:
        return measured**2 / self.looks

    def gaussian_at(self, measured: Tensor) -> Noise:
        planes = measured.movedim(-1, 2).flatten(1, 2) if measured.ndim == 5 else measured
        mean = F.avg_pool2d(planes, 5, 1, 2, count_include_pad=False)
        mean = mean.unflatten(1, (measured.shape[1], -1)).movedim(2, -1) if measured.ndim == 5 else mean
        floor = 1e-3 * measured.abs().amax(tuple(range(1, measured.ndim)), keepdim=True)
        if not bool((floor > 0).all()):
            raise BadOption("Speckle: wanted a measurement that is not zero everywhere")
        return Gaussian(self.variance(mean.abs().maximum(floor)).sqrt())


@dataclass(frozen=True, eq=False)
class Unknown(Noise):
    """The noise is not stated and must be estimated. There is no silent default."""

    def draw(self, clean: Tensor, rng: torch.Generator) -> Tensor:
        raise _unknown()

    def variance(self, measured: Tensor) -> Tensor | float:
        raise _unknown()

    def gaussian_at(self, measured: Tensor) -> Noise:
        return self


def _unknown() -> UnknownNoise:
    return UnknownNoise(
        "the noise of this measurement is unknown",
        "state it, e.g. Gaussian(std), or estimate it: medprior.operators.with_estimated_noise(measurement)",
    )


def _normal(shape: tuple[int, ...], like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=rng, device=rng.device, dtype=like.dtype).to(like.device)


def _on(std: float | Tensor, like: Tensor) -> float | Tensor:
    return std.to(like) if isinstance(std, Tensor) else std


def _must_be_positive(who: str, value: float | Tensor) -> None:
    number = torch.as_tensor(value, dtype=torch.float64)
    if not bool(((number > 0) & number.isfinite()).all()):
        raise BadOption(
            f"{who}: wanted a positive finite number, got "
            f"{value if number.ndim == 0 else 'an array with others'}"
        )

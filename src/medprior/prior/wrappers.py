"""Functions Denoiser -> Denoiser: guidance, caution, tiles, slices, clamps. No loop needs to know of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadOption, ShapeMismatch
from .denoiser import Condition, Denoiser, position_channels

__all__ = [
    "batched",
    "cautious",
    "guided",
    "in_bfloat16",
    "on_device",
    "slicewise",
    "tiled",
    "with_block_means",
    "with_known",
]


class _Wrapped(Denoiser):
    """Keeps the error of what it wraps."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    def error(self, sigma: Tensor) -> Tensor:
        return self.denoiser.error(sigma)

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        return self.denoiser.spectrum(sigma, size)

    @property
    def caution(self) -> float:
        return self.denoiser.caution


class _Through(_Wrapped):
    """A wrapper that only changes what the denoiser is shown at a time; mean and standard deviation go the
    same way.
    """

    @abstractmethod
    def through(
        self,
        call: Callable[[Tensor, Tensor, Condition | None], Tensor],
        x: Tensor,
        sigma: Tensor,
        condition: Condition | None,
    ) -> Tensor:
        """``call`` may return more channels than it is given."""

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        return self.through(self.denoiser, x, sigma, condition)

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        mean, std = self.through(
            lambda *at: torch.cat(self.denoiser.moments(*at), dim=1), x, sigma, condition
        ).chunk(2, dim=1)
        return mean, std


class _Guided(_Wrapped):
    def __init__(
        self, denoiser: Denoiser, label: int | None, weight: float, numbers: tuple[int, ...]
    ) -> None:
        super().__init__(denoiser)
        self.label, self.weight, self.numbers = label, weight, list(numbers)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        return self._steered(self.denoiser(x, sigma, self._asked(x, condition)), x, sigma, condition)

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        """The deviation is that of what is asked for."""
        towards, std = self.denoiser.moments(x, sigma, self._asked(x, condition))
        return self._steered(towards, x, sigma, condition), std

    def _asked(self, x: Tensor, condition: Condition | None) -> Condition:
        known = condition or Condition()
        return (
            known
            if self.label is None
            else replace(known, label=torch.full((len(x),), self.label, device=x.device))
        )

    def _steered(self, towards: Tensor, x: Tensor, sigma: Tensor, condition: Condition | None) -> Tensor:
        if self.weight == 1:
            return towards
        known = condition or Condition()
        away = self.denoiser(
            x,
            sigma,
            Condition(
                None if self.label is not None else known.label, self._unsaid(known.numbers), known.position
            ),
        )
        return away + self.weight * (towards - away)

    def _unsaid(self, numbers: Tensor | None) -> Tensor | None:
        if numbers is None or not self.numbers:
            return numbers
        hidden = numbers.clone()
        hidden[:, self.numbers] = torch.nan
        return hidden


def guided(
    denoiser: Denoiser, label: int | None, weight: float = 1.0, numbers: tuple[int, ...] = ()
) -> Denoiser:
    """Ask for a label; weight 1 is the plain conditional mean, above it exaggerates (classifier-free
    guidance, Ho and Salimans 2022).

    numbers: columns of ``Condition.numbers`` that are exaggerated with it, or alone where label is None; what
    else is known holds on both sides. Raises BadOption for a negative weight.
    """
    if not weight >= 0:
        raise BadOption(f"guidance weight: wanted a number >= 0, got {weight}")
    return _Guided(denoiser, label, weight, numbers)


class _Changed(_Wrapped):
    """mean, std: what becomes of the denoiser's own."""

    def __init__(
        self, denoiser: Denoiser, mean: Callable[[Tensor], Tensor], std: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__(denoiser)
        self.mean, self.std = mean, std

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        return self.mean(self.denoiser(x, sigma, condition))

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        mean, std = self.denoiser.moments(x, sigma, condition)
        return self.mean(mean), self.std(std)


def with_known(denoiser: Denoiser, known: Tensor, free: Tensor) -> Denoiser:
    """A denoiser that knows part of the answer: where ``free`` is 0 it is ``known``, where it is 1 the
    denoiser decides, between them both.

    known: shaped as x; free: 0 to 1, broadcastable to it. Every level sees the known part with its noise, so
    what is made fits to it.
    """
    return _Changed(denoiser, lambda mean: known + free * (mean - known), lambda std: free * std)


class _BlockMeans(_Wrapped):
    def __init__(self, denoiser: Denoiser, coarse: Tensor) -> None:
        super().__init__(denoiser)
        self.coarse = coarse
        self.pool = F.avg_pool2d if coarse.ndim == 4 else F.avg_pool3d

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        return self._fitted(self.denoiser(x, sigma, condition), sigma)

    def moments(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> tuple[Tensor, Tensor]:
        mean, std = self.denoiser.moments(x, sigma, condition)
        return self._fitted(mean, sigma), std

    def _fitted(self, mean: Tensor, sigma: Tensor) -> Tensor:
        """mean + C A^T (A C A^T)^-1 (coarse - A mean), in Fourier space, where C is diagonal and A C A^T is
        the mean over the frequencies that the coarse grid cannot tell apart.
        """
        axes, size = tuple(range(2, mean.ndim)), tuple(mean.shape[2:])
        error = self.spectrum(sigma[:1], size).to(mean)
        missing = torch.fft.fftn(self.coarse - self.pool(mean, 2), dim=axes)
        seen = _block_mean_gain(size).to(missing)
        heard = seen.abs().square() * error
        together = sum(heard.roll(shift, last) for shift, last in _aliases(size))
        every = missing.repeat(1, 1, *[2] * len(size))
        return mean + torch.fft.ifftn(every * 2 ** len(size) * error * seen.conj() / together, dim=axes).real


def _block_mean_gain(size: tuple[int, ...]) -> Tensor:
    """(*size) complex: of each FFT coefficient, the mean of a voxel and its next one along each axis."""
    gain = torch.ones(size, dtype=torch.complex128)
    for axis, n in enumerate(size):
        wave = torch.exp(2j * torch.pi * torch.arange(n, dtype=torch.float64) / n)
        gain = gain * ((1 + wave) / 2).reshape([-1 if at == axis else 1 for at in range(len(size))])
    return gain


def _aliases(size: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shifts between frequencies that are one on a grid half as fine."""
    axes = tuple(range(-len(size), 0))
    return [(shift, axes) for shift in product(*((0, n // 2) for n in size))]


def with_block_means(denoiser: Denoiser, coarse: Tensor) -> Denoiser:
    """A denoiser that knows a coarse image: the mean of each block of 2 voxels along each axis.

    coarse: shaped as x, half as large along each axis of the image. What it knows of the rest follows from
    the power spectrum of the denoiser's error: a Gaussian, the same at each place (Rozet et al. 2024, eq.
    14).
    """
    return _BlockMeans(denoiser, coarse)


def cautious(denoiser: Denoiser, doubt: float | None = None, share: float | None = None) -> Denoiser:
    """Its standard deviation times ``doubt``, and the ``share`` of its variance spread over the whole image,
    of a volume over each slice; the mean stays.

    A network names the error that it makes on images like those it learned from. During reconstruction the
    noise is different, so the network can be sure and wrong. A rule would then trust it at every level, the
    data could not correct it, and all draws would share the fault. doubt: default the denoiser's own
    ``caution``, which is 1 where its covariance is exact. share: default doubt - 1, at most 1. Both were
    chosen on val (bench/caution.py): a share gains in MRI, and with the doubt draws spread about as much as
    they err; more doubt loses.

    Raises BadOption unless doubt > 0 and 0 <= share <= 1.
    """
    doubt = denoiser.caution if doubt is None else doubt
    share = min(max(doubt - 1, 0.0), 1.0) if share is None else share
    if not (doubt > 0 and 0 <= share <= 1):
        raise BadOption(f"cautious: wanted doubt > 0 and a share in 0..1, got {doubt}, {share}")
    if (doubt, share) == (1, 0):
        return denoiser

    def wider(std: Tensor) -> Tensor:
        variance = std.square()
        everywhere = variance.mean(dim=(1, 2, 3), keepdim=True)
        return doubt * ((1 - share) * variance + share * everywhere).sqrt()

    return _Changed(denoiser, lambda mean: mean, wider)


class _Tiled(_Through):
    def __init__(self, denoiser: Denoiser, tile: int, overlap: int) -> None:
        super().__init__(denoiser)
        self.tile, self.overlap = tile, overlap

    def through(
        self,
        call: Callable[[Tensor, Tensor, Condition | None], Tensor],
        x: Tensor,
        sigma: Tensor,
        condition: Condition | None,
    ) -> Tensor:
        full = tuple(x.shape[2:])
        if all(n <= self.tile for n in full):
            return call(x, sigma, condition)
        size = tuple(min(n, self.tile) for n in full)
        window = _hill(size, self.overlap).to(x)
        weight, total = x.new_zeros(full), x.new_zeros(0)
        for start in _starts(full, size, self.overlap):
            cut = tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))
            here = replace(
                condition or Condition(),
                position=position_channels(size, full=full, start=start, device=x.device)[None],
            )
            piece = window * call(x[(..., *cut)].contiguous(), sigma, here)
            total = total if len(total) else x.new_zeros(*piece.shape[:2], *full)
            total[(..., *cut)] += piece
            weight[cut] += window
        return total / weight


def tiled(denoiser: Denoiser, tile: int = 128, overlap: int = 32) -> Denoiser:
    """Large images by overlapping windows that know where they lie; smaller images pass untouched. Memory
    stays that of one tile.

    Raises BadOption unless 0 <= overlap < tile.
    """
    if not 0 <= overlap < tile:
        raise BadOption(f"tiled: wanted 0 <= overlap < tile, got tile {tile}, overlap {overlap}")
    return _Tiled(denoiser, tile, overlap)


def _starts(full: tuple[int, ...], size: tuple[int, ...], overlap: int) -> Iterator[tuple[int, ...]]:
    lines = []
    for n, s in zip(full, size, strict=True):
        count = max(1, -(-(n - overlap) // max(1, s - overlap)))
        lines.append([round(i * (n - s) / max(1, count - 1)) for i in range(count)])
    return product(*lines)


def _hill(size: tuple[int, ...], overlap: int) -> Tensor:
    """A window that falls to both sides over the overlap, so that seams blend."""
    window = torch.ones(size)
    for axis, n in enumerate(size):
        distance = torch.minimum(torch.arange(n) + 1, torch.arange(n, 0, -1)).float()
        line = (distance / (overlap + 1)).clamp_max(1.0)
        window = window * line.reshape([-1 if a == axis else 1 for a in range(len(size))])
    return window


class _Slicewise(_Through):
    def __init__(self, denoiser: Denoiser, batch: int) -> None:
        super().__init__(denoiser)
        self.batch = batch

    def through(
        self,
        call: Callable[[Tensor, Tensor, Condition | None], Tensor],
        x: Tensor,
        sigma: Tensor,
        condition: Condition | None,
    ) -> Tensor:
        n = x.shape[-1]
        slices = x.movedim(-1, 1).flatten(0, 1)
        levels = sigma.expand(len(x)).repeat_interleave(n)
        given = condition or Condition()
        if given.position is not None:
            raise BadOption("slicewise: a slice is a whole image and takes no position", "leave position out")
        label = None if given.label is None else given.label.repeat_interleave(n)
        known = Condition(label, _a_slice(given.numbers, len(x), n))
        return _in_batches(call, self.batch, slices, levels, known).unflatten(0, (len(x), n)).movedim(1, -1)

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        """That of a slice, whatever the frequency through the slices: their errors are independent."""
        return self.denoiser.spectrum(sigma, size[:-1])[..., None].expand(-1, *size)


def _a_slice(numbers: Tensor | None, images: int, slices: int) -> Tensor | None:
    """One row for every slice of every image."""
    if numbers is None:
        return None
    if len(numbers) == slices:
        return numbers.repeat(images, 1)
    if len(numbers) == images:
        return numbers.repeat_interleave(slices, 0)
    raise ShapeMismatch(
        "slicewise, numbers", f"a row for each of {slices} slices, or of {images} images", len(numbers)
    )


def slicewise(denoiser: Denoiser, batch: int = 16) -> Denoiser:
    """A 2-D denoiser on (B, C, i, j, k), slice by slice along k. condition.label: one an image; numbers: a
    row a slice, or else a row an image.

    Raises ShapeMismatch for other numbers, BadOption for a position.
    """
    return _Slicewise(denoiser, batch)


class _Batched(_Through):
    def __init__(self, denoiser: Denoiser, most: int) -> None:
        super().__init__(denoiser)
        self.most = most

    def through(
        self,
        call: Callable[[Tensor, Tensor, Condition | None], Tensor],
        x: Tensor,
        sigma: Tensor,
        condition: Condition | None,
    ) -> Tensor:
        return _in_batches(call, self.most, x, sigma, condition)


def _in_batches(
    call: Callable[[Tensor, Tensor, Condition | None], Tensor],
    most: int,
    x: Tensor,
    sigma: Tensor,
    condition: Condition | None,
) -> Tensor:
    if len(x) <= most:
        return call(x, sigma, condition)
    sigma, given = sigma.expand(len(x)), condition or Condition()
    parts = [slice(a, a + most) for a in range(0, len(x), most)]
    return torch.cat([call(x[p], sigma[p], _rows(given, p, len(x))) for p in parts])


def _rows(condition: Condition, part: slice, n: int) -> Condition:
    def cut(value: Tensor | None) -> Tensor | None:
        return value[part] if value is not None and len(value) == n else value

    return Condition(cut(condition.label), cut(condition.numbers), cut(condition.position))


def batched(denoiser: Denoiser, most: int = 16) -> Denoiser:
    """At most so many images a call: memory stays that of one batch, whatever the number of slices."""
    if most < 1:
        raise BadOption(f"batched: wanted at least 1 image a call, got {most}")
    return _Batched(denoiser, most)


class _InBfloat16(_Through):
    def through(
        self,
        call: Callable[[Tensor, Tensor, Condition | None], Tensor],
        x: Tensor,
        sigma: Tensor,
        condition: Condition | None,
    ) -> Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return call(x, sigma, condition).to(x.dtype)


def in_bfloat16(denoiser: Denoiser) -> Denoiser:
    """The network in bfloat16, all around it as it was: 1.7 times faster on processors with AVX512-BF16,
    several times slower on those without.

    Its mean moves by about 0.003 sigma (root mean square), far below its own error.
    """
    return _InBfloat16(denoiser)


class _OnDevice(_Through):
    def __init__(self, denoiser: Denoiser, device: torch.device) -> None:
        super().__init__(denoiser)
        self.device = device

    def through(
        self,
        call: Callable[[Tensor, Tensor, Condition | None], Tensor],
        x: Tensor,
        sigma: Tensor,
        condition: Condition | None,
    ) -> Tensor:
        return call(x.to(self.device), sigma.to(self.device), condition).to(x.device)


def on_device(denoiser: Denoiser, device: torch.device) -> Denoiser:
    """The network where it lies, all around it where the images lie.

    A condition must lie with the network.
    """
    return _OnDevice(denoiser, device)

"""The anomaly detectors that a prior must beat: fitted to the same healthy scans, simple or well known, and
each given its best.

A scan is (C, i, j) or (C, i, j, k) in network units; scans may differ in size. Everything is computed on the
CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.grids import box_mean
from ...data.nearest import neighbour_distance
from ...errors import BadOption, ShapeMismatch
from .coreset import greedy_centres
from .imagenet import CELLS, CHANNELS, SIDE, ImageNetFeatures, features_available, pictures

__all__ = [
    "Atlas",
    "Detector",
    "Intensity",
    "PCAResidual",
    "PaDiM",
    "PatchCore",
    "PlainResult",
    "features_available",
    "plain_detectors",
]

LEAST = 4
"""Healthy scans below which nothing is fitted: their deviation would be that of the scans themselves."""

GRID = {2: (64, 64), 3: (48, 48, 48)}
"""Voxels of the common grid, for images and for volumes."""

_EVERY = 2
"""Of the slices of a volume, every second one is fitted to: its neighbours hardly differ."""

_AT_ONCE = 16
"""Slices that pass the network together."""

_PER_BIN = 200
"""Slices that a Gaussian of ``PaDiM`` is fitted to, at least, before slice heights are told apart: twice its
dimensions.
"""


@dataclass(frozen=True, slots=True, eq=False)
class PlainResult:
    """What a plain detector says of one scan, higher being less healthy. map: float32, (i, j[, k]), in the
    scan's own grid; no unit.
    """

    score: float
    map: Tensor


Detector = Callable[[Tensor], PlainResult]
"""A scan (C, i, j[, k]) -> Plain."""


def plain_detectors(scans: Sequence[Tensor], *, seed: int = 0, deep: bool = True) -> dict[str, Detector]:
    """Every detector that can be fitted to these healthy scans, by the name that a report prints; PatchCore
    and PaDiM only with ``features_available``.

    deep=False: without those two, which pass every scan through a network. scans: read several times, so they
    may be loaded as they are asked for. Raises BadOption for fewer than four, or for values that are not
    finite, ShapeMismatch for scans that differ in their channels or dimensions.
    """
    found: dict[str, Detector] = {
        **INTENSITIES,
        "atlas of mean and SD": Atlas.fitted(scans),
        "PCA residual": PCAResidual.fitted(scans),
    }
    if deep and not features_available():
        features = ImageNetFeatures.pretrained()
        found["PatchCore, EfficientNet-Lite0"] = PatchCore.fitted(scans, seed=seed, features=features)
        found["PaDiM, EfficientNet-Lite0"] = PaDiM.fitted(scans, seed=seed, features=features)
    return found


@dataclass(frozen=True, slots=True)
class Intensity:
    """The value of the first channel, its mean as score. sign: 1, or -1 where dark is suspicious. Nothing is
    fitted.
    """

    sign: float = 1.0

    def __call__(self, scan: Tensor) -> PlainResult:
        _dimensions(scan)
        value = self.sign * scan[0].detach().float().cpu()
        return PlainResult(float(value.double().mean()), value)


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """Healthy scans laid over each other, voxel by voxel: |z| as map, the mean of 3 voxels each way and of
    the channels; mean z^2 as score.

    mean, std: (C, *grid), the scans brought to a common grid of at most 64 x 64 or 48 x 48 x 48; std: 0.05
    added, so that equal scans are no proof.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def fitted(cls, scans: Sequence[Tensor]) -> Atlas:
        """Raises BadOption for fewer than four scans or values that are not finite, ShapeMismatch for scans
        that differ in channels or dimensions.
        """
        stack = _stacked(scans)
        return cls(stack.mean(0), stack.std(0, correction=1) + 0.05)

    def __call__(self, scan: Tensor) -> PlainResult:
        z = (_common(scan, self.mean) - self.mean) / self.std
        smooth = box_mean(z.abs().mean(0)[None, None], 3)
        return PlainResult(float(z.double().square().mean()), _own(smooth, scan))


@dataclass(frozen=True, slots=True, eq=False)
class PCAResidual:
    """What is left of a scan beside the principal components of healthy ones: |residual| as map, the mean of
    the channels; mean residual^2 as score.

    mean: (C, *grid), the grid of ``Atlas``; components: (n, C * voxels), orthonormal.
    """

    mean: Tensor
    components: Tensor

    @classmethod
    def fitted(cls, scans: Sequence[Tensor], *, explained: float = 0.95, most: int = 64) -> PCAResidual:
        """As many components as explain that share of the variance, at most ``most`` and one fewer than
        scans; none where all are equal.

        Raises as ``Atlas.fitted``. Source: Turk and Pentland, J. Cogn. Neurosci. 3(1), 1991 (the distance
        from the space of faces).
        """
        stack = _stacked(scans)
        mean = stack.mean(0)
        apart = (stack - mean).flatten(1)
        values, vectors = torch.linalg.eigh(
            (apart @ apart.T).double()
        )  # scans are fewer than voxels: n x n holds the same components
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        share = values.cumsum(0) / values.sum().clamp_min(torch.finfo(torch.float64).tiny)
        real = int((values > 1e-10 * float(stack.double().square().sum())).sum())  # the others are rounding
        n = min(int((share < explained).sum()) + 1, len(stack) - 1, most, real)
        return cls(mean, (vectors[:, :n] / values[:n].sqrt()).float().T @ apart)

    def __call__(self, scan: Tensor) -> PlainResult:
        apart = (_common(scan, self.mean) - self.mean).flatten()
        left = (apart - (self.components @ apart) @ self.components).reshape(self.mean.shape)
        return PlainResult(float(left.double().square().mean()), _own(left.abs().mean(0)[None, None], scan))


@dataclass(frozen=True, slots=True, eq=False)
class PatchCore:
    """The distance of each patch to the nearest of a bank of healthy ones, in features of a network that
    ImageNet has trained.

    bank: (n, 176). score: the farthest patch, weighted by how alone its nearest neighbour is among its own
    (eq. 7); of a volume the worst slice. map: the distances, enlarged and smoothed by a Gaussian of 4 pixels
    at 224 x 224; volumes slice by slice along the last axis. Source: Roth et al., CVPR 2022, on a wide
    ResNet-50 with strides 8 and 16. The network here is the much smaller EfficientNet-Lite0, with stride 4,
    too.
    """

    features: ImageNetFeatures
    bank: Tensor

    @classmethod
    def fitted(
        cls,
        scans: Sequence[Tensor],
        *,
        seed: int = 0,
        features: ImageNetFeatures | None = None,
        share: float = 0.1,
        most: int = 20_000,
        pool: int = 400_000,
    ) -> PatchCore:
        """share: of all patches that the greedy coreset keeps, at most ``most``, chosen in 128 random
        projections.

        pool: patches among which it chooses, the same random number from each slice where there are more.
        Raises as ``Atlas.fitted``, MissingExtra without the wheels.
        """
        channels = _checked(scans)[0]
        features = features or ImageNetFeatures.pretrained()
        rng = torch.Generator().manual_seed(seed)
        n_slices = sum(len(_slices(scan, channels)[::_EVERY]) for scan in scans)
        kept, patches = max(1, min(CELLS**2, pool // n_slices)), []
        for images in _batches(scans):
            found = features(images, pooled=True).flatten(2).movedim(1, 2)
            patches += (
                [f[torch.randperm(CELLS**2, generator=rng)[:kept]] for f in found]
                if kept < CELLS**2
                else [found.flatten(0, 1)]
            )
        points = torch.cat(patches)
        del patches
        projected = points @ (torch.randn(CHANNELS, 128, generator=rng) / math.sqrt(128))
        size = min(most, math.ceil(share * n_slices * CELLS**2))
        first = int(torch.randint(len(points), (), generator=rng))
        return cls(features, points[greedy_centres(projected, size, first=first)])

    def __call__(self, scan: Tensor) -> PlainResult:
        return _slicewise(scan, self._judged)

    def _judged(self, images: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        found = self.features(images, pooled=True).flatten(2).movedim(1, 2)
        apart = neighbour_distance(found.flatten(0, 1), self.bank, 1).reshape(len(images), -1)
        score, at = apart.max(1)
        worst = found[torch.arange(len(found)), at]
        neighbour = self.bank[torch.cdist(worst, self.bank).argmin(1)]
        around = torch.cdist(neighbour, self.bank).topk(min(9, len(self.bank)), dim=1, largest=False).indices
        away = (worst[:, None] - self.bank[around]).square().sum(-1).sqrt()
        weight = 1 - away.softmax(1)[:, 0] if len(self.bank) > 1 else torch.ones(len(away))
        return score * weight, _smoothed(apart)


@dataclass(frozen=True, slots=True, eq=False)
class PaDiM:
    """The Mahalanobis distance of each patch from healthy ones at the same place, in features of a network
    that ImageNet has trained.

    channels: (100,) of its features, drawn at random; mean: (bins, places, 100); whitening: (bins, places,
    100, 100), the inverse Cholesky factor of each covariance plus 0.01 I. bins: slice heights that are kept
    apart, 1 for images. score: highest value of the map before it takes the scan's size. Source: Defard et
    al., ICPR workshops 2021, on a ResNet with strides 4, 8 and 16. The network here is the smaller
    EfficientNet-Lite0, with the same strides. Map as ``PatchCore``.
    """

    features: ImageNetFeatures
    channels: Tensor
    mean: Tensor
    whitening: Tensor

    @classmethod
    def fitted(
        cls,
        scans: Sequence[Tensor],
        *,
        seed: int = 0,
        features: ImageNetFeatures | None = None,
        n_channels: int = 100,
        bins: int = 12,
    ) -> PaDiM:
        """bins: most; fewer where a bin would hold under 200 slices or miss some scans. Raises as
        ``Atlas.fitted``, MissingExtra without the wheels.
        """
        channels = _checked(scans)[0]
        features = features or ImageNetFeatures.pretrained()
        chosen = (
            torch.randperm(CHANNELS, generator=torch.Generator().manual_seed(seed))[:n_channels].sort().values
        )
        used = [len(_slices(scan, channels)[::_EVERY]) for scan in scans]
        bins = max(1, min(bins, sum(used) // _PER_BIN, *used))
        means, factors = [], []
        for number in range(bins):
            mean, covariance = _moments(
                features(images, pooled=False)[:, chosen] for images in _batches(scans, number, bins)
            )
            factor = torch.linalg.cholesky(covariance + 0.01 * torch.eye(len(chosen), dtype=covariance.dtype))
            factors.append(
                torch.linalg.solve_triangular(
                    factor, torch.eye(len(chosen), dtype=factor.dtype), upper=False
                ).float()
            )
            means.append(mean.float())
        return cls(features, chosen, torch.stack(means), torch.stack(factors))

    def __call__(self, scan: Tensor) -> PlainResult:
        return _slicewise(scan, self._judged)

    def _judged(self, images: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
        found = self.features(images, pooled=False)[:, self.channels].flatten(2).movedim(1, 2)
        bin_of = (height * len(self.mean)).long()
        apart = torch.empty(found.shape[:2])
        for number in bin_of.unique().tolist():
            here = bin_of == number
            white = self.whitening[number] @ (found[here] - self.mean[number]).movedim(
                0, 2
            )  # (places, 100, slices)
            apart[here] = white.square().sum(1).sqrt().T
        smooth = _smoothed(apart)
        return smooth.flatten(1).amax(1), smooth


INTENSITIES: dict[str, Detector] = {"mean intensity": Intensity(), "minus mean intensity": Intensity(-1.0)}
"""Need no healthy scan."""


def _moments(parts: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """(n, d, i, j) in parts -> mean (i * j, d) and covariance (i * j, d, d) at each place, float64."""
    n, start, total, square = 0, torch.zeros(()), torch.zeros(()), torch.zeros(())
    for part in parts:
        x = part.flatten(2).permute(2, 0, 1).double()
        start = (
            start if n else x.mean(1, keepdim=True)
        )  # near the mean already, so that no digits are lost in a difference of squares
        x = x - start
        n, total, square = n + x.shape[1], total + x.sum(1), square + x.mT @ x
    return start[:, 0] + total / n, (square - total[:, :, None] * total[:, None] / n) / max(n - 1, 1)


def _slicewise(scan: Tensor, judged: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> PlainResult:
    """The worst score of all slices, and their maps in the scan's grid. judged: pictures, heights (n,) in
    0..1 -> scores (n,), maps (n, 224, 224).
    """
    slices = _slices(scan, scan.shape[0])
    height = (torch.arange(len(slices)) + 0.5) / len(slices)
    scores, maps = [], []
    for part, at in zip(slices.split(_AT_ONCE), height.split(_AT_ONCE), strict=True):
        score, values = judged(pictures(part), at)
        scores.append(score)
        maps.append(
            F.interpolate(
                values[:, None], tuple(scan.shape[1:3]), mode="bilinear", align_corners=False, antialias=True
            )[:, 0]
        )
    whole = torch.cat(maps)
    return PlainResult(
        float(torch.cat(scores).max()), whole[0] if scan.ndim == 3 else whole.movedim(0, -1).contiguous()
    )


def _batches(scans: Sequence[Tensor], number: int = 0, bins: int = 1) -> Iterator[Tensor]:
    """Pictures of the slices that are fitted to, ``_AT_ONCE`` at a time, of one bin of slice heights."""
    waiting: list[Tensor] = []
    for scan in scans:
        slices = _slices(scan, scan.shape[0])
        at = torch.arange(0, len(slices), _EVERY)
        at = at[((at + 0.5) / len(slices) * bins).long() == number]
        waiting += pictures(slices[at]).unbind() if len(at) else []
        while len(waiting) >= _AT_ONCE:
            yield torch.stack(waiting[:_AT_ONCE])
            waiting = waiting[_AT_ONCE:]
    if waiting:
        yield torch.stack(waiting)


def _slices(scan: Tensor, channels: int) -> Tensor:
    """(C, i, j) -> (1, C, i, j); (C, i, j, k) -> (k, C, i, j)."""
    _dimensions(scan, channels)
    scan = scan.detach().float().cpu()
    return scan[None] if scan.ndim == 3 else scan.movedim(-1, 0)


def _smoothed(apart: Tensor) -> Tensor:
    """(n, places) -> (n, 224, 224): enlarged, then a Gaussian of 4 pixels, cut at 4 of them, mirrored at the
    border.
    """
    image = F.interpolate(
        apart.reshape(-1, 1, CELLS, CELLS), (SIDE, SIDE), mode="bilinear", align_corners=False
    )
    kernel = torch.exp(-(torch.arange(-16, 17) ** 2) / (2 * 4**2))
    kernel = kernel / kernel.sum()
    image = F.conv2d(F.pad(image, (0, 0, 16, 16), mode="reflect"), kernel[None, None, :, None])
    return F.conv2d(F.pad(image, (16, 16, 0, 0), mode="reflect"), kernel[None, None, None])[:, 0]


def _stacked(scans: Sequence[Tensor]) -> Tensor:
    """(n, C, *grid): the scans on their common grid, which has no more voxels than the largest of them on any
    axis.
    """
    channels, ndim, size = _checked(scans)
    grid = tuple(min(most, n) for most, n in zip(GRID[ndim], size, strict=True))
    like = torch.empty(channels, *grid)
    return torch.stack([_common(scan, like) for scan in scans])


def _common(scan: Tensor, like: Tensor) -> Tensor:
    """(C, i, j[, k]) -> (C, *grid), the shape of ``like``: means of the voxels that each of the grid
    holds.
    """
    _dimensions(scan, like.shape[0], like.ndim - 1)
    return F.interpolate(scan.detach().float().cpu()[None], tuple(like.shape[1:]), mode="area")[0]


def _own(values: Tensor, scan: Tensor) -> Tensor:
    """(1, 1, *grid) -> (i, j[, k]) of the scan, linear."""
    return F.interpolate(
        values, tuple(scan.shape[1:]), mode="bilinear" if scan.ndim == 3 else "trilinear", align_corners=False
    )[0, 0]


def _checked(scans: Sequence[Tensor]) -> tuple[int, int, tuple[int, ...]]:
    """Channels, dimensions and the largest size on each axis of scans that something can be fitted to."""
    if len(scans) < LEAST:
        raise BadOption(
            f"detector: wanted at least {LEAST} healthy scans, got {len(scans)}", "give more healthy scans"
        )
    channels, ndim, size = scans[0].shape[0], scans[0].ndim - 1, [0, 0, 0]
    for scan in scans:
        _dimensions(scan, channels, ndim)
        size = [max(a, b) for a, b in zip(size, scan.shape[1:], strict=False)]
    return channels, ndim, tuple(size)


def _dimensions(scan: Tensor, channels: int | None = None, ndim: int | None = None) -> None:
    """Raises ShapeMismatch unless the scan is an image or a volume of that kind, BadOption unless it has
    values and all are finite.
    """
    if scan.ndim - 1 not in ((2, 3) if ndim is None else (ndim,)) or channels not in (None, scan.shape[0]):
        raise ShapeMismatch(
            "detector, scan",
            f"({channels or 'C'}, i, j{'' if ndim == 2 else ', k' if ndim else '[, k]'})",
            tuple(scan.shape),
        )
    if not scan.numel() or not bool(torch.isfinite(scan).all()):
        raise BadOption("detector: wanted finite values, got NaN, infinity or an empty scan")

"""What healthy scans look like to a prior, kept beside its weights, and how far a scan is from that: six
kinds of evidence, and a map.

features: Mahalanobis distance of a slice's pooled features (Lee et al., NeurIPS 2018). memory: distance of
each place's features to the nearest means of healthy patients near that place (after PatchCore, Roth et al.,
CVPR 2022). layout: Mahalanobis distance of what a denoising step would change, in a few cells. coarse: the
same at all noise levels together, in larger cells. profile: the same of the denoising errors' sizes. map: the
highest values of the map. At each place it is the larger of two values, both compared with healthy scans
there. One is the change by several denoising steps, in units of the expected error; the other is the distance
in the memory.

Every part is learned from healthy scans alone, each taken again as if acquired a little otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.grids import box_mean, slice_heights
from ..data.seeds import generator
from ..errors import BadOption, Uncalibrated, WrongKind
from ..prior import Condition, Prior
from .acquisition import AcquisitionModel, Sketch, sketch
from .features import SIGMAS, ScanFeatures, scan_features
from .memory import Memory, Shown, slice_distances, volume_distance_map
from .statistics import WAVES, HeightGaussian, HeightTrend, PlaceStatistics, grid_moments, upsample_grid
from .variants import reacquire, repose

__all__ = [
    "EVIDENCE",
    "JOINED",
    "LEAST",
    "HealthyModel",
    "HealthySample",
    "NetworkScan",
    "ScanEvidence",
    "ScanSummary",
    "fingerprint",
    "fit_healthy_model",
    "learn_healthy_model",
    "n_draws_for",
    "n_variants_for",
    "prior_expectation",
    "sketch_variants",
    "summarize",
]

EVIDENCE = ("features", "memory", "layout", "coarse", "profile", "map")
"""Kinds of evidence, in the order of ``ScanEvidence.evidence``."""

JOINED = ("memory", "layout", "coarse", "map")
"""Those that the score joins: on the val part of each of three data sets the others took something away from
them (docs/detect.md).
"""

LEAST = 8
"""Healthy scans below which nothing is learned: a spread of fewer is a guess."""

_LAYOUT_AT, _LAYOUT, _COARSE = 0.2, {2: 14, 3: 6}, {2: 7, 3: 4}
"""Noise level, and cells a side, of the layout; cells a side where all levels are together."""
_STRETCHED = 2.0
"""How much farther from a scan its variants count than they are: in directions in which an acquisition can
change a scan, little is unusual.
"""
_MAP = {0.2: 5, 0.4: 7, 0.8: 9}
"""Noise levels of the map and the voxels over which each is averaged: more noise hides, and so finds, larger
things. Of images with a longer side than _SIDE they grow with it: there the same thing has more voxels."""
_SIDE = 112
_SLICES, _VOXELS = 0.25, 0.01
"""Share of a volume's slices, and of a map's voxels, whose mean stands for the whole: a finding is somewhere,
not everywhere.
"""
_MANY = 128 * 128
"""Voxels from which one noise a level is enough."""
_FOLDS = 5
"""Parts of the scans, each of which is measured by what the others teach."""
_GAUSSIAN = ("features", "layout", "coarse", "profile")
"""Kinds of evidence that are a distance of Mahalanobis."""
_LEAST_DOUBT = 0.01
"""Network units; in air the prior is surer of itself than any scan is stored."""


@dataclass(frozen=True, slots=True)
class NetworkScan:
    """A scan in network units, as the door admits it. images: (B, C, i, j[, k]); stack: the B slices are one
    volume's.
    """

    images: Tensor
    condition: Condition
    stack: bool

    @property
    def whole(self) -> Tensor:
        """(C, i, j[, k]): the image, or the volume as one."""
        return self.images.movedim(0, -1) if self.stack else self.images[0]

    @property
    def coordinates(self) -> int:
        """Of a place in it: 2 in an image, 3 in a volume."""
        return 3 if self.stack else self.images.ndim - 2

    @property
    def heights(self) -> Tensor | None:
        """(B,) of slices, -1 first to 1 last."""
        return slice_heights(len(self.images)) if self.stack else None


@dataclass(frozen=True, slots=True)
class ScanEvidence:
    """evidence: (6,), each in deviations of healthy scans. slices: (B, 5) of each slice, all but the map.
    map: (i, j[, k]), the same unit.
    """

    evidence: Tensor
    slices: Tensor
    map: Tensor


@dataclass(frozen=True, slots=True)
class HealthyModel:
    """Learned by ``learn_healthy_model``. gaussians: by name.

    courses: of the slices' evidence; places: of each level of the map, and last of the memory's distances.
    """

    gaussians: Mapping[str, HeightGaussian]
    courses: tuple[HeightTrend, ...]
    memory: Memory
    places: tuple[PlaceStatistics, ...]
    kind: AcquisitionModel

    def tensors(self) -> dict[str, Tensor]:
        """As safetensors keep them."""
        found = self.memory.tensors()
        for name, usual in self.gaussians.items():
            found |= usual.tensors(name)
        for n, course in enumerate(self.courses):
            found |= course.tensors(f"course{n}")
        for n, place in enumerate(self.places):
            found |= place.tensors(f"place{n}")
        return found | self.kind.tensors("kind")

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Raises Uncalibrated where one is missing: another version wrote them."""
        try:
            return cls(
                {name: HeightGaussian.of(name, tensors) for name in _GAUSSIAN},
                tuple(HeightTrend.of(f"course{n}", tensors) for n in range(len(EVIDENCE) - 1)),
                Memory.of(tensors),
                tuple(PlaceStatistics.of(f"place{n}", tensors) for n in range(len(_MAP) + 1)),
                AcquisitionModel.of("kind", tensors),
            )
        except KeyError as error:
            raise Uncalibrated(
                f"what this prior knows of healthy scans was written by another version ({error})",
                "calibrate it again",
            ) from error

    def check(self, scan: NetworkScan) -> None:
        """Raises WrongKind for an image where volumes were learned, or the other way round."""
        if (learned := self.memory.coordinates) != scan.coordinates:
            kinds = {2: "single images", 3: "volumes"}
            raise WrongKind(
                f"the prior was shown {kinds[learned]}, and this is one of {kinds[scan.coordinates]}",
                "calibrate it with scans like this one",
            )

    def unusual(self, prior: Prior, scan: NetworkScan) -> ScanEvidence:
        """How far a scan is from healthy ones. Raises WrongKind as ``check``."""
        self.check(scan)
        return self.judged(summarize(prior, scan), scan.heights)

    def judged(self, found: ScanSummary, heights: Tensor | None) -> ScanEvidence:
        """The same of what was seen before."""
        near = self.memory.near(found.local, heights)
        parts = {
            name: usual.distance(found.vectors[name], heights) for name, usual in self.gaussians.items()
        } | {"memory": slice_distances(near)}
        logs = torch.stack([parts[name] for name in EVIDENCE[:-1]], dim=1)
        slices = torch.stack(
            [
                course.unusual(part, heights)
                for course, part in zip(self.courses, logs.unbind(1), strict=True)
            ],
            dim=1,
        )
        changed = torch.stack(
            [
                place.unusual(part.float())
                for place, part in zip(self.places[:-1], found.standing, strict=True)
            ]
        ).mean(0)
        at = torch.maximum(
            changed, upsample_grid(self.places[-1].unusual(volume_distance_map(near, heights)), changed.shape)
        )
        return ScanEvidence(
            torch.cat([_worst(slices, _SLICES), _worst(at.flatten()[:, None], _VOXELS)]), slices, at
        )


@dataclass(frozen=True, slots=True)
class ScanSummary:
    """What is needed of a scan as the prior saw it. vectors: (B, d) of each kind of evidence that is a
    Gaussian; local: as of ``ScanFeatures``, in half precision.

    standing: (levels, i, j[, k]) size of the offset in units of the prior's own doubt, half precision.
    """

    vectors: Mapping[str, Tensor]
    local: Tensor
    standing: Tensor


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what is known of healthy scans, so that a calibration belongs to what it was made with."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def summarize(prior: Prior, scan: NetworkScan) -> ScanSummary:
    """A scan of few voxels is seen under two noises a level, a larger one averages a single one out."""
    looked = scan_features(prior, scan.images, scan.condition, n_draws=n_draws_for(scan.images))
    at, n = SIGMAS.index(_LAYOUT_AT), looked.offset.ndim - 2
    vectors = {
        "features": looked.pooled,
        "layout": _cells(looked.offset[:, at : at + 1], _LAYOUT[n]),
        "coarse": _cells(looked.offset, _COARSE[n]),
        "profile": looked.profile,
    }
    return ScanSummary(vectors, looked.local.half(), _standing(looked, scan.stack).half())


def _cells(offset: Tensor, side: int) -> Tensor:
    """(B, n, i, j[, k]) -> (B, n * side^2 or side^3), means."""
    pool = F.adaptive_avg_pool2d if offset.ndim == 4 else F.adaptive_avg_pool3d
    return pool(offset, side).flatten(1)


def prior_expectation(prior: Prior, scan: NetworkScan) -> ScanEvidence:
    """How far a scan is from what the prior itself expects, where it was shown no healthy scans: one piece of
    evidence, the map in units of its doubt.
    """
    at = summarize(prior, scan).standing.float().mean(0)
    return ScanEvidence(_worst(at.flatten()[:, None], _VOXELS), torch.zeros(len(scan.images), 0), at)


def n_draws_for(images: Tensor) -> int:
    """Noises a level."""
    return 2 if images.numel() < _MANY else 1


def n_variants_for(images: Tensor) -> int:
    """Variants of each scan: 4 of a small image, 2 of a large one, 1 of a volume, whose slices are many; they
    take as long as the scan itself.
    """
    if len(images) > 1 or images.ndim == 5:
        return 1
    return 4 if images.numel() < _MANY else 2


def learn_healthy_model(
    prior: Prior,
    scans: Iterable[NetworkScan],
    *,
    patients: Sequence[str] | None = None,
    seed: int = 0,
    n_variants: int | None = None,
    on_step: Callable[[int], None] | None = None,
) -> tuple[HealthyModel, list[HealthySample]]:
    """From healthy scans that the prior has learned from (those held out are for its calibration); and what
    each of them gave, for ``fit_healthy_model`` without some.

    patients: of each scan, so that no scan is compared with others of its own patient; default: each scan is
    another one's. n_variants: of each scan, acquired a little otherwise; default ``n_variants_for``. Raises
    Uncalibrated for fewer than 8 scans, WrongKind for images among volumes.
    """
    absolute = prior.card.scaling == "fixed"
    taught: list[HealthySample] = []
    for i, scan in enumerate(scans):
        if patients is not None and i >= len(patients):
            raise BadOption(
                f"patients: wanted one for each scan, got {len(patients)} for more scans",
                "name the patient of each scan, in their order",
            )
        if taught and (taught[0].heights is None) != (scan.heights is None):
            raise WrongKind("the healthy scans mix images and volumes", "show the prior one kind")
        n = n_variants_for(scan.images) if n_variants is None else n_variants
        variants = [
            replace(scan, images=reacquire(scan.images, generator(seed, "acquired", i, v), absolute=absolute))
            for v in range(n)
        ]
        found = [summarize(prior, one) for one in (scan, *variants)]
        gridded = tuple(tuple(grid_moments(part.float()) for part in one.standing) for one in found)
        found = [
            replace(one, standing=one.standing[:, :0]) for one in found
        ]  # the grid is all that is needed of them
        sketches = (sketch(scan.whole), *sketch_variants(scan, i, seed=seed, n=n))
        taught.append(
            HealthySample(
                str(i) if patients is None else patients[i], scan.heights, tuple(found), gridded, sketches
            )
        )
        if on_step:
            on_step(i + 1)
    if patients is not None and len(patients) != len(taught):
        raise BadOption(
            f"patients: wanted one for each of {len(taught)} scans, got {len(patients)}",
            "name the patient of each scan, in their order",
        )
    return fit_healthy_model(taught, seed=seed), taught


def sketch_variants(scan: NetworkScan, number: int, *, seed: int = 0, n: int | None = None) -> list[Sketch]:
    """Of the scan in other postures: what is acquired with another dose or sharpness is of another kind."""
    n = n_variants_for(scan.images) if n is None else n
    return [
        sketch(replace(scan, images=repose(scan.images, generator(seed, "acquired", number, v))).whole)
        for v in range(n)
    ]


@dataclass(frozen=True, slots=True)
class HealthySample:
    """What one healthy scan gave: itself first, then its variants. gridded: of each, of each level, what a
    ``PlaceStatistics`` is fitted to.

    sketches: of itself, and of it in other postures.
    """

    patient: str
    heights: Tensor | None
    found: tuple[ScanSummary, ...]
    gridded: tuple[tuple[tuple[Tensor, Tensor], ...], ...]
    sketches: tuple[Sketch, ...]


def fit_healthy_model(taught: Sequence[HealthySample], *, seed: int = 0) -> HealthyModel:
    """Raises Uncalibrated for fewer than 8 scans, or for those of one patient."""
    if len(taught) < LEAST:
        raise Uncalibrated(
            f"{len(taught)} healthy scans are too few to learn from", f"give at least {LEAST}, better 100"
        )
    if len({scan.patient for scan in taught}) < 2:
        raise Uncalibrated(
            "the healthy scans are all of one patient",
            "give scans of others: how patients differ is what is learned",
        )
    waves = min([WAVES, *(len(scan.heights) for scan in taught if scan.heights is not None)])
    gaussians = {name: _usual(taught, name, waves) for name in _GAUSSIAN}
    courses = {name: _course(taught, name, waves) for name in _GAUSSIAN}
    memory, shares = Memory.learned(_shown(taught), generator(seed, "bank"))
    near = memory.without(_shown(taught, 2), shares)
    courses["memory"] = HeightTrend.fitted(
        torch.cat([slice_distances(one) for one in near]), _heights(taught, 2), waves
    )
    places = [
        PlaceStatistics.fitted([one[level] for scan in taught for one in scan.gridded])
        for level in range(len(_MAP))
    ]
    places.append(
        PlaceStatistics.fitted([grid_moments(volume_distance_map(one, taught[0].heights)) for one in near])
    )
    kind = AcquisitionModel.fitted([scan.sketches for scan in taught], _owners(taught))
    return HealthyModel(
        gaussians, tuple(courses[name] for name in EVIDENCE[:-1]), memory, tuple(places), kind
    )


def _usual(taught: Sequence[HealthySample], name: str, waves: int) -> HeightGaussian:
    return HeightGaussian.fitted(
        torch.cat([v for scan in taught for v in _stretched(scan, name)]), _heights(taught), waves
    )


def _course(taught: Sequence[HealthySample], name: str, waves: int) -> HeightTrend:
    """Of distances to a Gaussian of other patients: the distances of its own scans are too small."""
    owners = _owners(taught)
    parts, folds = (
        [],
        [
            [scan for scan, owner in zip(taught, owners, strict=True) if owner % _FOLDS == k]
            for k in range(_FOLDS)
        ],
    )
    for k, fold in enumerate(folds):
        usual = _usual([scan for n, other in enumerate(folds) if n != k for scan in other], name, waves)
        parts += [usual.distance(one.vectors[name], scan.heights) for scan in fold for one in scan.found]
    return HeightTrend.fitted(torch.cat(parts), _heights([scan for fold in folds for scan in fold]), waves)


def _owners(taught: Sequence[HealthySample]) -> list[int]:
    """The number of each scan's patient, 0, 1, ... as they come."""
    numbers = {name: n for n, name in enumerate(dict.fromkeys(scan.patient for scan in taught))}
    return [numbers[scan.patient] for scan in taught]


def _shown(taught: Sequence[HealthySample], most: int | None = None) -> list[Shown]:
    """Of each scan and its variants, at most so many: what the memory learns."""
    return [
        (one.local, scan.heights, owner)
        for scan, owner in zip(taught, _owners(taught), strict=True)
        for one in scan.found[:most]
    ]


def _heights(taught: Sequence[HealthySample], most: int | None = None) -> Tensor | None:
    """(n,) of the slices of all scans, each as often as it was found, at most so often; None for images."""
    every = [scan.heights for scan in taught for _ in scan.found[:most] if scan.heights is not None]
    return torch.cat(every) if every else None


def _stretched(scan: HealthySample, name: str) -> list[Tensor]:
    """Vectors of a scan and its variants, these farther from it than they are."""
    own = scan.found[0].vectors[name]
    return [own, *(own + _STRETCHED * (one.vectors[name] - own) for one in scan.found[1:])]


def _standing(looked: ScanFeatures, stack: bool) -> Tensor:
    """(levels, i, j[, k]): |offset| in units of the prior's own doubt, averaged with its sign over each
    level's width: chance averages out, a lesion stays.
    """
    parts, longer = [], max(looked.offset.shape[2:]) / _SIDE
    for sigma, voxels in _MAP.items():
        n, width = SIGMAS.index(sigma), 2 * (round(voxels * max(1.0, longer)) // 2) + 1
        ratio = looked.offset[:, n] / looked.doubt[:, n].clamp_min(_LEAST_DOUBT)
        whole = ratio.movedim(0, -1) if stack else ratio[0]
        parts.append(box_mean(whole[None, None], width)[0, 0].abs())
    return torch.stack(parts)


def _worst(values: Tensor, share: float) -> Tensor:
    """(n, k) -> (k,): mean of the highest share of each column."""
    return values.topk(max(1, round(share * len(values))), dim=0).values.mean(0)

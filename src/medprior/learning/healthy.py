"""What healthy scans look like to a prior, kept beside its weights, and how far a scan is from that: five kinds of evidence, and a map.

features: Mahalanobis distance of a slice's pooled features (Lee et al., NeurIPS 2018). memory: distance of each place's features to the nearest ones of
healthy scans near that place (PatchCore, Roth et al., CVPR 2022). layout: Mahalanobis distance of what a denoising step would change, in a few coarse cells.
profile: the same of the denoising errors at all noise levels. map: the highest values of the map, which is at each place the larger of two: what several
denoising steps would change, in units of what the prior expects there (tissue), and the distance in the memory; both among healthy scans at that place.

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

from ..data.nearest import nearest
from ..data.seeds import generator
from ..errors import Uncalibrated, WrongKind
from ..prior import Condition, Prior
from ..prior.denoiser import grid
from .acquired import reacquired
from .kind import Kind, Sketch, sketched
from .look import SIGMAS, Looked, look
from .usual import WAVES, Course, Place, Usual, averaged, laid, on_grid

__all__ = [
    "EVIDENCE",
    "LEAST",
    "Brief",
    "Healthy",
    "Seen",
    "Taught",
    "Unusual",
    "brief",
    "draws_for",
    "expected",
    "fingerprint",
    "fitted",
    "learned",
    "variants_for",
]

EVIDENCE = ("features", "memory", "layout", "profile", "map")
"""Kinds of evidence, in the order of ``Unusual.evidence``."""

LEAST = 8
"""Healthy scans below which nothing is learned: a spread of fewer is a guess."""

_LAYOUT_AT, _LAYOUT = 0.2, {2: 14, 3: 6}
"""Noise level, and cells a side, of the layout."""
_MAP = {0.2: 5, 0.4: 7, 0.8: 9}
"""Noise levels of the map and the voxels over which each is averaged: more noise hides, and so finds, larger things. Of images with a longer side than
_SIDE they grow with it: there the same thing has more voxels."""
_SIDE = 112
_BANK, _NEIGHBOURS, _AXES, _POSITION = 20_000, 3, 64, 3.0
"""Places in the memory; nearest ones that count; principal axes of their features; weight of the position (-1 to 1) beside features of unit spread."""
_SLICES, _VOXELS = 0.25, 0.01
"""Share of a volume's slices, and of a map's voxels, whose mean stands for the whole: a finding is somewhere, not everywhere."""
_MANY = 128 * 128
"""Voxels from which one noise a level is enough."""
_LEAST_DOUBT = 0.01
"""Network units; in air the prior is surer of itself than any scan is stored."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A scan in network units, as the door admits it. images: (B, C, i, j[, k]); stack: the B slices are one volume's."""

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
        n = len(self.images)
        return (2 * torch.arange(n) + 1) / n - 1 if self.stack else None


@dataclass(frozen=True, slots=True)
class Unusual:
    """evidence: (5,), each in deviations of healthy scans. slices: (B, 4) of each slice, all but the map. map: (i, j[, k]), the same unit."""

    evidence: Tensor
    slices: Tensor
    map: Tensor


@dataclass(frozen=True, slots=True)
class Healthy:
    """Learned by ``learned``. bank: (m, q + n) principal features and weighted position; turn: (q, d), shift: (d,): features -> principal.

    courses: of the slices' evidence; places: of each level of the map, and last of the memory's distances.
    """

    features: Usual
    layout: Usual
    profile: Usual
    courses: tuple[Course, ...]
    bank: Tensor
    turn: Tensor
    shift: Tensor
    places: tuple[Place, ...]
    kind: Kind

    def tensors(self) -> dict[str, Tensor]:
        """As safetensors keep them; the bank in half precision."""
        found = {"bank": self.bank.half(), "turn": self.turn, "shift": self.shift}
        for name in ("features", "layout", "profile"):
            found |= getattr(self, name).tensors(name)
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
                Usual.of("features", tensors),
                Usual.of("layout", tensors),
                Usual.of("profile", tensors),
                tuple(Course.of(f"course{n}", tensors) for n in range(len(EVIDENCE) - 1)),
                tensors["bank"].float(),
                tensors["turn"].float(),
                tensors["shift"].float(),
                tuple(Place.of(f"place{n}", tensors) for n in range(len(_MAP) + 1)),
                Kind.of("kind", tensors),
            )
        except KeyError as error:
            raise Uncalibrated(f"what this prior knows of healthy scans was written by another version ({error})", "calibrate it again") from error

    def check(self, scan: Seen) -> None:
        """Raises WrongKind for an image where volumes were learned, or the other way round."""
        if (learned := self.bank.shape[1] - len(self.turn)) != scan.coordinates:
            kinds = {2: "single images", 3: "volumes"}
            raise WrongKind(f"the prior was shown {kinds[learned]}, and this is one of {kinds[scan.coordinates]}", "calibrate it with scans like this one")

    def unusual(self, prior: Prior, scan: Seen) -> Unusual:
        """How far a scan is from healthy ones. Raises WrongKind as ``check``."""
        self.check(scan)
        return self.judged(brief(prior, scan), scan.heights)

    def judged(self, found: Brief, heights: Tensor | None) -> Unusual:
        """The same of what was seen before."""
        near = _near(found, heights, self.bank, self.turn, self.shift)
        logs = torch.stack(
            [
                self.features.distance(found.pooled, heights),
                _slicewise(near),
                self.layout.distance(found.layout, heights),
                self.profile.distance(found.profile, heights),
            ],
            dim=1,
        )
        slices = torch.stack([course.unusual(part, heights) for course, part in zip(self.courses, logs.unbind(1), strict=True)], dim=1)
        changed = torch.stack([place.unusual(part.float()) for place, part in zip(self.places[:-1], found.standing, strict=True)]).mean(0)
        at = torch.maximum(changed, laid(self.places[-1].unusual(_whole(near, heights)), changed.shape))
        return Unusual(torch.cat([_worst(slices, _SLICES), _worst(at.flatten()[:, None], _VOXELS)]), slices, at)


@dataclass(frozen=True, slots=True)
class Brief:
    """What is needed of a scan as the prior saw it. pooled, profile: as of ``Looked``; local: in half precision.

    layout: (B, n) signed offset in coarse cells. standing: (levels, i, j[, k]) size of the offset in units of the prior's own doubt, half precision.
    """

    pooled: Tensor
    local: Tensor
    profile: Tensor
    layout: Tensor
    standing: Tensor


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what is known of healthy scans, so that a calibration belongs to what it was made with."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def brief(prior: Prior, scan: Seen) -> Brief:
    """A scan of few voxels is seen under two noises a level, a larger one averages a single one out."""
    looked = look(prior, scan.images, scan.condition, n_draws=draws_for(scan.images))
    offset = looked.offset[:, SIGMAS.index(_LAYOUT_AT)]
    side = _LAYOUT[offset.ndim - 1]
    layout = (F.adaptive_avg_pool2d(offset, side) if offset.ndim == 3 else F.adaptive_avg_pool3d(offset, side)).flatten(1)
    return Brief(looked.pooled, looked.local.half(), looked.profile, layout, _standing(looked, scan.stack).half())


def expected(prior: Prior, scan: Seen) -> Unusual:
    """How far a scan is from what the prior itself expects, where it was shown no healthy scans: one piece of evidence, the map in units of its doubt."""
    at = brief(prior, scan).standing.float().mean(0)
    return Unusual(_worst(at.flatten()[:, None], _VOXELS), torch.zeros(len(scan.images), 0), at)


def draws_for(images: Tensor) -> int:
    """Noises a level."""
    return 2 if images.numel() < _MANY else 1


def variants_for(images: Tensor) -> int:
    """Variants of each scan: 4 of a small image, 2 of a large one, 1 of a volume, whose slices are many; they take as long as the scan itself."""
    if len(images) > 1 or images.ndim == 5:
        return 1
    return 4 if images.numel() < _MANY else 2


def learned(
    prior: Prior, scans: Iterable[Seen], *, seed: int = 0, n_variants: int | None = None, on_step: Callable[[int], None] | None = None
) -> tuple[Healthy, list[Taught]]:
    """From healthy scans that the prior has learned from (those held out are for its calibration); and what each of them gave, for ``fitted`` without some.

    n_variants: of each scan, acquired a little otherwise; default ``variants_for``. Raises Uncalibrated for fewer than 8 scans, WrongKind for images
    among volumes.
    """
    absolute = prior.card.scaling == "fixed"
    taught: list[Taught] = []
    for i, scan in enumerate(scans):
        if taught and (taught[0].heights is None) != (scan.heights is None):
            raise WrongKind("the healthy scans mix images and volumes", "show the prior one kind")
        n = variants_for(scan.images) if n_variants is None else n_variants
        variants = [replace(scan, images=reacquired(scan.images, generator(seed, "acquired", i, v), absolute=absolute)) for v in range(n)]
        found = [brief(prior, one) for one in (scan, *variants)]
        gridded = tuple(tuple(on_grid(part.float()) for part in one.standing) for one in found)
        found = [replace(one, standing=one.standing[:, :0]) for one in found]  # the grid is all that is needed of them
        taught.append(Taught(scan.heights, tuple(found), gridded, tuple(sketched(one.whole) for one in (scan, *variants))))
        if on_step:
            on_step(i + 1)
    return fitted(taught, seed=seed), taught


@dataclass(frozen=True, slots=True)
class Taught:
    """What one healthy scan gave: itself first, then its variants. gridded: of each, of each level, what a ``Place`` is fitted to; sketches: of each."""

    heights: Tensor | None
    found: tuple[Brief, ...]
    gridded: tuple[tuple[tuple[Tensor, Tensor], ...], ...]
    sketches: tuple[Sketch, ...]


def fitted(taught: Sequence[Taught], *, seed: int = 0) -> Healthy:
    """Raises Uncalibrated for fewer than 8 scans."""
    if len(taught) < LEAST:
        raise Uncalibrated(f"{len(taught)} healthy scans are too few to learn from", f"give at least {LEAST}, better 100")
    found = [one for scan in taught for one in scan.found]
    heights = None if taught[0].heights is None else torch.cat([scan.heights for scan in taught for _ in scan.found if scan.heights is not None])
    seen = {name: torch.cat([getattr(one, name) for one in found]) for name in ("pooled", "layout", "profile")}
    waves = min([WAVES, *(len(scan.heights) for scan in taught if scan.heights is not None)])
    features, layout, profile = (Usual.fitted(vectors, heights, waves) for vectors in seen.values())
    bank, owners, turn, shift = _bank(taught, generator(seed, "bank"))
    near = [_near(one, scan.heights, bank[owners != n], turn, shift) for n, scan in enumerate(taught) for one in scan.found[:2]]
    few = None if heights is None else torch.cat([scan.heights for scan in taught for _ in scan.found[:2] if scan.heights is not None])
    courses = (
        Course.fitted(features.distance(seen["pooled"], heights), heights, waves),
        Course.fitted(torch.cat([_slicewise(one) for one in near]), few, waves),
        Course.fitted(layout.distance(seen["layout"], heights), heights, waves),
        Course.fitted(profile.distance(seen["profile"], heights), heights, waves),
    )
    places = [Place.fitted([one[level] for scan in taught for one in scan.gridded]) for level in range(len(_MAP))]
    places.append(Place.fitted([on_grid(_whole(one, taught[0].heights)) for one in near]))
    return Healthy(features, layout, profile, courses, bank, turn, shift, tuple(places), Kind.fitted([scan.sketches for scan in taught]))


def _bank(taught: Sequence[Taught], rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The memory: places of all scans, evenly drawn, their owners, and how features are turned into it."""
    each = -(-2 * _BANK // sum(len(scan.found) for scan in taught))
    parts, wheres, owners = [], [], []
    for n, scan in enumerate(taught):
        for one in scan.found:
            features, where = _placed(one.local, scan.heights)
            at = torch.randperm(len(features), generator=rng)[:each]
            parts.append(features[at])
            wheres.append(where[at])
            owners.append(torch.full((len(at),), n))
    features, where, owner = torch.cat(parts), torch.cat(wheres), torch.cat(owners)
    middle, spread = features.mean(0), features.std(0).clamp_min(1e-6)
    axes = torch.linalg.svd((features - middle) / spread, full_matrices=False)[2][:_AXES]
    turn = axes / spread / len(axes) ** 0.5
    at = torch.randperm(len(features), generator=rng)[:_BANK]
    bank = torch.cat([(features[at] - middle) @ turn.T, where[at]], dim=1)
    return bank.half().float(), owner[at], turn, middle  # as the file will hold it


def _placed(local: Tensor, heights: Tensor | None) -> tuple[Tensor, Tensor]:
    """(B, q, h, w[, d]) -> features (n, q) and weighted positions (n, 2 or 3) of all places; a slice's height is its third coordinate."""
    n, size = len(local), tuple(local.shape[2:])
    where = grid(size)[: len(size)].flatten(1).T.repeat(n, 1)
    if heights is not None:
        where = torch.cat([where, heights.repeat_interleave(len(where) // n)[:, None]], dim=1)
    return local.float().flatten(2).movedim(1, 2).flatten(0, 1), _POSITION * where


def _near(found: Brief, heights: Tensor | None, bank: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    """(B, h, w[, d]): ln of the mean distance of each place to the nearest ones of the bank."""
    features, where = _placed(found.local, heights)
    far = nearest(torch.cat([(features - shift) @ turn.T, where], dim=1), bank, _NEIGHBOURS)
    return far.reshape(len(found.local), *found.local.shape[2:]).clamp_min(1e-9).log()


def _slicewise(near: Tensor) -> Tensor:
    """(B, h, w[, d]) -> (B,): ln of the mean distance."""
    return near.exp().flatten(1).mean(1).log()


def _whole(near: Tensor, heights: Tensor | None) -> Tensor:
    """(h, w[, d]): of a stack of slices one volume."""
    return near[0] if heights is None else near.movedim(0, -1)


def _standing(looked: Looked, stack: bool) -> Tensor:
    """(levels, i, j[, k]): |offset| in units of the prior's own doubt, averaged with its sign over each level's width: chance averages out, a lesion stays."""
    parts, longer = [], max(looked.offset.shape[2:]) / _SIDE
    for sigma, voxels in _MAP.items():
        n, width = SIGMAS.index(sigma), 2 * (round(voxels * max(1.0, longer)) // 2) + 1
        ratio = looked.offset[:, n] / looked.doubt[:, n].clamp_min(_LEAST_DOUBT)
        whole = ratio.movedim(0, -1) if stack else ratio[0]
        parts.append(averaged(whole[None, None], width)[0, 0].abs())
    return torch.stack(parts)


def _worst(values: Tensor, share: float) -> Tensor:
    """(n, k) -> (k,): mean of the highest share of each column."""
    return values.topk(max(1, round(share * len(values))), dim=0).values.mean(0)

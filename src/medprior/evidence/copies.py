"""Is a synthetic image somebody's scan? Nearness to the scans a prior was learned from, judged by that of scans it has never seen.

T: training scans, H: held-out scans of other patients and the same source, S: synthetic images. Nothing here is absolute: two patients can look alike,
so every threshold is what H, which cannot have been copied, shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import betabinom
from torch import Tensor

from ..data.seeds import generator
from ..errors import BadOption
from .likeness import Embedding, Nearest, aligned_nearest, embedding_of, nearest_by, pictured
from .metrics import Interval, clopper_pearson, interval

__all__ = ["LEAST_HELD", "WAYS", "CopyIndex", "Nearness", "WayAudit", "by_chance", "way_audit"]

WAYS = ("pixels", "embedding")
"""Ways of being alike: pixel correlation after alignment (Akbar et al., arXiv 2305.07644), a contrastive embedding (Dar et al., arXiv 2402.01054)."""

_USUAL = 0.95
"""tau: the quantile of what held-out scans show, above which an image is called a copy (Dar et al.)."""

LEAST_HELD = 19
"""Held-out scans, and patients, below which nobody knows what is usual at 5 %."""

_RARE = 0.01
"""So many images beyond the nearest held-out scan are no chance."""

_AGAIN = 0.1
"""Share of that scan's distance (1 - correlation) below which an image is a training scan over again."""

_SUBSETS = 4
"""Random parts of T, each as large as H, where H is smaller: what is nearer is asked of sets of equal size."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """Of n images, in each way of WAYS. rho: (n, 2) correlation with the nearest training scan; at: (n, 2) which one."""

    rho: Tensor
    at: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class CopyIndex:
    """Training and held-out scans made comparable. train, held: (m, C, 32, 32), (h, C, 32, 32); usual: of the held-out scans.

    tau: (2,) the 95th percentile of the held-out scans' nearness; limit: (2,) their largest, above which nothing synthetic may be written.
    """

    train: Tensor
    held: Tensor
    embedding: Embedding
    places: tuple[Tensor, Tensor]
    usual: Nearness
    seed: int

    @classmethod
    def learn(cls, train: Sequence[Tensor], held: Sequence[Tensor], *, seed: int = 0, steps: int = 1200, embedding: Embedding | None = None) -> CopyIndex:
        """Images or volumes in network units, of any sizes. embedding: of an earlier audit of the same prior; else one is learned from ``train``.

        Raises BadOption for fewer than 8 training or 19 held-out scans: fewer cannot say what is usual at 5 %.
        """
        if len(held) < LEAST_HELD or len(train) < 8:
            raise BadOption(
                f"copies: wanted at least 8 training and {LEAST_HELD} held-out scans, got {len(train)} and {len(held)}",
                "put scans of other patients into a val split: they say how alike two patients are",
            )
        a, b = pictured(train), pictured(held)
        known = embedding or embedding_of(a, seed=seed, steps=steps)
        places = (known(a), known(b))
        usual = _joined(aligned_nearest(b, a), nearest_by(places[1], places[0]))
        return cls(a, b, known, places, usual, seed)

    @property
    def tau(self) -> Tensor:
        return torch.quantile(self.usual.rho, _USUAL, dim=0)

    @property
    def limit(self) -> Tensor:
        return self.usual.rho.amax(0)

    def nearest(self, images: Sequence[Tensor]) -> Nearness:
        """The nearest training scan of each image, in both ways."""
        pictures = pictured(images)
        return _joined(aligned_nearest(pictures, self.train), nearest_by(self.embedding(pictures), self.places[0]))

    def too_close(self, images: Sequence[Tensor]) -> Tensor:
        """(n,) bool: nearer to a training scan than any held-out scan is, in either way. Such an image is not written."""
        return self.beyond(self.nearest(images))

    def beyond(self, found: Nearness) -> Tensor:
        return (found.rho > self.limit).any(1)


def _joined(pixels: Nearest, embedding: Nearest) -> Nearness:
    return Nearness(torch.stack([pixels.rho, embedding.rho], 1), torch.stack([pixels.at, embedding.at], 1))


@dataclass(frozen=True, slots=True)
class WayAudit:
    """What one way of being alike says of a synthetic set.

    copies: share of S nearer than tau to a training scan; allowed: the upper end of what 5 % of so many held-out patients can be.
    memorised: share of T hit by such a copy. nearer: share of S nearer to T than to an equally large H (0.5 where nothing was copied).
    placebo: share of S nearer to a held-out scan than 95 % of as many training scans are: no copying can raise it, but images smoother than real ones do.
    beyond: how many of S are nearer than every held-out scan; chance: of so many where nothing was copied. again: how many are a training scan over again, ten
    times as near as the nearest held-out scan (1 - correlation): a single one is a copy, however few scans say what is usual.
    """

    way: str
    tau: float
    limit: float
    copies: Interval
    allowed: float
    memorised: Interval
    nearer: Interval
    placebo: float
    beyond: int = 0
    chance: float = 1.0
    again: int = 0

    @property
    def passed(self) -> bool:
        """Of a set from which the hard filter takes what lies beyond."""
        return self.copies.value <= self.allowed and self.nearer.low <= 0.5

    @property
    def passed_unfiltered(self) -> bool:
        """Of a generator whose images nobody will compare with scans again."""
        return self.passed and self.chance >= _RARE and not self.again


def way_audit(index: CopyIndex, images: Sequence[Tensor], *, patients: Sequence[object] | None = None, found: Nearness | None = None) -> tuple[WayAudit, ...]:
    """images: S in network units. patients: whose each training scan is, then each held-out one, (m + h,); default one a scan.

    Intervals draw the patients that images lie nearest to, since images near the same patient say the same thing. found: ``index.nearest(images)`` where
    it is known. Raises BadOption for fewer than 20 images.
    """
    if len(images) < 20:
        raise BadOption(f"copies: wanted at least 20 synthetic images, got {len(images)}", "ask for more with --n: a share of few images says nothing")
    found = found or index.nearest(images)
    pictures = pictured(images)
    own = index.embedding(pictures)
    m = len(index.train)
    whose = list(range(m + len(index.held))) if patients is None else list(patients)
    owners = len(set(whose[m:]))  # slices of one patient say the same thing
    result = []
    for n, way in enumerate(WAYS):
        tau = float(index.tau[n])
        copied = found.rho[:, n] > tau
        near = [whose[i] for i in found.at[:, n].tolist()]
        hit = len({i for i, is_copy in zip(found.at[:, n].tolist(), copied.tolist(), strict=True) if is_copy})
        nearer, placebo = _between(index, way, pictures, own, found, whose)
        result.append(
            WayAudit(
                way,
                tau,
                float(index.limit[n]),
                _share(copied, near),
                clopper_pearson(round((1 - _USUAL) * owners), owners).high,
                clopper_pearson(hit, m),
                nearer,
                placebo,
                beyond := int((found.rho[:, n] > index.limit[n]).sum()),
                by_chance(beyond, len(images), owners),
                int((1 - found.rho[:, n] < _AGAIN * (1 - index.limit[n])).sum()) if way == "pixels" else 0,
            )
        )
    return tuple(result)


def by_chance(beyond: int, n: int, held: int) -> float:
    """How likely so many of n images, or more, lie nearer to training than the nearest of ``held`` scans where nothing was copied: beta-binomial (n, 1, held).

    Each new scan of a new patient does so with a chance of 1 in held + 1, and all share the same nearest one.
    """
    return 1.0 if beyond == 0 else float(betabinom.sf(beyond - 1, n, 1, held))


def _share(hits: Tensor, clusters: Sequence[object]) -> Interval:
    """The mean of hits, 0 to 1, whose interval draws clusters; where all or none are hits the exact one of as many trials as clusters."""
    whole, share = len(set(clusters)), float(hits.double().mean())
    if share in (0.0, 1.0):
        return clopper_pearson(whole if share else 0, whole)
    if whole < 2:
        return Interval(share, 0.0, 1.0, 0.95, whole)
    return interval(lambda x: float(x.mean()), hits.double().numpy(), patients=list(clusters), draws=1000)


def _between(index: CopyIndex, way: str, pictures: Tensor, own: Tensor, nearest: Nearness, whose: Sequence[object]) -> tuple[Interval, float]:
    """Share nearer to T than to H, and the placebo, over parts of the larger set that are as large as the smaller one."""
    m, h = len(index.train), len(index.held)
    size, rng = min(m, h), generator(index.seed, "equal", way)
    hits, placebos = [], []
    for _ in range(1 if m == h else _SUBSETS):
        some, others = torch.randperm(m, generator=rng)[:size], torch.randperm(h, generator=rng)[:size]
        if way == "pixels":
            t, o = aligned_nearest(pictures, index.train[some]), aligned_nearest(pictures, index.held[others])
            usual = aligned_nearest(index.train[some], index.held[others])
        else:
            t, o = nearest_by(own, index.places[0][some]), nearest_by(own, index.places[1][others])
            usual = nearest_by(index.places[0][some], index.places[1][others])
        hits.append((t.rho > o.rho).double())
        placebos.append(float((o.rho > torch.quantile(usual.rho, _USUAL)).float().mean()))
    if way == "pixels":
        t, o = nearest.rho[:, 0], aligned_nearest(pictures, index.held)
    else:
        t, o = nearest.rho[:, 1], nearest_by(own, index.places[1])
    at = torch.where(t > o.rho, nearest.at[:, WAYS.index(way)], m + o.at)
    # each image counts once, by its mean over the parts: the same image again is no new evidence
    return _share(torch.stack(hits).mean(0), [whose[i] for i in at.tolist()]), sum(placebos) / len(placebos)

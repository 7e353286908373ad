"""Is a synthetic image somebody's scan? Nearness to the scans a prior was learned from, judged by that of
scans it has never seen.

T: training scans, H: held-out scans of other patients and the same source, S: synthetic images. Nothing here
is absolute: two patients can look alike, so every threshold is what H, which cannot have been copied, shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy.stats import betabinom
from torch import Tensor

from ...data.seeds import generator
from ...errors import BadOption
from ..intervals import Estimate, clopper_pearson, interval
from .likeness import (
    CANDIDATES,
    Embedding,
    aligned_correlation,
    as_pictures,
    embedding_correlation,
    learn_embedding,
)

__all__ = ["LEAST_HELD", "WAYS", "CopyIndex", "Nearness", "WayAudit", "copy_probability", "way_audit"]

WAYS = ("pixels", "embedding")
"""Ways of being alike: pixel correlation after alignment (Akbar et al., arXiv 2305.07644), a contrastive
embedding (Dar et al., arXiv 2402.01054).
"""

_USUAL = 0.95
"""tau: the quantile of what held-out scans show, above which an image is called a copy (Dar et al.)."""

LEAST_HELD = 19
"""Held-out scans, and patients, below which nobody knows what is usual at 5 %."""

_RARE = 0.01
"""So many images beyond the nearest held-out scan are no chance."""

_AGAIN = 0.1
"""Share of that scan's distance (1 - correlation) below which an image is a training scan over again."""

_PARTS = 40
"""Random parts of T and H, equally large, of which it is asked what is nearer to which."""

_ASKED = 300
"""Most training scans, one a patient, that are asked how near to others they lie."""

_LEAST_PAIRS = 4
"""Patients a side below which halves say nothing."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """Of n images, in each way of WAYS. rho: (n, 2) correlation with the nearest training scan; at: (n, 2)
    which one; every: (n, m) with each, or ().
    """

    rho: Tensor
    at: Tensor
    every: tuple[Tensor, ...]

    @classmethod
    def of(cls, *every: Tensor) -> Nearness:
        best = [rho.max(1) for rho in every]
        return cls(torch.stack([b.values for b in best], 1), torch.stack([b.indices for b in best], 1), every)


@dataclass(frozen=True, slots=True, eq=False)
class CopyIndex:
    """Training and held-out scans made comparable. train, held: (m, C, 32, 32), (h, C, 32, 32); usual: of the
    held-out scans.

    tau: (2,) the 95th percentile of the held-out scans' nearness; limit: (2,) their largest, above which
    nothing synthetic may be written.
    """

    train: Tensor
    held: Tensor
    embedding: Embedding
    places: tuple[Tensor, Tensor]
    usual: Nearness
    seed: int

    @classmethod
    def learn(
        cls,
        train: Sequence[Tensor],
        held: Sequence[Tensor],
        *,
        seed: int = 0,
        steps: int = 1200,
        embedding: Embedding | None = None,
    ) -> CopyIndex:
        """Images or volumes in network units, of any sizes. embedding: of an earlier audit of the same prior;
        else one is learned from ``train``.

        Raises BadOption for fewer than 8 training or 19 held-out scans: fewer cannot say what is usual at 5
        %.
        """
        if len(held) < LEAST_HELD or len(train) < 8:
            raise BadOption(
                f"copies: wanted at least 8 training and {LEAST_HELD} held-out scans, got {len(train)} and "
                f"{len(held)}",
                "put scans of other patients into a val split: they say how alike two patients are",
            )
        a, b = as_pictures(train), as_pictures(held)
        known = embedding or learn_embedding(a, seed=seed, steps=steps)
        places = (known(a), known(b))
        usual = Nearness.of(
            aligned_correlation(b, a, candidates=_candidates(a, b)),
            embedding_correlation(places[1], places[0]),
        )
        return cls(a, b, known, places, replace(usual, every=()), seed)

    @property
    def tau(self) -> Tensor:
        return torch.quantile(self.usual.rho, _USUAL, dim=0)

    @property
    def limit(self) -> Tensor:
        return self.usual.rho.amax(0)

    def nearest(self, images: Sequence[Tensor]) -> Nearness:
        """The nearest training scan of each image, in both ways."""
        pictures = as_pictures(images)
        fine = aligned_correlation(pictures, self.train, candidates=_candidates(self.train, self.held))
        return Nearness.of(fine, embedding_correlation(self.embedding(pictures), self.places[0]))

    def too_close(self, images: Sequence[Tensor]) -> Tensor:
        """(n,) bool: nearer to a training scan than any held-out scan is, in either way. Such an image is not
        written.
        """
        return self.beyond(self.nearest(images))

    def beyond(self, found: Nearness) -> Tensor:
        return (found.rho > self.limit).any(1)


def _candidates(these: Tensor, those: Tensor) -> int:
    """How many of these an image is aligned with: as large a part of both sides, so that both have the same
    chance to be found. Where training scans are many and held-out ones few that is most of the cost: a third
    of a second an image at 20,000 candidates."""
    return -(-CANDIDATES * len(these) // min(len(these), len(those)))


@dataclass(frozen=True, slots=True)
class WayAudit:
    """What one way of being alike says of a synthetic set.

    copies: share of S nearer than tau to a training scan; allowed: the upper end of what 5 % of so many
    held-out patients can be. memorised: share of T hit by such a copy. nearer: share of S nearer to T than to
    an equally large H (0.5 where nothing was copied). placebo: share of S nearer to a held-out scan than 95 %
    of training scans are: no copying can raise it, but images smoother than real ones do. reference: what
    real scans show in the place of S, by pixels: share of training scans nearer to training scans of other
    patients than to as many of H. 0.5 where H was drawn as T was; above it H is unlike T (or T contains a
    patient twice under two names), and ``nearer`` cannot tell that from copying. beyond: how many of S are
    nearer than every held-out scan; chance: of so many where nothing was copied. again: how many repeat a
    training scan, ten times as close as the closest held-out scan (1 - correlation). A single one is a copy.
    """

    way: str
    tau: float
    limit: float
    copies: Estimate
    allowed: float
    memorised: Estimate
    nearer: Estimate
    placebo: float
    reference: Estimate | None = None
    beyond: int = 0
    chance: float = 1.0
    again: int = 0

    @property
    def unlike(self) -> bool:
        """Whether held-out scans are of another kind than training scans, or patients lie in training twice:
        then ``nearer`` does not speak of copying.
        """
        return self.reference is not None and not self.reference.low <= 0.5 <= self.reference.high

    @property
    def passed(self) -> bool:
        """Of a set from which the hard filter takes what lies beyond."""
        return self.copies.value <= self.allowed and self.nearer.low <= 0.5

    @property
    def passed_unfiltered(self) -> bool:
        """For a generator whose images are not compared with scans again."""
        return self.passed and self.chance >= _RARE and not self.again


def way_audit(
    index: CopyIndex,
    images: Sequence[Tensor],
    *,
    patients: Sequence[object] | None = None,
    found: Nearness | None = None,
) -> tuple[WayAudit, ...]:
    """images: S in network units. patients: whose each training scan is, then each held-out one, (m + h,);
    default one a scan.

    Intervals of shares of copies resample the patients that images are closest to, since images near one
    patient are one piece of evidence; of ``nearer`` and ``reference`` see ``nearer_share``. found:
    ``index.nearest(images)`` where it is known. Raises BadOption for fewer than 20 images.
    """
    if len(images) < 20:
        raise BadOption(
            f"copies: wanted at least 20 synthetic images, got {len(images)}",
            "ask for more with --n: a share of few images says nothing",
        )
    found = found or index.nearest(images)
    pictures = as_pictures(images)
    m, h = len(index.train), len(index.held)
    whose = [str(who) for who in (range(m + h) if patients is None else patients)]
    own, others = whose[:m], whose[m:]
    rng = generator(index.seed, "asked")
    correlations = _correlations(index, pictures, own, rng)
    result = []
    for n, (way, (far, real)) in enumerate(zip(WAYS, correlations, strict=True)):
        tau = float(index.tau[n])
        copied = found.rho[:, n] > tau
        near = [whose[i] for i in found.at[:, n].tolist()]
        hit = len({i for i, is_copy in zip(found.at[:, n].tolist(), copied.tolist(), strict=True) if is_copy})
        owners = len(set(others))  # slices of one patient say the same thing
        result.append(
            WayAudit(
                way,
                tau,
                float(index.limit[n]),
                _share(copied, near),
                clopper_pearson(round((1 - _USUAL) * owners), owners).high,
                clopper_pearson(hit, m),
                nearer_share(found.every[n], far, own, others, rng),
                float((far.amax(1) > torch.quantile(real[1].amax(1), _USUAL)).float().mean()),
                # the embedding has learned from T, so that it cannot be asked how alike T and H are
                nearer_share(real[0], real[1], own, others, rng) if way == "pixels" else None,
                beyond := int((found.rho[:, n] > index.limit[n]).sum()),
                copy_probability(beyond, len(images), owners),
                int((1 - found.rho[:, n] < _AGAIN * (1 - index.limit[n])).sum()) if way == "pixels" else 0,
            )
        )
    return tuple(result)


def _correlations(
    index: CopyIndex, pictures: Tensor, own: Sequence[str], rng: torch.Generator
) -> list[tuple[Tensor, list[Tensor]]]:
    """For each way: the pictures against held-out scans, and one training scan of each patient against
    training scans of others and against held-out scans. own: whose each training scan is.
    """
    # one scan of each patient: slices of one say the same thing
    asked = torch.tensor([scans[0] for scans in _by_patient(own, rng)][:_ASKED])
    code = {name: n for n, name in enumerate(set(own))}
    codes = torch.tensor([code[name] for name in own])
    strangers = codes[asked, None] != codes
    candidates = [
        _candidates(side, other) for side, other in ((index.train, index.held), (index.held, index.train))
    ]
    pixels = (
        aligned_correlation(pictures, index.held, candidates=candidates[1]),
        [
            aligned_correlation(index.train[asked], side, candidates=c, asked=allowed)
            for side, c, allowed in zip((index.train, index.held), candidates, (strangers, None), strict=True)
        ],
    )
    embedding = (
        embedding_correlation(index.embedding(pictures), index.places[1]),
        [embedding_correlation(index.places[0][asked], places) for places in index.places],
    )
    return [pixels if way == "pixels" else embedding for way in WAYS]


def nearer_share(
    near: Tensor, far: Tensor, own: Sequence[str], others: Sequence[str], rng: torch.Generator
) -> Estimate:
    """Share of images that lie nearer to one set of scans than to as many of another, over random parts of
    both: as many patients, and as many scans.

    near, far: (n, m), (n, h) correlations with the scans of each; own, others: their patients. The interval
    (95 %, normal) reflects which patients the two sets contain, so more images do not make it narrower. It is
    measured between halves without a common patient. Beside it stands what the choice of n images does, each
    drawn by itself. With fewer than four patients on a side nothing is known: 0 to 1.
    """
    hits, spread = [], 0.0
    for _ in range(_PARTS):
        pairs = _pairs(own, others, rng)
        hits.append(_nearer(near, far, pairs))
        if len(pairs) < _LEAST_PAIRS:
            continue
        first, second = (_nearer(near, far, half) for half in (pairs[::2], pairs[1::2]))
        apart = first - second
        # halves are half as large: the variance of their difference is four times that of the whole; what the
        # images' own chance adds is taken out
        spread += float(apart.mean().square() - apart.var() / len(near)) / 4 / _PARTS
    each = torch.stack(hits).mean(0)
    share, half = float(each.mean()), 1.96 * (max(0.0, spread) + float(each.var()) / len(near)) ** 0.5
    if (n := min(len(set(own)), len(set(others)))) < _LEAST_PAIRS:
        return Estimate(share, 0.0, 1.0, 0.95, n)
    return Estimate(share, max(0.0, share - half), min(1.0, share + half), 0.95, n)


def _nearer(near: Tensor, far: Tensor, pairs: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """(n,) 1 where an image lies nearer to the scans of the one side than to those of the other."""
    some, others = ([n for pair in pairs for n in pair[side]] for side in (0, 1))
    return (near[:, some].amax(1) > far[:, others].amax(1)).double()


def _pairs(
    own: Sequence[str], others: Sequence[str], rng: torch.Generator
) -> list[tuple[list[int], list[int]]]:
    """A patient of each set by chance, and as many scans of both: 80 slices of 60 patients are more various
    than 80 of 20, and then lie nearer to everybody.
    """
    return [
        (a[: len(b)], b[: len(a)])
        for a, b in zip(_by_patient(own, rng), _by_patient(others, rng), strict=False)
    ]


def _by_patient(whose: Sequence[str], rng: torch.Generator) -> list[list[int]]:
    """The scans of each patient; patients and scans in random order."""
    scans: dict[str, list[int]] = {}
    for n in torch.randperm(len(whose), generator=rng).tolist():
        scans.setdefault(whose[int(n)], []).append(int(n))
    names = sorted(scans)
    return [scans[names[n]] for n in torch.randperm(len(names), generator=rng).tolist()]


def copy_probability(beyond: int, n: int, held: int) -> float:
    """How likely so many of n images, or more, lie nearer to training than the nearest of ``held`` scans
    where nothing was copied: beta-binomial (n, 1, held).

    Each new scan of a new patient does so with a chance of 1 in held + 1, and all share the same nearest one.
    """
    return 1.0 if beyond == 0 else float(betabinom.sf(beyond - 1, n, 1, held))


def _share(hits: Tensor, clusters: Sequence[object]) -> Estimate:
    """The mean of hits, 0 to 1, whose interval draws clusters; where all or none are hits the exact one of as
    many trials as clusters.
    """
    whole, share = len(set(clusters)), float(hits.double().mean())
    if share in (0.0, 1.0):
        return clopper_pearson(whole if share else 0, whole)
    if whole < 2:
        return Estimate(share, 0.0, 1.0, 0.95, whole)
    return interval(lambda x: float(x.mean()), hits.double().numpy(), patients=list(clusters))

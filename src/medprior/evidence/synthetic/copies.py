"""Is a synthetic image somebody's scan? Nearness to the scans a prior was learned from, judged by that of
scans it has never seen.

T: training scans, H: held-out scans of other patients and the same source, S: synthetic images. Nothing here
is absolute: two patients can look alike, so every threshold is what H, which cannot have been copied, shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import betabinom, binom, hypergeom
from torch import Tensor

from ...data.seeds import generator
from ...errors import BadOption
from ..intervals import Estimate, clopper_pearson
from .likeness import Details, as_pictures

__all__ = ["ALPHA", "LEAST_HELD", "STATISTIC", "CopyAudit", "CopyIndex", "Nearness", "copy_audit"]

STATISTIC = 2
"""Counts the ways in which copies were looked for. 1: shares nearer to training than to others, by aligned
pixels and a learned embedding, which misses copies that are cropped, warped or mixed, or few."""

ALPHA = 0.05
"""How often an honest set is called copied."""

LEAST_HELD = 19
"""Held-out patients below which nobody knows what is usual at 5 %."""

_LEAST = 8
"""Training scans below which no features are learned."""

_NEXT = 9
"""Other patients whose mean nearness is what is usual for an image: plain images lie near to everybody."""

_USUAL = 0.95
"""The quantile of what held-out scans show, above which a single image looks like a copy."""

_AGAIN = 0.1
"""Share of the closest held-out scan's distance (1 - correlation) below which an image is a training scan
over again."""

_ASKED = 100
"""Most training scans, one a patient, that take the place of the set."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """Of n images. score: (n,) how much nearer the nearest training patient is than the next nine, in the
    mean. rho: (n,) correlation with the nearest training scan; at: (n,) which one.
    """

    score: Tensor
    rho: Tensor
    at: Tensor

    @classmethod
    def of(cls, likeness: Tensor, codes: Tensor) -> Nearness:
        """likeness: (n, m) with each training scan; codes: (m,) whose each is, 0, 1, ..."""
        rho, at = likeness.max(1)
        best = torch.full((len(likeness), int(codes.max()) + 1), -1.0)
        best = best.scatter_reduce(1, codes.expand_as(likeness), likeness, "amax")
        top = best.topk(min(1 + _NEXT, best.shape[1]), dim=1).values
        usual = top[:, 1:].mean(1) if top.shape[1] > 1 else torch.zeros(len(top))
        return cls(top[:, 0] - usual, rho, at)


@dataclass(frozen=True, slots=True, eq=False)
class CopyIndex:
    """Training scans made comparable, and what is usual for held-out scans of other patients.

    train: (m, C, 64, 64); codes: (m,) whose each is; usual: of the held-out scans, of ``patients`` patients.
    """

    train: Tensor
    details: Details
    codes: Tensor
    usual: Nearness
    patients: int
    seed: int

    @classmethod
    def learn(
        cls,
        train: Sequence[Tensor],
        held: Sequence[Tensor],
        *,
        patients: Sequence[object] | None = None,
        seed: int = 0,
    ) -> CopyIndex:
        """Images or volumes in network units, of any sizes. patients: whose each training scan is, then each
        held-out one; default one a scan.

        Raises BadOption for fewer than 8 training scans or scans of 19 held-out patients: fewer cannot say
        what is usual at 5 %.
        """
        whose = list(range(len(train) + len(held)) if patients is None else patients)
        owners = len(set(whose[len(train) :]))
        if owners < LEAST_HELD or len(train) < _LEAST:
            raise BadOption(
                f"copies: wanted at least {_LEAST} training scans and held-out scans of {LEAST_HELD} "
                f"patients, got {len(train)} and {owners}: {max(0, LEAST_HELD - owners)} are missing",
                "put scans of other patients into a val split: they say how alike two patients are",
            )
        names = {who: n for n, who in enumerate(dict.fromkeys(whose[: len(train)]))}
        codes = torch.tensor([names[who] for who in whose[: len(train)]])
        pictures = as_pictures(train)
        details = Details.learn(pictures)
        usual = Nearness.of(details.likeness(as_pictures(held)), codes)
        return cls(pictures, details, codes, usual, owners, seed)

    @property
    def limit(self) -> float:
        """The largest score of a held-out scan, above which nothing synthetic may be written."""
        return float(self.usual.score.max())

    @property
    def tau(self) -> float:
        """The 95th percentile of the held-out scans' scores."""
        return float(torch.quantile(self.usual.score, _USUAL))

    def nearest(self, images: Sequence[Tensor]) -> Nearness:
        """How near each image is to training scans."""
        return Nearness.of(self.details.likeness(as_pictures(images)), self.codes)

    def too_close(self, images: Sequence[Tensor]) -> Tensor:
        """(n,) bool: nearer to a training scan than any held-out scan is. Such an image is not written."""
        return self.nearest(images).score > self.limit

    def chance(self, beyond: int, n: int) -> float:
        """How likely so many of n images, or more, lie beyond every held-out scan where nothing was copied:
        beta-binomial (n, 1, patients).

        How many of n conformal p-values are 1 / (patients + 1), where all share one calibration (Bates et
        al., 2023). It is exact for images that come as held-out patients do, whatever the score and sizes.
        """
        return 1.0 if beyond == 0 else float(betabinom.sf(beyond - 1, n, 1, self.patients))

    def least(self, n: int) -> int:
        """How many of n images must lie beyond for the verdict to be that some are copies."""
        return next(k for k in range(1, n + 2) if k > n or self.chance(k, n) <= ALPHA)

    def turned(self, own: Nearness, copies: Nearness, share: float) -> float:
        """How often the verdict turns where this share of a set's own images gives way to copies of a kind.

        own: of the set's own images; copies: of some of the kind. Exact: the own ones that stay are drawn
        without replacement, copies with.
        """
        n = len(own.score)
        k = round(share * n)
        caught = float((copies.score > self.limit).double().mean())
        already, wanted = int((own.score > self.limit).sum()), self.least(n)
        return float(
            sum(
                hypergeom.pmf(mine, n, already, n - k) * binom.sf(wanted - mine - 1, k, caught)
                for mine in range(min(already, n - k) + 1)
            )
        )


@dataclass(frozen=True, slots=True)
class CopyAudit:
    """What nearness to training says of a set.

    copies: share of the images that lie nearer to a training patient than any held-out scan does; chance: of
    so many where nothing was copied. again: how many repeat a training scan, ten times as close as the
    closest held-out scan (1 - correlation): a single one is a copy. reference: the
    chance of what real training scans show in the place of the set, each against other patients. Where it is
    small, held-out scans are of another kind, or patients lie in training twice. train, held: patients.
    """

    copies: Estimate
    chance: float
    again: int
    limit: float
    reference: float
    train: int
    held: int

    @property
    def unlike(self) -> bool:
        """Whether real training scans would not pass either: then nothing is said of copying."""
        return self.reference <= ALPHA

    @property
    def passed(self) -> bool:
        """Of a set from which the hard filter takes what lies beyond."""
        return self.chance > ALPHA

    @property
    def passed_unfiltered(self) -> bool:
        """For a generator whose images are not compared with scans again."""
        return self.passed and not self.again


def copy_audit(index: CopyIndex, found: Nearness) -> CopyAudit:
    """found: ``index.nearest`` of the set's images as they were drawn. Raises BadOption for fewer than 20."""
    n = len(found.score)
    if n < 20:
        raise BadOption(
            f"copies: wanted at least 20 synthetic images, got {n}",
            "ask for more with --n: a share of few images says nothing",
        )
    beyond = int((found.score > index.limit).sum())
    closest = float(index.usual.rho.max())
    real = _reference(index)
    return CopyAudit(
        clopper_pearson(beyond, n),
        index.chance(beyond, n),
        int((1 - found.rho < _AGAIN * (1 - closest)).sum()),
        index.limit,
        index.chance(int((real > index.limit).sum()), len(real)),
        int(index.codes.max()) + 1,
        index.patients,
    )


def _reference(index: CopyIndex) -> Tensor:
    """(k,) scores of one training scan of each of up to 100 patients among those of other patients."""
    order = torch.randperm(len(index.codes), generator=generator(index.seed, "asked")).tolist()
    first = {int(index.codes[n]): n for n in reversed(order)}
    some = torch.tensor(list(first.values())[:_ASKED])
    strangers = index.codes[some, None] != index.codes
    likeness = index.details.likeness(index.train[some]).where(strangers, torch.tensor(-1.0))
    return Nearness.of(likeness, index.codes).score

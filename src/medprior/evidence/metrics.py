"""Numbers about images and scores, and the intervals that belong to them.

Distortion metrics give one number an image. Sets of images are compared on features that the caller names.
Intervals are clustered by patient, because images of one patient are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor

from ..errors import BadOption, ShapeMismatch

__all__ = [
    "Interval",
    "Neighbours",
    "auroc",
    "average_precision",
    "clopper_pearson",
    "difference_of_shares",
    "frechet_distance",
    "interval",
    "mean_discrepancy",
    "prdc",
    "psnr",
    "ssim",
]


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with its interval: level 0.95 means it is meant to hold the truth 95 times in 100; n: how many
    independent units (patients) stand behind it.
    """

    value: float
    low: float
    high: float
    level: float
    n: int

    def __str__(self) -> str:
        return (
            f"{self.value:.4g} ({100 * self.level:g} % interval {self.low:.4g} to {self.high:.4g}, n = "
            f"{self.n})"
        )


@dataclass(frozen=True, slots=True)
class Neighbours:
    """precision: share of synthetic images near a real one; recall: share of real near a synthetic one;
    density: as precision, robust to outliers, may pass 1; coverage: share of real images with a synthetic one
    among their neighbours."""

    precision: float
    recall: float
    density: float
    coverage: float


def psnr(x: Tensor, reference: Tensor, data_range: float) -> Tensor:
    """(B, ...) -> (B,): 10 log10(data_range^2 / mean squared error) in dB; infinity where equal. data_range:
    white minus black, in units of x.
    """
    return 10 * torch.log10(_range(data_range) ** 2 / _squares(x, reference).mean(1)).to(x.dtype)


def ssim(x: Tensor, reference: Tensor, data_range: float) -> Tensor:
    """(B, C, i, j[, k]) -> (B,): structural similarity, mean over channels; Gaussian window of std 1.5 (11
    voxels wide), K1 0.01, K2 0.03, population variance.

    Source: Wang et al., IEEE Trans. Image Process. 13(4), 2004, computed in float64 by scikit-image. Raises
    BadOption for a side under 11 voxels.
    """
    from skimage.metrics import structural_similarity  # half a second, needed by few

    _same(x, reference)
    if min(x.shape[2:], default=0) < 11:
        raise BadOption(f"ssim: wanted sides of at least 11 voxels, got {tuple(x.shape[2:])}")
    found = [
        structural_similarity(
            a,
            b,
            data_range=_range(data_range),
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(
            x.detach().cpu().double().numpy(), reference.detach().cpu().double().numpy(), strict=True
        )
    ]
    return torch.tensor(found, dtype=x.dtype, device=x.device)


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of two Gaussians fitted to features (n, d) and (m, d): |mean difference|^2 +
    tr(A + B - 2 (A B)^(1/2)).

    It is biased upwards by about d / n: compare only sets of equal size, and with the distance of two halves
    of the real set beside it. Source: Dowson and Landau, J. Multivar. Anal. 12, 1982; on features, Heusel et
    al., NeurIPS 2017.
    """
    _features(a, b, 2)
    a, b = a.double(), b.double()
    values, vectors = torch.linalg.eigh(torch.cov(a.T).reshape(a.shape[1], -1))
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    other = torch.cov(b.T).reshape(b.shape[1], -1)
    cross = torch.linalg.eigvalsh(root @ other @ root).clamp_min(0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + values.sum() + other.trace() - 2 * cross)


def mean_discrepancy(a: Tensor, b: Tensor) -> float:
    """Squared maximum mean discrepancy of features (n, d) and (m, d), cubic kernel (x y / d + 1)^3, unbiased:
    about 0 for two sets of one kind, even below.

    Source: Gretton et al., J. Mach. Learn. Res. 13, 2012; this kernel on features of images, Binkowski et
    al., ICLR 2018.
    """
    _features(a, b, 2)
    a, b = a.double(), b.double()
    n, m, d = len(a), len(b), a.shape[1]
    own, other, across = ((x @ y.T / d + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    return float(
        (own.sum() - own.trace()) / (n * (n - 1))
        + (other.sum() - other.trace()) / (m * (m - 1))
        - 2 * across.mean()
    )


def prdc(real: Tensor, synthetic: Tensor, k: int = 5) -> Neighbours:
    """Precision, recall, density, coverage on features (n, d), (m, d); a neighbourhood reaches to the k-th
    nearest image of its own set.

    Source: Naeem et al., ICML 2020 (precision and recall: Kynkäänniemi et al., NeurIPS 2019). Raises
    BadOption unless both sets hold more than k.
    """
    _features(real, synthetic, k + 1)
    real, synthetic = real.double(), synthetic.double()
    reach_real, reach_synthetic = (torch.cdist(f, f).kthvalue(k + 1, dim=1).values for f in (real, synthetic))
    apart = torch.cdist(real, synthetic)
    in_real = apart <= reach_real[:, None]
    return Neighbours(
        precision=float(in_real.any(0).double().mean()),
        recall=float((apart <= reach_synthetic).any(1).double().mean()),
        density=float(in_real.double().sum(0).mean() / k),
        coverage=float((apart.min(1).values <= reach_real).double().mean()),
    )


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Chance that a positive scores above a negative, ties counting half. scores, labels (0/1): (n,). Raises
    BadOption unless both classes are there.

    Source: the Mann-Whitney statistic, Hanley and McNeil, Radiology 143, 1982.
    """
    s, positive = _classes("auroc", scores, labels)
    ranks = stats.rankdata(s)
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(s) - n)))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Sum over thresholds of precision times the gain in recall; equal scores share one threshold. scores,
    labels (0/1): (n,).

    Chance level is the share of positives. Raises BadOption unless both classes are there.
    """
    s, positive = _classes("average_precision", scores, labels)
    order = np.argsort(-s, kind="stable")
    last = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)
    found = np.cumsum(positive[order])[last]
    return float(np.sum(found / (last + 1) * np.diff(found, prepend=0)) / positive.sum())


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> Interval:
    """Exact binomial interval of a share, hits of n independent trials (Clopper and Pearson, Biometrika 26,
    1934).
    """
    if not 0 <= hits <= n or n < 1 or not 0 < level < 1:
        raise BadOption(
            f"clopper_pearson: wanted 0 <= hits <= n, n >= 1 and a level between 0 and 1, got {hits}, {n}, "
            f"{level}"
        )
    found = stats.binomtest(hits, n).proportion_ci(level, method="exact")
    return Interval(hits / n, float(found.low), float(found.high), level, n)


def difference_of_shares(hits: int, n: int, other_hits: int, other_n: int, level: float = 0.95) -> Interval:
    """hits / n - other_hits / other_n of independent trials; it stays valid for a share of 0 or 1, where a
    bootstrap would be too narrow.

    n of the interval: all trials. Source: Newcombe, Stat. Med. 17, 1998, method 10 (the score intervals of
    Wilson, squared and added).
    """
    if not 0 <= hits <= n or not 0 <= other_hits <= other_n or not n or not other_n or not 0 < level < 1:
        raise BadOption(
            f"difference_of_shares: wanted 0 <= hits <= n twice and a level between 0 and 1, got {hits}, "
            f"{n}, {other_hits}, {other_n}, {level}"
        )
    (one, other), (own, its) = (
        (hits / n, other_hits / other_n),
        (_wilson(hits, n, level), _wilson(other_hits, other_n, level)),
    )
    low = one - other - float(np.hypot(one - own[0], its[1] - other))
    high = one - other + float(np.hypot(own[1] - one, other - its[0]))
    return Interval(one - other, low, high, level, n + other_n)


def _wilson(hits: int, n: int, level: float) -> tuple[float, float]:
    found = stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def interval(
    statistic: Callable[..., float],
    *columns: ArrayLike,
    patients: Sequence[object],
    strata: Sequence[object] | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval (percentiles) of ``statistic(*columns)``, drawing whole patients with replacement.

    columns: arrays (n, ...), one row an image; patients: (n,) whose image it is; strata: (n,) kind of each
    patient (e.g. the label), so that every draw holds as many patients of each kind as the data: needed for
    ``auroc``. Percentile intervals of few patients (under about 20) are too narrow. Source: Efron, Ann. Stat.
    7, 1979; patients as clusters: Field and Welsh, J. R. Stat. Soc. B 69, 2007. Raises BadOption for fewer
    than two patients of a kind, a patient in two strata, or columns of unequal length.
    """
    data = [np.asarray(c) for c in columns]
    n = len(patients)
    kinds: list[object] = ["all"] * n if strata is None else list(strata)
    if not data or any(len(c) != n for c in data) or len(kinds) != n or not 0 < level < 1:
        raise BadOption(
            f"interval: wanted columns as long as patients ({n}) and a level between 0 and 1, got "
            f"{[len(c) for c in data]} and {level}"
        )
    groups = _patients(list(patients), kinds)
    rng = np.random.default_rng(seed)
    found = [_once(statistic, data, groups, rng) for _ in range(draws)]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(*data)), float(low), float(high), level, sum(map(len, groups)))


def _patients(patients: list[object], kinds: list[object]) -> list[list[np.ndarray]]:
    """For each stratum, for each patient in it, the rows of that patient."""
    rows: dict[object, list[int]] = {}
    for at, who in enumerate(patients):
        rows.setdefault(who, []).append(at)
    groups: dict[object, list[np.ndarray]] = {}
    for at in rows.values():
        if len({kinds[i] for i in at}) > 1:
            raise BadOption(
                "interval: wanted each patient in one stratum, got one in several",
                "give the stratum of the patient, not of the image",
            )
        groups.setdefault(kinds[at[0]], []).append(np.asarray(at))
    if any(len(g) < 2 for g in groups.values()):
        raise BadOption(
            "interval: wanted at least two patients of each kind, got one",
            "an interval of one patient says nothing about the next",
        )
    return list(groups.values())


def _once(
    statistic: Callable[..., float],
    data: list[np.ndarray],
    groups: list[list[np.ndarray]],
    rng: np.random.Generator,
) -> float:
    at = np.concatenate([g[i] for g in groups for i in rng.integers(0, len(g), len(g))])
    return float(statistic(*[c[at] for c in data]))


def _classes(who: str, scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    s, positive = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if (
        s.ndim != 1
        or s.shape != positive.shape
        or not np.isfinite(s).all()
        or not np.isin(positive, (0, 1)).all()
    ):
        raise BadOption(
            f"{who}: wanted finite scores (n,) and labels 0 or 1 (n,), got shapes {s.shape} and "
            f"{positive.shape}, or other values"
        )
    positive = positive.astype(bool)
    if positive.all() or not positive.any():
        raise BadOption(f"{who}: wanted both classes, got {int(positive.sum())} positive of {len(s)}")
    return s, positive


def _features(a: Tensor, b: Tensor, least: int) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < least:
        raise BadOption(
            f"features: wanted (n, d) and (m, d) with n, m >= {least}, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}"
        )


def _squares(x: Tensor, reference: Tensor) -> Tensor:
    _same(x, reference)
    return (x.double() - reference.double()).square().flatten(1)


def _same(x: Tensor, reference: Tensor) -> None:
    if x.shape != reference.shape:
        raise ShapeMismatch("metric, image and reference", tuple(reference.shape), tuple(x.shape))


def _range(data_range: float) -> float:
    if not 0 < data_range < float("inf"):
        raise BadOption(f"metric: wanted a positive data range (white minus black), got {data_range}")
    return float(data_range)

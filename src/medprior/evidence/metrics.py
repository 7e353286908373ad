"""Numbers about images and scores, and the intervals that belong to them.

Distortion metrics give one number an image. Sets of images are compared on features that the caller names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are first used
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import BadOption, ShapeMismatch

__all__ = [
    "PrdcScores",
    "auroc",
    "average_precision",
    "frechet_distance",
    "mean_discrepancy",
    "prdc",
    "psnr",
    "ssim",
]


_WINDOW = 11
"""Voxels of the window of SSIM."""


@dataclass(frozen=True, slots=True)
class PrdcScores:
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

    Of a volume with a side under 11 voxels it is the mean over its slices. An image with one is compared
    where a window fits that is as wide as this side. Source: Wang et al., IEEE Trans. Image Process. 13(4),
    2004, computed in float64 by scikit-image. Raises BadOption for sides under 3 voxels.
    """
    from skimage.metrics import structural_similarity  # half a second, needed by few

    _same(x, reference)
    sides = x.shape[2:]
    if len(sides) == 3 and min(sides) < _WINDOW:
        thin = 2 + min(range(3), key=sides.__getitem__)
        slices = [v.movedim(thin, 1).flatten(0, 1) for v in (x, reference)]
        return ssim(slices[0], slices[1], data_range).unflatten(0, (len(x), -1)).mean(1)
    if min(sides, default=0) < 3:
        raise BadOption(f"ssim: wanted sides of at least 3 voxels, got {tuple(sides)}")
    found = [
        structural_similarity(
            a,
            b,
            win_size=min(_WINDOW, (min(sides) - 1) // 2 * 2 + 1),
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


def prdc(real: Tensor, synthetic: Tensor, k: int = 5) -> PrdcScores:
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
    return PrdcScores(
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
    ranks = scipy.stats.rankdata(s)
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

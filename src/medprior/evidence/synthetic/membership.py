"""Does a prior give away who was in its training set? The attacks of the literature, turned on our own
weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...data.seeds import generator
from ...errors import BadOption
from ...prior import Condition, Prior
from ..intervals import Estimate, interval
from ..metrics import auroc

__all__ = ["ATTACKS", "Leak", "membership_leaks", "membership_scores"]

ATTACKS = ("loss", "mid-frequency")
"""loss: minus the mean denoising error over noise levels (Matsumoto et al., 2023; Carlini et al., arXiv
2301.13188). mid-frequency: the same between an eighth and half of the Nyquist frequency, where structure is a
patient's own (after arXiv 2506.14919)."""

SIGMAS = (0.1, 0.25, 0.6, 1.5)
"""Noise levels, network units."""

_NOISES = 2
_FALSE = 0.01
"""False-positive rate at which the hits of an attack are counted."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Of one attack. auc: probability that a member scores above another scan, 0.5 if nothing leaks. hits:
    true positive rate at a false positive rate of 1 %; None below 100 other patients. low: what the promise
    asks for.
    """

    attack: str
    auc: Estimate
    hits: Estimate | None

    @property
    def low(self) -> bool:
        """AUC upper end at most 0.55, and at most 2 % found at 1 % false."""
        return self.auc.high <= 0.55 and (self.hits is None or self.hits.value <= 0.02)


def membership_scores(
    prior: Prior,
    images: Sequence[Tensor],
    conditions: Sequence[Condition],
    *,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Images (C, i, j[, k]) in network units and what is known of each -> (n, 2): higher is more like a
    member, in each of ATTACKS.

    Every image meets the same noise as every other of its size, so that luck is not taken for memory.
    """
    found = []
    for done, (image, condition) in enumerate(zip(images, conditions, strict=True), start=1):
        own = []
        for n, sigma in enumerate(SIGMAS):
            noise = torch.randn(
                (_NOISES, *image.shape), generator=generator(seed, "membership", n, *image.shape)
            )
            level = torch.full((_NOISES,), sigma)
            with torch.no_grad():
                wrong = prior(image[None] + sigma * noise, level, condition) - image[None]
            scale = float(prior.error(level[:1]))
            own.append(torch.stack([wrong.square().mean(), _middle(wrong)]) / scale)
        found.append(-torch.stack(own).clamp_min(1e-12).log().mean(0))
        if on_step:
            on_step(done, len(images))
    return torch.stack(found)


def _middle(wrong: Tensor) -> Tensor:
    """Mean power between 1/8 and 1/2 of the Nyquist frequency."""
    axes = tuple(range(2, wrong.ndim))
    power = torch.fft.fftn(wrong, dim=axes, norm="ortho").abs().square()
    squares = [
        torch.fft.fftfreq(n).square().reshape([-1 if a == axis else 1 for a in axes])
        for axis, n in zip(axes, wrong.shape[2:], strict=True)
    ]
    radius = 2 * sum(squares[1:], squares[0]).sqrt()
    return power[..., (radius >= 1 / 8) & (radius < 1 / 2)].mean()


def membership_leaks(
    members: Tensor, others: Tensor, *, whose: Sequence[object] | None = None
) -> tuple[Leak, ...]:
    """members (n, 2), others (m, 2): what ``membership_scores`` gives. whose: patients of both, (n + m,);
    intervals draw patients. Raises BadOption below 20 each.
    """
    if min(len(members), len(others)) < 20:
        raise BadOption(
            f"membership: wanted at least 20 training and 20 held-out scans, got {len(members)} and "
            f"{len(others)}"
        )
    label = np.repeat([1, 0], [len(members), len(others)])
    # a patient with scans on both sides would be no test; the side is part of the name
    names = [
        (int(side), who)
        for side, who in zip(label, range(len(label)) if whose is None else whose, strict=True)
    ]
    found = []
    for n, attack in enumerate(ATTACKS):
        column = torch.cat([members[:, n], others[:, n]]).numpy()
        auc = interval(auroc, column, label, patients=names, strata=label.tolist())
        hits = None
        if len(set(names[len(members) :])) >= 1 / _FALSE:
            bar = float(
                np.sort(others[:, n].numpy())[::-1][int(len(others) * _FALSE)]
            )  # so many others lie above it
            above = (members[:, n] > bar).double().numpy()
            hits = interval(lambda x: float(x.mean()), above, patients=names[: len(members)])
        found.append(Leak(attack, auc, hits))
    return tuple(found)

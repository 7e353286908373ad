"""A classifier whose prior is tuned with it: weak and strong views of scans without label must agree.

FixMatch (Sohn et al., NeurIPS 2020) with distribution alignment (Berthelot et al., ICLR 2020). It begins with
the linear head on the frozen features, so it can only leave what that knows step by step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.seeds import generator, seed_for
from ..errors import BadOption, Diverged
from ..prior import Prior
from .features import FeatureSettings, features, live_features
from .heads import DRIFT, Array, LinearHead, probabilities, share_aligned

__all__ = ["ConsistencySettings", "TunedClassifier", "tune_classifier", "tuned_prior"]

View = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(images (B, C, i, j), their places (B,), the pass of each (B,)) -> images changed strongly."""
NET = "net."
"""Before the names of the network's weights among those of a head."""


@dataclass(frozen=True, slots=True)
class ConsistencySettings:
    """steps, rate: of AdamW. labelled, unlabelled: images a step. sigma: noise level of the features. weight:
    of the scans without label.
    """

    steps: int = 40
    rate: float = 3e-4
    labelled: int = 12
    unlabelled: int = 16
    sigma: float = 0.3
    weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class TunedClassifier:
    """prior: with the tuned network. linear: on its features. reason: why it was stopped, "" otherwise."""

    prior: Prior
    linear: LinearHead
    reason: str = ""

    def __call__(self, images: Tensor, how: FeatureSettings) -> Array:
        """(n, K) logits."""
        return self.linear(features(self.prior, images, None, how).numpy())

    def tensors(self) -> dict[str, Tensor]:
        """As a head stores them."""
        head = {name: torch.from_numpy(getattr(self.linear, name)).float() for name in ("weight", "bias")}
        return head | {NET + name: value for name, value in self.prior.net.state_dict().items()}


def tuned_prior(prior: Prior, tensors: Mapping[str, Tensor]) -> Prior:
    """The prior with the network of a head's tensors; as it is where they hold none. Raises BadOption where
    they do not fit.
    """
    own = {name.removeprefix(NET): value for name, value in tensors.items() if name.startswith(NET)}
    if not own:
        return prior
    net = copy.deepcopy(prior.net)
    try:
        net.load_state_dict(own)
    except RuntimeError as error:
        raise BadOption(
            "head: the weights do not fit the prior's network", "copy the whole folder again"
        ) from error
    return Prior(net.eval().requires_grad_(False), prior.path, prior.card)


def tune_classifier(
    prior: Prior,
    images: Tensor,
    y: Array,
    free: Tensor,
    start: LinearHead,
    how: FeatureSettings,
    settings: ConsistencySettings,
    strong: View,
) -> TunedClassifier:
    """images: (n, C, i, j) in network units with targets y (n, K), one class each. free: (m, C, i, j) without
    label. start: the head on the untuned ``features``. strong: changes images strongly; its places count the
    scans without label.

    Pseudo-labels come from the unchanged scans, aligned to the shares of the labels. The surer half of each
    class counts (thresholds by class: FlexMatch, Zhang et al., NeurIPS 2021). It is stopped where the share
    of a class drifts by more than a factor of two. Raises
    Diverged where the loss is not finite.
    """
    student = _Student(prior, images, y, free, start, how)
    weights = [*student.prior.net.parameters(), *student.layer.parameters()]
    solver = torch.optim.AdamW(weights, settings.rate, weight_decay=0.0)
    rng = generator(seed_for(how.seed, "consistency") % 2**62, "batches")
    with torch.enable_grad():
        for step in range(settings.steps):
            loss = student.labelled(torch.randint(len(images), (settings.labelled,), generator=rng))
            if len(free):
                there = torch.randint(len(free), (settings.unlabelled,), generator=rng)
                views = strong(free[there], there, torch.full_like(there, step))
                loss = loss + settings.weight * student.unlabelled(there, views)
            if not bool(loss.isfinite()):
                raise Diverged(step, 0.0, "tuning a classifier")
            for group in solver.param_groups:
                group["lr"] = settings.rate * min(1.0, (step + 1) / 10, 2 * (1 - step / settings.steps))
            solver.zero_grad(set_to_none=True)
            loss.backward()
            solver.step()
    return student.learned(start)


class _Student:
    """What is tuned, and what it is shown. shares: of the pseudo-labels of each step."""

    def __init__(
        self, prior: Prior, images: Tensor, y: Array, free: Tensor, start: LinearHead, how: FeatureSettings
    ) -> None:
        net = copy.deepcopy(prior.net).train().requires_grad_()
        self.prior, self.how, self.images, self.free = Prior(net, prior.path, prior.card), how, images, free
        known = features(prior, images, None, how)
        self.middle, self.scale = known.mean(0), known.std(0).clamp_min(1e-3)
        weight, bias = (torch.from_numpy(part).float() for part in (start.weight, start.bias))
        self.layer = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.layer.weight.copy_(weight * self.scale)
            self.layer.bias.copy_(bias + weight @ self.middle)
        self.kinds, self.target = torch.from_numpy(y.argmax(1)), y.mean(0)
        self.balance = torch.from_numpy(1 / np.maximum(y.sum(0), 1)).float()
        self.shares: list[Array] = []
        self.mean = self.target
        if len(free):
            self.mean = probabilities(start(features(prior, free, None, how).numpy()), several=False).mean(0)

    def logits(self, x: Tensor) -> Tensor:
        return self.layer((live_features(self.prior, x, self.how) - self.middle) / self.scale)

    def labelled(self, at: Tensor) -> Tensor:
        """Cross entropy in which classes count equally."""
        return F.cross_entropy(self.logits(self.images[at]), self.kinds[at], self.balance)

    def unlabelled(self, at: Tensor, views: Tensor) -> Tensor:
        """Strong views against the pseudo-labels of the unchanged scans."""
        with torch.no_grad():
            p = self.logits(self.free[at]).softmax(1).double().numpy()
        self.mean = 0.9 * self.mean + 0.1 * p.mean(0)
        moved = share_aligned(p, self.target, several=False, mean=self.mean)
        kind, sure = moved.argmax(1), moved.max(1)
        self.shares.append(np.eye(len(self.target))[kind].mean(0))
        counted = [sure[n] >= np.median(sure[kind == k]) for n, k in enumerate(kind)]
        each = F.cross_entropy(self.logits(views), torch.from_numpy(kind), reduction="none")
        return (each * torch.tensor(counted)).mean()

    def learned(self, start: LinearHead) -> TunedClassifier:
        self.prior.net.eval().requires_grad_(False)
        weight = (self.layer.weight / self.scale).detach()
        bias = (self.layer.bias - weight @ self.middle).detach()
        linear = replace(start, weight=weight.double().numpy(), bias=bias.double().numpy())
        return TunedClassifier(self.prior, linear, _drifted(self.shares, self.target))


def _drifted(shares: list[Array], target: Array) -> str:
    """Why the last half of the pseudo-labels is not to be trusted, "" where it is."""
    if not shares:
        return ""
    found = np.mean(shares[len(shares) // 2 :], axis=0)
    for k, (own, wanted) in enumerate(zip(found, target, strict=True)):
        if not wanted / DRIFT <= own <= wanted * DRIFT:
            return f"class {k + 1} is {own:.0%} of the pseudo-labels and {wanted:.0%} of the labels"
    return ""

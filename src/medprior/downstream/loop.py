"""The loop that classifier and segmenter share: equal steps whatever the number of images, batches by seed,
the average of the weights kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..data.seeds import generator, seed_for
from ..errors import BadOption, Diverged

__all__ = ["Batches", "OptimiserSettings", "optimise", "seeded_network"]

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """steps: of the optimiser, whatever the number of images: an arm with more images is not optimised for
    longer. batch: images a step.

    rate: highest learning rate of AdamW, warmed up over a tenth of the steps, then a cosine to 0. decay: of
    weights. average: decay of the moving average of the weights that is kept (Polyak), 0 keeps the last.
    balance: labels are drawn equally often, or as they are.
    """

    steps: int = 200
    batch: int = 32
    rate: float = 3e-3
    decay: float = 0.05
    average: float = 0.98
    balance: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or self.rate <= 0 or self.decay < 0 or not 0 <= self.average < 1:
            raise BadOption(
                "training: wanted steps >= 1, batch >= 2, rate > 0, decay >= 0 and average from 0 to below "
                f"1, got {self}"
            )


class Batches:
    """Which images each step sees: shuffled passes over the images of each label in turn, so that labels come
    equally often; or over all images.
    """

    def __init__(self, kinds: Tensor | None, n: int, batch: int, seed: int) -> None:
        """kinds: (n,) the label of each image, or None to draw them as often as they are."""
        groups = (
            [torch.arange(n)] if kinds is None else [torch.nonzero(kinds == k)[:, 0] for k in kinds.unique()]
        )
        self.passes = [_passes(group, generator(seed, "batches", k)) for k, group in enumerate(groups)]
        self.first, self.batch = 0, batch

    def next(self) -> tuple[Tensor, Tensor]:
        """(places in the data set (B,), the pass over the images of its label that each is drawn in (B,))."""
        found = [next(self.passes[(self.first + n) % len(self.passes)]) for n in range(self.batch)]
        self.first = (self.first + self.batch) % len(self.passes)
        return torch.tensor([at for at, _ in found]), torch.tensor([turn for _, turn in found])


def _passes(group: Tensor, rng: torch.Generator) -> Iterator[tuple[int, int]]:
    turn = 0
    while True:
        for at in group[torch.randperm(len(group), generator=rng)].tolist():
            yield at, turn
        turn += 1


def seeded_network(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network whose first weights hang on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "first weights"))
        return make()


def optimise(
    net: Net,
    batches: Batches,
    loss_at: Callable[[Tensor, Tensor], Tensor],
    settings: OptimiserSettings,
    on_step: Callable[[int, int], None] | None = None,
    *,
    kept: Callable[[int, Mapping[str, Tensor]], bool] | None = None,
    slow: tuple[Sequence[Tensor], float] = ((), 1.0),
) -> Net:
    """The network after ``settings.steps`` steps of AdamW, with averaged weights, in evaluation mode.
    loss_at(places, passes) -> the loss of a batch. kept: is shown the step and the averaged weights, and
    stops where it says so. slow: parameters that learn at a share of the rate.

    Raises Diverged where the loss is not finite.
    """
    optimizer = torch.optim.AdamW(_groups(net, settings.decay, *slow), lr=settings.rate)
    mean = {name: value.detach().clone() for name, value in net.state_dict().items()}
    net.train()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * group["share"] * _share(step, settings.steps)
        with torch.enable_grad():
            loss = loss_at(*batches.next())
        if not bool(torch.isfinite(loss)):
            raise Diverged(step, 0.0, "training of a downstream network")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        _averaged(mean, net, min(settings.average, (1 + step) / (10 + step)))
        if on_step:
            on_step(step + 1, settings.steps)
        if kept is not None and kept(step + 1, mean):
            break
    net.load_state_dict(mean)
    return net.eval()


def _groups(net: nn.Module, decay: float, slow: Sequence[Tensor], share: float) -> list[dict[str, Any]]:
    """Weights decay; biases and the scales of normalisation do not."""
    late = {id(p) for p in slow}
    return [
        {
            "params": [p for p in net.parameters() if (p.ndim > 1) is heavy and (id(p) in late) is behind],
            "weight_decay": decay if heavy else 0.0,
            "share": share if behind else 1.0,
        }
        for behind in ((False, True) if late else (False,))
        for heavy in (True, False)
    ]


def _share(step: int, steps: int) -> float:
    """Of the highest rate: warmed up over a tenth of the steps, then a cosine to 0 (Loshchilov and Hutter
    2017).
    """
    warm = max(1, steps // 10)
    return (
        (step + 1) / warm
        if step < warm
        else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
    )


@torch.no_grad()
def _averaged(kept: dict[str, Tensor], net: nn.Module, decay: float) -> None:
    """Polyak averaging of weights and of the statistics of normalisation, which belong to them."""
    for name, value in net.state_dict().items():
        if value.dtype.is_floating_point:
            kept[name].lerp_(value, 1 - decay)
        else:
            kept[name].copy_(value)

"""How a finished prior is tuned on few images: which of its parameters move, and how they are put back into
one plain network.

``lora``: low-rank additions to every convolution and linear layer (Hu et al. 2021, arXiv 2106.09685), the
weights themselves frozen. ``norm``: the affine part of the normalisations and what the noise level and the
label do to them (BitFit and the like; for GroupNorm: arXiv 2003.00152). ``full``: everything, at a lower
rate. The embedding of the labels is tuned in each of them, and what the network says of its own doubt in
none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..data.seeds import generator
from ..errors import BadOption, did_you_mean
from ..prior import Prior
from ..prior.prior import untrained_prior

__all__ = ["METHODS", "RATES", "merge_adapters", "prepare_tuning", "with_labels"]

METHODS = ("lora", "norm", "full")
RATES = {"lora": 2e-3, "norm": 4e-3, "full": 5e-4}
"""Adam's peak learning rate; that of ``full`` is a quarter of what a network of this size learns at from
nothing. Chosen on val (bench/adapt.py).
"""

FASTER = 10.0
"""Factor of the rate for the embedding of the labels. A new row begins where that of "unknown" is, not at
random as in training from nothing, and would else hardly leave it in a few hundred steps: both classes were
drawn alike."""

_EMBEDDINGS = ("label.", "numbers.")
_APART = ("doubt.", *_EMBEDDINGS)


class _LowRank(nn.Module):
    """weight -> weight + up @ down, as if it were a matrix (out, everything else); begins as nothing
    added.
    """

    def __init__(self, shape: Sequence[int], rank: int, rng: torch.Generator) -> None:
        super().__init__()
        rest = math.prod(shape[1:])
        rank = min(rank, shape[0], rest)
        self.down = nn.Parameter(torch.randn(rank, rest, generator=rng) / math.sqrt(rest))
        self.up = nn.Parameter(torch.zeros(shape[0], rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view(weight.shape)


def prepare_tuning(net: nn.Module, method: str, *, rank: int = 8, seed: int = 0) -> dict[str, float]:
    """Makes a network ready for tuning, in place, and names the parameters that shall move, with factors of
    the rate (``training.loop.train(tuned=...)``).

    rank: of the low-rank additions, at most what a layer has. After ``lora`` the network is parametrised;
    ``merge_adapters`` makes it plain again. The output does not move by a bit. Raises BadOption for an
    unknown method or a rank below 1.
    """
    if method not in METHODS:
        raise BadOption(f"method: {method!r} is not known", did_you_mean(method, list(METHODS)))
    if rank < 1:
        raise BadOption(
            f"rank: wanted a whole number >= 1, got {rank}", "8 is usual; it counts for lora alone"
        )
    if method == "lora":
        for name, layer in list(net.named_modules()):
            if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear) and not f"{name}.".startswith(_APART):
                low = _LowRank(layer.weight.shape, rank, generator(seed, "low rank", name))
                parametrize.register_parametrization(layer, "weight", low.to(layer.weight.device))
    return {
        name: FASTER if name.startswith("label.") else 1.0
        for name, _ in net.named_parameters()
        if _moves(name, method)
    }


def _moves(name: str, method: str) -> bool:
    if name.startswith("doubt."):
        return False
    if name.startswith(_EMBEDDINGS) or method == "full":
        return True
    if method == "lora":
        return name.endswith((".up", ".down"))
    # the bias at the entrance, too: torch 2.13 crashes in a normalisation of channels-last images that has a
    # gradient and whose input has none
    return ".norm" in name or ".modulate." in name or name.startswith("leave.0.") or name == "enter.bias"


def merge_adapters(net: nn.Module) -> nn.Module:
    """The additions become part of the weights, in place: a plain network of the shapes that the card names,
    with the same output.
    """
    for layer in list(net.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return net


def with_labels(prior: Prior, labels: Sequence[str]) -> Prior:
    """The same prior, its labels followed by those of ``labels`` that it does not have; asked for none of the
    new ones it says what it said.

    A new label begins as what the prior says when nothing is asked for. A prior without labels gets an
    embedding of them. The promises of trust.json and what it knows of healthy scans stay behind: they are of
    other weights.
    """
    every = (*prior.card.labels, *dict.fromkeys(label for label in labels if label not in prior.card.labels))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is initialised is overwritten
        made = untrained_prior(replace(prior.card, labels=every))
    weights = dict(prior.net.state_dict())
    if every:
        width = made.net.get_parameter("label.weight").shape[1]
        rows = weights.get("label.weight", torch.zeros(1, width))  # the last row is that of "unknown"
        new = len(every) + 1 - len(rows)
        weights["label.weight"] = torch.cat([rows[:-1], rows[-1:].expand(new + 1, width)])
    made.net.load_state_dict(weights)
    return made

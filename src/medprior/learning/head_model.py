"""A head as a function of images, for what explains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..data.seeds import generator
from ..errors import BadOption
from ..prior import Condition, Prior
from .consistency import tuned_prior
from .features import FeatureSettings, Looker, class_errors, features, live_features
from .head_folder import Head, prior_digest

__all__ = ["GENERATIVE", "head_scores", "looker_of", "shuffled_head"]

GENERATIVE = "generative classifier"
"""A head on the denoising errors under each label of the prior, not on its features."""


def looker_of(head: Head) -> Looker:
    """What a head wants to know of a scan, by its own network where that was tuned."""
    if head.card.method == GENERATIVE:
        return class_errors
    tuned = tuned_prior(head.prior, head.tensors)
    if tuned is head.prior:
        return features
    return lambda prior, images, condition, how: features(tuned, images, condition, how)


def head_scores(head: Head, prior: Prior, *, gradients: bool = False) -> Callable[[Tensor], Tensor]:
    """(B, C, i, j[, k]) network units -> (B, classes) logits, calibrated as the head says.

    gradients: they flow through it to the images, not for a head of the generative classifier. Raises
    BadOption for such a one, for a segmenter, a head with several labels a scan and one on another prior.
    Also where the prior knows numbers of each image (the height of a slice), which a model is not given.
    """
    if head.card.kind != "classifier" or head.card.several:
        raise BadOption(
            "model: wanted a head with one label a scan", "explain each label by a model of its own"
        )
    if prior_digest(prior) != head.card.prior_sha256:
        raise BadOption(f"model: the head was learned on another prior than {prior.card.name}")
    if prior.card.numbers:
        raise BadOption(f"model: heads on a prior that knows {prior.card.numbers[0]} cannot be explained")
    how, linear = head.features_for(allow_other=True), head.linear
    if gradients:
        return _live_scores(head, how)
    look = looker_of(head)

    def scores(images: Tensor) -> Tensor:
        stack = images.ndim - 2 > prior.card.ndim
        flat = images.movedim(-1, 1).flatten(0, 1) if stack else images
        seen = look(prior, flat, Condition(), how)
        seen = seen.reshape(len(images), -1, seen.shape[1]).mean(1)
        return torch.from_numpy(head.temperature(linear(seen.numpy()))).float()

    return scores


def _live_scores(head: Head, how: FeatureSettings) -> Callable[[Tensor], Tensor]:
    if head.card.method == GENERATIVE:
        raise BadOption(f"model: a head that is a {GENERATIVE} gives no gradients", "leave --gradients out")
    network, linear, made = tuned_prior(head.prior, head.tensors), head.linear, head.temperature
    weight, bias = torch.from_numpy(linear.weight), torch.from_numpy(linear.bias)
    offset = torch.tensor(made.offset or (0.0,), dtype=torch.float64)

    def scores(images: Tensor) -> Tensor:
        if images.ndim - 2 > network.card.ndim:
            raise BadOption(
                "model: a head on a prior of slices gives no gradients for a volume", "leave --gradients out"
            )
        seen = live_features(network, images, how).double()
        return ((seen @ weight.T + bias) / made.value + offset).float()

    return scores


def shuffled_head(head: Head, seed: int) -> Head:
    """The same with its weights in random order."""
    weight = head.tensors["weight"]
    order = torch.randperm(weight.numel(), generator=generator(seed, "shuffled head"))
    return replace(head, tensors={**head.tensors, "weight": weight.flatten()[order].reshape(weight.shape)})

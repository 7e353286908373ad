"""The model that a run explains, from what ``--model`` names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...data.seeds import generator
from ...errors import Unsupported
from ...explanation.model import Model, ModelInput
from ...io.disk.files import sha256
from ...io.onnx_model import ModelCard, StoredModel, read_onnx
from ...jobs.explain import head_as_model
from ...learning.head_folder import Head, load_head
from ...learning.head_model import shuffled_head
from ...prior import Prior
from ...prior.admit import Admitted

__all__ = ["LoadedModel", "load_model", "model_digest"]


_TRIAL = 0.1
"""Noise of the trial images on which gradients are tested, network units."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model, and the same with each tensor of its weights in random order, from a seed.

    differentiable: the same with gradients, tested near a scan. It raises what ``io.onnx_gradients`` and
    ``head_as_model`` raise.
    """

    model: Model
    shuffled: Callable[[int], LoadedModel]
    differentiable: Callable[[Admitted], Model]


def load_model(path: Path, prior: Prior) -> LoadedModel:
    """From an ONNX file or the folder of a head. Raises what ``read_onnx``, ``load_head`` and
    ``head_as_model`` raise, Unsupported for another kind of file.
    """
    if path.is_dir():
        return _from_head(load_head(path, prior), prior)
    if path.suffix.lower() != ".onnx":
        raise Unsupported(
            path,
            "is neither an ONNX file nor the folder of a head",
            "export your model, e.g. torch.onnx.export(model, image, 'model.onnx'); in Python "
            "medprior.explain takes any function",
        )
    return _from_onnx(read_onnx(path))


def _from_head(head: Head, prior: Prior) -> LoadedModel:
    return LoadedModel(
        head_as_model(head, prior),
        lambda seed: _from_head(shuffled_head(head, seed), prior),
        lambda _: head_as_model(head, prior, gradients=True),
    )


def _from_onnx(stored: StoredModel) -> LoadedModel:
    return LoadedModel(
        _model(stored.card, stored.scores),
        lambda seed: _from_onnx(stored.shuffled(seed)),
        lambda admitted: _differentiable(stored, admitted),
    )


def model_digest(path: Path) -> str:
    """SHA-256 of what ``load_model`` reads: of the file, of a head that of its weights and its card."""
    return load_head(path).digest if path.is_dir() else sha256(path)


def _differentiable(stored: StoredModel, admitted: Admitted) -> Model:
    """The model with gradients, tested on two noisy copies of the scan."""
    plain = _model(stored.card, stored.scores)
    noise = torch.randn(2, *admitted.whole.shape, generator=generator(0, "gradients"))
    images = plain.input.made(admitted.whole + _TRIAL * noise, admitted.low, admitted.high)
    return replace(plain, scores=stored.differentiable(images), gradients=True)


def _model(card: ModelCard, scores: object) -> Model:
    wanted = ModelInput(card.size, card.channels, card.range, card.mean, card.std)
    return Model(scores, card.classes, wanted, card.outputs)  # type: ignore[arg-type]

"""The model that a run explains, from what ``--model`` names."""

from __future__ import annotations

from pathlib import Path

from ...errors import Unsupported
from ...explanation.model import Model, ModelInput
from ...io.onnx_model import ModelCard, StoredModel, read_onnx

__all__ = ["LoadedModel", "load_model"]


class LoadedModel:
    """A model, and the same with shuffled weights."""

    def __init__(self, stored: StoredModel) -> None:
        self.stored = stored
        self.model = _model(stored.card, stored.scores)

    def shuffled(self, seed: int) -> Model:
        """Each tensor of its weights in random order."""
        return _model(self.stored.card, self.stored.shuffled(seed))


def load_model(path: Path) -> LoadedModel:
    """From an ONNX file. Raises what ``read_onnx`` raises, Unsupported for another kind of file."""
    if path.suffix.lower() != ".onnx":
        raise Unsupported(
            path,
            "is no ONNX file",
            "export your model, e.g. torch.onnx.export(model, image, 'model.onnx'); in Python "
            "medprior.explain takes any function",
        )
    return LoadedModel(read_onnx(path))


def _model(card: ModelCard, scores: object) -> Model:
    wanted = ModelInput(card.size, card.channels, card.range, card.mean, card.std)
    return Model(scores, card.classes, wanted, card.outputs)  # type: ignore[arg-type]

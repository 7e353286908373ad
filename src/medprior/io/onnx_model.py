"""A person's own model from a file: ONNX, which holds numbers and a graph of known operators, never code.

Beside ``model.onnx`` lies ``model.json``, which says what the model wants and what its scores mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ..data.seeds import generator
from ..errors import Corrupt, FileProblem, TooLarge, Unsupported, optional
from .disk.files import read_json
from .onnx_gradients import differentiable

__all__ = ["ModelCard", "StoredModel", "read_onnx"]

_MOST_BYTES = 2**31 - 1
"""What one ONNX file can hold; larger models keep their numbers in other files, which are refused."""

_KNOWN = {"", "ai.onnx", "ai.onnx.ml"}
"""Domains of the operators that ONNX itself defines."""


class ModelCard(BaseModel):
    """model.json. size: [rows, columns] or three numbers. channels: copies of a grey image. range: the
    model's values at the darkest and the brightest of a scan; without it (value - mean) / std in the scan's
    unit. outputs: what the scores are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    classes: tuple[str, ...]
    size: tuple[int, ...] | None = None
    channels: int | None = None
    range: tuple[float, float] | None = None
    mean: float = 0.0
    std: float = 1.0
    outputs: Literal["probabilities", "logits"]


@dataclass(frozen=True, slots=True, eq=False)
class StoredModel:
    """scores: (B, C, i, j[, k]) float32 -> (B, classes) or (B,). shuffled: the model with each of its tensors
    of weights in random order, from a seed. differentiable: the scores with gradients, tested on images (B,
    C, i, j[, k]) that the model can take; raises what ``io.onnx_gradients`` raises.
    """

    card: ModelCard
    scores: Callable[[Tensor], Tensor]
    shuffled: Callable[[int], StoredModel]
    differentiable: Callable[[Tensor], Callable[[Tensor], Tensor]]


def read_onnx(path: Path) -> StoredModel:
    """A model and its card. Raises FileProblem (absent, no model.json beside it, a wrong card), Corrupt,
    TooLarge, Unsupported (numbers in other files, operators of other domains, several inputs), MissingExtra.
    """
    onnx = optional("onnx", "explain", "a model in an ONNX file")
    card = _card(path.with_suffix(".json"), path)
    if not path.is_file():
        raise FileProblem(path, "there is no such file", "wanted a model as an ONNX file")
    if path.stat().st_size > _MOST_BYTES:
        raise TooLarge(path, "is larger than 2 GiB")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        _check(path, model)
        onnx.checker.check_model(model)
    except FileProblem:
        raise
    except Exception as error:  # protobuf and onnx raise many kinds
        raise Corrupt(
            path, f"is no valid ONNX file ({type(error).__name__})", "export the model again"
        ) from None
    return _stored(path, card, onnx, model)


def _stored(path: Path, card: ModelCard, onnx: Any, model: Any) -> StoredModel:
    scores = _session(path, model)
    return StoredModel(
        card,
        scores,
        lambda seed: _stored(path, card, onnx, _in_disorder(onnx, model, seed)),
        lambda images: differentiable(path, model, scores, images),
    )


def _card(path: Path, model: Path) -> ModelCard:
    if not path.is_file():
        raise FileProblem(
            path,
            f"is missing: it says what {model.name} wants",
            'e.g. {"classes": ["normal", "pneumonia"], "size": [224, 224], "channels": 3, "range": [0, 1], '
            '"outputs": "logits"}',
        )
    try:
        return ModelCard.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FileProblem(path, f"{where}: {first['msg']}", "see medprior explain --help") from None


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those inside its operators (branches, loops)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _check(path: Path, model: Any) -> None:
    """Raises Unsupported for what reaches outside of the file."""
    constants = {name.name for name in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in constants]
    if len(inputs) != 1:
        raise Unsupported(path, f"wants {len(inputs)} inputs", "export it with the image as its one input")
    nodes = [node for graph in _graphs(model.graph) for node in graph.node]
    nodes += [node for function in model.functions for node in function.node]
    own = {function.domain for function in model.functions}
    other = sorted({node.domain for node in nodes} - _KNOWN - own)
    if other:
        raise Unsupported(path, f"uses operators of {other[0]!r}", "export it with ONNX's own operators")
    tensors = [one for graph in _graphs(model.graph) for one in graph.initializer]
    attributes = [attribute for node in nodes for attribute in node.attribute]
    tensors += [one for attribute in attributes for one in (attribute.t, *attribute.tensors)]
    if any(one.data_location or one.external_data for one in tensors):
        raise Unsupported(path, "keeps its numbers in other files", "export it as one file")


def _session(path: Path, model: Any) -> Callable[[Tensor], Tensor]:
    runtime = optional("onnxruntime", "explain", "a model in an ONNX file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises classes of its own
        raise Unsupported(path, f"cannot be run by onnxruntime ({type(error).__name__})") from None
    name, wanted = session.get_inputs()[0].name, tuple(session.get_inputs()[0].shape)
    batch = wanted[0] if wanted and isinstance(wanted[0], int) else None

    def scores(images: Tensor) -> Tensor:
        given = np.ascontiguousarray(images.detach().cpu().numpy(), dtype=np.float32)
        missing = -len(given) % batch if batch else 0
        padded = np.concatenate([given, given[:1].repeat(missing, 0)])
        try:
            parts = [
                session.run(None, {name: part})[0]
                for part in np.split(padded, len(padded) // (batch or len(padded)))
            ]
        except Exception:  # as above
            raise FileProblem(
                path,
                f"cannot take images of {tuple(images.shape)}; it wants {wanted}",
                f"state size and channels in {path.with_suffix('.json').name}",
            ) from None
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))[: len(given)]

    return scores


def _in_disorder(onnx: Any, model: Any, seed: int) -> Any:
    """A copy whose tensors of floating-point weights have their numbers in random order."""
    copy = type(model)()
    copy.CopyFrom(model)
    rng = generator(seed, "shuffled")
    for tensor in copy.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and values.size > 1:
            order = torch.randperm(values.size, generator=rng).numpy()
            mixed = values.flatten()[order].reshape(values.shape)
            tensor.CopyFrom(onnx.numpy_helper.from_array(mixed, tensor.name))
    return copy

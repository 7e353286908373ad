"""Gradients of a model from an ONNX file: its graph rebuilt from torch's operators, and tested.

The converter is young, so nothing is taken on trust: the rebuilt model must give the scores that onnxruntime
gives, and its gradient must say how those scores change. Names of the file are replaced first, as torch.fx
writes names into Python code that it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.seeds import generator
from ..errors import Unsupported, optional

__all__ = ["differentiable"]

Scores = Callable[[Tensor], Tensor]

_SCORES, _SLOPE = 1e-3, 0.1
"""Largest difference of the scores, as a share of their range over the trial images, and of a slope, as a
share of itself."""

_STEP = 1e-2
"""Of the trial images, along which the slope is measured."""


def differentiable(path: Path, model: Any, scores: Scores, images: Tensor) -> Scores:
    """The same scores, with gradients. images: (B, C, i, j[, k]), at least two, as the model wants them.

    Raises Unsupported where the model cannot be rebuilt, or where scores or slopes differ; MissingExtra.
    """
    onnx = optional("onnx", "explain", "gradients of a model in an ONNX file")
    onnx2fx = optional("onnx2fx", "explain", "gradients of a model in an ONNX file")
    remedy = "leave --gradients out: the search then works without gradients"
    try:
        made = onnx2fx.convert(_renamed(onnx, model)).eval().requires_grad_(False)
        ours = _first(made)
        faulty = _differs(ours, scores, images)
    except Exception as error:  # a young converter raises many kinds
        raise Unsupported(path, f"gives no gradients ({type(error).__name__})", remedy) from None
    if faulty:
        raise Unsupported(path, f"gives no gradients that can be trusted: {faulty}", remedy)
    return ours


def _first(made: Callable[[Tensor], Any]) -> Scores:
    def scores(images: Tensor) -> Tensor:
        found = made(images)
        return found[0] if isinstance(found, (tuple, list)) else found

    return scores


def _renamed(onnx: Any, model: Any) -> Any:
    """The model with plain names for everything, and without what is not computed."""
    if len(model.functions) or len(model.graph.sparse_initializer):
        raise ValueError("functions or sparse weights")
    graph = model.graph
    names: dict[str, str] = {"": ""}
    known = [one.name for one in (*graph.input, *graph.initializer)]
    for name in [*known, *(out for node in graph.node for out in node.output)]:
        names.setdefault(name, f"v{len(names)}")
    made = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    made.graph.name = "model"
    for kind in ("input", "output", "initializer"):
        for one in getattr(graph, kind):
            copy = getattr(made.graph, kind).add()
            copy.CopyFrom(one)
            copy.name = names[one.name]
    for n, node in enumerate(graph.node):
        if any(part.HasField("g") or len(part.graphs) for part in node.attribute):
            raise ValueError("branches or loops")
        copy = made.graph.node.add()
        copy.op_type, copy.domain, copy.name = node.op_type, node.domain, f"n{n}"
        copy.input.extend(names[name] for name in node.input)
        copy.output.extend(names[name] for name in node.output)
        copy.attribute.extend(node.attribute)
    onnx.checker.check_model(made)
    return made


def _differs(ours: Scores, theirs: Scores, images: Tensor) -> str:
    """What is wrong with our scores, or nothing: their values, and their slopes along random directions."""
    with torch.no_grad():
        wanted, found = theirs(images).flatten(1), ours(images).flatten(1)
    spread = float(wanted.max() - wanted.min()) or 1.0
    if found.shape != wanted.shape or float((found - wanted).abs().max()) > _SCORES * spread:
        return "its scores are not those of onnxruntime"
    rng = generator(0, "slopes")
    weights = torch.randn(wanted.shape, generator=rng)
    at = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad((ours(at).flatten(1) * weights).sum(), at)
    along = slope / slope.flatten().norm().clamp_min(1e-12) * images.std().clamp_min(1e-3)
    by = _STEP * along * images[0].numel() ** 0.5
    with torch.no_grad():
        change = ((theirs(images + by) - theirs(images - by)).flatten(1) * weights).sum() / 2
    promised = (slope * by).sum()
    if not slope.isfinite().all() or float(slope.abs().max()) == 0:
        return "its slope is zero or not finite"
    if abs(float(change - promised)) > _SLOPE * abs(float(promised)) + _SCORES * spread:
        return "its slope is not how the scores change"
    return ""

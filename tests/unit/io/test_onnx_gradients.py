"""Gradients of a model from a file: those of the scores, or none at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medprior.errors import Unsupported
from medprior.io.onnx_gradients import differentiable
from medprior.io.onnx_model import read_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx2fx")
pytest.importorskip("onnxruntime")

KIND = 1
SIZE = (2, 1, 8, 8)


def graph(evil: str = "weight", last: str = "Relu") -> Any:
    """Convolution, an activation, mean over the image: two scores."""
    make = onnx.helper
    weight = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0)).numpy()
    nodes = [
        make.make_node("Conv", ["x", evil], ["seen"], pads=[1, 1, 1, 1]),
        make.make_node(last, ["seen"], ["active"]),
        make.make_node("GlobalAveragePool", ["active"], ["mean"]),
        make.make_node("Flatten", ["mean"], ["scores"]),
    ]
    return make.make_model(
        make.make_graph(
            nodes,
            "model",
            [make.make_tensor_value_info("x", KIND, ["b", *SIZE[1:]])],
            [make.make_tensor_value_info("scores", KIND, ["b", 2])],
            [onnx.numpy_helper.from_array(weight, evil)],
        ),
        opset_imports=[make.make_opsetid("", 17)],
        ir_version=9,
    )


def stored(folder: Path, model: Any) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".json").write_text('{"classes": ["dark", "bright"], "outputs": "logits"}')
    return path


def test_gradients_are_those_of_the_same_network_in_torch(tmp_path: Path) -> None:
    model = graph()
    images = torch.randn(SIZE, generator=torch.Generator().manual_seed(1), requires_grad=True)
    scores = read_onnx(stored(tmp_path, model)).differentiable(images.detach())
    weight = torch.from_numpy(onnx.numpy_helper.to_array(model.graph.initializer[0]).copy())
    wanted = nn.functional.conv2d(images, weight, padding=1).relu().mean((2, 3))
    assert torch.allclose(scores(images), wanted, atol=1e-5)
    (slope,) = torch.autograd.grad(wanted[:, 1].sum(), images)
    (found,) = torch.autograd.grad(scores(images)[:, 1].sum(), images)
    assert torch.allclose(found, slope, atol=1e-6)


def test_a_model_without_slope_gives_none(tmp_path: Path) -> None:
    images = torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    with pytest.raises(Unsupported, match=r"no gradients .*leave --gradients out"):
        read_onnx(stored(tmp_path, graph(last="Sign"))).differentiable(images)


def test_gradients_of_other_scores_are_refused(tmp_path: Path) -> None:
    images = torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    with pytest.raises(Unsupported, match="not those of onnxruntime"):
        differentiable(tmp_path, graph(), lambda x: 2 * x.mean((2, 3)).repeat(1, 2), images)


def test_names_of_a_file_are_never_run_as_code(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    evil = f'w"); open({str(mark)!r}, "w"); getattr(self, "w'
    images = torch.randn(SIZE, generator=torch.Generator().manual_seed(1))
    scores = read_onnx(stored(tmp_path, graph(evil))).differentiable(images)
    assert np.isfinite(scores(images).numpy()).all() and not mark.exists()

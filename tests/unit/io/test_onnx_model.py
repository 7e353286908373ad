"""A model from a file: its numbers come in right, and what reaches outside of the file is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medprior.errors import Corrupt, FileProblem, Unsupported
from medprior.io.onnx_model import read_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CARD = {"classes": ["dark", "bright"], "outputs": "logits"}
WEIGHT = np.array([[-1.0, 2.0], [0.5, 3.0]], np.float32)


def graph(batch: int | str = "b", domain: str = "") -> Any:
    """Logits of a 1 x 2 image: its pixels times WEIGHT."""
    make = onnx.helper
    nodes = [
        make.make_node("Flatten", ["x"], ["flat"], axis=1),
        make.make_node("MatMul", ["flat", "w"], ["logits"], domain=domain),
    ]
    kind = onnx.TensorProto.FLOAT
    return make.make_model(
        make.make_graph(
            nodes,
            "model",
            [make.make_tensor_value_info("x", kind, [batch, 1, 1, 2])],
            [make.make_tensor_value_info("logits", kind, [batch, 2])],
            [onnx.numpy_helper.from_array(WEIGHT, "w")],
        ),
        opset_imports=[make.make_opsetid("", 17), *([make.make_opsetid(domain, 1)] if domain else [])],
        ir_version=9,
    )


def stored(folder: Path, model: Any = None, card: object = CARD) -> Path:
    path = folder / "model.onnx"
    path.write_bytes((graph() if model is None else model).SerializeToString())
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


@pytest.mark.parametrize("batch", ["b", 1, 2])
def test_the_scores_are_those_of_the_graph(tmp_path: Path, batch: int | str) -> None:
    images = torch.rand(3, 1, 1, 2)
    model = read_onnx(stored(tmp_path, graph(batch)))
    assert model.card.classes == ("dark", "bright")
    assert torch.allclose(model.scores(images), images.flatten(1) @ torch.from_numpy(WEIGHT), atol=1e-6)


def test_shuffled_weights_are_the_same_numbers_in_another_order(tmp_path: Path) -> None:
    model = read_onnx(stored(tmp_path))
    unit = torch.eye(2).reshape(2, 1, 1, 2)
    orders = {tuple(model.shuffled(seed).scores(unit).flatten().tolist()) for seed in range(6)}
    assert len(orders) > 1 and all(sorted(one) == sorted(WEIGHT.flatten().tolist()) for one in orders)


def test_what_reaches_outside_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"operators of 'com\.evil'"):
        read_onnx(stored(tmp_path, graph(domain="com.evil")))
    outside = graph()
    tensor = outside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    with pytest.raises(Unsupported, match="in other files"):
        read_onnx(stored(tmp_path, outside))
    two = graph()
    two.graph.input.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1]))
    with pytest.raises(Unsupported, match="2 inputs"):
        read_onnx(stored(tmp_path, two))


def test_a_broken_file_or_card_is_named(tmp_path: Path) -> None:
    path = stored(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileProblem, match=r"model\.json.*is missing"):
        read_onnx(path)
    for wrong, said in (
        ({"classes": ["a", "b"]}, "outputs"),
        (CARD | {"colour": 3}, "colour"),
        (CARD | {"mean": "grey"}, "mean"),
        ([], "the file"),
    ):
        with pytest.raises(FileProblem, match=said):
            read_onnx(stored(tmp_path, card=wrong))
    path = stored(tmp_path)
    path.write_bytes(path.read_bytes()[:40] + b"\xff" * 40)
    with pytest.raises(Corrupt):
        read_onnx(path)
    path.unlink()
    with pytest.raises(FileProblem, match="no such file"):
        read_onnx(path)


def test_images_that_it_cannot_take_are_refused_in_words(tmp_path: Path) -> None:
    model = read_onnx(stored(tmp_path))
    with pytest.raises(FileProblem, match="cannot take images"):
        model.scores(torch.zeros(1, 1, 5, 5))

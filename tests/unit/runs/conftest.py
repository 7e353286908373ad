"""A prior small enough to run in milliseconds, and scans that were never anybody's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from medprior.data.volume import Volume
from medprior.io.write import write
from medprior.prior import Card
from medprior.prior.prior import untrained_prior
from medprior.training.folder import save


def tiny_card(**changes) -> Card:
    facts = {
        "name": "tiny",
        "modality": "",
        "widths": (4, 8),
        "blocks": 1,
        "frame": (16, 32),
        "labels": ("no_finding", "pneumonia"),
        "data": {"shape": [32, 32]},
    }
    return Card(**{**facts, **changes})


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained prior for pictures."""
    return save_tiny(tmp_path_factory.mktemp("priors") / "tiny")


def save_tiny(folder: Path, **changes) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prior = untrained_prior(tiny_card(**changes))
    save(prior, folder)
    return folder


def blobs(rows: int = 32, columns: int = 32, seed: int = 0) -> np.ndarray:
    """(1, rows, columns) smooth grey values 0..255, brighter at the top left."""
    rng = np.random.default_rng(seed)
    i, j = np.mgrid[0:rows, 0:columns]
    image = (
        120
        + 90 * np.exp(-((i - rows * 0.3) ** 2 + (j - columns * 0.3) ** 2) / 60)
        + rng.normal(0, 4, (rows, columns))
    )
    return np.clip(image, 0, 255).astype(np.float32)[None]


def scene(seed: int, size: int = 32) -> np.ndarray:
    """(1, size, size) smooth random grey values 10..245: no two seeds look alike."""
    coarse = np.random.default_rng(seed).uniform(10, 245, (5, 5)).astype(np.float32)
    return np.asarray(zoom(coarse, size / 5, order=3)).clip(10, 245)[None]


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG that no other file resembles; its name must appear in nothing that a run writes."""
    path = tmp_path_factory.mktemp("scans") / "Mustermann_Erika.png"
    write(Volume(blobs()), path, kind="converted")
    return path


def bright_model(folder: Path, edge: float, shape: tuple[str | int, ...] = ("b", 1, 32, 32)) -> Path:
    """Probability that the mean of an image (0..1) is above an edge."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        make.make_node("ReduceMean", ["x"], ["mean"], axes=[*range(1, len(shape))], keepdims=0),
        make.make_node("Sub", ["mean", "edge"], ["over"]),
        make.make_node("Mul", ["over", "slope"], ["steep"]),
        make.make_node("Sigmoid", ["steep"], ["p"]),
    ]
    constants = {"edge": np.float32(edge), "slope": np.float32(200)}
    model = make.make_model(
        make.make_graph(
            nodes,
            "bright",
            [make.make_tensor_value_info("x", kind, shape)],
            [make.make_tensor_value_info("p", kind, ["b"])],
            [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[make.make_opsetid("", 13)],
        ir_version=8,
    )
    path = folder / "bright.onnx"
    path.write_bytes(model.SerializeToString())
    card = {"classes": ["dark", "bright"], "outputs": "probabilities", "range": [0, 1]}
    path.with_suffix(".json").write_text(json.dumps(card))
    return path

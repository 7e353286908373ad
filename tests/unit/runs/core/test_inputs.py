"""What a run starts from: a prior by any of its names, a network on another device that gives the same
numbers.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from medprior.errors import BadOption, FileProblem
from medprior.runs.core.inputs import _Elsewhere, device_named, known_prior
from medprior.training.folder import locate


def test_the_folder_of_a_training_run_is_a_prior(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "run" / "prior")
    assert known_prior(str(tmp_path / "run")).sha256 == known_prior(str(tiny)).sha256
    with pytest.raises(FileProblem, match="neither a bundled prior nor a folder"):
        locate(str(tmp_path))


def test_a_network_elsewhere_gives_what_it_gives_here(tiny: Path) -> None:
    """All but the network stays on the CPU, so that random numbers do not depend on the device."""
    here = known_prior(str(tiny)).prior
    x, sigma = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)), torch.ones(2)
    wanted = here(x, sigma)
    here.net = _Elsewhere(here.net, "cpu")
    assert torch.equal(here(x, sigma), wanted)


@pytest.mark.gpu
def test_a_gpu_gives_nearly_the_same(tiny: Path) -> None:
    x, sigma = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)), torch.ones(2)
    found = known_prior(str(tiny), "cuda").prior(x, sigma)
    assert found.device.type == "cpu" and torch.allclose(
        found, known_prior(str(tiny)).prior(x, sigma), atol=1e-3
    )


def test_devices() -> None:
    assert device_named("cpu") == "cpu" and device_named("auto") in ("cpu", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(BadOption, match="--device cpu"):
            device_named("cuda")

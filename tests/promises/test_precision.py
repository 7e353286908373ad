"""The flags of the loop: bfloat16, compiled networks, and volumes instead of slices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medprior.prior import Card
from medprior.prior.prior import untrained_prior
from medprior.training.checkpoint import load_latest
from medprior.training.distributed import OneProcess
from medprior.training.loop import _Run, train
from medprior.training.patches import Images
from tests.unit.training import small


def losses(folder: Path, steps: int, **other: object) -> list[float]:
    run = _Run(
        small.prior(), small.images(), small.settings(steps, rate=5e-3, **other), folder, OneProcess("cpu")
    )
    for _ in range(steps):
        run.advance(False)
    return run.losses


def test_bfloat16_learns_what_float32_learns(tmp_path: Path) -> None:
    """Autocast rounds what the network computes, not what it keeps: the losses of 16 steps are full
    precision's within 2 %, and not equal to them.
    """
    full, half = losses(tmp_path / "a", 16), losses(tmp_path / "b", 16, precision="bfloat16")
    assert half == pytest.approx(full, rel=0.02) and half != full


def test_bfloat16_keeps_its_weights_in_float32(tmp_path: Path) -> None:
    train(small.prior(), small.images(), small.settings(3, precision="bfloat16"), tmp_path)
    state, _ = load_latest(tmp_path / "checkpoints")
    assert state is not None
    assert {t.dtype for part in (state.weights, state.average, state.moments) for t in part.values()} == {
        torch.float32
    }


def test_what_the_compiler_makes_is_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag hands the loss to torch.compile once, and every step calls what came back; without it nothing
    is compiled.
    """
    made: list[object] = []
    ran: list[tuple[int, ...]] = []

    def compiler(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        made.append(function)
        return lambda x0, *rest: ran.append(tuple(x0.shape)) or function(x0, *rest)  # type: ignore[func-returns-value]

    monkeypatch.setattr(torch, "compile", compiler)
    plain = losses(tmp_path / "plain", 3)
    assert not made
    assert losses(tmp_path / "compiled", 3, compile=True) == plain
    assert len(made) == 1 and len(ran) == 3


def test_volumes_learn_and_resume(tmp_path: Path) -> None:
    """A 3-D prior, two resolutions, mirrored: what four steps make is what two and two make, to the bit."""
    rng = torch.Generator().manual_seed(0)
    data = Images(
        [torch.randn(1, 12, 14, 10, generator=rng) for _ in range(2)],
        levels=(0.5, 0.5),
        patches=((8, 1.0),),
        flip=1,
    )
    card = Card("solid", "MR", ndim=3, widths=(8, 16), blocks=1)

    def made(seed: int):
        torch.manual_seed(seed)
        return untrained_prior(card)

    run = partial(train, data=data, settings=small.settings(4, batch=2, save_every=1))
    whole = run(made(0), folder=tmp_path / "whole")

    def cut(progress, _) -> None:
        if progress.step == 2:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power"):
        run(made(0), folder=tmp_path / "halves", on_progress=cut)
    resumed = run(made(5), folder=tmp_path / "halves")
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.net.state_dict().values(), resumed.net.state_dict().values(), strict=True)
    )

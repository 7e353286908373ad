"""The trial of two starts: a prior that knows the scans helps, one that knows noise hurts, itself is no
difference."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption
from medprior.jobs.fitting import transfer
from medprior.jobs.fitting.transfer import StartAdvice, start_advice
from medprior.prior import Prior
from medprior.training.loop import TrainingSettings
from medprior.training.patches import Images
from tests.unit.jobs.exact import tiny
from tests.unit.runs.conftest import scene

HOW = TrainingSettings(batch=4)


def scans(n: int, first: int = 0) -> list[Tensor]:
    return [torch.from_numpy(np.asarray(scene(first + k, 16) / 127.5 - 1, np.float32)) for k in range(n)]


def plain() -> Prior:
    return tiny(2, labels=(), numbers=())


def advice(begun: Prior, nothing: Prior) -> StartAdvice:
    return start_advice(begun, nothing, Images(scans(8)), scans(6, 50), None, HOW, share=0.9)


def test_a_start_that_knows_such_scans_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that has learned from them for 150 steps before."""
    monkeypatch.setattr(transfer, "TRIAL", 10)
    nothing = plain()
    before = copy.deepcopy(nothing.net.state_dict())
    begun = transfer._after(nothing, Images(scans(8)), HOW, 150)
    found = advice(begun, nothing)
    assert found.verdict == "help" and found.begun < found.nothing and found.gain.low > 0
    assert "beginning with it will help" in str(found) and "90% of the weights" in str(found)
    assert all(torch.equal(before[name], now) for name, now in nothing.net.state_dict().items())


def test_a_bad_start_hurts_and_the_same_start_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TRIAL", 3)
    bad = plain()
    for p in bad.net.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    assert advice(bad, plain()).verdict == "hurts"
    assert advice(plain(), plain()).verdict == "no difference"


def test_nothing_to_compare_with_is_said() -> None:
    with pytest.raises(BadOption, match="two held-out scans"):
        start_advice(plain(), plain(), Images(scans(4)), scans(1), None, HOW, share=1.0)

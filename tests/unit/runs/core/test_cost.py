"""What is announced is what is done: the network's calls and the steps that a reconstruction reports are
counted.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from medprior.data.volume import Volume
from medprior.prior import Condition, Prior
from medprior.runs.ask.requests import Reconstruct
from medprior.runs.core.cost import announce_reconstruction
from medprior.runs.core.inputs import known_prior
from medprior.runs.core.progress import Event
from medprior.runs.reconstruct.run import solved
from medprior.runs.reconstruct.simulate import case_of
from tests.unit.runs.conftest import blobs


class Counting(Prior):
    """Counts the images that go through the network."""

    def count(self, x: torch.Tensor) -> None:
        self.images = getattr(self, "images", 0) + len(x)

    def __call__(
        self, x: torch.Tensor, sigma: torch.Tensor, condition: Condition | None = None
    ) -> torch.Tensor:
        self.count(x)
        return super().__call__(x, sigma, condition)

    def moments(
        self, x: torch.Tensor, sigma: torch.Tensor, condition: Condition | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.count(x)
        return super().moments(x, sigma, condition)


@pytest.mark.parametrize("task", ["denoise", "mri"])
@pytest.mark.parametrize("fast", [True, False])
def test_the_evaluations_and_steps_are_those_announced(task: str, fast: bool, tiny: Path) -> None:
    known = known_prior(str(tiny)).prior
    prior = Counting(known.net, known.path, known.card)
    request = Reconstruct.model_validate(
        {"input": "x", "prior": "p", "task": task, "fast": fast, "n": 3, "steps": 5}
    )
    case = case_of(request, prior, Volume(blobs()))
    heard: list[Event] = []
    steps = announce_reconstruction(prior, case.measurement, heard.append, fast=fast, n=3, steps=5)
    said = int(re.findall(r": (\d+) network evaluations", heard[0].text)[0])
    assert ("data fits" in heard[0].text) == (task == "mri")
    prior.images, done = 0, []
    solved(request, prior, case.measurement, None, lambda at, total: done.append((at, total)))
    point = (
        0 if fast else 1 if task == "denoise" else 6
    )  # the point estimate towards which draws are steadied is one image's and left out
    assert prior.images == said + point
    assert (done[-1] if done else (0, 0)) == (steps, steps) and len(done) == steps


def test_a_rule_that_is_not_needed_is_not_announced(tiny: Path) -> None:
    """A noisy image goes round the rules."""
    prior = known_prior(str(tiny)).prior
    heard: list[Event] = []
    for rule in ("proximal", "moment_matching"):
        request = Reconstruct.model_validate({"input": "x", "prior": "p"})
        announce_reconstruction(
            prior,
            case_of(request, prior, Volume(blobs())).measurement,
            heard.append,
            fast=False,
            n=2,
            steps=10,
            rule=rule,
        )
    assert re.findall(r": (\d+) network", " ".join(event.text for event in heard)) == ["24", "24"]


def test_many_scans_and_slow_operators_cost_more(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds of the data fits are in: 2 draws of 4 + 2 levels of 40 iterations of half a second."""
    prior = known_prior(str(tiny)).prior
    monkeypatch.setattr("medprior.runs.core.cost._product", lambda m: 0.5)
    heard: list[Event] = []
    case = case_of(
        Reconstruct.model_validate({"input": "x", "prior": "p", "task": "mri"}), prior, Volume(blobs())
    )
    for scans in (1, 30):
        announce_reconstruction(prior, case.measurement, heard.append, fast=False, n=2, steps=4, scans=scans)
    short, long = (event for event in heard if "evaluations" in event.text)
    assert "about 4 min" in short.text and short.kind == "cost" and "about 2.0 h" in long.text

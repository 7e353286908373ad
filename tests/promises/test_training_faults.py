"""Numbers that are not finite, and what the loop reports."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from medprior.errors import BadOption, Diverged
from medprior.prior import Prior
from medprior.training.checkpoint import TrainingState, load_latest
from medprior.training.distributed import OneProcess
from medprior.training.loop import TrainingSettings, _Run, schedule, train
from tests.unit.training import small


def finite(folder: Path) -> bool:
    state, _ = load_latest(folder / "checkpoints")
    assert state is not None
    return all(
        t.isfinite().all() for part in (state.weights, state.average, state.moments) for t in part.values()
    )


def test_a_broken_image_is_skipped_counted_and_named(tmp_path: Path) -> None:
    """One image of six holds NaN: its steps are skipped until three in a row hit it, and the error names that
    image alone.
    """
    with pytest.raises(Diverged, match=r"items \[2\]"):
        train(small.prior(), small.images(broken=(2,)), small.settings(500, save_every=1), tmp_path)
    assert finite(tmp_path)
    last = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert last["skipped"] >= 2 and (last["loss"] is None or math.isfinite(last["loss"]))


def test_a_skipped_step_changes_nothing_but_the_count(tmp_path: Path) -> None:
    run = _Run(
        small.prior(), small.images(broken=tuple(range(6))), small.settings(10), tmp_path, OneProcess("cpu")
    )
    before = [p.clone() for p in (*run.net.parameters(), *run.average.parameters())]
    run.advance(False)
    assert all(
        torch.equal(a, b)
        for a, b in zip(before, (*run.net.parameters(), *run.average.parameters()), strict=True)
    )
    assert (run.at.step, run.at.skipped, run.at.bad) == (1, 1, 1)


class Exploding(nn.Module):
    """A finite output whose gradient is not: the loss alone would not tell."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor, *_: object) -> torch.Tensor:
        return x[:, :1] + torch.sqrt(self.weight)


def test_a_gradient_that_is_not_finite_is_no_step(tmp_path: Path) -> None:
    """d sqrt(w) / dw at 0 is infinite while the loss is finite; three such steps stop the run before any
    weight takes part in it.
    """
    prior = small.prior()
    exploding = Prior(Exploding(), prior.path, prior.card)
    with pytest.raises(Diverged, match="training"):
        train(exploding, small.images(), small.settings(10, save_every=1), tmp_path)
    assert float(exploding.net.weight.detach()) == 0  # type: ignore[arg-type]
    assert finite(tmp_path)


def test_three_bad_steps_are_counted_across_an_interruption(tmp_path: Path) -> None:
    """Two bad steps, a restart, one more: that is three in a row."""
    broken = small.images(broken=tuple(range(6)))
    with pytest.raises(Diverged, match="step 3"):
        train(small.prior(), broken, small.settings(10, save_every=1), tmp_path)
    state, _ = load_latest(tmp_path / "checkpoints")
    assert state is not None and (state.facts["step"], state.facts["bad"]) == (2, 2)
    with pytest.raises(Diverged, match="step 3"):
        train(small.prior(), broken, small.settings(10, save_every=1), tmp_path)


def test_the_average_remembers_a_share_of_the_run(tmp_path: Path) -> None:
    """Feed the steps' own numbers as weights: half of the average's mass is younger than 5 % of the run, and
    the untrained start is forgotten.
    """
    run = _Run(small.prior(), small.images(), TrainingSettings(average=0.05), tmp_path, OneProcess("cpu"))
    mine, average = next(run.net.parameters()), next(run.average.parameters())
    with torch.no_grad():
        average.fill_(1e6)
        for step in range(1, 2001):
            run.at.step = step
            mine.fill_(1.0 if step > 1900 else 0.0)
            if step == 300:
                assert float(average.flatten()[0]) < 1e-3  # the start, a million, is gone
            run._follow()
    assert float(average.flatten()[0]) == pytest.approx(0.5, abs=0.03)


def test_the_average_is_right_from_the_first_step_on(tmp_path: Path) -> None:
    """Where the weights stand still the average is those weights within 20 steps, so that even a run of
    seconds gives a usable prior.
    """
    run = _Run(small.prior(), small.images(), TrainingSettings(), tmp_path, OneProcess("cpu"))
    mine, average = next(run.net.parameters()), next(run.average.parameters())
    with torch.no_grad():
        mine.fill_(1.0)
        average.fill_(0.0)
        for step in range(1, 21):
            run.at.step = step
            run._follow()
    assert float(average.flatten()[0]) == pytest.approx(1.0, abs=1e-4)


def test_learning_lowers_the_loss_and_reports_it(tmp_path: Path) -> None:
    """120 steps on six images: less than 0.8 of what the untrained network starts from, and the log says
    so.
    """
    seen = []
    train(
        small.prior(),
        small.images(),
        small.settings(120, save_every=30, rate=5e-3),
        tmp_path,
        on_progress=lambda p, _: seen.append(p) if p.saved else None,
    )
    assert [p.step for p in seen] == [10, 30, 60, 90, 120], "the first checkpoint comes early"
    assert seen[-1].loss < 0.8 and seen[-1].seconds_left == 0 and seen[-1].peak_mib > 10
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 30, 60, 90, 120]


def test_a_budget_of_minutes_holds_though_the_machine_gets_busier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 30 fast steps each takes 20 ms more: the time still ends when it should, with a rate that has
    fallen to its end, and the same call again does nothing.
    """
    advance = _Run.advance

    def slower(run: _Run, stop: bool) -> None:
        if run.at.step > 30:
            time.sleep(0.02)
        advance(run, stop)

    monkeypatch.setattr(_Run, "advance", slower)
    settings, seen = small.settings(minutes=0.05, save_every=1000), []
    started = time.monotonic()
    train(small.prior(), small.images(), settings, tmp_path, on_progress=lambda p, _: seen.append(p))
    assert 2.4 < time.monotonic() - started < 4.5
    facts = newest(tmp_path).facts
    assert facts["minutes"] == 0.05 and facts["step"] == facts["steps"] > 31
    assert all(
        after.seconds_left <= before.seconds_left for before, after in zip(seen, seen[1:], strict=False)
    )
    train(small.prior(), small.images(), settings, tmp_path, on_progress=lambda *_: pytest.fail("worked"))


def test_more_minutes_go_on_learning(tmp_path: Path) -> None:
    """The time given is that of all calls together."""
    train(small.prior(), small.images(), small.settings(minutes=0.02), tmp_path)
    first = newest(tmp_path).facts
    train(small.prior(), small.images(), small.settings(minutes=0.04), tmp_path)
    second = newest(tmp_path).facts
    assert second["step"] > first["step"] and second["minutes"] == 0.04
    assert first["seconds"] < second["seconds"] < 2.4 + 1.5


def newest(folder: Path) -> TrainingState:
    state, _ = load_latest(folder / "checkpoints")
    assert state is not None
    return state


def test_the_rate_warms_up_and_falls() -> None:
    assert schedule(0, 1000) == pytest.approx(0.01, rel=0.01)
    assert schedule(99, 1000) > 0.95
    assert schedule(1000, 1000) == pytest.approx(0.02)
    assert schedule(5000, 1000) == pytest.approx(0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 0},
        {"rate": -1.0},
        {"rate": math.nan},
        {"seed": -1},
        {"drop": 1.5},
        {"drop": math.nan},
        {"precision": "float16"},
        {"minutes": 0.0},
    ],
)
def test_settings_outside_of_their_range_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(BadOption, match=next(iter(wrong))):
        TrainingSettings(**wrong)

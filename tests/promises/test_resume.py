"""A run that was interrupted, whatever the way, continues as if it had not been."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medprior.errors import BadOption, Corrupt, FileProblem
from medprior.io.disk.files import locked
from medprior.training.checkpoint import TrainingState, load_latest
from medprior.training.loop import train
from tests.unit.training import small

ROOT = Path(__file__).resolve().parents[2]


def newest(folder: Path) -> TrainingState:
    state, messages = load_latest(folder / "checkpoints")
    assert state is not None and not messages
    return state


def assert_equal(a: TrainingState, b: TrainingState) -> None:
    for mine, others in ((a.weights, b.weights), (a.average, b.average), (a.moments, b.moments)):
        assert set(mine) == set(others) and all(torch.equal(mine[k], others[k]) for k in mine)
    assert a.facts == b.facts


@pytest.mark.parametrize(
    "broken, precision, device",
    [(10, "float32", "cpu"), (13, "float32", "cpu"), (7, "bfloat16", "cpu"), (13, "float32", "cpu:0")],
)
def test_twenty_steps_are_ten_and_ten(tmp_path: Path, broken: int, precision: str, device: str) -> None:
    """Weights, average and Adam's moments, bit for bit; the second half starts from other random numbers, as
    a new process would.

    "cpu:0" is the CPU by the name of a device of its own: its batches come from ``Resident``, as a GPU's do.
    """
    settings = small.settings(20, precision=precision, device=device)
    whole = train(small.prior(), small.images(), settings, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power"):
        train(
            small.prior(),
            small.images(),
            replace(settings, save_every=1),
            tmp_path / "halves",
            on_progress=power_cut(broken),
        )
    resumed = train(small.prior(seed=9), small.images(), settings, tmp_path / "halves")
    assert_equal(newest(tmp_path / "whole"), newest(tmp_path / "halves"))
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.net.state_dict().values(), resumed.net.state_dict().values(), strict=True)
    )


def power_cut(at: int):
    def cut(progress, _) -> None:
        if progress.step == at:
            raise RuntimeError("power cut")

    return cut


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    first = train(small.prior(), small.images(), small.settings(6), tmp_path)
    again = train(
        small.prior(seed=5),
        small.images(),
        small.settings(6),
        tmp_path,
        on_progress=lambda *_: pytest.fail("worked again"),
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.net.state_dict().values(), again.net.state_dict().values(), strict=True)
    )
    assert again.card.training["steps"] == 6


def test_fresh_puts_the_former_run_aside(tmp_path: Path) -> None:
    """A new run must neither continue the old one nor lose its own checkpoints to the old one's higher
    numbers.
    """
    train(small.prior(), small.images(), small.settings(20), tmp_path)
    train(small.prior(), small.images(), small.settings(5), tmp_path, fresh=True)
    assert newest(tmp_path).facts["step"] == 5
    assert sorted(p.name for p in (tmp_path / "checkpoints.old").iterdir()) == [
        "step-000000015",
        "step-000000020",
    ]


def test_the_last_two_are_kept_and_the_newest_is_by_step_not_by_clock(tmp_path: Path) -> None:
    train(small.prior(), small.images(), small.settings(20), tmp_path)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-000000015", "step-000000020"]
    os.utime(tmp_path / "checkpoints" / names[0])  # the clock was set back after it
    assert newest(tmp_path).facts["step"] == 20


@pytest.mark.parametrize(
    "name",
    ["weights.safetensors", "average.safetensors", "moments.safetensors", "facts.json", "manifest.json"],
)
def test_a_flipped_bit_costs_one_interval_and_is_said(tmp_path: Path, name: str) -> None:
    train(small.prior(), small.images(), small.settings(10), tmp_path)
    flip(tmp_path / "checkpoints" / "step-000000010" / name)
    state, messages = load_latest(tmp_path / "checkpoints")
    assert state is not None and state.facts["step"] == 5
    assert len(messages) == 1 and "step-000000010" in messages[0]
    train(small.prior(), small.images(), small.settings(10), tmp_path)
    assert "checkpoint skipped" in (tmp_path / "events.jsonl").read_text()


def flip(path: Path, bit: int | None = None) -> None:
    raw = bytearray(path.read_bytes())
    bit = 8 * (len(raw) // 2) if bit is None else bit
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(raw))


def test_no_usable_checkpoint_is_an_error_not_a_new_start(tmp_path: Path) -> None:
    """A long run must not begin again by itself."""
    train(small.prior(), small.images(), small.settings(10), tmp_path)
    for folder in (tmp_path / "checkpoints").iterdir():
        flip(folder / "weights.safetensors")
    with pytest.raises(Corrupt, match="no usable checkpoint"):
        train(small.prior(), small.images(), small.settings(10), tmp_path)


@pytest.mark.parametrize(
    "other, word", [({"seed": 4}, "seed"), ({"n": 5}, "n_items"), ({"widths": (8, 24)}, "another network")]
)
def test_another_run_is_not_continued_with_this_one(tmp_path: Path, other: dict, word: str) -> None:
    train(small.prior(), small.images(), small.settings(5), tmp_path)
    prior = small.prior()
    if "widths" in other:
        from medprior.prior.prior import untrained_prior

        prior = untrained_prior(replace(prior.card, widths=other["widths"]))
    with pytest.raises(BadOption, match=word):
        train(prior, small.images(other.get("n", 6)), small.settings(10, seed=other.get("seed", 3)), tmp_path)


def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    """The second is refused and told by whom; the first goes on."""
    with locked(tmp_path), pytest.raises(FileProblem, match="another run"):
        train(small.prior(), small.images(), small.settings(5), tmp_path)
    train(small.prior(), small.images(), small.settings(5), tmp_path)


CHILD = (
    "from tests.unit.training.small import run_until_killed; import sys; run_until_killed(sys.argv[1], "
    "int(sys.argv[2]))"
)


def child(folder: Path, steps: int, *, before: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", f"{before}\n{CHILD}", str(folder), str(steps)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def first_checkpoint(folder: Path, running: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 90
    while not list((folder / "checkpoints").glob("step-*")) and running.poll() is None:
        assert time.monotonic() < until, "no checkpoint in 90 s"
        time.sleep(0.005)


def test_ctrl_c_saves_and_the_same_call_continues(tmp_path: Path) -> None:
    """The step it was at is saved, nothing is lost, and the user can read so."""
    running = child(tmp_path, 100_000)
    first_checkpoint(tmp_path, running)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    step = newest(tmp_path).facts["step"]
    assert f"KeyboardInterrupt: stopped after step {step}, saved; the same command continues" in err
    train(small.prior(), small.images(), small.settings(step + 2), tmp_path)
    assert newest(tmp_path).facts["step"] == step + 2


def test_a_schedulers_sigterm_saves_as_well(tmp_path: Path) -> None:
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 11, saved"):
        train(
            small.prior(),
            small.images(),
            small.settings(100, save_every=50),
            tmp_path,
            on_progress=lambda *_: os.kill(os.getpid(), signal.SIGTERM),
        )
    assert newest(tmp_path).facts["step"] == 11, "the first checkpoint is that of step 10"
    assert signal.getsignal(signal.SIGTERM) is former


@pytest.mark.slow
def test_signals_at_random_moments() -> None:
    """20 SIGKILLs and 3 SIGTERMs of a run that saves at each step (bench/kill.py by itself: 200 and 20): all
    resume, and each checkpoint that one left, and both ends, equal to the bit those of a run that nobody
    disturbed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        str(ROOT / "bench" / "kill.py"),
        "--kills",
        "20",
        "--terms",
        "3",
        "--steps",
        "40",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    for all_of_them in ("20 of 20 resume", "20 of 20 checkpoints", "3 of 3 resume", "3 of 3 checkpoints"):
        assert all_of_them in done.stdout, done.stdout


def test_disk_full_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """The file limit stands for a full disk: the error names the path, the state of step 5 stays."""
    train(small.prior(), small.images(), small.settings(5), tmp_path)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    _, err = (running := child(tmp_path, 10, before=limit)).communicate(timeout=90)
    assert running.returncode != 0
    assert "medprior.errors.FileProblem" in err and "step-000000006" in err, err[-600:]
    assert newest(tmp_path).facts["step"] == 5


def test_no_room_is_said_before_it_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(small.prior(), small.images(), small.settings(5), tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(FileProblem, match=r"a checkpoint needs .* MiB"):
        train(small.prior(), small.images(), small.settings(10), tmp_path)
    monkeypatch.undo()
    assert newest(tmp_path).facts["step"] == 5

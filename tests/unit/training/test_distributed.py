"""Two processes are one run: the same patches, the same gradient, one writer, and nobody waits for the
dead.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medprior.io.disk.files import load_weights
from medprior.training.checkpoint import load_latest
from medprior.training.distributed import OneProcess, ranks_for
from medprior.training.loop import train
from tests.unit.training import small

ROOT = Path(__file__).resolve().parents[3]

WORK = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.unit.training import small
from medprior.training.loop import train
settings = small.settings(int(sys.argv[2]), save_every=int(sys.argv[3]))
train(small.prior(), small.images(), settings, Path(sys.argv[1]))
print("done")
"""


def two(folder: Path, steps: int, save_every: int = 5) -> list[subprocess.Popen[str]]:
    """The two processes that a launcher would start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    return [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(folder), str(steps), str(save_every)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def test_alone_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert isinstance(ranks_for("cpu"), OneProcess)


@pytest.mark.slow
def test_two_ranks_learn_what_one_learns(tmp_path: Path) -> None:
    """Three steps from the same weights: losses and Adam's first moment, a mean of the averaged, clipped
    gradients, agree to rounding.
    """
    steps = 3  # of 4 patches at 16 x 16 or 32 x 32
    train(small.prior(), small.images(), small.settings(steps, save_every=1), tmp_path / "one")
    running = two(tmp_path / "two", steps, 1)
    for process in running:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0 and "done" in out, err[-2000:]
    one, both = (load_latest(tmp_path / name / "checkpoints")[0] for name in ("one", "two"))
    assert one is not None and both is not None and one.facts == both.facts
    for name in (n for n in one.moments if n.startswith("exp_avg/")):
        assert float((one.moments[name] - both.moments[name]).abs().max()) < 1e-5, name
    said = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "events.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert said[1] == pytest.approx(said[0], rel=1e-5) and len(said[1]) == steps, (
        "the same patches; rank 0 alone writes"
    )
    assert not [p for p in (tmp_path / "two" / "checkpoints").iterdir() if not p.name.startswith("step-")]
    # a run of two goes on as a run of one: the checkpoint knows of no ranks
    train(small.prior(), small.images(), small.settings(steps + 1), tmp_path / "two")


@pytest.mark.slow
def test_a_dead_rank_is_noticed(tmp_path: Path) -> None:
    """One of two is killed: the other ends within a minute and says why, and the last checkpoint is whole."""
    running = two(tmp_path, 100_000)
    until = time.monotonic() + 200
    while not list((tmp_path / "checkpoints").glob("step-*")):
        assert time.monotonic() < until and all(p.poll() is None for p in running)
        time.sleep(0.05)
    os.kill(running[1].pid, signal.SIGKILL)
    _, err = running[0].communicate(timeout=60)
    running[1].communicate()
    assert running[0].returncode != 0
    assert "another process of this run has died" in err, err[-2000:]
    state, messages = load_latest(tmp_path / "checkpoints")
    assert state is not None and not messages


@pytest.mark.parametrize("n", [3, 4])
def test_uneven_shares_weigh_as_much_as_they_hold(n: int) -> None:
    """The mean over ranks of (sum over own patches * ranks / patches in all) is the mean over all patches,
    even where one rank has more.
    """
    each = torch.rand(n)
    shares = [each[rank::2] for rank in range(2)]
    assert float(sum(s.sum() * (2 / n) for s in shares) / 2) == pytest.approx(float(each.mean()))


def test_weights_of_no_tensors_can_be_read_back(tmp_path: Path) -> None:
    """Adam has no moments before its first good step."""
    from medprior.io.disk.files import save_weights

    save_weights(tmp_path / "none.safetensors", {})
    assert load_weights(tmp_path / "none.safetensors") == {}

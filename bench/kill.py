"""SIGKILL and SIGTERM at random moments of a run that checkpoints each step: does it go on, bit for bit, as
if nothing had happened?

    python bench/kill.py [--kills 200] [--terms 20]

First a run of ``--steps`` steps that nobody disturbs: the checksums of weights, moving average, Adam's
moments and counts are written down at each step. Then the same run, killed again and again at moments drawn
over its whole life: while it starts, reads its checkpoint, computes, writes. After each kill the newest
checkpoint must load, must be no older than before, and must equal the undisturbed one of that step to the
last bit; so must the end. A SIGTERM must besides leave with its message, with nothing half written. Each
victim is a real process: a fork of this one, which has imported everything and has computed nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch  # noqa: F401 (this and torch._dynamo are imported once here, not in every child)
import torch
import torch._dynamo

from medprior.prior import Card
from medprior.prior.prior import untrained_prior
from medprior.training.checkpoint import load_latest
from medprior.training.loop import TrainingSettings, train
from medprior.training.patches import Images

MESSAGE = "saved; the same command continues"
STOPPED, FINISHED = 7, 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--terms", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        truth = undisturbed(Path(name), chosen.steps)
        victims = [
            Victims(Path(name) / kind.name, kind, truth, chosen.steps)
            for kind in (signal.SIGKILL, signal.SIGTERM)
        ]
        for victim, count in zip(victims, (chosen.kills, chosen.terms), strict=True):
            for _ in range(count):
                while not victim.hit():
                    pass
            victim.finish()
            victim.tell(count)
    print(f"{time.monotonic() - started:.0f} s")
    if any(victim.wrong for victim in victims):
        raise SystemExit(1)


def undisturbed(work: Path, steps: int) -> dict[int, str]:
    """step -> digest of the checkpoint that a run without interruption writes there."""
    digests = work / "digests"
    wait(child(lambda: train_on(work / "undisturbed", steps, digests)))
    return dict(enumerate(digests.read_text().split(), 1))


def train_on(folder: Path, steps: int, digests: Path | None = None) -> None:
    """Begins the run in ``folder``, or continues it."""
    torch.manual_seed(0)
    card = Card("kill", "MR", widths=(8, 16), blocks=1, frame=(16, 16))
    images = Images([torch.randn(1, 16, 16) for _ in range(4)], patches=((16, 1.0),))

    def note(*_: object) -> None:
        if digests:
            with digests.open("a") as file:
                file.write(digest_of(newest(folder)) + "\n")

    train(
        untrained_prior(card),
        images,
        TrainingSettings(steps=steps, batch=2, save_every=1),
        folder,
        on_progress=note,
    )


def child(work: Callable[[], None]) -> int:
    """A process that does ``work``; its number."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        work()
        code = FINISHED
    except KeyboardInterrupt as interrupt:
        code = STOPPED if str(interrupt).endswith(MESSAGE) else 2
    finally:
        os._exit(code)


def wait(process: int) -> int:
    """Its exit code; below 0: the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def newest(folder: Path) -> Path:
    """The checkpoint of the highest step; the folder's own name where there is none."""
    return max((folder / "checkpoints").glob("step-*"), default=folder)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name[5:]) if checkpoint.name.startswith("step-") else 0


def digest_of(checkpoint: Path) -> str:
    """Of the manifest, which holds the SHA-256 of each file."""
    return hashlib.sha256((checkpoint / "manifest.json").read_bytes()).hexdigest()


@dataclass
class Victims:
    """The processes of one run, one after the other, each ended by ``kind``.

    life: seconds from a process's begin to its third checkpoint, measured on the first one; moments are drawn
    over one and a half of it.
    """

    folder: Path
    kind: signal.Signals
    truth: dict[int, str]
    steps: int
    moments: random.Random = field(default_factory=lambda: random.Random(0))
    life: float = 0.0
    resumed: int = 0
    exact: int = 0
    early: int = 0
    writing: int = 0
    wrong: int = 0
    rounds: int = 0
    ends: int = 0

    def hit(self) -> bool:
        """One process, one signal at a random moment, and what it left behind. False where the run was at its
        end before: a new one is begun.
        """
        before = step_of(newest(self.folder))
        process, began = child(lambda: train_on(self.folder, self.steps)), time.monotonic()
        if not self.life:
            self.life = self._to_step(before + 3) - began
        if self.kind == signal.SIGTERM:
            # before the loop listens a SIGTERM ends a process that has nothing to save
            began = self._to_step(before + 1)
        time.sleep(max(0.0, began + self.moments.uniform(0.0, 1.5 * self.life) - time.monotonic()))
        os.kill(process, self.kind)
        code = wait(process)
        if code == FINISHED:
            self.finish()
            return False
        left = [p.name for p in (self.folder / "checkpoints").glob(".tmp-*")]
        self._judge(before, code, left)
        return True

    def _to_step(self, step: int) -> float:
        patient = time.monotonic() + 60
        while step_of(newest(self.folder)) < min(step, self.steps):
            if time.monotonic() > patient:
                raise SystemExit(f"no step {step} within 60 s")
            time.sleep(0.001)
        return time.monotonic()

    def _judge(self, before: int, code: int, left: list[str]) -> None:
        state, messages = load_latest(self.folder / "checkpoints")
        step = 0 if state is None else int(state.facts["step"])
        whole = (
            step >= before
            and not messages
            and code == (-self.kind if self.kind == signal.SIGKILL else STOPPED)
        )
        whole = whole and not (left and self.kind == signal.SIGTERM)
        same = step == 0 or digest_of(newest(self.folder)) == self.truth[step]
        self.resumed, self.exact = self.resumed + whole, self.exact + same
        self.early, self.writing = self.early + (step == before), self.writing + bool(left)
        if not whole or not same:
            self.wrong += 1
            print(
                f"{self.kind.name}: step {step} after step {before}, equal: {same}, exit code {code}, left {left}, {messages}"
            )

    def finish(self) -> None:
        """The rest of the run, undisturbed: its end must be the undisturbed one. The next one starts anew."""
        code = wait(child(lambda: train_on(self.folder, self.steps)))
        same = digest_of(newest(self.folder)) == self.truth[self.steps]
        left = [p.name for p in (self.folder / "checkpoints").iterdir() if not p.name.startswith("step-")]
        self.rounds, self.ends = self.rounds + 1, self.ends + (code == FINISHED and same and not left)
        if code != FINISHED or not same or left:
            self.wrong += 1
            print(f"{self.kind.name}: the end: equal: {same}, exit code {code}, left {left}")
        shutil.rmtree(self.folder)

    def tell(self, count: int) -> None:
        print(
            f"{self.kind.name}: {self.resumed} of {count} resume; equal to the undisturbed run, to the bit: {self.exact} of {count} checkpoints, "
            f"{self.ends} of {self.rounds} ends after {self.steps} steps; {self.writing} hit while a checkpoint was written, "
            f"{self.early} before the process had written one",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""SIGKILL at random moments of a run that checkpoints each step: how many of them resume, and how many steps were lost.

    python bench/kill.py [--kills 200]

Every kill hits a real process (a fork of this one, which saves time) while it trains and writes; afterwards the newest checkpoint must load
and must be no older than the newest one before the kill.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import safetensors.torch  # noqa: F401 (imported once here, not in every child)
import torch

from medprior.prior import Card
from medprior.prior.prior import fresh
from medprior.training.checkpoint import load_latest
from medprior.training.loop import Settings, train
from medprior.training.patches import Images

FOREVER = 10**9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder, before, resumed, moved = Path(name), 0, 0, 0
        for kill in range(chosen.kills):
            child = os.fork()
            if child == 0:
                run(folder)
                os._exit(1)
            patient = time.monotonic() + 20
            while newest(folder) <= before and time.monotonic() < patient:
                time.sleep(0.002)
            time.sleep(moments.uniform(0.0, 0.1))  # anywhere within the next few checkpoints
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            state, messages = load_latest(folder / "checkpoints")
            step = 0 if state is None else int(state.facts["step"])
            if step < before or messages:
                print(f"kill {kill}: step {step} after step {before}; {messages}")
            resumed += step >= before and not messages
            moved, before = moved + (step > before), step
    print(f"{resumed} of {chosen.kills} resume; {moved} kills came after a new checkpoint; {before} steps in all")
    if moved < chosen.kills / 2:
        raise SystemExit("most kills came before anything was written: they prove nothing; give the children more time")


def newest(folder: Path) -> int:
    """The highest step whose checkpoint has appeared."""
    return max((int(p.name[5:]) for p in (folder / "checkpoints").glob("step-*")), default=0)


def run(folder: Path) -> None:
    """Continues the run in ``folder`` until it is killed."""
    torch.manual_seed(0)
    card = Card("kill", "MR", widths=(8, 16), blocks=1, frame=(16, 16))
    train(fresh(card), Images([torch.randn(1, 16, 16) for _ in range(4)], patches=((16, 1.0),)), Settings(steps=FOREVER, batch=2, save_every=1), folder)


if __name__ == "__main__":
    main()

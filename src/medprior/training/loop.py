"""The training loop: one function, one bag of state, ranks hidden in the batch."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import BadOption, Diverged
from ..io.files import append_line, locked
from ..prior import Condition, Prior
from .checkpoint import State, load_latest, moments_of, restore_moments, save
from .patches import Batch, Images, draw

__all__ = ["Progress", "Settings", "train"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run of the loop does, besides data and network.

    steps: of the optimizer; or minutes: a wall-clock budget from which the number of steps is measured once and then kept.
    batch: 64-voxel patches a step over all ranks. rate: Adam's peak, warmed up over 100 steps, then a cosine to 2 % of it.
    sigmas: mean and standard deviation of ln sigma. average: half-life of the moving average, as a share of the steps done.
    save_every: steps between checkpoints. precision: "float32" or "bfloat16" (autocast; a GPU only). compile: torch.compile the network.
    """

    steps: int = 1000
    minutes: float | None = None
    batch: int = 16
    rate: float = 2e-3
    sigmas: tuple[float, float] = (-1.0, 1.4)
    drop: float = 0.1
    average: float = 0.05
    save_every: int = 500
    seed: int = 0
    precision: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("batch", 1), ("rate", 0), ("save_every", 1), ("seed", 0), ("average", 0)):
            if not getattr(self, name) >= low:
                raise BadOption(f"{name}: wanted a number >= {low}, got {getattr(self, name)}")
        if self.precision not in ("float32", "bfloat16"):
            raise BadOption(f"precision: wanted float32 or bfloat16, got {self.precision!r}")
        if self.minutes is not None and not self.minutes > 0:
            raise BadOption(f"minutes: wanted a number > 0, got {self.minutes}")


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the log. loss: mean over the last 50 steps. seconds_left: at the present pace. peak_mib: memory of the process or the GPU."""

    step: int
    steps: int
    loss: float
    seconds_left: float
    peak_mib: float


def train(
    prior: Prior,
    data: Images,
    settings: Settings,
    folder: Path,
    *,
    device: str = "cpu",
    on_progress: Callable[[Progress, Prior], None] | None = None,
    fresh: bool = False,
) -> Prior:
    """Learns the prior's weights and returns it with their moving average; the same call again continues.

    Checkpoints go to folder/checkpoints, the loss to folder/events.jsonl. SIGTERM saves and raises KeyboardInterrupt.
    Raises Diverged after three steps in a row whose loss is not finite, naming the items; FileProblem when another run holds the folder.
    """
    with locked(folder), _stop_flag() as stopped:
        run = _Run(prior, data, settings, folder, device, fresh)
        started, first = time.monotonic(), run.step
        losses: list[float] = []
        while run.step < run.steps:
            losses = [*losses[-49:], run.advance()]
            if run.step == first + 20 and run.settings.minutes and not run.budgeted:
                run.budget(settings.minutes or 0, (time.monotonic() - started) / 20)
            if run.step % settings.save_every == 0 or run.step == run.steps or stopped.is_set():
                run.save()
                pace = (time.monotonic() - started) / max(1, run.step - first)
                line = Progress(run.step, run.steps, sum(losses) / len(losses), pace * (run.steps - run.step), _peak_mib(device))
                append_line(folder / "events.jsonl", {"step": line.step, "loss": line.loss, "seconds_left": line.seconds_left, "skipped": run.skipped})
                if on_progress:
                    on_progress(line, run.averaged())
            if stopped.is_set():
                raise KeyboardInterrupt("stopped after saving; the same command continues")
        return run.averaged()


class _Run:
    """The bag of state of one run."""

    def __init__(self, prior: Prior, data: Images, settings: Settings, folder: Path, device: str, fresh: bool) -> None:
        self.prior, self.data, self.settings, self.device = prior, data, settings, device
        self.checkpoints = folder / "checkpoints"
        self.step, self.steps, self.skipped, self.bad, self.budgeted = 0, settings.steps, 0, 0, False
        net = prior.net.to(device).train().requires_grad_(True)
        self.net = net.to(memory_format=torch.channels_last) if prior.card.ndim == 2 else net
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.names: dict[Tensor, str] = {p: n for n, p in self.net.named_parameters()}
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=settings.rate, betas=(0.9, 0.99))
        self.loss = torch.compile(self._loss) if settings.compile else self._loss
        state, messages = (None, []) if fresh else load_latest(self.checkpoints)
        for message in messages:
            append_line(folder / "events.jsonl", {"warning": message})
        if state:
            self._restore(state)

    def _loss(self, x0: Tensor, sigma: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        return self.prior.loss(x0, sigma, noise, condition)

    def advance(self) -> float:
        """One step. A loss or gradient that is not finite is skipped and counted; three in a row stop the run."""
        batch = draw(self.data, self.step, seed=self.settings.seed, batch=self.settings.batch, sigmas=self.settings.sigmas, drop=self.settings.drop)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate * schedule(self.step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        moved = _moved(batch, self.device)
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            loss = self.loss(moved.x0, moved.sigma, moved.noise, moved.condition).mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.step += 1
        if not (loss.isfinite() and norm.isfinite()):
            self.skipped, self.bad = self.skipped + 1, self.bad + 1
            if self.bad == 3:
                raise Diverged(self.step, float(batch.sigma.median()), f"training (items {sorted(set(batch.items))})")
            return float("nan") if not loss.isfinite() else loss.item()
        self.bad = 0
        self.optimizer.step()
        self._follow()
        return loss.item()

    @torch.no_grad()
    def _follow(self) -> None:
        """Moving average whose memory is a share of the steps done (power-function EMA, Karras et al. 2024, in its simplest form)."""
        memory = max(1.0, self.settings.average * self.step)
        weight = 1 - 0.5 ** (1 / memory)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), weight)

    def budget(self, minutes: float, pace: float) -> None:
        self.steps, self.budgeted = max(self.step + 1, int(minutes * 60 / pace)), True

    def averaged(self) -> Prior:
        training = {**self.prior.card.training, "steps": self.step, "seed": self.settings.seed, "batch": self.settings.batch, "torch": torch.__version__}
        return Prior(self.average, self.prior.path, replace(self.prior.card, training=training))

    def save(self) -> None:
        facts = {"step": self.step, "steps": self.steps, "seed": self.settings.seed, "skipped": self.skipped, "budgeted": self.budgeted, "n_items": len(self.data)}
        moments = moments_of(self.optimizer, self.names)
        save(State(self.net.state_dict(), self.average.state_dict(), moments, facts), self.checkpoints)

    def _restore(self, state: State) -> None:
        facts = state.facts
        for name, now in (("seed", self.settings.seed), ("n_items", len(self.data))):
            if facts[name] != now:
                raise BadOption(f"{name}: the run in this folder has {facts[name]}, this call has {now}", "use the same data and seed, another --out, or --fresh")
        try:
            self.net.load_state_dict(state.weights)
            self.average.load_state_dict(state.average)
        except RuntimeError as error:
            raise BadOption("the checkpoint in this folder is of another network", "use the same preset, another --out, or --fresh") from error
        restore_moments(self.optimizer, self.names, state.moments)
        self.step, self.skipped, self.budgeted = facts["step"], facts["skipped"], facts["budgeted"]
        self.steps = facts["steps"] if self.settings.minutes else self.settings.steps


def schedule(step: int, steps: int) -> float:
    """Learning rate as a share of the peak: 100 steps of warm-up, then a cosine down to 2 %."""
    warm = min(1.0, (step + 1) / 100)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def _moved(batch: Batch, device: str) -> Batch:
    if device == "cpu":
        return batch
    known = Condition(*(t.to(device) if t is not None else None for t in (batch.condition.label, batch.condition.numbers, batch.condition.position)))
    return Batch(batch.x0.to(device), batch.sigma.to(device), batch.noise.to(device), known, batch.items)


def _peak_mib(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _stop_flag() -> Iterator[threading.Event]:
    """SIGTERM (a scheduler's preemption) sets a flag; the loop saves and leaves. Only the main thread can listen."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    former = signal.signal(signal.SIGTERM, lambda *_: flag.set())
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, former)

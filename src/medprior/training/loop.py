"""The training loop: one function, one bag of state, ranks hidden in the batch."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import BadOption, Diverged
from ..io.disk.files import append_line
from ..prior import Prior
from .checkpoint import State, load_latest, moments_of, restore_moments, retire, save_checkpoint
from .distributed import Ranks, ranks_for
from .patches import Batch, Images, draw
from .resident import Resident

__all__ = ["Progress", "Settings", "train"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run of the loop does, besides data and network.

    steps: of the optimizer; or minutes: a wall-clock budget from which the number of steps is measured once
    and then kept. batch: 64-voxel patches a step over all ranks. rate: Adam's peak, warmed up over 100 steps,
    then a cosine to 2 % of it. sigmas: mean and standard deviation of ln sigma. average: half-life of the
    moving average, as a share of the steps done. save_every: steps between checkpoints. precision: "float32"
    or "bfloat16" (autocast; weights stay float32. Faster on GPUs, and on CPUs with AVX512-BF16 by 1.3 to 1.5;
    slower on others). compile: torch.compile the network.
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
        for name, low in (
            ("steps", 1),
            ("batch", 1),
            ("rate", 0),
            ("save_every", 1),
            ("seed", 0),
            ("average", 0),
        ):
            if not getattr(self, name) >= low:
                raise BadOption(f"{name}: wanted a number >= {low}, got {getattr(self, name)}")
        if not 0 <= self.drop <= 1:
            raise BadOption(f"drop: wanted a share of 0 to 1, got {self.drop}")
        if self.precision not in ("float32", "bfloat16"):
            raise BadOption(f"precision: wanted float32 or bfloat16, got {self.precision!r}")
        if self.minutes is not None and not self.minutes > 0:
            raise BadOption(f"minutes: wanted a number > 0, got {self.minutes}")


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the log.

    loss: mean of the finite ones of the last 50 steps, NaN where none was. seconds_left: at the present pace.
    peak_mib: memory of the process or the GPU. held: what the judge said of the moving average, NaN without
    one.
    """

    step: int
    steps: int
    loss: float
    seconds_left: float
    peak_mib: float
    held: float = math.nan


def train(
    prior: Prior,
    data: Images,
    settings: Settings,
    folder: Path,
    *,
    device: str = "cpu",
    on_progress: Callable[[Progress, Prior], None] | None = None,
    fresh: bool = False,
    tuned: Mapping[str, float] | None = None,
    judge: Callable[[Prior], float] | None = None,
) -> Prior:
    """Learns the prior's weights and returns it with their moving average; the same call again continues.

    tuned: names of the parameters that learn, each with its factor of the rate, default all of them with 1;
    the others do not move by a bit. judge: says of the moving average at each checkpoint how bad it is (a
    held-out loss); then that of the lowest is returned, not the last. Checkpoints go to folder/checkpoints,
    the loss to folder/events.jsonl. SIGTERM saves and raises KeyboardInterrupt. fresh: puts a former run's
    checkpoints aside (folder/checkpoints.old) and begins anew. Under torchrun or ``accelerate launch`` each
    process takes its share of every batch; rank 0 alone writes and reports. Raises Diverged after three steps
    in a row whose loss is not finite, naming the items; FileProblem when another run holds the folder.
    """
    ranks = ranks_for(device)
    with ranks.lock(folder), _stop_flag() as stopped:
        if fresh and ranks.rank == 0:
            retire(folder / "checkpoints")
        ranks.wait()
        run = _Run(prior, data, settings, folder, ranks, tuned, judge)
        started, first = time.monotonic(), run.step
        losses: list[float] = []
        while run.step < run.steps and not run.stopping:
            losses = [*losses[-49:], run.advance(stopped.is_set())]
            if run.step == first + 20 and settings.minutes and not run.budgeted:
                run.budget(settings.minutes, (time.monotonic() - started) / 20)
            if run.step % settings.save_every == 0 or run.step == run.steps or run.stopping:
                pace = (time.monotonic() - started) / (run.step - first)
                run.report(losses, pace, on_progress)
        ranks.leave()
        if run.stopping:
            raise KeyboardInterrupt("stopped after saving; the same command continues")
        return run.chosen()


class _Run:
    """The bag of state of one run."""

    def __init__(
        self,
        prior: Prior,
        data: Images,
        settings: Settings,
        folder: Path,
        ranks: Ranks,
        tuned: Mapping[str, float] | None = None,
        judge: Callable[[Prior], float] | None = None,
    ) -> None:
        self.prior, self.data, self.settings, self.folder, self.ranks = prior, data, settings, folder, ranks
        self.step, self.steps, self.skipped, self.bad, self.budgeted, self.stopping = (
            0,
            settings.steps,
            0,
            0,
            False,
            False,
        )
        self.judge, self.best_step, self.best_loss, self.best = judge, 0, math.inf, {}
        net = prior.net.to(ranks.device).train()
        known = {name for name, _ in net.named_parameters()}
        if tuned is not None and not (tuned and set(tuned) <= known):
            raise BadOption(
                "training: wanted parameters of the network to tune, got "
                f"{', '.join(sorted(set(tuned) - known)) or 'none'}"
            )
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(tuned is None or name in tuned)
        self.net = net.to(memory_format=torch.channels_last) if prior.card.ndim == 2 else net  # pyright: ignore[reportCallIssue]
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.names: dict[Tensor, str] = {p: n for n, p in self.net.named_parameters() if p.requires_grad}
        # a parameter that is frozen is its own average
        self.follows = [
            (mean, p)
            for mean, p in zip(self.average.parameters(), self.net.parameters(), strict=True)
            if p.requires_grad
        ]
        factors = {p: 1.0 if tuned is None else tuned[name] for p, name in self.names.items()}
        groups = [
            {"params": [p for p in self.names if factors[p] == factor], "factor": factor}
            for factor in sorted(set(factors.values()))
        ]
        self.optimizer = torch.optim.Adam(groups, lr=settings.rate, betas=(0.9, 0.99))
        state, messages = load_latest(folder / "checkpoints")
        for message in messages:
            append_line(folder / "events.jsonl", {"warning": message})
        if state:
            self._restore(state)
        learner = Prior(ranks.wrap(self.net), prior.path, prior.card)
        self.loss = torch.compile(learner.loss) if settings.compile else learner.loss
        self.draw = partial(draw, data) if ranks.device == "cpu" else Resident(data, ranks.device).draw

    def advance(self, stop: bool) -> float:
        """One step. A loss or gradient that is not finite is skipped and counted; three in a row stop the
        run. stop: this process was asked to.
        """
        settings, ranks = self.settings, self.ranks
        share = {
            "rank": ranks.rank,
            "ranks": ranks.count,
            "steps": self.steps if self.budgeted or not settings.minutes else 0,
        }
        batch = self.draw(
            self.step,
            seed=settings.seed,
            batch=settings.batch,
            sigmas=settings.sigmas,
            drop=settings.drop,
            **share,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate * group["factor"] * schedule(self.step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(
            ranks.device.split(":")[0], torch.bfloat16, enabled=settings.precision == "bfloat16"
        ):
            each = self.loss(batch.x0, batch.sigma, batch.noise, batch.condition)
        # ranks may hold unequal shares; their mean must be the mean over all patches
        own = each.sum() * (ranks.count / batch.total)
        ranks.backward(own)
        norm = nn.utils.clip_grad_norm_(list(self.names), 1.0)
        loss, size, asked = ranks.mean([*torch.stack([own.detach(), norm]).tolist(), float(stop)])
        self.step, self.stopping = self.step + 1, asked > 0
        if math.isfinite(loss) and math.isfinite(size):
            self.bad = 0
            self.optimizer.step()
            self._follow()
        else:
            self.skipped, self.bad = self.skipped + 1, self.bad + 1
            if self.bad == 3:
                raise Diverged(
                    self.step, float(batch.sigma.median()), f"training (items {_culprits(batch, each)})"
                )
        return loss

    @torch.no_grad()
    def _follow(self) -> None:
        """Moving average whose memory is a share of the steps done (power-function EMA, Karras et al. 2024,
        in its simplest form).
        """
        memory = max(1.0, self.settings.average * self.step)
        weight = 1 - 0.5 ** (1 / memory)
        torch._foreach_lerp_([mean for mean, _ in self.follows], [p for _, p in self.follows], weight)

    def budget(self, minutes: float, pace: float) -> None:
        """Fixes the number of steps from the pace of the first ones, the same on each rank."""
        self.steps, self.budgeted = max(self.step + 1, int(minutes * 60 / self.ranks.mean([pace])[0])), True

    def report(
        self, losses: list[float], pace: float, on_progress: Callable[[Progress, Prior], None] | None
    ) -> None:
        """Saves, then says where the run stands; rank 0 alone."""
        if self.ranks.rank:
            return
        held = self.judged()
        self.save()
        finite = [loss for loss in losses if math.isfinite(loss)]
        mean = sum(finite) / len(finite) if finite else None
        left = pace * (self.steps - self.step)
        append_line(
            self.folder / "events.jsonl",
            {"step": self.step, "loss": mean, "seconds_left": left, "skipped": self.skipped},
        )
        if on_progress:
            on_progress(
                Progress(
                    self.step,
                    self.steps,
                    math.nan if mean is None else mean,
                    left,
                    _peak_mib(self.ranks.device),
                    held,
                ),
                self.averaged(),
            )

    def judged(self) -> float:
        """How bad the moving average is; kept where it is the best so far."""
        if self.judge is None:
            return math.nan
        loss = self.judge(self.averaged())
        append_line(
            self.folder / "events.jsonl",
            {"step": self.step, "held_out": loss if math.isfinite(loss) else None},
        )
        if loss < self.best_loss:
            self.best_step, self.best_loss = self.step, loss
            self.best = {name: tensor.detach().clone() for name, tensor in self.average.state_dict().items()}
        return loss

    def chosen(self) -> Prior:
        """The best where somebody judged, else the last."""
        if self.best:
            self.average.load_state_dict(self.best)
        return self.averaged(self.best_step or None)

    def averaged(self, step: int | None = None) -> Prior:
        training = {
            **self.prior.card.training,
            "steps": step or self.step,
            **({"of_steps": self.step} if step is not None else {}),
            "seed": self.settings.seed,
            "batch": self.settings.batch,
            "torch": torch.__version__,
        }
        return Prior(self.average, self.prior.path, replace(self.prior.card, training=training))

    def save(self) -> None:
        facts = {name: getattr(self, name) for name in _COUNTED} | {
            "seed": self.settings.seed,
            "n_items": len(self.data),
        }
        moments = moments_of(self.optimizer, self.names)
        if self.best:
            facts |= {"best_step": self.best_step, "best_loss": self.best_loss}
        save_checkpoint(
            State(self.net.state_dict(), self.average.state_dict(), moments, facts, self.best),
            self.folder / "checkpoints",
        )

    def _restore(self, state: State) -> None:
        facts = {"bad": 0, **state.facts}
        missing = {"seed", "n_items", *_COUNTED} - set(facts)
        if missing:
            raise BadOption(
                f"the checkpoint in this folder lacks {', '.join(sorted(missing))}",
                "use another --out, or --fresh",
            )
        for name, now in (("seed", self.settings.seed), ("n_items", len(self.data))):
            if facts[name] != now:
                raise BadOption(
                    f"{name}: the run in this folder has {facts[name]}, this call has {now}",
                    "use the same data and seed, another --out, or --fresh",
                )
        try:
            self.net.load_state_dict(state.weights)
            self.average.load_state_dict(state.average)
            restore_moments(self.optimizer, self.names, state.moments)
        except (RuntimeError, KeyError) as error:
            raise BadOption(
                "the checkpoint in this folder is of another network",
                "use the same preset or method, another --out, or --fresh",
            ) from error
        if state.best:
            self.best, self.best_step, self.best_loss = state.best, facts["best_step"], facts["best_loss"]
        for name in _COUNTED:
            setattr(self, name, facts[name])
        if not self.settings.minutes:
            self.steps = self.settings.steps


_COUNTED = ("step", "steps", "skipped", "bad", "budgeted")


def _culprits(batch: Batch, each: Tensor) -> list[int]:
    """The items whose own loss is not finite; all of the batch where none is (a gradient overflowed)."""
    broken = {item for item, loss in zip(batch.items, each.tolist(), strict=True) if not math.isfinite(loss)}
    return sorted(broken or set(batch.items))


def schedule(step: int, steps: int) -> float:
    """Learning rate as a share of the peak: 100 steps of warm-up, then a cosine down to 2 %."""
    warm = min(1.0, (step + 1) / 100)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def _peak_mib(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _stop_flag() -> Iterator[threading.Event]:
    """SIGTERM (a scheduler's preemption) sets a flag; the loop saves and leaves. Only the main thread can
    listen.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    former = signal.signal(signal.SIGTERM, lambda *_: flag.set())
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, former)

"""The training loop: one function, one bag of state, ranks hidden in the batch."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import BadOption, Diverged
from ..io.disk.files import append_line
from ..prior import Prior
from .budget import stop_flag
from .checkpoint import TrainingState, load_latest, moments_of, restore_moments, retire, save_checkpoint
from .distributed import Ranks, ranks_for
from .early_stopping import still_falling
from .patches import Batch, Images, StoredImages, draw_batch
from .resident import Resident

__all__ = ["Progress", "TrainingSettings", "schedule", "train"]

FIRST = 10
"""The first checkpoint comes after so many steps, so that an early stop loses little."""
TELL = 1.0
"""Seconds between two lines of progress."""
SAVE = 300.0
"""Seconds after which a checkpoint is written between the regular ones: slow steps are not lost."""
PACED = 20
"""Steps between two estimates of how many fit into the time given."""
UNKNOWN = 10**9
"""Steps of a run whose pace is not known yet."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What a run of the loop does, besides data and network.

    steps: of the optimizer; or minutes: a wall-clock budget of all calls together, into which the number of
    steps is fitted again and again, as the machine's pace changes. batch: 64-voxel patches a step over all
    ranks. rate: Adam's peak, warmed up over 100 steps, then a cosine to 2 % of it. sigmas: mean and standard
    deviation of ln sigma. average: half-life of the moving average, as a share of the steps done. save_every:
    steps between checkpoints, fewer where minutes allow few steps. precision: "float32" or "bfloat16"
    (autocast; weights stay float32. Faster on GPUs, and on CPUs with AVX512-BF16 by 1.3 to 1.5; slower on
    others). compile: torch.compile the network. device: where it learns.
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
    device: str = "cpu"

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch": 1, "rate": 0, "save_every": 1, "seed": 0, "average": 0}
        for name, low in least.items():
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
    """Where the loop stands.

    steps: in all, 0 where a time budget has not become a number of steps yet. loss: mean of the finite ones
    of the last 50 steps, NaN where none was. seconds_left: of the time budget, or at the present pace.
    peak_mib: memory of the process or the GPU. held: validation loss of the moving average, NaN where none
    was measured. saved: a checkpoint was written. seconds: spent learning, in all calls.
    """

    step: int
    steps: int
    loss: float
    seconds_left: float
    peak_mib: float
    held: float = math.nan
    saved: bool = True
    seconds: float = 0.0


OnProgress = Callable[[Progress, Prior], None]


def train(
    prior: Prior,
    data: Images,
    settings: TrainingSettings,
    folder: Path,
    *,
    on_progress: OnProgress | None = None,
    fresh: bool = False,
    tuned: Mapping[str, float] | None = None,
    judge: Callable[[Prior], float] | None = None,
) -> Prior:
    """Learns the prior's weights and returns it with their moving average; the same call again continues.

    tuned: names of the parameters that learn, each with its factor of the rate, default all of them with 1;
    the others do not move by a bit. judge: says of the moving average at each checkpoint how bad it is (a
    validation loss); then that of the lowest is returned, not the last (early stopping). Checkpoints go to
    folder/checkpoints, the loss to folder/events.jsonl. on_progress: about once a second, and at each
    checkpoint. Ctrl-C and SIGTERM save and raise KeyboardInterrupt. fresh: puts a former run's checkpoints
    aside (folder/checkpoints.old) and begins anew. A former run with more steps or minutes goes on learning.
    Under torchrun or ``accelerate launch`` each process takes its share of every batch; rank 0 alone writes
    and reports. Raises Diverged after three steps in a row whose loss is not finite, naming the items. Raises
    BadOption for a folder whose run has another seed, data or network, and FileProblem when another run holds
    the folder.
    """
    ranks = ranks_for(settings.device)
    with ranks.lock(folder), stop_flag() as stopped:
        if fresh and ranks.rank == 0:
            retire(folder / "checkpoints")
        ranks.wait()
        run = _Run(prior, data, settings, folder, ranks, tuned, judge)
        while run.at.step < run.steps and not run.stopping:
            run.advance(stopped.is_set())
            run.report(on_progress)
        ranks.leave()
        if run.stopping:
            raise KeyboardInterrupt(f"stopped after step {run.at.step}, saved; the same command continues")
        return run.chosen()


@dataclass(slots=True)
class _Counts:
    """What a checkpoint knows besides tensors.

    steps: in all, as known then. bad: losses in a row that were not finite. seconds: spent learning.
    minutes: the time budget that was used up. held: (step, validation loss) of each checkpoint.
    data: digest of the scans.
    """

    step: int = 0
    steps: int = UNKNOWN
    skipped: int = 0
    bad: int = 0
    seconds: float = 0.0
    minutes: float = 0.0
    held: list[tuple[int, float]] = field(default_factory=list)
    best_step: int = 0
    best_loss: float = math.inf
    data: str = ""


class _Pace:
    """Seconds a step, followed as the machine gets busier or calmer."""

    def __init__(self, started: float, step: int) -> None:
        self.mark, self.step, self.seconds = started, step, 0.0

    def due(self, step: int) -> bool:
        done = step - self.step
        return done >= PACED or (not self.seconds and done >= 3)

    def measure(self, step: int, mean: Callable[[list[float]], list[float]]) -> float:
        """The pace of the steps since the last call, weighed with what was known; the same on each rank."""
        now = time.monotonic()
        (recent,) = mean([(now - self.mark) / (step - self.step)])
        self.seconds = recent if not self.seconds else 0.5 * (self.seconds + recent)
        self.mark, self.step = now, step
        return self.seconds


class _Run:
    """The bag of state of one run."""

    def __init__(
        self,
        prior: Prior,
        data: Images,
        settings: TrainingSettings,
        folder: Path,
        ranks: Ranks,
        tuned: Mapping[str, float] | None = None,
        judge: Callable[[Prior], float] | None = None,
    ) -> None:
        self.prior, self.data, self.settings, self.folder, self.ranks = prior, data, settings, folder, ranks
        self.judge = judge
        self.best: dict[str, Tensor] = {}
        self.losses: list[float] = []
        self.stopping = False
        self.at = _Counts(data=str(prior.card.data.get("sha256", "")))
        self._networks(prior.net.to(ranks.device).train(), tuned)
        state, messages = load_latest(folder / "checkpoints")
        for message in messages:
            append_line(folder / "events.jsonl", {"warning": message})
        if state:
            self._restore(state)
        self.started = self.told = self.written = time.monotonic()
        self.before, self.first = self.at.seconds, self.at.step
        self.pace = _Pace(self.started, self.first)
        self.steps, self.every = settings.steps, settings.save_every
        if settings.minutes:
            self.steps = UNKNOWN
            if self.at.seconds:
                self.fit(self.at.seconds / self.at.step)
        learner = Prior(ranks.wrap(self.net), prior.path, prior.card)
        self.loss = torch.compile(learner.loss) if settings.compile else learner.loss
        self.draw = _drawer(data, ranks.device)

    def _networks(self, net: nn.Module, tuned: Mapping[str, float] | None) -> None:
        """The network that learns, its moving average, and the optimizer."""
        known = {name for name, _ in net.named_parameters()}
        if tuned is not None and not (tuned and set(tuned) <= known):
            raise BadOption(
                "training: wanted parameters of the network to tune, got "
                f"{', '.join(sorted(set(tuned) - known)) or 'none'}"
            )
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(tuned is None or name in tuned)
        self.net = net.to(memory_format=torch.channels_last) if self.prior.card.ndim == 2 else net  # pyright: ignore[reportCallIssue]
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
        self.optimizer = torch.optim.Adam(groups, lr=self.settings.rate, betas=(0.9, 0.99))

    def advance(self, stop: bool) -> None:
        """One step. A loss or gradient that is not finite is skipped and counted; three in a row stop the
        run. stop: this process is to save and leave.
        """
        settings, ranks, at = self.settings, self.ranks, self.at
        batch = self._batch()
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate * group["factor"] * schedule(at.step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(
            ranks.device.split(":")[0], torch.bfloat16, enabled=settings.precision == "bfloat16"
        ):
            each = self.loss(batch.x0, batch.sigma, batch.noise, batch.condition)
        # ranks may hold unequal shares; their mean must be the mean over all patches
        own = each.sum() * (ranks.count / batch.total)
        ranks.backward(own)
        norm = nn.utils.clip_grad_norm_(list(self.names), 1.0)
        found = torch.stack([own.detach(), norm]).tolist()
        late = settings.minutes is not None and self.seconds > 60 * settings.minutes
        loss, size, stops, over = ranks.mean([*found, float(stop), float(late)])
        at.step, self.stopping = at.step + 1, stops > 0
        self.losses = [*self.losses[-49:], loss]
        if math.isfinite(loss) and math.isfinite(size):
            at.bad = 0
            self.optimizer.step()
            self._follow()
        else:
            at.skipped, at.bad = at.skipped + 1, at.bad + 1
            if at.bad == 3:
                raise Diverged(
                    at.step, float(batch.sigma.median()), f"training (items {_culprits(batch, each)})"
                )
        if over > 0:
            self.steps = at.step
        elif settings.minutes and self.pace.due(at.step):
            self.fit(self.pace.measure(at.step, ranks.mean))

    def _batch(self) -> Batch:
        settings, ranks = self.settings, self.ranks
        return self.draw(
            self.at.step,
            seed=settings.seed,
            batch=settings.batch,
            sigmas=settings.sigmas,
            drop=settings.drop,
            share=(ranks.rank, ranks.count),
            steps=0 if self.steps == UNKNOWN else self.steps,
        )

    @torch.no_grad()
    def _follow(self) -> None:
        """Moving average whose memory is a share of the steps done (power-function EMA, Karras et al. 2024,
        in its simplest form).
        """
        memory = max(1.0, self.settings.average * self.at.step)
        weight = 1 - 0.5 ** (1 / memory)
        torch._foreach_lerp_([mean for mean, _ in self.follows], [p for _, p in self.follows], weight)

    @property
    def seconds(self) -> float:
        """Spent learning, in all calls."""
        return self.before + time.monotonic() - self.started

    def fit(self, pace: float) -> None:
        """As many steps as the rest of the time has room for at this pace, the same on each rank; none where
        so much time was used up before.
        """
        budget = self.settings.minutes or 0.0
        (left,) = self.ranks.mean([60 * budget - self.seconds])
        done = self.at.minutes >= budget
        self.steps = self.at.step if done else max(self.at.step + 1, self.at.step + int(left / pace))
        self.every = min(self.settings.save_every, max(FIRST, self.steps // 10))

    def report(self, on_progress: OnProgress | None) -> None:
        """Saves where a checkpoint is due, and says where the run stands; rank 0 alone."""
        step, now = self.at.step, time.monotonic()
        regular = (
            step == min(FIRST, self.every) or step % self.every == 0 or step == self.steps or self.stopping
        )
        if self.ranks.rank or not (regular or now - self.told > TELL or now - self.written > SAVE):
            return
        held = self.judged() if regular else math.nan
        if regular or now - self.written > SAVE:
            self.save()
            self.written = time.monotonic()
        self.told = time.monotonic()
        line = self._line(held, regular)
        if regular:
            mean = line.loss if math.isfinite(line.loss) else None
            said = {"step": step, "loss": mean, "seconds_left": line.seconds_left, "skipped": self.at.skipped}
            append_line(self.folder / "events.jsonl", said)
        if on_progress:
            on_progress(line, self.averaged())

    def _line(self, held: float, saved: bool) -> Progress:
        finite = [loss for loss in self.losses if math.isfinite(loss)]
        loss = sum(finite) / len(finite) if finite else math.nan
        if self.at.step >= self.steps:
            left = 0.0
        elif self.settings.minutes:
            left = max(0.0, 60 * self.settings.minutes - self.seconds)
        else:
            left = (self.seconds - self.before) / (self.at.step - self.first) * (self.steps - self.at.step)
        steps, peak = self.steps if self.steps != UNKNOWN else 0, _peak_mib(self.ranks.device)
        return Progress(self.at.step, steps, loss, left, peak, held, saved, self.seconds)

    def judged(self) -> float:
        """The validation loss of the moving average, which is kept where it is the best so far."""
        if self.judge is None:
            return math.nan
        loss = self.judge(self.averaged())
        finite = math.isfinite(loss)
        append_line(
            self.folder / "events.jsonl", {"step": self.at.step, "held_out": loss if finite else None}
        )
        if finite:
            self.at.held.append((self.at.step, loss))
        if loss < self.at.best_loss:
            self.at.best_step, self.at.best_loss = self.at.step, loss
            self.best = {name: tensor.detach().clone() for name, tensor in self.average.state_dict().items()}
        return loss

    def chosen(self) -> Prior:
        """The best by validation loss where there is one, else the last."""
        if self.best:
            self.average.load_state_dict(self.best)
        return self.averaged(self.at.best_step or None)

    def averaged(self, step: int | None = None) -> Prior:
        training = {**self.prior.card.training, "steps": step or self.at.step}
        if step is not None:
            training["of_steps"] = self.at.step
        if (falling := still_falling(self.at.held)) is not None:
            training["still_falling"] = falling
        training |= {"seed": self.settings.seed, "batch": self.settings.batch, "torch": torch.__version__}
        return Prior(self.average, self.prior.path, replace(self.prior.card, training=training))

    def save(self) -> None:
        at = self.at
        at.steps = self.steps
        if self.settings.minutes:  # a run of so many steps keeps no clock, so that its files can be compared
            at.seconds = self.seconds
            if at.step >= self.steps:
                at.minutes = max(at.minutes, self.settings.minutes)
        facts = asdict(at) | {"seed": self.settings.seed, "n_items": len(self.data)}
        if not self.best:
            del facts["best_step"], facts["best_loss"]
        save_checkpoint(
            TrainingState(
                self.net.state_dict(),
                self.average.state_dict(),
                moments_of(self.optimizer, self.names),
                facts,
                self.best,
            ),
            self.folder / "checkpoints",
        )

    def _restore(self, state: TrainingState) -> None:
        missing = {"seed", "n_items", "step", "skipped"} - set(state.facts)
        if missing:
            raise BadOption(
                f"the checkpoint in this folder lacks {', '.join(sorted(missing))}",
                "use another --out, or --fresh",
            )
        remedy = "use the same data and seed, another --out, or --fresh"
        for name, now in (("seed", self.settings.seed), ("n_items", len(self.data))):
            if state.facts[name] != now:
                raise BadOption(
                    f"{name}: the run in this folder has {state.facts[name]}, this call has {now}", remedy
                )
        if state.facts.get("data", self.at.data) != self.at.data:
            raise BadOption("data: the run in this folder learned from other scans", remedy)
        try:
            self.net.load_state_dict(state.weights)
            self.average.load_state_dict(state.average)
            restore_moments(self.optimizer, self.names, state.moments)
        except (RuntimeError, KeyError) as error:
            raise BadOption(
                "the checkpoint in this folder is of another network",
                "use the same preset or method, another --out, or --fresh",
            ) from error
        known = {name: value for name, value in state.facts.items() if name in _Counts.__dataclass_fields__}
        known["held"] = [(int(step), float(loss)) for step, loss in known.get("held", [])]
        self.at, self.best = replace(self.at, **known), state.best


def _drawer(data: Images, device: str) -> Callable[..., Batch]:
    """Who makes the batches: on a GPU from its own memory, unless the images lie on disk."""
    if device != "cpu" and not (isinstance(data.images, StoredImages) and data.images.on_disk):
        return Resident(data, device).draw
    there = torch.device(device)
    return lambda *step, **how: draw_batch(data, *step, **how).to(there)


def _culprits(batch: Batch, each: Tensor) -> list[int]:
    """The items whose own loss is not finite; all of the batch where none is (a gradient overflowed)."""
    broken = {item for item, loss in zip(batch.items, each.tolist(), strict=True) if not math.isfinite(loss)}
    return sorted(broken or set(batch.items))


def schedule(step: int, steps: int) -> float:
    """Learning rate as a share of the peak: 100 steps of warm-up, then a cosine down to 2 %."""
    warm = min(1.0, (step + 1) / 100)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def _peak_mib(device: str) -> float:
    """Most memory that was held; Linux counts in KiB, macOS in bytes."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

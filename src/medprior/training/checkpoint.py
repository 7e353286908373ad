"""The state of a training run on disk: old or new, never between; the last two are kept; a broken one is
skipped with a message.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..data.plain import JsonObject
from ..errors import Corrupt, FileProblem
from ..io.disk.files import check_manifest, load_weights, read_json, save_weights, write_folder, write_json

__all__ = ["TrainingState", "load_latest", "moments_of", "restore_moments", "retire", "save_checkpoint"]


@dataclass(slots=True)
class TrainingState:
    """All that the next step depends on. Batches are a pure function of (seed, step), so no generator is
    stored.

    weights, average: the network and its moving average. moments: Adam's, by parameter name. facts: step,
    seed, counts, budget. best: the moving average at the step that was judged best; empty without a judge.
    """

    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    moments: dict[str, Tensor]
    facts: JsonObject
    best: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(state: TrainingState, folder: Path, *, keep: int = 2) -> Path:
    """folder/step-000123, whole or absent. Raises FileProblem when there is no room; the former ones are
    untouched.
    """
    _room(state, folder)

    def fill(temporary: Path) -> None:
        save_weights(temporary / "weights.safetensors", state.weights)
        save_weights(temporary / "average.safetensors", state.average)
        save_weights(temporary / "moments.safetensors", state.moments)
        if state.best:
            save_weights(temporary / "best.safetensors", state.best)
        write_json(temporary / "facts.json", state.facts)

    path = folder / f"step-{state.facts['step']:09d}"
    write_folder(path, fill)
    for old in _found(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def load_latest(folder: Path) -> tuple[TrainingState | None, list[str]]:
    """The newest state (by step, not by clock) that passes its checksums, and a message for each that did
    not.
    """
    messages: list[str] = []
    for path in reversed(_found(folder)):
        try:
            check_manifest(path)
            weights, average, moments = (
                load_weights(path / f"{name}.safetensors") for name in ("weights", "average", "moments")
            )
            best = load_weights(path / "best.safetensors") if (path / "best.safetensors").is_file() else {}
            return TrainingState(weights, average, moments, read_json(path / "facts.json"), best), messages
        except FileProblem as error:
            messages.append(f"checkpoint skipped: {error}")
    if messages:
        raise Corrupt(
            folder, f"holds no usable checkpoint ({'; '.join(messages)})", "start over with --fresh"
        )
    return None, messages


def retire(folder: Path) -> None:
    """Puts the checkpoints of a former run aside, so that a fresh one neither continues nor outlives them;
    the last one put aside is replaced.
    """
    if _found(folder):
        aside = folder.with_name(folder.name + ".old")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)


def _found(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if p.is_dir()) if folder.is_dir() else []


def _room(state: TrainingState, folder: Path) -> None:
    need = sum(
        t.numel() * t.element_size()
        for part in (state.weights, state.average, state.moments, state.best)
        for t in part.values()
    )
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < 1.1 * need + 2**20:
        raise FileProblem(
            folder,
            f"a checkpoint needs {need / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free",
            "free space; the last checkpoint is kept",
        )


def moments_of(optimizer: torch.optim.Optimizer, names: dict[Tensor, str]) -> dict[str, Tensor]:
    """Adam's state by parameter name."""
    return {
        f"{kind}/{names[p]}": value for p, kept in optimizer.state.items() for kind, value in kept.items()
    }


def restore_moments(
    optimizer: torch.optim.Optimizer, names: dict[Tensor, str], moments: dict[str, Tensor]
) -> None:
    """The inverse of ``moments_of``; nothing to do before the first good step."""
    if not moments:
        return
    for parameter, name in names.items():
        optimizer.state[parameter] = {
            kind: moments[f"{kind}/{name}"].to(parameter.device if kind != "step" else "cpu")
            for kind in ("step", "exp_avg", "exp_avg_sq")
        }

"""Synthesize as a run: new images, held against the scans behind the prior; a sheet of them, every one marked
synthetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...data.views import Window, grey, upright, window_for
from ...data.volume import Volume
from ...errors import BadOption
from ...jobs.synthetic.mix import Mix, plan_mix
from ...jobs.synthetic.synthesize import Drawing, default_size, draw_images, volumes_of
from ...prior import Prior
from ...prior.joint import is_joint
from ..ask.requests import Synthesize
from ..core.cost import announce
from ..core.outputs import Outcome, Output, file_name
from ..core.progress import Event, OnEvent
from ..page.blocks import Grid, Picture, Section
from ..page.pictures import mosaic
from .audit import Draw, Steered, audited_draws
from .joint import joint_summary, listed, run_joint

__all__ = ["run_synthesize"]

SHOWN = 64
"""Most images on the sheet; all of them are written."""

EVALUATIONS = 26
"""At full size, of a small image, which is drawn at once. A large one takes half of that: 10 levels refine a
coarser image.
"""


def run_synthesize(
    request: Synthesize, prior: Prior, given: Mapping[str, Volume] | None, on_event: OnEvent
) -> Outcome:
    """The job, its outputs and its section. given: known channels of a joint prior; other priors have no
    input.
    """
    n = request.n if "n" in request.model_fields_set else None
    plan = plan_mix(
        prior.card,
        n=n,
        label=request.label,
        mix=request.mix,
        numbers=request.number,
        seed=request.seed,
        default=request.n,
    )
    if given or request.slices is not None or is_joint(prior.card):
        return run_joint(request, prior, given or {}, plan, on_event)
    size = request.size or default_size(prior)
    suffix = _suffix(request, prior)
    total, steered = len(plan.labels), Steered.of(request, prior, plan)
    announce(prior, total, size, EVALUATIONS * steered.times, on_event)
    proved = audited_draws(
        request, prior, _drawer(request, prior, plan, size, on_event), total, on_event, steered=steered
    )
    rows = sorted(proved.kept)
    made = volumes_of(
        prior,
        torch.stack([proved.kept[row] for row in rows]),
        f"label {request.label or request.mix}, seed {request.seed}",
    )
    labels = [plan.labels[row] for row in rows]
    card = prior.card
    low, high = (card.low, card.high) if card.scaling == "fixed" else (0.0, 1.0)
    width = len(str(total))
    names = [f"{file_name(label)}_{row + 1:0{width}}" for row, label in zip(rows, labels, strict=True)]
    outputs = [
        Output(name, image, "synthesized", suffix=suffix, window=(low, high))
        for name, image in zip(names, made, strict=True)
    ]
    window = window_for(made[0]) if card.unit == "HU" else Window(low, high, "range of the prior")
    section, preview = sheet(request, prior, made, window, steered)
    mix = {"mix": dict(plan.counts), "written": dict(Counter(label or "" for label in labels))}
    metrics = {
        "n": len(made),
        "size": list(size),
        "label": request.label,
        **(mix if plan.counts else {}),
        **proved.metrics,
    }
    return Outcome(
        metrics,
        [section, *proved.sections],
        preview,
        joint_summary(metrics),
        outputs,
        proved.overrides,
        files=_table(plan, rows, [f"{name}{suffix}" for name in names]) if plan.counts else {},
    )


def _table(plan: Mix, rows: Sequence[int], files: Sequence[str]) -> dict[str, str]:
    """scans.csv over the files, one for each row of the plan."""
    lines = [
        ({"image": name}, plan.labels[row], {key: values[row] for key, values in plan.numbers.items()})
        for name, row in zip(files, rows, strict=True)
    ]
    return {"outputs/scans.csv": listed(["image"], lines)}


def _suffix(request: Synthesize, prior: Prior) -> str:
    """Of the files. Raises BadOption for what a 3-D prior cannot draw."""
    solid = prior.card.ndim == 3
    if solid and (request.size is not None or request.format == "png"):
        raise BadOption(
            "size, format: a 3-D prior draws volumes of its own size, and a PNG holds none",
            "leave --size out; take nii.gz, npz or dcm",
        )
    return f".{request.format or ('nii.gz' if solid else 'png')}"


def _drawer(request: Synthesize, prior: Prior, plan: Mix, size: tuple[int, ...], on_event: OnEvent) -> Draw:
    """Draws rows of the plan, those of a label side by side."""

    def draw(rows: Sequence[int], seed: int) -> Tensor:
        on_event(Event("stage", "drawing new images", 0, 0))
        blocks: dict[str | None, list[int]] = {}
        for at, row in enumerate(rows):
            blocks.setdefault(plan.labels[row], []).append(at)
        made: dict[int, Tensor] = {}
        for k, (label, places) in enumerate(blocks.items()):

            def told(done: int, total: int, k: int = k) -> None:
                on_event(Event("step", done=k * total + done, total=total * len(blocks)))

            x, _ = draw_images(
                prior,
                len(places),
                Drawing(
                    label=label,
                    seed=seed,
                    size=size,
                    guidance=request.guidance,
                    number_guidance=request.number_guidance,
                    numbers={
                        name: [values[rows[at]] for at in places] for name, values in plan.numbers.items()
                    },
                    stream="" if label is None or request.mix is None else label,
                ),
                on_step=told,
            )
            made |= dict(zip(places, x, strict=True))
        return torch.stack([made[at] for at in range(len(rows))])

    return draw


def sheet(
    request: Synthesize, prior: Prior, made: list[Volume], window: Window, steered: Steered
) -> tuple[Section, list]:
    """The section with all images side by side."""
    shown = [grey(upright(image), window) for image in made[:SHOWN]]
    columns = min(8, max(1, round(len(shown) ** 0.5 * 1.4)))
    picture = mosaic(shown, columns)
    twins = (
        " The same seed draws the same noise, so sheets of two labels differ by the label alone."
        if request.label
        else ""
    )
    section = Section(
        f"Synthesize: {len(made)} new images{f', {request.label}' if request.label else ''}",
        f"Drawn from the prior {prior.card.name} alone: {steered.said(request)}. They show no "
        f"patient.{twins}",
        [
            Grid(
                [
                    Picture(
                        picture,
                        f"{len(shown)} images",
                        f"Seed {request.seed}; none was picked out; {window}.",
                        synthetic=True,
                        wide=True,
                    )
                ]
            )
        ],
        caveats=(
            "A synthetic set inherits the gaps and the biases of the data behind the prior; its card names "
            "them.",
        ),
    )
    return section, [(f"{len(shown)} synthetic images", picture)]

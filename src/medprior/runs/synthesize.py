"""Synthesize as a run: new images, a sheet of them, every one marked synthetic."""

from __future__ import annotations

from torch import Tensor

from ..data.volume import Volume
from ..errors import BadOption
from ..jobs.synthesize import default_size, drawn, volumes_of
from ..prior import Prior
from .cost import announce
from .events import Event, OnEvent
from .outcome import Outcome, Output
from .pictures import Window, grey, mosaic, upright, window_for
from .proven import proven
from .report import Grid, Picture, Section
from .requests import Synthesize

__all__ = ["run_synthesize"]

SHOWN = 64
"""Most images on the sheet; all of them are written."""


def run_synthesize(request: Synthesize, prior: Prior, volume: None, on_event: OnEvent) -> Outcome:
    """The job, its outputs and its section. There is no input: ``volume`` is None."""
    size = request.size or default_size(prior)
    solid = prior.card.ndim == 3
    if solid and (request.size is not None or request.format == "png"):
        raise BadOption("size, format: a 3-D prior draws volumes of its own size, and a PNG holds none", "leave --size out; take nii.gz, npz or dcm")
    suffix = f".{request.format or ('nii.gz' if solid else 'png')}"
    # at full size: 14 levels refine the coarser image, which costs a third of that; an image that is small enough is drawn at once in 36 evaluations
    evaluations = 20 if max(size) >= 2 * prior.card.frame[0] else 36
    announce(prior, request.n, size, evaluations * (2 if request.label and request.guidance != 1 else 1), on_event)

    def draw(n: int, seed: int) -> Tensor:
        on_event(Event("stage", "drawing new images", 0, 0))
        return drawn(prior, n, label=request.label, seed=seed, size=size, guidance=request.guidance, on_step=told)[0]

    def told(done: int, total: int) -> None:
        on_event(Event("step", done=done, total=total))

    proved = proven(request, prior, draw, on_event)
    made = volumes_of(prior, proved.kept, f"label {request.label}, seed {request.seed}")
    card = prior.card
    low, high = (card.low, card.high) if card.scaling == "fixed" else (0.0, 1.0)
    width = len(str(request.n))
    outputs = [
        Output(f"{file_name(request.label)}_{i:0{width}}", image, "synthesized", suffix=suffix, window=(low, high)) for i, image in enumerate(made, start=1)
    ]
    window = window_for(made[0]) if card.unit == "HU" else Window(low, high, "range of the prior")
    section, preview = sheet(request, prior, made, window)
    metrics = {"n": len(made), "size": list(size), "label": request.label, **proved.metrics}
    return Outcome(outputs, metrics, [section, *proved.sections], preview, proved.overrides)


def file_name(label: str | None) -> str:
    """A label as the start of a file's name: it comes from somebody's card, so nothing in it may lead out of the folder or be no name at all."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in label or "image")[:48]


def sheet(request: Synthesize, prior: Prior, made: list[Volume], window: Window) -> tuple[Section, list]:
    """The section with all images side by side."""
    shown = [grey(upright(image), window) for image in made[:SHOWN]]
    columns = min(8, max(1, round(len(shown) ** 0.5 * 1.4)))
    picture = mosaic(shown, columns)
    label = f"label {request.label}, guidance {request.guidance:g}" if request.label else "no label asked for"
    twins = " The same seed draws the same noise, so sheets of two labels differ by the label alone." if request.label else ""
    section = Section(
        f"Synthesize: {len(made)} new images{f', {request.label}' if request.label else ''}",
        f"Drawn from the prior {prior.card.name} alone: {label}. They show no patient.{twins}",
        [Grid([Picture(picture, f"{len(shown)} images", f"Seed {request.seed}; none was picked out; {window}.", synthetic=True, wide=True)])],
        caveats=("A synthetic set inherits the gaps and the biases of the data behind the prior; its card names them.",),
    )
    return section, [(f"{len(shown)} synthetic images", picture)]

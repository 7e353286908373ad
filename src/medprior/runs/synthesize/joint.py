"""Joint synthesis as a run: pairs of image and mask, contrasts of one made-up patient, volumes by a prior of
slices.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from ...data.views import Window, grey, upright, window_for
from ...data.volume import Volume
from ...errors import BadOption
from ...jobs.synthetic.joint import synthesize_joint
from ...jobs.synthetic.mix import Mix
from ...jobs.synthetic.synthesize import default_size
from ...prior import Prior
from ...prior.joint import is_joint, part_named, parts
from ..ask.requests import Synthesize
from ..core.cost import announce
from ..core.outputs import Outcome, Output, Summary, file_name, suffix_of
from ..core.progress import Event, OnEvent
from ..page.blocks import Grid, Picture, Section
from ..page.pictures import coloured, mosaic
from .audit import Steered, standing, unseen
from .audit_page import unproven

__all__ = ["joint_summary", "listed", "run_joint"]

SHOWN = 8
"""Most examples in the report; all of them are written."""

Example = Mapping[str, Volume]


def run_joint(
    request: Synthesize, prior: Prior, given: Mapping[str, Volume], plan: Mix, on_event: OnEvent
) -> Outcome:
    """The job, its outputs, a scans.csv over them, and its section."""
    for name in given:
        part_named(prior.card, name)
    solid = prior.card.ndim == 3 or request.slices is not None or any(one.ndim == 3 for one in given.values())
    suffix = _suffix(request, prior, given, solid)
    if request.data is not None:
        raise BadOption(
            "data: pairs, volumes of slices and what is drawn for a given scan are not compared with "
            "training scans one by one",
            "leave --data out; medprior calibrate synthesize measures the prior itself, whose audit then "
            "stands for the set",
        )
    entry = prior.promises.synthesize
    steered = Steered.of(request, prior, plan)
    overrides = unproven(entry, request.unproven, **asdict(steered))
    _announce(request, prior, given, len(plan.labels), steered.times, on_event)
    on_event(Event("stage", "drawing what is not given" if given else "drawing new images", 0, 0))
    made: list[Example] = []
    blocks = plan.blocks()
    for at, (label, rows) in enumerate(blocks):
        made += synthesize_joint(
            prior,
            n=len(rows),
            given=given or None,
            label=label,
            numbers={name: [values[row] for row in rows] for name, values in plan.numbers.items()},
            seed=request.seed,
            size=request.size,
            slices=request.slices,
            guidance=request.guidance,
            number_guidance=request.number_guidance,
            stream="" if label is None or request.mix is None else label,
            on_step=lambda done, total, at=at: on_event(
                Event("step", done=at * total + done, total=total * len(blocks))
            ),
        )
    outputs, table = _outputs(prior, made, given, plan, suffix)
    section, preview = _section(request, prior, made, given, steered.said(request))
    size = list(next(iter(made[0].values())).shape)
    metrics = {
        "n": len(made),
        "size": size,
        "label": request.label,
        "given": sorted(given),
        "made": sorted(made[0]),
        "mix": dict(plan.counts),
    }
    metrics |= {"proof": standing(entry)}
    return Outcome(
        metrics,
        [section, unseen(entry)],
        preview,
        joint_summary(metrics),
        outputs,
        overrides,
        files={"outputs/scans.csv": table},
    )


def joint_summary(metrics: Mapping[str, Any]) -> Summary:
    """What was drawn, and what is known of its copies."""
    size = " x ".join(map(str, metrics["size"]))
    label = metrics["label"] or ("mixed" if metrics.get("mix") else "any")
    return Summary(tuple(metrics["proof"]), f"{metrics['n']} images of {size}, label {label}")


def _suffix(request: Synthesize, prior: Prior, given: Mapping[str, Volume], solid: bool) -> str:
    if request.format == "dcm":
        raise BadOption(
            "format: several channels are written as files of one grid, not as DICOM",
            "take nii.gz, npz or, of images, png",
        )
    if solid and request.format == "png":
        raise BadOption("format: a PNG holds no volume", "take nii.gz or npz")
    if solid and prior.card.ndim == 3 and request.size is not None:
        raise BadOption("size: a 3-D prior draws volumes of its own size", "leave --size out")
    if request.format:
        return f".{request.format}"
    own = next((suffix_of(one) for one in given.values()), "")
    return own if own in (".nii.gz", ".npz", ".png") else ".nii.gz" if solid or given else ".png"


def _announce(
    request: Synthesize, prior: Prior, given: Mapping[str, Volume], n: int, times: int, on_event: OnEvent
) -> None:
    """What is given is on its own grid, which the prior's may differ from: its pixels are a guide to the
    time, no more.
    """
    known = next(iter(given.values()), None)
    size = (request.size or default_size(prior)) if known is None else known.shape
    slices = (
        1
        if prior.card.ndim == 3
        else request.slices or (known.shape[-1] if known is not None and known.ndim == 3 else 1)
    )
    evaluations = 36 if known is None and slices == 1 else 56
    announce(prior, n * slices, tuple(size)[: prior.card.ndim], evaluations * times, on_event)


def _outputs(
    prior: Prior, made: Sequence[Example], given: Mapping[str, Volume], plan: Mix, suffix: str
) -> tuple[list[Output], str]:
    """Every file, and scans.csv: the folder is a data set that ``medprior train`` and segmenters read as it
    is (marked synthetic, file by file).

    A row is known by the file of its first channel: where that is the given one, each row has a copy of its
    own, else a scan would take one row for all.
    """
    card, width = prior.card, len(str(len(made)))
    window = (card.low, card.high) if card.scaling == "fixed" else (0.0, 1.0)
    names = [part.name for part in parts(card)]

    def copied(name: str, stem: str = "given") -> Output:
        one = given[name]
        return Output(
            f"{stem}_{name}",
            _written(one, name),
            "converted",
            like=one,
            suffix=suffix,
            window=_window(one, name),
        )

    outputs = [copied(name) for name in given if name != names[0]]
    rows = []
    for i, example in enumerate(made):
        label = plan.labels[i]
        stem = f"{file_name(label or 'made')}_{i + 1:0{width}}"
        outputs += [copied(names[0], f"given_{i + 1:0{width}}")] if names[0] in given else []
        for name, one in example.items():
            outputs.append(
                Output(
                    f"{stem}_{name}",
                    one,
                    "synthesized",
                    suffix=suffix,
                    window=None if one.unit == "label" else window,
                )
            )
        files = {
            name: f"given_{i + 1:0{width}}_{name}{suffix}" if name == names[0] else f"given_{name}{suffix}"
            for name in given
        }
        files |= {name: f"{stem}_{name}{suffix}" for name in example}
        rows.append((files, label, {name: values[i] for name, values in plan.numbers.items()}))
    return outputs, listed(names, rows)


def listed(
    names: Sequence[str], rows: Sequence[tuple[Mapping[str, str], str | None, Mapping[str, float]]]
) -> str:
    """A scans.csv. names: of the channels, the first is the image; rows: files by channel, label, numbers."""
    head = [
        f"path:{names[0]}" if names[0] != "image" else "path",
        *("mask" if name == "mask" else f"channel:{name}" for name in names[1:]),
    ]
    labelled, numbers = any(label for _, label, _ in rows), list(rows[0][2])
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow([*head, *(["label"] if labelled else []), *(f"number:{name}" for name in numbers)])
    for files, label, told in rows:
        table.writerow(
            [
                *(files[name] for name in names),
                *([label or ""] if labelled else []),
                *(f"{told[name]:g}" for name in numbers),
            ]
        )
    return text.getvalue()


def _written(one: Volume, name: str) -> Volume:
    return one if name != "mask" else one.noted("the label map that was given")


def _window(one: Volume, name: str) -> tuple[float, float] | None:
    return None if name == "mask" else (float(one.data.min()), float(max(one.data.max(), one.data.min() + 1)))


def _section(
    request: Synthesize, prior: Prior, made: Sequence[Example], given: Mapping[str, Volume], asked: str
) -> tuple[Section, list[tuple[str, Image.Image]]]:
    names = [part.name for part in parts(prior.card)]
    shown = made[:SHOWN]
    what = (
        f"{', '.join(n for n in names if n not in given)} for a given {', '.join(given)}"
        if given
        else ", ".join(names)
    )
    grids = []
    for title, sheet in _sheets(prior, shown, given, names):
        columns = ", ".join(f"{name} (given)" if name in given else name for name in names)
        columns += ", mask over the image" if "mask" in names else ""
        grids.append(
            Picture(
                sheet,
                title,
                f"Each row is one example: {columns}. Seed {request.seed}; none was picked out.",
                synthetic=True,
                wide=True,
            )
        )
    together = (
        "Each example has all of them on one grid"
        if is_joint(prior.card)
        else "Slices were drawn together, neighbours from noise that is alike"
    )
    section = Section(
        f"Synthesize: {len(made)} x {what}",
        f"Drawn by the prior {prior.card.name}: {asked}. {together}. They show no "
        f"patient{', but what was given may' if given else ''}.",
        [Grid([one]) for one in grids],
        caveats=(
            "An image follows its label map as far as the prior has learned it; how far has not been "
            "measured for this prior (bench/joint.py measures others).",
        ),
    )
    return section, [(one.title, one.image) for one in grids[:1] if isinstance(one.image, Image.Image)]


def _sheets(
    prior: Prior, made: Sequence[Example], given: Mapping[str, Volume], names: Sequence[str]
) -> list[tuple[str, Image.Image]]:
    """One sheet of images; of volumes one for each plane."""
    top = max((part_named(prior.card, "mask").classes if "mask" in names else ()), default=1)
    first = {**made[0], **given}[names[0]]
    sheets = []
    for plane in ("axial", "coronal", "sagittal") if first.ndim == 3 else ("",):
        cells: list[Image.Image] = []
        for example in made:
            every = {**example, **given}
            row = [_drawn(every[name], name, plane, top, given) for name in names]
            cells += [*row, _over(row[0], every["mask"], plane, top)] if "mask" in names else row
        sheets.append(
            (
                f"{len(made)} examples{f', middle {plane} slice' if plane else ''}",
                mosaic(cells, len(cells) // len(made)),
            )
        )
    return sheets


def _drawn(one: Volume, name: str, plane: str, top: int, given: Mapping[str, Volume]) -> Image.Image:
    cut = _cut(one, plane)
    if name == "mask":
        return coloured(cut.round(), float(top), name="viridis")
    if one.unit == "HU" or name in given:
        return grey(cut, window_for(one))
    return grey(cut, Window(0.0, 1.0, "range of the prior"))


def _over(image: Image.Image, mask: Volume, plane: str, top: int) -> Image.Image:
    """The image with the borders of the classes on it."""
    cut = np.rint(_cut(mask, plane))
    edge = np.zeros(cut.shape, dtype=bool)
    edge[1:] |= cut[1:] != cut[:-1]
    edge[:, 1:] |= cut[:, 1:] != cut[:, :-1]
    pixels = np.array(image.convert("RGB"))
    pixels[edge] = (255, 170, 40)
    return Image.fromarray(pixels)


def _cut(one: Volume, plane: str) -> np.ndarray:
    """The middle slice, upright where the volume says how it lies; a mask is not interpolated, since its
    pixels are as square as the image's.
    """
    if not plane or one.affine is not None:
        return upright(one, plane=plane or "axial")
    axis = ("axial", "coronal", "sagittal").index(plane)
    return np.take(one.data[0], one.shape[2 - axis] // 2, axis=2 - axis)

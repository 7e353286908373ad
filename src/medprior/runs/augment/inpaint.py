"""Augment with a region: one part of a scan drawn anew, the rest unchanged; the image and its mask, a page of
pictures.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from ...data.axes import plane_of_codes
from ...data.views import grey, sides, upright, window_for
from ...data.volume import Volume
from ...errors import ShapeMismatch
from ...io.read import read
from ...jobs.inpaint import Painting, box_mask, paint
from ...jobs.reconstruct import Settings
from ...prior import Prior
from ..ask.requests import Augment
from ..core.cost import announce
from ..core.outputs import Outcome, Output, Summary
from ..core.progress import Event, OnEvent
from ..page.blocks import Grid, Picture, Section
from ..page.pictures import flat, overlaid

__all__ = ["run_paint"]

SHOWN = 8
"""Most images in a report; all of them are written."""

_AROUND = 9
"""Evaluations of the point estimate, and those a draw begins with."""


def run_paint(request: Augment, prior: Prior, volume: Volume, on_event: OnEvent) -> Outcome:
    """The job, its outputs (each image with its mask) and its section. Raises what ``jobs.paint`` raises."""
    region = region_of_request(request, volume)
    admitted = prior.admit(volume, allow_other=request.allow_other)
    evaluations = (Settings().n_steps + _AROUND) * (2 if request.label and request.guidance != 1 else 1)
    announce(prior, len(admitted.images) * request.n, tuple(admitted.images.shape[2:]), evaluations, on_event)
    on_event(Event("stage", "drawing the region anew", 0, 0))
    made = paint(
        prior,
        volume,
        region,
        Painting(n=request.n, seed=request.seed, label=request.label, guidance=request.guidance),
        allow_other=request.allow_other,
        on_step=lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    width = len(str(request.n))
    outputs = []
    for i, image in enumerate(made, start=1):
        mask = region.noted(image.provenance.history[-1], synthetic=True)
        outputs.append(Output(f"painted_{i:0{width}}", image, "augmented", like=volume))
        outputs.append(
            Output(
                f"painted_{i:0{width}}_mask",
                mask,
                "mask",
                like=region,
                suffix=".nii.gz" if volume.provenance.format == "dicom" else "",
            )
        )
    inside = region.data[0] != 0
    share = float(inside.mean())
    metrics = {
        "share_of_the_scan": share,
        "rms_change_inside": [float(np.sqrt(np.mean((v.data - volume.data)[:, inside] ** 2))) for v in made],
    }
    section, preview = _section(request, prior, volume, region, made, share)
    overrides = ("another modality or unit than the prior's was allowed",) if request.allow_other else ()
    text = f"{len(made)} images, {share:.1%} of the scan drawn anew in each"
    return Outcome(metrics, [section], preview, Summary((f"{text}.",), text), outputs, overrides)


def region_of_request(request: Augment, volume: Volume) -> Volume:
    """The mask that the request names, or its box, as zeros and ones. Raises ShapeMismatch for a mask that
    lies elsewhere.
    """
    if request.box is not None:
        region = box_mask(volume, request.box)
        return replace(region, provenance=replace(region.provenance, format=volume.provenance.format))
    mask = read(request.paint or "", unit="label")
    if (
        mask.affine is not None
        and volume.affine is not None
        and abs(mask.affine - volume.affine).max() > 1e-3
    ):
        raise ShapeMismatch(
            "paint, mask", "the affine of its scan", "another one", "resample the mask to the scan first"
        )
    if mask.data.shape != (1, *volume.shape):
        raise ShapeMismatch(
            "paint, mask",
            f"one channel on the scan's grid, {volume.shape}",
            mask.data.shape,
            "resample the mask to the scan first",
        )
    return mask.with_data((mask.data != 0).astype(np.float32))


def _section(
    request: Augment, prior: Prior, volume: Volume, region: Volume, made: list[Volume], share: float
) -> tuple[Section, list[tuple[str, Image.Image]]]:
    window, plane = window_for(volume), plane_of_codes(prior.card.axes)
    at = None if volume.ndim == 2 else int(np.argmax(region.data[0].sum(axis=(0, 1))))
    known = volume.affine is not None and volume.ndim == 3
    cut = {"plane": plane, "at": None if known else at}
    scan = grey(upright(volume, **cut), window)
    placed = replace(region, affine=volume.affine, spacing_mm=volume.spacing_mm)
    layer, edges = overlaid(upright(placed, **cut), 0.5, 2.0), sides(volume, plane=plane)
    pictures = [
        Picture(scan, "Scan", f"{window}.", window=window, edges=edges),
        Picture(
            scan,
            "The region",
            f"{share:.1%} of the scan; all else stays as it is.",
            layer=layer,
            window=window,
            edges=edges,
        ),
    ]
    drawn = [grey(upright(image, **cut), window) for image in made[:SHOWN]]
    pictures += [
        Picture(image, f"Painted {n}", "Same window.", synthetic=True, window=window, edges=edges)
        for n, image in enumerate(drawn, start=1)
    ]
    label = (
        f", asked for {request.label}"
        if request.label
        else ", no label asked for: a prior of healthy scans fills in what is healthy"
    )
    section = Section(
        "Augment: one region drawn anew",
        f"{len(made)} draws of the region given the rest of the scan{label}. Outside of it every value is "
        "the scan's own, to the last bit; "
        "each image comes with its mask.",
        [Grid(pictures)],
        caveats=(
            "Nearly all of each image is the patient's scan: not for release.",
            "It was not judged whether the painted region shows a finding: look at it. Its mask says where "
            "was painted, not where a finding is.",
            "Whether such images help a model is an experiment: train with and without them, with an equal "
            "number of ordinary augmentations as control.",
        ),
    )
    return section, [
        ("scan", scan),
        ("region", flat(scan, layer)),
        *((f"painted {n} (synthetic)", image) for n, image in enumerate(drawn[:3], start=1)),
    ]

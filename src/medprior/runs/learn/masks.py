"""Learn a segmenter as a run: scans with masks, Dice of patients that the head has not seen, and the head in
its own folder.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from ...data.axes import PLANES, reorient, stacking_axis
from ...data.views import grey, upright, window_for
from ...data.volume import Volume
from ...errors import BadOption
from ...io.dataset.index import patients_of
from ...io.dataset.scan import Index, Item
from ...jobs.learn_masks import DECODER, VOXELS, learn_segmenter, mask_in, segment
from ...jobs.tuning.decoder import DecoderSettings
from ...learning.features import FeatureSettings
from ...learning.head_folder import Head, save_head
from ...training.folder import load
from ..ask.requests import Learn
from ..core.inputs import LoadedPrior
from ..core.outputs import Outcome, Output, Summary
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder
from ..page.blocks import Grid, Picture, Section, Table
from ..page.pictures import overlaid

__all__ = ["overlay_of", "run_learn_masks", "segmented"]


def run_learn_masks(
    request: Learn, known: LoadedPrior, index: Index, device: str, on_event: OnEvent
) -> RunFolder:
    """Learn from every scan that has a mask, and write the run folder. Raises what ``learn_segmenter``
    raises, BadOption where no scan has a mask.
    """
    started = time.monotonic()
    items = [item for item in index.usable(allow_synthetic=request.allow_synthetic) if item.mask]
    items = [item for item in items if not (item.given and item.split == "test")]
    if not items:
        raise BadOption(
            "learn: no scan has a mask", "scans.csv names the mask of each scan in the column mask"
        )
    facts = sorted(f"{item.digest}/{item.others}/{item.owner}" for item in items)
    run = Run.of(request, started, device, **known.hashes, scans=facts)
    if (done := run.done(on_event)) is not None:
        return done
    prior = known.prior if device == "cpu" else load(request.prior)
    scans, masks = [], []
    on_event(Event("stage", "reading scans and masks", 0, len(items)))
    for item, volume in index.volumes(items):
        scans.append(prior.admit(volume, allow_other=request.allow_other))
        mask = index.mask(item)
        if mask is None:
            raise BadOption("learn: a mask has gone", "scan the folder again")
        masks.append(mask_in(scans[-1], mask, prior))
        on_event(Event("step", done=len(scans), total=len(items)))
    on_event(Event("stage", "learning at every voxel, in folds of patients", 0, 1))
    how = FeatureSettings(seed=request.seed, allow_other=request.allow_other)
    head, dice = learn_segmenter(
        prior,
        scans,
        masks,
        [item.owner for item in items],
        how,
        on_step=lambda n, total: on_event(Event("step", done=n, total=total)),
        decoder=DecoderSettings() if request.fine_tune else None,
    )
    outcome = _outcome(request, head, dice, items)
    record = run.record(
        outcome,
        prior=known.named,
        request={name: value for name, value in run.identity.items() if name != "scans"},
        input=None,
        data={"scans": len(items), "patients": len(patients_of(items))},
    )
    return run.publish(outcome, record, lambda folder: save_head(head, folder / "head"))


def _outcome(request: Learn, head: Head, dice: Sequence[float], items: Sequence[Item]) -> Outcome:
    at = head.promises.estimates["Dice"]
    n = len(head.card.classes) - 1
    verdict = (
        f"Learned {n} structure{'s' * (n > 1)} from {len(items)} scans. On patients that it has not seen: "
        f"Dice {at.value:.3f} ({at.low:.3f} to {at.high:.3f}; 1 is perfect)."
    )
    rows = [["out of fold", "Dice"], ["mean", f"{at.value:.3f}"], ["lowest", f"{np.min(dice):.3f}"]]
    rows += [["highest", f"{np.max(dice):.3f}"]]
    section = Section(
        "What was learned",
        f"Each scan is segmented by a head that has not seen its patient. {_way(head)}",
        [Table(rows, open=True), *_ways(head)],
        verdict=verdict,
        caveats=(
            "Dice is measured on the prior's grid.",
            *(
                ["Way and steps were chosen on the same folds, so Dice is slightly too good."]
                * request.fine_tune
            ),
        ),
    )
    return Outcome(
        {"head": asdict(head.card), "promises": asdict(head.promises), "dice": [round(d, 4) for d in dice]},
        [section],
        [],
        Summary((verdict,), verdict),
        overrides=["another modality or unit than the prior's was allowed"] if request.allow_other else [],
        title="medprior learn",
        lead=f"{len(items)} scans with masks, {len(patients_of(items))} patients. Prior: {head.card.prior}.",
    )


def _way(head: Head) -> str:
    if head.card.method == DECODER:
        return "The prior's own network was tuned: its way up gives a label at each voxel."
    return "Five small networks vote on the prior's features at each voxel."


def _ways(head: Head) -> list[Table]:
    """Both ways with their gain, where both were tried."""
    compared, gain = head.promises.compared, head.promises.estimates.get(f"gain of {DECODER} over {VOXELS}")
    if gain is None:
        return []
    rows = [["way to learn", "Dice", f"gain over {VOXELS}"]]
    for name, value in compared.items():
        more = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})" if name == DECODER else ""
        rows.append([name + (" (chosen)" if name == head.card.method else ""), f"{value:.3f}", more])
    return [Table(rows, open=True)]


def segmented(
    head: Head, volumes: Sequence[Volume], names: Sequence[str], *, allow_other: bool
) -> tuple[list[Output], list[list[str]], Section]:
    """(label maps in the format of each scan, rows of a table, the page's section). names: of the outputs."""
    structures = head.card.classes[1:]
    outputs, rows, pictures = [], [], []
    for name, volume in zip(names, volumes, strict=True):
        found = segment(head, volume, allow_other=allow_other)
        if (found.data > 0).any():
            outputs.append(Output(name, found, "structures", like=volume))
        rows.append([name, *(_size(found, k) for k in range(1, len(structures) + 1))])
        if len(pictures) < 8:
            pictures.append(overlay_of(volume, found, name))
    unit = "ml, or voxels where their size is unknown"
    titles = ["scan", *(f"structure {name}" for name in structures)]
    section = Section(
        "Segmentations",
        f"Sizes in {unit}. Label maps lie in outputs, in the format of each scan.",
        [Grid(pictures), Table([titles, *rows])],
        verdict=f"{len(outputs)} of {len(rows)} scans show a structure.",
    )
    return outputs, [titles, *rows], section


def _size(found: Volume, label: int) -> str:
    n = int((found.data == label).sum())
    spacing = found.spacing_mm
    return str(n) if spacing is None or found.ndim == 2 else f"{n * float(np.prod(spacing)) / 1000:.3f}"


def overlay_of(volume: Volume, found: Volume, title: str) -> Picture:
    """The slice with most of the structures, under them."""
    at = None
    if volume.ndim == 3:
        turned = found if found.affine is None else reorient(found, PLANES["axial"] + stacking_axis("axial"))
        at = int((turned.data[0] > 0).sum((0, 1)).argmax())
    layer = overlaid(upright(found, at=at, nearest=True), 0.5, max(1.0, float(found.data.max())))
    return Picture(grey(upright(volume, at=at), window_for(volume)), title, layer=layer)

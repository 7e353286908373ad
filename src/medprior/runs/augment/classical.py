"""Classical augmentation as a run: no prior; images with their masks, the records that make them again, and a
page of pictures.
"""

from __future__ import annotations

import time

from PIL import Image

from ...augmentation import Policy, VariedVolume, vary_volume
from ...data.plain import JsonObject
from ...data.views import Window, grey, plane_of, sides, upright, window_for
from ...data.volume import Volume
from ...errors import Unsupported
from ...io.disk.files import write_json
from ...io.disk.settings import read_settings
from ...io.read import read
from ..ask.requests import AugmentClassical
from ..core.inputs import about, scan_hash, scan_of
from ..core.outputs import Outcome, Output, Summary
from ..core.progress import Event, OnEvent
from ..core.run import Run, RunFolder
from ..page.blocks import Fold, Grid, Picture, Section, Table
from .scans import refuse_data_set

__all__ = ["policy_of", "run_augment_classical"]

SHOWN = 8
"""Most images in a report; all of them are written."""

RECORDS = "augmentation.json"


def run_augment_classical(request: AugmentClassical, on_event: OnEvent) -> RunFolder:
    """Read, augment, write the run folder, whole or not at all; a complete run of the same request is
    returned at once.

    Raises a MedpriorError that names what was refused and why; then nothing has been written.
    """
    started = time.monotonic()
    refuse_data_set(request)
    volume = scan_of(request)
    if not isinstance(volume, Volume):
        raise Unsupported(
            request.input,
            "holds a measurement, not an image",
            "make an image of it first: medprior reconstruct",
        )
    mask = None if request.mask is None else read(request.mask, unit="label")
    policy = policy_of(request, volume)
    digest = scan_hash(volume)
    hashes = {"input_sha256": digest, "mask_sha256": None if mask is None else scan_hash(mask)}
    run = Run.of(request, started, **hashes, policy=policy.as_dict())
    if (done := run.done(on_event)) is not None:
        return done
    if not volume.modality:
        on_event(Event("warning", "the modality is unknown, so little is allowed: say it with --modality"))
    read_seconds = time.monotonic() - started
    made = _made(request, volume, mask, policy, on_event)
    seconds = {"read": read_seconds, "job": time.monotonic() - started - read_seconds}
    outcome = _outcome(volume, mask, policy, made)
    record = run.record(outcome, seconds=seconds, input=about(volume, digest))
    records = [one.record.as_dict() for one in made]
    return run.publish(outcome, record, lambda new: write_json(new / "outputs" / RECORDS, records))


def policy_of(request: AugmentClassical, volume: Volume) -> Policy:
    """That of the scan's modality, unit and label, or of the file that the request names, which may leave out
    what the scan says itself.
    """
    facts: JsonObject = {"modality": volume.modality, "unit": volume.unit}
    if request.label is not None:
        facts["label"] = request.label
    stated = read_settings(request.policy) if request.policy is not None else {}
    return Policy.from_dict({**facts, **stated})


def _made(
    request: AugmentClassical, volume: Volume, mask: Volume | None, policy: Policy, on_event: OnEvent
) -> list[VariedVolume]:
    on_event(Event("stage", "augmenting the scan", 0, request.n))
    made = []
    for n in range(request.n):
        made.append(vary_volume(volume, policy, request.seed, n, masks=[] if mask is None else [mask]))
        on_event(Event("step", done=n + 1, total=request.n))
    return made


def _outcome(volume: Volume, mask: Volume | None, policy: Policy, made: list[VariedVolume]) -> Outcome:
    names = sorted({step["name"] for one in made for step in one.record.steps})
    counts = {
        name: sum(any(step["name"] == name for step in one.record.steps) for one in made) for name in names
    }
    section, preview = _section(volume, policy, made)
    size = " x ".join(map(str, volume.shape))
    kind = volume.modality or "modality unknown"
    return Outcome(
        {"images": len(made), "transforms": counts},
        [section],
        preview,
        _summary(made),
        _outputs(volume, mask, made),
        [f"{name}: {why}" for name, why in (policy.because or {}).items()],
        files={"events.jsonl": ""},
        title="medprior augment-classical",
        lead=f"Input: {kind}, {size} {'pixels' if volume.ndim == 2 else 'voxels'}. No prior was asked.",
    )


def _summary(made: list[VariedVolume]) -> Summary:
    plain = sum(not one.record.steps for one in made)
    text = f"{len(made)} images by classical transforms"
    text += f", {plain} of them without any change (none was drawn)" if plain else ""
    return Summary((f"{text}.",), text)


def _outputs(volume: Volume, mask: Volume | None, made: list[VariedVolume]) -> list[Output]:
    width, outputs = len(str(len(made))), []
    for n, one in enumerate(made, start=1):
        name = f"augmented_{n:0{width}}"
        outputs.append(Output(name, one.image, "augmented", like=volume))
        if mask is not None:  # never a DICOM Segmentation: it would tie a made-up image to the patient
            suffix = ".nii.gz" if mask.provenance.format == "dicom" else ""
            outputs.append(Output(f"{name}_mask", one.masks[0], "mask", like=mask, suffix=suffix))
    return outputs


def _section(volume: Volume, policy: Policy, made: list[VariedVolume]) -> tuple[Section, list]:
    window = window_for(volume)
    source = _shown(volume, window)
    edges, preview = sides(volume), [("source", source)]
    pictures = [Picture(source, "Source", f"{window}.", window=window, edges=edges)]
    for n, one in enumerate(made[:SHOWN], start=1):
        image = _shown(one.image, window)
        done = ", ".join(step["name"] for step in one.record.steps) or "No transform was drawn: a copy"
        pictures.append(Picture(image, f"Augmented {n}", f"{done}.", synthetic=True, window=window))
        preview.append((f"augmented {n}", image))
    allowed = [
        ["transform", "low", "high", "probability"],
        *([n, f"{s.low:g}", f"{s.high:g}", f"{s.probability:g}"] for n, s in policy.allowed.items()),
    ]
    refused = [["refused", "why"], *([name, why] for name, why in policy.refused.items())]
    tables = [
        Table(allowed, "What may happen, and how strongly.", open=True),
        Table(refused, "What would make a wrong scan of it.", words=True, open=True),
    ]
    text = (
        f"{len(made)} images on the scan's own grid and unit, by the policy for {policy.name}; {RECORDS} "
        "holds what makes each of them again, bit for bit."
    )
    section = Section(
        "Augment: classical transforms",
        text,
        [Grid(pictures), Fold("Details: which transforms are allowed, and which are refused", tables)],
        caveats=(
            "A policy knows modality, unit and label. Look at the pictures: whether each image still "
            "deserves its label is yours to judge.",
            "Whether augmentation helps a model is an experiment: train with and without it.",
        ),
    )
    return section, preview[:4]


def _shown(volume: Volume, window: Window) -> Image.Image:
    return grey(upright(volume, plane="axial" if volume.ndim == 3 else plane_of(volume) or "axial"), window)

"""Classical augmentation as a run: no prior; images with their masks, the records that make them again, and a
page of pictures.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from ... import __version__
from ...augmentation import Policy, Varied, varied
from ...data.volume import Volume
from ...errors import Unsupported
from ...io.disk.files import write_file, write_folder, write_json
from ...io.disk.settings import read_settings
from ...io.read import read
from ..ask.requests import Augment
from ..core.folder import RunFolder, default_out, finished, run_id, vacant
from ..core.inputs import scan_hash, scan_of
from ..core.outputs import Output, written
from ..core.progress import Event, OnEvent
from ..core.record import peak_mib, versions
from ..page.blocks import Grid, Picture, Section, Table
from ..page.pictures import Window, contact_sheet, grey, plane_of, upright, window_for
from ..page.store import write_report

__all__ = ["policy_of", "run_augment_classical"]

SHOWN = 8
"""Most images in a report; all of them are written."""

RECORDS = "augmentation.json"


def run_augment_classical(request: Augment, on_event: OnEvent) -> RunFolder:
    """Read, augment, write the run folder, whole or not at all; a complete run of the same request is
    returned at once.

    Raises a MedpriorError that names what was refused and why; then nothing has been written.
    """
    started = time.monotonic()
    volume = scan_of(request)
    if not isinstance(volume, Volume):
        raise Unsupported(
            request.input,
            "holds a measurement, not an image",
            "make an image of it first: medprior reconstruct",
        )
    mask = None if request.mask is None else read(request.mask, unit="label")
    policy = policy_of(request, volume)
    hashes = {
        "medprior": __version__,
        "input_sha256": scan_hash(volume),
        "mask_sha256": None if mask is None else scan_hash(mask),
    }
    identity = {**request.identity(), **hashes, "policy": policy.as_dict()}
    identifier = run_id(identity)
    out = request.out or default_out(request.job, identifier)
    if not request.fresh and (done := finished(out, identifier)):
        on_event(Event("note", "this run is complete already; use --fresh to repeat it"))
        return done
    vacant(out, identifier, fresh=request.fresh)
    if not volume.modality:
        on_event(Event("warning", "the modality is unknown, so little is allowed: say it with --modality"))
    read_seconds = time.monotonic() - started
    made = _made(request, volume, mask, policy, on_event)
    seconds = {"read": read_seconds, "job": time.monotonic() - started - read_seconds}
    record = _record(identity, identifier, volume, policy, made, seconds)
    write_folder(out, lambda folder: _fill(folder, request, volume, mask, policy, made, record))
    return RunFolder(out, record)


def policy_of(request: Augment, volume: Volume) -> Policy:
    """That of the scan's modality, unit and label, or of the file that the request names, which may leave out
    what the scan says itself.
    """
    facts: dict[str, Any] = {"modality": volume.modality, "unit": volume.unit}
    if request.label is not None:
        facts["label"] = request.label
    stated = read_settings(request.policy) if request.policy is not None else {}
    return Policy.from_dict({**facts, **stated})


def _made(
    request: Augment, volume: Volume, mask: Volume | None, policy: Policy, on_event: OnEvent
) -> list[Varied]:
    on_event(Event("stage", "augmenting the scan", 0, request.n))
    made = []
    for n in range(request.n):
        made.append(varied(volume, policy, request.seed, n, masks=[] if mask is None else [mask]))
        on_event(Event("step", done=n + 1, total=request.n))
    return made


def _record(
    identity: dict[str, Any],
    identifier: str,
    volume: Volume,
    policy: Policy,
    made: list[Varied],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """run.json: no path and no file name."""
    names = sorted({step["name"] for one in made for step in one.record.steps})
    counts = {
        name: sum(any(step["name"] == name for step in one.record.steps) for one in made) for name in names
    }
    return {
        "id": identifier,
        "job": "augment",
        "request": identity,
        "overrides": [f"{name}: {why}" for name, why in (policy.because or {}).items()],
        "prior": None,
        "input": {
            "sha256": identity["input_sha256"],
            "format": volume.provenance.format,
            "modality": volume.modality,
            "unit": volume.unit,
            "spacing_mm": None if volume.spacing_mm is None else list(volume.spacing_mm),
            "shape": list(volume.data.shape),
            "synthetic": volume.provenance.synthetic,
            "warnings": list(volume.provenance.warnings),
        },
        "metrics": {"images": len(made), "transforms": counts},
        "device": "cpu",
        "versions": versions(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_mib": round(peak_mib(), 1),
        "complete": True,
    }


def _fill(
    folder: Path,
    request: Augment,
    volume: Volume,
    mask: Volume | None,
    policy: Policy,
    made: list[Varied],
    record: dict[str, Any],
) -> None:
    outputs, width = folder / "outputs", len(str(len(made)))
    outputs.mkdir(parents=True)
    for n, one in enumerate(made, start=1):
        written(
            Output(f"augmented_{n:0{width}}", one.image, "augmented", like=volume),
            outputs,
            prior_hash="",
            seed=request.seed,
        )
        if mask is not None:  # never a DICOM Segmentation: it would tie a made-up image to the patient
            suffix = ".nii.gz" if mask.provenance.format == "dicom" else ""
            written(
                Output(f"augmented_{n:0{width}}_mask", one.masks[0], "mask", like=mask, suffix=suffix),
                outputs,
                prior_hash="",
                seed=request.seed,
            )
    write_json(outputs / RECORDS, [one.record.as_dict() for one in made])
    section, preview = _section(volume, policy, made)
    write_file(folder / "preview.png", contact_sheet(preview))
    write_file(folder / "events.jsonl", b"")
    size = " x ".join(map(str, volume.shape))
    lead = (
        f"Input: {volume.modality or 'modality unknown'}, {size} "
        f"{'pixels' if volume.ndim == 2 else 'voxels'}. No prior was asked."
    )
    write_report(folder, "medprior augment, classical", lead, [section], record)


def _section(volume: Volume, policy: Policy, made: list[Varied]) -> tuple[Section, list]:
    window = window_for(volume)
    source = _shown(volume, window)
    pictures, preview = [Picture(source, "Source", f"{window}.")], [("source", source)]
    for n, one in enumerate(made[:SHOWN], start=1):
        image = _shown(one.image, window)
        done = ", ".join(step["name"] for step in one.record.steps) or "nothing was drawn"
        pictures.append(Picture(image, f"Augmented {n}", f"{done}.", synthetic=True))
        preview.append((f"augmented {n}", image))
    allowed = [
        ["transform", "low", "high", "probability"],
        *([n, f"{s.low:g}", f"{s.high:g}", f"{s.probability:g}"] for n, s in policy.allowed.items()),
    ]
    refused = [["refused", "why"], *([name, why] for name, why in policy.refused.items())]
    text = (
        f"{len(made)} images on the scan's own grid and unit, by the policy for {policy.name}; {RECORDS} "
        "holds what makes each of them again, bit for bit."
    )
    section = Section(
        "Augment: classical transforms",
        text,
        [
            Grid(pictures),
            Table(allowed, "What may happen, and how strongly."),
            Table(refused, "What would make a wrong scan of it.", words=True),
        ],
        caveats=(
            "A policy knows modality, unit and label. Look at the pictures: whether each image still "
            "deserves its label is yours to judge.",
            "Whether augmentation helps a model is an experiment: train with and without it.",
        ),
    )
    return section, preview[:4]


def _shown(volume: Volume, window: Window) -> Image.Image:
    return grey(upright(volume, plane="axial" if volume.ndim == 3 else plane_of(volume) or "axial"), window)

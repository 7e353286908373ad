"""Calibrate synthesize: a prior's own images against the scans it learned from and against others; what was
found goes into its trust.json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from typing import Any

from PIL import Image
from torch import Tensor

from ...data.plain import JsonObject
from ...data.views import Window, grey
from ...evidence.synthetic.copies import STATISTIC, CopyIndex
from ...evidence.synthetic.membership import Leak
from ...io.dataset.index import digest_of
from ...io.dataset.scan import Index, Item
from ...io.disk.files import give_back
from ...jobs.synthetic.audit import (
    MATTERS,
    Control,
    SetEvidence,
    copy_controls,
    leakage,
    over_fitted_twin,
    set_evidence,
    valid_audit,
)
from ...jobs.synthetic.audit import KnownScans as Scans
from ...jobs.synthetic.mix import apportion, plan_mix
from ...jobs.synthetic.synthesize import DRAWING, Drawing, default_size, draw_images
from ...prior import Prior
from ...prior.numbers import guidable_columns, range_of
from ...prior.promises import Audit, patients_named
from ...training.folder import read_healthy, read_promises, save_promises
from ..ask.requests import CalibrateSynthesize
from ..core.cost import announce
from ..core.inputs import LoadedPrior, of_split
from ..core.outputs import Outcome, Summary
from ..core.progress import Event, OnEvent
from ..core.run import RunFolder
from ..page.blocks import Section, Table
from ..page.pictures import mosaic
from ..synthesize.audit import Steered
from ..synthesize.audit_page import (
    as_json,
    control_section,
    failing,
    proof_lines,
    proof_sections,
    reach_lines,
)
from ..synthesize.training_scans import scans_behind
from .calibrate_reconstruct import into
from .study import Collected, evaluated, results_csv

__all__ = ["run_calibrate_synthesize"]


def run_calibrate_synthesize(request: CalibrateSynthesize, on_event: OnEvent) -> RunFolder:
    """Audit, write the run folder, then the prior's promises. Raises what ``evaluated`` raises, BadOption for
    a bundled prior without ``into``.
    """
    source, target, keeper = into(request)
    kept = read_promises(keeper)
    done = evaluated(request, on_event, _work, every=True)
    save_promises(
        source,
        replace(kept, synthesize=Audit.from_json(done.record["metrics"]["entry"])),
        target,
        healthy=read_healthy(keeper),
    )
    on_event(
        Event(
            "note",
            f"written into {target.name}/trust.json: its images are written from now on where it passed",
        )
    )
    give_back(target)
    return done


def _work(
    request: CalibrateSynthesize,
    known: LoadedPrior,
    index: Index,
    items: tuple[Item, ...],
    collected: Collected,
    on_event: OnEvent,
) -> Outcome:
    prior = known.prior
    train = of_split(index, "train", allow_synthetic=request.allow_synthetic)
    held = [item for item in items if item.split != "train"]
    scans, unnamed = scans_behind(prior, train, held, index, on_event)
    on_event(Event("stage", "learning how alike two patients are"))
    nearness = CopyIndex.learn(scans.train, scans.held, patients=scans.patients, seed=request.seed)
    on_event(Event("stage", "training a twin that memorises", 0, 0))
    twin = over_fitted_twin(
        prior,
        nearness,
        seed=request.seed,
        on_step=lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    size = default_size(prior)
    steered = Steered(
        request.guidance if prior.card.labels else None, request.number_guidance if _told(prior) else None
    )
    announce(prior, request.n, size, 26 * steered.times, on_event)
    on_event(Event("stage", "drawing images", 0, 0))
    made, labels = _drawn(prior, scans, request)
    on_event(Event("stage", "comparing sets"))
    found = set_evidence(made, scans, nearness, seed=request.seed)
    on_event(Event("stage", "looking for training scans that were passed off as new"))
    controls = [*copy_controls(nearness, found.nearest, seed=request.seed), twin]
    on_event(Event("stage", "trying to tell who was a member", 0, 0))
    leaks = leakage(
        prior,
        scans,
        seed=request.seed,
        on_step=lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    entry = _entry(prior, request, found, controls, leaks, scans, [*train, *held], labels)
    sections = [
        *proof_sections(found, scans, made, int((found.nearest.score > found.copies.limit).sum()), None),
        control_section(controls),
        _members(leaks),
    ]
    return Outcome(
        {"entry": entry},
        [_head(entry, unnamed), *sections],
        [(f"{len(made[:32])} synthetic images", _sheet(made[:32]))],
        Summary((*entry["said"], f"{_verdict(entry)}."), _verdict(entry)),
        files=results_csv(_rows(found, labels)),
    )


def _head(entry: dict[str, Any], unnamed: str) -> Section:
    """unnamed: why the scans may not be those behind the prior, "" where its card names them."""
    note = "The scans of the train split are those that the prior's card names."
    return Section(
        "Calibrate synthesize: may this prior's images leave the building?",
        f"Mind: {unnamed}." if unnamed else note,
        verdict=_verdict(entry),
    )


def _sheet(made: Sequence[Tensor]) -> Image.Image:
    """The images side by side; of a volume its middle slice."""
    window = Window(-1.0, 1.0, "network range")
    flat = [x[0] if x.ndim == 3 else x[0, ..., x.shape[-1] // 2] for x in made]
    return mosaic([grey(x.numpy(), window) for x in flat], 8)


def _rows(found: SetEvidence, labels: Sequence[str]) -> list[list[object]]:
    """The table of single images: how near each lies to a training scan, and to which."""
    rows: list[list[object]] = [["image", "label", "score", "rho", "nearest"]]
    near = found.nearest
    for n, label in enumerate(labels):
        rows.append([n, label, f"{float(near.score[n]):.5f}", f"{float(near.rho[n]):.5f}", int(near.at[n])])
    return rows


def _drawn(prior: Prior, scans: Scans, request: CalibrateSynthesize) -> tuple[list[Tensor], list[str]]:
    """request.n images, the labels in the shares of the training scans (any, where these have none that the
    prior knows), numbers over the range of the card.
    """
    found = Counter(name for name in scans.labels[0] if name in prior.card.labels) or Counter({"": 1})
    counts = apportion({name: count / found.total() for name, count in found.items()}, request.n)
    made: list[Tensor] = []
    labels: list[str] = []
    for name, count in counts.items():
        if count:
            # another seed a label: the same noise twice would give pairs of twins
            seed = request.seed + len(labels)
            ranges = {number: range_of(prior.card, number) for number in _told(prior)}
            numbers = plan_mix(
                prior.card,
                n=count,
                numbers=[f"{number}={low}..{high}" for number, (low, high) in ranges.items()],
                seed=seed,
            ).numbers
            weight, told_weight = request.guidance, request.number_guidance
            made += draw_images(
                prior,
                count,
                Drawing(
                    label=name or None,
                    seed=seed,
                    guidance=weight,
                    number_guidance=told_weight,
                    numbers=numbers,
                ),
            )[0]
            labels += [name] * count
    return made, labels


def _told(prior: Prior) -> tuple[str, ...]:
    """Numbers that its images are asked for."""
    return tuple(prior.card.numbers[column] for column in guidable_columns(prior.card, prior.card.numbers))


def _entry(
    prior: Prior,
    request: CalibrateSynthesize,
    found: SetEvidence,
    controls: list[Control],
    leaks: tuple[Leak, ...],
    scans: Scans,
    items: list[Item],
    labels: list[str],
) -> dict[str, Any]:
    invalid, named = valid_audit(controls), sum(bool(item.patient) for item in items)
    return {
        **as_json(found),
        "n": len(labels),
        "guidance": request.guidance,
        "number_guidance": request.number_guidance,
        "numbers": list(_told(prior)),
        "drawing": DRAWING,
        "statistic": STATISTIC,
        "patients": patients_named(named, len(items)).removeprefix("patients: "),
        "mix": dict(Counter(labels)),
        "train": len(scans.train),
        "held": len(scans.held),
        "controls": [{"passed": one.passed, **_stated(one), "turned": list(one.turned)} for one in controls],
        "membership": [{"low": one.low, **asdict(one)} for one in leaks],
        "valid": not invalid,
        "passed": not invalid and found.copies.passed_unfiltered,
        "why": failing(found, filtered=False),
        "said": [
            *proof_lines(found),
            *reach_lines(controls),
            *([f"controls: NOT VALID, {invalid}"] if invalid else []),
            *(
                f"membership by {one.attack}: AUC {one.auc.value:.3f} ({one.auc.low:.3f} to "
                f"{one.auc.high:.3f})"
                for one in leaks
            ),
            patients_named(named, len(items)),
        ],
        "data": digest_of(items),
        "date": str(date.today()),
    }


def _stated(one: Control) -> JsonObject:
    return {name: at for name, at in asdict(one).items() if at is not None}


def _verdict(entry: dict[str, Any]) -> str:
    if not entry["valid"]:
        return (
            "The controls failed, so nothing is said of privacy: images of this prior are written only with "
            "--unproven"
        )
    if not entry["passed"]:
        return f"Blocked: {entry['why']}"
    low = all(one["low"] for one in entry["membership"])
    leak = "low" if low else "NOT low: handle the weights as patient data"
    mixed = [one for one in entry["controls"] if one["turned"]]
    unasked = [one["name"] for one in mixed if one.get("smallest", 1) > MATTERS]
    kinds = f" (not asked: {', '.join(unasked)})" if unasked else ""
    return f"Passes: no copies found{kinds}; {entry['said'][-1]}; membership leakage is {leak}"


def _members(leaks: tuple[Leak, ...]) -> Section:
    rows = [["attack", "AUC", "found at 1 % false", "verdict"]]
    rows += [
        [
            one.attack,
            f"{one.auc.value:.3f} ({one.auc.low:.3f} to {one.auc.high:.3f})",
            "fewer than 100 others"
            if one.hits is None
            else f"{one.hits.value:.3f} ({one.hits.low:.3f} to {one.hits.high:.3f})",
            "low" if one.low else "NOT low",
        ]
        for one in leaks
    ]
    return Section(
        "Who was in the training set?",
        "Attacks with the weights in hand: a training scan is denoised a little better than another. 0.5 "
        "where nothing leaks; low is an AUC of at most 0.55.",
        [Table(rows)],
        caveats=(
            "Weights are handled as patient data whatever these numbers say.",
            "Where val chose the step of training that was kept, it has been looked at, and not learned "
            "from: that is a little kind to these numbers.",
        ),
    )

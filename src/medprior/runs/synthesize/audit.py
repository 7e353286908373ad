"""Images that may be written: drawn, held against the scans behind the prior, and refused or let through."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import BadOption
from ...evidence.synthetic.copies import CopyIndex
from ...jobs.synthetic.audit import (
    LEAST,
    Control,
    FilteredDraws,
    control_of,
    copy_controls,
    hard_filter,
    over_fitted_twin,
    set_evidence,
    valid_audit,
)
from ...jobs.synthetic.mix import Mix
from ...prior import Prior
from ...prior.numbers import guidable_columns
from ...prior.promises import Audit
from ..ask.requests import Synthesize
from ..core.progress import Event, OnEvent
from ..page.blocks import Section
from .audit_page import (
    as_json,
    audit_table,
    control_section,
    failing,
    permitted,
    proof_lines,
    proof_sections,
    reach_lines,
    unproven,
)
from .training_scans import scans_of_folder

__all__ = ["AuditedDraws", "Draw", "Steered", "audited_draws", "standing", "unseen"]


@dataclass(frozen=True, slots=True)
class AuditedDraws:
    """kept: images in network units that may be written, by their row of the plan. overrides: what was
    allowed although no audit passed.
    """

    kept: Mapping[int, Tensor]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    overrides: Sequence[str] = ()


Draw = Callable[[Sequence[int], int], Tensor]
"""(rows that are wanted, seed) -> images in network units, in their order."""


def audited_draws(
    request: Synthesize, prior: Prior, draw: Draw, n: int, on_event: OnEvent, *, steered: Steered
) -> AuditedDraws:
    """n images that may be written.

    With the data set behind the prior every image is compared with it; else the own audit of the
    prior stands for the set. Raises BadOption where the set, or the prior, did not pass or was never
    measured, unless the request allows it; then nothing was written.
    """
    entry = prior.promises.synthesize
    if request.data is None:
        overrides = unproven(entry, request.unproven, **asdict(steered))  # before minutes are spent
        made = draw(range(n), request.seed)
        return AuditedDraws(dict(enumerate(made)), {"proof": standing(entry)}, [unseen(entry)], overrides)
    return _compared(request, request.data, prior, draw, n, on_event, steered)


@dataclass(frozen=True, slots=True)
class Steered:
    """What guidance exaggerates. guidance, number_guidance: None where no label, no number is asked for.
    numbers: their names.
    """

    guidance: float | None = None
    number_guidance: float | None = None
    numbers: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: Synthesize, prior: Prior, plan: Mix) -> Steered:
        numbers = tuple(prior.card.numbers[column] for column in guidable_columns(prior.card, plan.numbers))
        return cls(
            request.guidance if request.label or request.mix else None,
            request.number_guidance if numbers else None,
            numbers,
        )

    @property
    def times(self) -> int:
        """Network evaluations for one of a plain draw."""
        return math.prod(1 if weight in (None, 1) else 2 for weight in (self.guidance, self.number_guidance))

    def said(self, request: Synthesize) -> str:
        """What was asked for, in a report."""
        label = (
            f"label {request.label}"
            if request.label
            else f"mix {request.mix}"
            if request.mix
            else "no label asked for"
        )
        label += f", {', '.join(request.number)}" if request.number else ""
        label += "" if self.guidance is None else f", guidance {self.guidance:g}"
        return (
            label
            if self.number_guidance in (None, 1)
            else f"{label}, number guidance {self.number_guidance:g}"
        )


def _compared(
    request: Synthesize, data: Path, prior: Prior, draw: Draw, n: int, on_event: OnEvent, steered: Steered
) -> AuditedDraws:
    scans, unnamed = scans_of_folder(prior, data, request.layout, on_event)
    overrides: tuple[str, ...] = ()
    if unnamed:
        remedy = "train it with medprior train, whose card names them by a digest"
        overrides += permitted(unnamed, request.unproven, remedy)
    if n < LEAST:  # too few for a share: the prior's own audit must stand for them, checked before any work
        remedy = f"ask for {LEAST} or more, or run medprior calibrate synthesize"
        entry = prior.promises.synthesize
        overrides += unproven(entry, request.unproven, remedy=remedy, **asdict(steered))
    on_event(Event("stage", "learning how alike two patients are"))
    index = CopyIndex.learn(scans.train, scans.held, patients=scans.patients, seed=request.seed)
    controls = control_of(prior) or _twin(request, prior, index, on_event)
    found = _without_copies(draw, n, index, request.seed, on_event)
    said = {"refused": found.refused, "drawn": len(found.all)}
    if len(found.all) < LEAST:
        few = Section("Is any of them somebody's scan?", f"{_REFUSED.format(**said)} {_FEW}")
        return AuditedDraws(
            found.kept,
            {**said, "proof": [_REFUSED.format(**said)]},
            [few, control_section(controls)],
            overrides,
        )
    on_event(Event("stage", "comparing sets"))
    evidence = set_evidence(list(found.all), scans, index, label=request.label, seed=request.seed)
    on_event(Event("stage", "looking for training scans that were passed off as new"))
    controls = [*copy_controls(index, evidence.nearest, seed=request.seed), *controls]
    if invalid := valid_audit(controls):
        why = f"the audit's own controls failed ({invalid}), so it proves nothing"
        overrides += permitted(why, request.unproven, "ask for it on more scans, and for more images")
    if why := failing(evidence):
        overrides += permitted(why, request.unproven, "train it for a shorter time or on more scans")
    sections = [
        *proof_sections(evidence, scans, list(found.all), found.refused, request.label),
        control_section(controls),
    ]
    lines = [*proof_lines(evidence), *reach_lines(controls)]
    return AuditedDraws(found.kept, {**said, **as_json(evidence), "proof": lines}, sections, overrides)


def _without_copies(draw: Draw, n: int, index: CopyIndex, seed: int, on_event: OnEvent) -> FilteredDraws:
    """n images that are no copies, or fewer. Raises BadOption where all of them are."""
    found = hard_filter(draw, n, index, seed=seed)
    if found.refused:
        on_event(
            Event(
                "note",
                f"{found.refused} of {len(found.all)} images lay nearer to a training scan than any held-out "
                "scan does and were refused",
            )
        )
    if not len(found.kept):
        raise BadOption(
            f"synthesize: all of {found.refused} images lie nearer to a training scan than any held-out scan "
            "does; nothing was written",
            "the prior has memorised its scans: train it on more of them, or for a shorter time",
        )
    if len(found.kept) < n:
        on_event(
            Event("warning", f"{len(found.kept)} instead of {n} images: the others were refused as copies")
        )
    return found


def _twin(request: Synthesize, prior: Prior, index: CopyIndex, on_event: OnEvent) -> list[Control]:
    """Where no audit of the prior has kept it: minutes, once for each set. Calibrate synthesize keeps it."""
    on_event(Event("stage", "training a twin that memorises, to see that the audit finds it", 0, 0))
    return [
        over_fitted_twin(
            prior,
            index,
            seed=request.seed,
            on_step=lambda done, total: on_event(Event("step", done=done, total=total)),
        )
    ]


_REFUSED = (
    "{refused} of {drawn} images drawn lay nearer to a training scan than any held-out scan does and "
    "were refused."
)
_FEW = (
    f"So few images (under {LEAST}) have no shares and no distances: those of the prior's own audit "
    "stand for them."
)


def standing(audit: Audit | None) -> list[str]:
    """The few lines that the prior's own audit gives to a set."""
    return (
        ["no audit of this prior"]
        if audit is None
        else [f"audit of the prior on {audit.n} images, {audit.date}:", *audit.said]
    )


def unseen(audit: Audit | None) -> Section:
    """What is known of the prior where the set itself was compared with nothing."""
    heading = "Is any of them somebody's scan?"
    if audit is None:
        return Section(
            heading,
            "",
            verdict="Whether this prior copies its patients was not measured.",
            caveats=(_NO_FILTER,),
        )
    text = (
        f"This set was not compared with scans itself. The prior was, on {audit.n} images and "
        f"{audit.held} held-out ones ({audit.date})."
    )
    verdict = "The prior's own audit passed." if audit.passed else "The prior's own audit did NOT pass."
    return Section(heading, text, [audit_table(audit.to_json())], verdict=verdict, caveats=(_NO_FILTER,))


_NO_FILTER = (
    "No image was refused here for lying too near to a training scan. To compare each of them, name the data "
    "set behind the prior with --data."
)

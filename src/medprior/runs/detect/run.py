"""Detect as a run: the job, the files that it writes and the numbers of its record."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ...data.volume import Volume
from ...errors import optional
from ...evidence.conformal import false_positive_rate, patients_needed
from ...jobs.detect import Found, detect, evaluations
from ...jobs.detection.calibrate import ALPHA
from ...prior import Prior
from ..ask.requests import Detect
from ..core.cost import announce
from ..core.outputs import Outcome, Output, ScanResult, Summary
from ..core.progress import Event, OnEvent
from .page import DISCOVERIES, detect_section, findings_line, map_high, twin_line

__all__ = ["run_detect"]


def run_detect(request: Detect, prior: Prior, volume: Volume, on_event: OnEvent) -> Outcome:
    """The job, its outputs and its section."""
    admitted = prior.admit(volume, allow_other=request.allow_other)
    announce(
        prior,
        len(admitted.images),
        tuple(admitted.images.shape[2:]),
        evaluations(request.n_twins, admitted.images),
        on_event,
    )
    on_event(Event("stage", "looking at the scan, and making its healthy twin", 0, request.n_twins + 1))
    found = detect(
        prior,
        volume,
        seed=request.seed,
        n_twins=request.n_twins,
        allow_other=request.allow_other,
        on_step=lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    high = map_high(prior, found)
    outputs = [
        Output("healthy_twin", found.healthy, "healthy twin", like=volume),
        Output("map", found.map, "map", like=volume, window=(0.0, 2 * high)),
    ]
    if found.findings:
        outputs.append(Output("findings", found.mask, "mask", like=volume))
    metrics = {
        "score": found.score,
        "p_value": found.p_value,
        "twin_p_value": found.twin_p_value,
        "n_healthy": found.n_healthy,
        "refused": found.refused,
        "map_high": found.map_high,
        "evidence": found.evidence,
        "other": found.other,
        "unlike": found.unlike,
        "n_kind": found.n_kind,
        "plain": {name: asdict(one) for name, one in found.plain.items()},
        "findings": [asdict(one) for one in found.findings],
        "slices": [n for n, q in enumerate(found.slices) if q <= DISCOVERIES],
    }
    section, preview = detect_section(prior, volume, found)
    overrides = (
        (f"a scan that the prior is not for was allowed{f': {found.other}' if found.other else ''}",)
        if request.allow_other
        else ()
    )
    return Outcome(
        metrics,
        [section],
        preview,
        detect_summary(found),
        outputs,
        overrides,
        _scored(volume, found),
        answer=_answer(found),
    )


def _answer(found: Found) -> ScanResult:
    """The p-value, and whether the scan is flagged; none where nothing may be said."""
    flagged = None if found.refused or found.p_value is None else found.flagged(ALPHA)
    rare = 2.0 if found.p_value is None else found.p_value
    cells = {"p_value": found.p_value, "flagged": flagged, "score": found.score}
    return ScanResult(cells, (rare, -found.score), bool(flagged))


def detect_summary(found: Found) -> Summary:
    """The p-value in a plain sentence, or why there is none and what to do."""
    if found.p_value is None:
        why = found.refused.removeprefix("no p-value: ").removesuffix(": no p-value")
        remedy = "" if found.other else " Run medprior calibrate detect with scans of healthy patients."
        return Summary((f"No p-value: {why}.{remedy}",), f"no p-value: {why}")
    as_unusual = round(found.p_value * (found.n_healthy + 1)) - 1
    text = (
        f"p = {found.p_value:.2g}: {as_unusual} of {found.n_healthy} healthy patients look at least "
        "as unusual."
    )
    if found.refused:
        verdict = f"No flag: {found.refused}."
    elif found.flagged(ALPHA):
        verdict = "Flagged; one healthy scan in twenty would be, too."
    else:
        verdict = "Not flagged; that does not mean healthy."
    result = f"p = {found.p_value:.2g} from {found.n_healthy} healthy patients"
    lines = (f"{text} {verdict}", findings_line(found), twin_line(found))
    return Summary(tuple(filter(None, lines)), result)


def _scored(volume: Volume, found: Found) -> tuple[Volume, Any] | None:
    """What a structured report says, for a scan from DICOM; None for others."""
    if volume.provenance.format != "dicom":
        return None
    optional("highdicom", "dicom", "a DICOM segmentation, map or report")
    from ...io.dicom.write.structured_report import (  # highdicom takes a second, and only DICOM needs it
        ReportContent,
        ScoredFinding,
    )

    findings = tuple(
        ScoredFinding(one.number, one.size, one.centre, one.peak, one.p_value) for one in found.findings
    )
    return volume, ReportContent(
        found.score,
        found.p_value,
        found.n_healthy,
        findings,
        "; ".join(filter(None, (found.refused, found.unlike))),
        flag_rate=_flag_rate(found),
    )


def _flag_rate(found: Found) -> tuple[float, ...]:
    """Share of healthy patients that is flagged, with its interval; () where nothing can be flagged."""
    if found.p_value is None or found.refused or found.n_healthy < patients_needed(ALPHA):
        return ()
    rate = false_positive_rate(found.n_healthy, ALPHA)
    return rate.value, rate.low, rate.high

"""What a head says of one scan: its label and probabilities, or its label map, as an outcome of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from ...data.volume import Volume
from ...errors import optional
from ...jobs.learn import Prediction
from ...learning.head_folder import Head
from ..ask.requests import Predict
from ..core.outputs import Outcome, ScanResult, Summary
from ..page.blocks import Section, Table
from .masks import segmented

__all__ = ["classified", "outlined"]

_FILE = "predictions.csv"
_LIMIT = "The head was checked on patients like those that it learned from; other hospitals may differ."


def outlined(request: Predict, head: Head, volume: Volume) -> Outcome:
    """The label map of a segmenter and the size of each structure."""
    outputs, rows, section = segmented(head, [volume], ["segmentation"], allow_other=request.allow_other)
    sizes = dict(zip(rows[0][1:], rows[1][1:], strict=True))
    return Outcome(
        {"segmentations": len(outputs)},
        [section],
        [],
        Summary((section.verdict,), ", ".join(f"{name} {size}" for name, size in sizes.items())),
        outputs,
        files={_FILE: _table(rows)},
        title="medprior predict",
        answer=ScanResult({name: float(size) for name, size in sizes.items()}),
    )


def classified(request: Predict, head: Head, volume: Volume, found: Prediction) -> Outcome:
    """A label, probabilities, and the labels that cannot be ruled out. What the head cannot tell comes first
    among many scans.
    """
    card = head.card
    shown = {name: round(p, 4) for name, p in found.probabilities.items()}
    titles = ["scan", "label", "set", *(f"p {name}" for name in card.classes)]
    row = ["scan", found.label, " or ".join(found.labels), *(f"{p:.4f}" for p in shown.values())]
    how = f"Probabilities are {'' if card.calibrated else 'un'}calibrated."
    if card.reach is not None:
        how += (
            f" A set holds the labels that cannot be ruled out: it covers {card.level:.0%} of patients like "
            "those learned from."
        )
    section = Section("Prediction", how, [Table([titles, row])], verdict=str(found), caveats=(_LIMIT,))
    unsure = len(found.labels) > 1
    cells = {"label": found.label, "set": " or ".join(found.labels)}
    return Outcome(
        {"label": found.label, "set": list(found.labels), "probabilities": dict(found.probabilities)},
        [section],
        [],
        Summary((str(found),), str(found)),
        overrides=["another modality or unit than the prior's was allowed"] if request.allow_other else [],
        scored=_reported(volume, head, found),
        files={_FILE: _table([titles, row])},
        title="medprior predict",
        answer=ScanResult(
            cells | {f"p {name}": p for name, p in shown.items()},
            (0.0 if unsure else 1.0, max(shown.values())),
            unsure,
        ),
    )


def _reported(volume: Volume, head: Head, found: Prediction) -> tuple[Volume, object] | None:
    """What a structured report says, for a scan from DICOM; None for others."""
    if volume.provenance.format != "dicom":
        return None
    optional("highdicom", "dicom", "a DICOM segmentation, map or report")
    from ...io.dicom.write.structured_report import ReportContent  # highdicom takes a second

    kept = f"Labels that cannot be ruled out: {', '.join(found.labels)}." if found.labels else ""
    how = (
        f"By a head on prior {head.card.prior}; {'' if found.calibrated else 'un'}calibrated. {kept}".strip()
    )
    return volume, ReportContent(0.0, None, 0, (), how, tuple(found.probabilities.items()))


def _table(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")

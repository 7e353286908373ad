"""What goes back of a run: the objects that a rule wants, as IHE AI Results has them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..io.disk.files import write_folder
from ..io.disk.stamp import RESEARCH_ONLY
from ..io.pictures import open_picture
from ..runs.core.run import RunFolder
from .settings import Rule

__all__ = ["NO_RESULT", "collect", "collect_no_result"]

NO_RESULT = {
    2: "the scan is not of the kind that the prior was made for, or cannot be read",
    3: "the scan does not look like the scans that the prior was calibrated with",
}
"""Why there is none, by the exit code of its job; the log of the job says more."""
_NAMES = {"seg": "findings", "pm": "map", "sr": "structured_report"}
_LONGEST = 2000


def collect(run: RunFolder, rule: Rule, scan: Sequence[Path], out: Path, withdrawn: Sequence[Path]) -> int:
    """Put the results of a run into the folder ``out``, whole or not at all. Gives how many there are.

    scan: the DICOM files of the scan. withdrawn: older results that these replace.
    """

    def fill(folder: Path) -> None:
        for n, path in enumerate(_chosen(run, rule), 1):
            shutil.copyfile(path, folder / f"{n:06}.dcm")
        if "sc" in rule.back:
            _capture(run, scan[0], folder / "900000.dcm")
        _withdraw(withdrawn, folder)

    write_folder(out, fill)
    return len(list(out.glob("*.dcm")))


def collect_no_result(
    reason: str, rule: Rule, scan: Sequence[Path], out: Path, withdrawn: Sequence[Path]
) -> int:
    """The same where there is no run: a report that says why."""
    from ..io.dicom.write.structured_report import write_no_result

    def fill(folder: Path) -> None:
        if "sr" in rule.back:
            write_no_result(reason, folder / "000001.dcm", scan)
        _withdraw(withdrawn, folder)

    write_folder(out, fill)
    return len(list(out.glob("*.dcm")))


def _withdraw(withdrawn: Sequence[Path], folder: Path) -> None:
    """The note that takes back older results, where these are others."""
    from ..io.dicom.write.notes import write_rejection_note

    if withdrawn:
        reason = "More objects of the scan have come: a newer result takes the place of this one."
        write_rejection_note(withdrawn, folder / "999999.dcm", reason)


def _chosen(run: RunFolder, rule: Rule) -> list[Path]:
    """The DICOM files of the outputs that the rule wants, in order."""
    found = []
    for output in run.outputs:
        stem = output.name.removesuffix(".dcm")
        kind = next((kind for kind, name in _NAMES.items() if name == stem), "image")
        if kind in rule.back:
            found += sorted(output.glob("*.dcm")) if output.is_dir() else [output] * (output.suffix == ".dcm")
    return found


def _capture(run: RunFolder, scan: Path, path: Path) -> None:
    """The run at one glance, with the words in its pixels."""
    from ..io.dicom.write.notes import write_secondary_capture

    preview = run.path / "preview.png"
    if not preview.is_file():
        return
    request = run.record.get("request", {})
    prior_hash = (run.record.get("prior") or {}).get("sha256", "")
    picture = _worded(open_picture(preview), run.summary.result)
    write_secondary_capture(
        np.asarray(picture), path, scan, run.record["job"], prior_hash, request.get("seed")
    )


def _worded(picture: Image.Image, result: str) -> Image.Image:
    """With a bar above that says what it is, what came out, and what it is not for."""
    bar, font = 52, ImageFont.load_default(18)
    width = min(_LONGEST, max(picture.width, 560))
    sheet = Image.new("RGB", (width, picture.height + bar), (18, 20, 24))
    sheet.paste(picture.convert("RGB"), (0, bar))
    draw = ImageDraw.Draw(sheet)
    draw.text((10, 4), f"AI: {RESEARCH_ONLY}".upper(), fill=(240, 180, 90), font=font)
    draw.text((10, 28), result[:100].encode("ascii", "replace").decode(), fill=(225, 228, 232), font=font)
    return sheet

"""What the command line says of the node: which rule a file meets, and what has failed."""

from __future__ import annotations

import time
from pathlib import Path

from ..data.plain import JsonObject
from ..errors import FileProblem
from ..io.dicom.read.open import dicom_errors, open_dicom
from ..io.disk.limits import Limits
from ..io.served.spool import Spool
from .rules import answers_of, never_worked_on, one_at_a_time
from .settings import read_pacs_settings

__all__ = ["told_of_failures", "told_of_file"]

SHORT = 4


def told_of_file(file: Path, settings: Path, sender: str) -> tuple[JsonObject, list[str]]:
    """(record, lines for a person): the rule that fires, and why not each of the others. Raises what
    ``read_pacs_settings`` and ``open_dicom`` raise.
    """
    known = read_pacs_settings(settings)
    with dicom_errors(file):
        header = open_dicom(file, Limits())
        never, answers = never_worked_on(header), answers_of(known, header, sender)
    fires = None if never else next((one for one in answers if not one.why), None)
    lines = [f"stored, and never worked on: {never}"] if never else []
    for one in answers:
        taken = "another rule comes first" if fires is not None else never
        why = "; ".join(one.why) or taken
        lines.append(
            f"{'fires' if one is fires else 'no':7}{one.rule.name}{'' if one is fires else f': {why}'}"
        )
    if fires is None:
        lines.append("no rule fires: the file is stored and gets no job")
    else:
        rule, each = fires.rule, "image" if one_at_a_time(fires.rule, header) else "series"
        peers = ", ".join(peer.ae for peer in known.receivers(rule)) or "no peer: set send_back, or `to`"
        lines.append(
            f"each {each}: medprior {rule.job} --prior {rule.prior}; {', '.join(rule.back)} to {peers}"
        )
    record: JsonObject = {
        "fires": fires.rule.name if fires is not None else None,
        "never": never,
        "why_not": {one.rule.name: list(one.why) for one in answers if one is not fires},
    }
    return record, lines


def told_of_failures(folder: Path, again: bool) -> tuple[JsonObject, list[str], int]:
    """(record, lines, exit code). again: they are tried again. Raises FileProblem where there is no node."""
    root = folder / ".serve" / "pacs"
    if not (root / "spool.sqlite").is_file():
        raise FileProblem(folder, "no DICOM node has worked here", "give the folder of medprior serve --pacs")
    spool = Spool(root)
    found = spool.failures()
    rows = [{"when": when, "what": what, "why": why} for when, what, why in found]
    lines = [
        f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(when))}  {what}: {why}" for when, what, why in found
    ]
    if again:
        lines.append(f"{spool.again()} are tried again by medprior serve --pacs")
    return {"failures": rows}, lines or ["nothing has failed"], SHORT if found and not again else 0

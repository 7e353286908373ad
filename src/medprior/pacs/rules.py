"""Which rule a file meets, and why not the others; what is never worked on."""

from __future__ import annotations

import re
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..io.dicom.read.open import Header
from .settings import CALLING, PacsSettings, Rule

__all__ = ["RuleAnswer", "answers_of", "never_worked_on", "one_at_a_time", "rule_for"]

_NO_PICTURES = {
    "1.2.840.10008.5.1.4.1.1.66": "a segmentation, a registration or raw data",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.88": "a report or key object",
    "1.2.840.10008.5.1.4.1.1.11": "a presentation state",
    "1.2.840.10008.5.1.4.1.1.104": "a document",
    "1.2.840.10008.5.1.4.1.1.481.3": "structures of a treatment plan",
}
"""SOP classes by the start of their UID: SEG, PM, SR, KO, PR and what else is no picture."""
_MODALITIES = ("SEG", "SR", "KO", "PR", "DOC", "RTSTRUCT", "RTPLAN", "REG")
_FILMS = ("CR", "DX", "MG", "RG", "IO", "PX", "OT", "SC", "XC", "ES", "GM", "US")
"""Kinds of which each image stands for itself."""
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class RuleAnswer:
    """What one rule says of a file. why: why it does not fire, a line for each element; () where it does."""

    rule: Rule
    why: tuple[str, ...]


def never_worked_on(header: Header) -> str:
    """Why a file is stored and gets no job, whatever the rules say; "" where it may get one."""
    sop_class, modality = header.text("SOPClassUID"), header.text("Modality")
    for start, what in _NO_PICTURES.items():
        if sop_class == start or sop_class.startswith(f"{start}."):
            return f"it is {what}"
    if modality in _MODALITIES:
        return f"its modality is {modality}"
    if header.text("SyntheticData").upper() == "YES":
        return "it is marked as synthetic"
    items = header.get("ContributingEquipmentSequence") or ()
    makers = {str(item.get("Manufacturer", "")).strip().lower() for item in items}
    if "medprior" in {*makers, header.text("Manufacturer").lower()}:
        return "medprior has made it"
    return ""


def answers_of(settings: PacsSettings, header: Header, sender: str = "") -> list[RuleAnswer]:
    """Of every rule, in their order."""
    return [RuleAnswer(rule, tuple(_why_not(rule, header, sender))) for rule in settings.rules]


def rule_for(settings: PacsSettings, header: Header, sender: str) -> Rule | None:
    """The first rule that fires, None where none does or the file is never worked on."""
    if never_worked_on(header):
        return None
    return next((one.rule for one in answers_of(settings, header, sender) if not one.why), None)


def one_at_a_time(rule: Rule, header: Header) -> bool:
    """Whether each image is a scan of its own."""
    if rule.each != "auto":
        return rule.each == "image"
    return header.text("Modality") in _FILMS and header.get("ImagePositionPatient") is None


def _why_not(rule: Rule, header: Header, sender: str) -> list[str]:
    found = []
    for keyword, pattern in rule.when.items():
        values = (sender,) if keyword == CALLING else _values(header, keyword)
        if not any(_matches(pattern, value) for value in values or ("",)):
            shown = "\\".join(values)[:80] if values else ""
            found.append(f"{keyword} is {shown!r}, wanted {pattern}" if shown else f"{keyword} is empty")
    return found


def _values(header: Header, keyword: str) -> tuple[str, ...]:
    value = header.get(keyword)
    several = isinstance(value, MutableSequence | tuple)
    return tuple(str(one) for one in value) if several else () if value is None else (str(value),)


def _matches(pattern: str, value: str) -> bool:
    """All of a value by one of the words between |. Brackets stand for themselves."""
    value = value.strip()[:_LONGEST].lower()
    words: Sequence[str] = [re.sub(r"\*+", "*", word.strip().lower()) for word in pattern.split("|")]
    return any(fnmatchcase(value, word.replace("[", "[[]")) for word in words)

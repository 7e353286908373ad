"""Whether names of folders and files look like persons: labels that are none, patients that are not named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from ...errors import BadOption
from .layout import stem

__all__ = ["check_labels", "look_like_persons", "prefix_note", "prefixes"]

_CLASS_WORDS = {
    *("normal", "healthy", "no_finding", "no finding", "control", "controls", "good", "ok", "ng", "bad"),
    *("abnormal", "anomaly", "anomalous", "sick", "disease", "positive", "negative", "benign", "malignant"),
    *("tumor", "tumour", "notumor", "no_tumor", "pneumonia", "covid", "covid-19", "ad", "mci", "cn"),
}
"""Names of classes: a folder that has one of them beside it is no patient."""
_MANY = 7
"""Labels that all hold a digit, and are more than this, are numbers of patients."""
_PERSON = re.compile(
    r"(?:sub|subj|subject|pat|patient|pt|case|person|proband|volunteer|participant)s?(?=[ _.-]|[0-9])",
    re.IGNORECASE,
)
"""How the name of a person's folder begins."""
_RECORD = re.compile(r"[^\W\d_]{2,}(?:, ?|\^)[^\W\d_]{2,}|(?<!\d)(?:19|20)\d\d(?:0[1-9]|1[0-2])[0-3]\d(?!\d)")
"""Surname, given name (also as DICOM writes them), or a date."""
_LONG_NUMBER = re.compile(r"\d{3,}\D*$")
_KIND_WORDS = re.compile(r"class|grade|stage|type|label|level|cluster|group", re.IGNORECASE)
"""Words of folders that are numbered and are no persons."""
_WHO = re.compile(
    r"(?P<who>[A-Za-z]*[0-9][A-Za-z0-9]*)(?P<words>(?:[_-][A-Za-z]+)*)(?P<mark>[_-])[A-Za-z]*[0-9]+\.?$"
)
"""00000001_000, P12-3, CNV-1016042-1, person1_virus_6: letters and digits, perhaps words, a mark, and a
number of the scan.
"""
_ANYWHERE = r"([A-Za-z]*\d[A-Za-z0-9]*)(?:[_-][A-Za-z]+)*[_-][A-Za-z]*\d+\."
"""The same as ``_WHO``, to be searched in a file name."""
_LARGEST = 0.2
"""Share of the files that one patient may have: a prefix of more of them is no patient's."""


def look_like_persons(counts: Mapping[str, int]) -> bool:
    """More than a third as many labels as scans (one scan each among it), many labels with digits, or names
    as persons have them: patient 3, BraTS20_Training_001, Doe^Jane.
    """
    if len(counts) < 2 or _CLASS_WORDS & {label.casefold() for label in counts}:
        return False
    numbered = len(counts) > _MANY and all(re.search("[0-9]", label) for label in counts)
    return numbered or 3 * len(counts) > sum(counts.values()) or _named_as_persons(list(counts))


def _named_as_persons(labels: Sequence[str]) -> bool:
    if all(_PERSON.match(label) for label in labels):
        return True
    if 2 * sum(bool(_RECORD.search(label)) for label in labels) > len(labels):
        return True
    alike = len({re.sub(r"\d+", "#", label) for label in labels}) == 1
    return alike and all(_LONG_NUMBER.search(one) and not _KIND_WORDS.search(one) for one in labels)


def check_labels(counts: Mapping[str, int]) -> None:
    """Raises BadOption where the folders that would be labels look like patients."""
    if look_like_persons(counts):
        raise BadOption(
            f"folders: {len(counts)} sub-folders for {sum(counts.values())} scans look like patients, not "
            "like labels",
            "if each is a patient: --folders patients; if each is a class: --folders labels",
        )


def prefixes(names: Sequence[str]) -> tuple[list[str], str]:
    """(for each file name the part of it that looks like a patient, the pattern that finds it).

    Both are empty unless nearly every name has one, some files share one, and no patient has more than a
    fifth of the files.
    """
    found = [_WHO.search(stem(PurePosixPath(name))) for name in names]
    known = [one for one in found if one is not None]
    if len(known) < 4 or len(known) < 0.9 * len(names):
        return [], ""
    owners = Counter(one["who"] for one in known)
    fair = max(owners.values()) <= max(_LARGEST * len(known), 2)
    if len(owners) == len(known) or not fair:
        return [], ""
    whose = [one["who"] if one is not None else "" for one in found]
    if any(one.start() or one["words"] for one in known):
        return whose, _ANYWHERE
    digits, marks = all(who.isdigit() for who in owners), "".join(sorted({one["mark"] for one in known}))
    mark = marks if len(marks) == 1 else f"[{marks[::-1]}]"
    return whose, rf"^(\d+){mark}" if digits else rf"^([A-Za-z0-9]+){mark}"


def prefix_note(names: Sequence[str]) -> str:
    """What to say where file names look as if they held the patient, "" elsewhere."""
    owners, pattern = prefixes(names)
    if not owners:
        return ""
    return (
        f"file names look as if they held the patient ({len(set(owners))} for {len(names)} files); if they "
        f"do: --patient-pattern '{pattern}'"
    )

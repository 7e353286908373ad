"""Which groups a scan's patient belongs to, so that figures can be told apart by them; never a date or an
exact age, and no place by its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from ..errors import BadOption, printable

__all__ = ["TAGS", "UNTOLD", "Tags", "age_band", "age_between", "one_line", "sex_named", "tags_in_row"]

TAGS = ("sex", "age", "scanner", "site", "protocol")
"""Fields of ``Tags``, and the columns of a scans.csv that hold them."""

BANDS = ((18.0, "under 18"), (40.0, "18 to 39"), (65.0, "40 to 64"), (130.0, "65 and over"))
"""Ages in years below which a band ends, and its name; ages over 89 identify a person, and are never told
apart from 65.
"""

_SEXES = {"f": "female", "female": "female", "m": "male", "male": "male", "o": "other", "other": "other"}
_UNKNOWN = {"", "u", "unknown", "na", "n/a", "nan", "none", "-", "?"}
_AGE = re.compile(r"(>?)([0-9]{1,3}(?:\.[0-9]+)?)([ymwd]?)(\+?)")
_A_YEAR = {"": 1.0, "y": 1.0, "m": 12.0, "w": 52.18, "d": 365.25}
_LONGEST = 64
"""Characters of a name."""


@dataclass(frozen=True, slots=True)
class Tags:
    """ "" means not stated. age: a band. site, protocol: as written until ``hidden``, since a place, or what
    is typed by hand, can tell who a patient is.
    """

    sex: str = ""
    age: str = ""
    scanner: str = ""
    site: str = ""
    protocol: str = ""

    def over(self, other: Self) -> Self:
        """This one, and the other where it is silent."""
        return replace(self, **{name: getattr(self, name) or getattr(other, name) for name in TAGS})

    def hidden(self, opaque: Callable[[str, str], str]) -> Self:
        """With site and protocol as keyed hashes. opaque: (kind, text) -> name."""
        return replace(
            self,
            **{
                name: opaque(name, _folded(text)) if (text := getattr(self, name)) else ""
                for name in ("site", "protocol")
            },
        )


UNTOLD = Tags()
"""Of a scan of which nobody says anything."""


def tags_in_row(cells: Mapping[str, str], where: str) -> Tags:
    """Of one line of a table. Raises BadOption that says where, never what: what stands in the wrong column
    may be a name or a date of birth.
    """
    sex, age = cells.get("sex", ""), cells.get("age", "")
    if not sex_named(sex) and _folded(sex) not in _UNKNOWN:
        raise BadOption(
            f"{where}: the sex is none of female, male, other",
            "write one of these (f, m, o will do), or leave it empty where it is not known",
        )
    if not (band := age_band(age)) and _folded(age) not in _UNKNOWN:
        raise BadOption(
            f"{where}: the age is no age from 0 to 130",
            "write years (47), a DICOM age (018M), a band (40 to 64), or leave it empty where it is not "
            "known",
        )
    scanner, site, protocol = (
        "" if _folded(text := cells.get(name, "")) in _UNKNOWN else one_line(text)
        for name in ("scanner", "site", "protocol")
    )
    return Tags(sex_named(sex), band, scanner, site, protocol)


def sex_named(text: str) -> str:
    """ "F", "female", ... -> "female", "male" or "other"; "" for anything else."""
    return _SEXES.get(_folded(text), "")


def age_band(text: str) -> str:
    """ "47", "047Y", "18M", "90+", ">89" or the name of a band -> the band; "" for anything else, an open end
    below the last band among it.
    """
    text = _folded(text)
    if text in (names := [name for _, name in BANDS]):
        return text
    found = _AGE.fullmatch(text)
    if found is None:
        return ""
    above, number, unit, more = found.groups()
    band = _band(float(number) / _A_YEAR[unit])
    return "" if (above or more) and band != names[-1] else band


def _band(years: float) -> str:
    return next((name for end, name in BANDS if 0 <= years < end or years == end == BANDS[-1][0]), "")


def age_between(birth: str, day: str) -> str:
    """Dates of birth and of the scan, YYYYMMDD -> the band; "" where one is none."""
    if not re.fullmatch(r"[12][0-9]{7}", birth) or not re.fullmatch(r"[12][0-9]{7}", day):
        return ""
    years = int(day[:4]) - int(birth[:4]) - (day[4:] < birth[4:])
    return _band(years)


def one_line(text: str) -> str:
    """One printable line of a table: names come from strangers."""
    return printable(" ".join(text.split()))[:_LONGEST]


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()

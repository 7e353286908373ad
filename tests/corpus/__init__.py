"""Bad and odd inputs that the tests generate themselves, deterministically: one module a family of
formats.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Case"]


@dataclass(frozen=True)
class Case:
    """One row of the corpus.

    name: unique in its module, e.g. "slope-nan". path: the file or folder to read. expect: "reads" |
    "equal:<name of another case>" (same voxels, affine and unit) | "refuses:<error class>:<part of its
    message>".
    """

    name: str
    path: Path
    expect: str

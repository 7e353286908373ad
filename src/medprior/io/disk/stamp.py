"""The words that mark what medprior has written, and how they are found again."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["RESEARCH_ONLY", "Stamp", "nifti_stamp", "read_stamp", "stamp_text"]

RESEARCH_ONLY = "research use only, not for diagnosis"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file of ours says about itself: is it synthetic, and what do its numbers mean ("" when it does
    not say).
    """

    synthetic: bool = False
    unit: str = ""
    modality: str = ""


def stamp_text(synthetic: bool) -> str:
    """The sentence in PNG and TIFF text and in side files."""
    return f"medprior: {'synthetic' if synthetic else 'derived'} / {RESEARCH_ONLY}"


def nifti_stamp(synthetic: bool, modality: str) -> str:
    """The description of a NIfTI header (79 characters at most): the sentence and the modality; the unit is
    the intent name.
    """
    return f"{stamp_text(synthetic)}; mod={modality}"[:79]


def read_stamp(text: str, unit: str = "") -> Stamp:
    """The stamp in a text, with the unit that the file holds elsewhere; an empty one for a file that is not
    ours.
    """
    if not text.startswith("medprior: "):
        return Stamp()
    modality = re.search(r"; mod=([^;]*)", text)
    return Stamp("synthetic" in text.split("/")[0], unit.strip(), modality[1].strip() if modality else "")

"""What the files of one series say that tells its volumes apart: echo, b-value and direction, time (of PET
its frame reference time), tube voltage, kernel, options such as magnetisation transfer or contrast, ...

The standard's elements come first; where a vendor keeps a fact in private elements only, these are read by
their private creator (the vendors' conformance statements; PS3.5 section 7.8).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator

from pydicom.dataset import Dataset

from .open import Header

__all__ = ["TOLD", "told_by_file", "told_by_frame"]

TOLD = (
    "kind", "echo", "te", "b", "direction", "inversion", "flip", "phase", "trigger", "label", "time",
    "reference", "acquisition", "stack", "kv", "tr", "kernel", "option", "file", "clock", "comment", "index",
)  # fmt: skip
"""Names of the facts, in the order in which they are tried; "" where a file is silent."""

_LONGEST = 128
"""Characters that are kept of a fact; of more, a hash: an index holds them for each file."""
_DECODERS: dict[str, tuple[str, int]] = {"FD": ("d", 8), "FL": ("f", 4), "US": ("H", 2), "SS": ("h", 2)}
_Place = tuple[str, int, int, str]
"""Private creator ("" for the standard's own), group, element, VR in Implicit VR ("" for text)."""

_FILE: dict[str, tuple[_Place, ...]] = {
    "kind": (
        ("", 0x0008, 0x0008, ""),
        ("GEMS_PARM_01", 0x0043, 0x2F, "SS"),
        ("Philips MR Imaging DD 001", 0x2005, 0x11, ""),
    ),
    "echo": (("", 0x0018, 0x0086, ""),),
    "te": (("", 0x0018, 0x0081, ""),),
    "b": (
        ("", 0x0018, 0x9087, "FD"),
        ("SIEMENS MR HEADER", 0x0019, 0x0C, ""),
        ("GEMS_PARM_01", 0x0043, 0x39, ""),
        ("Philips Imaging DD 001", 0x2001, 0x03, "FL"),
        ("Image Private Header", 0x0065, 0x09, "FD"),
    ),
    "direction": (
        ("", 0x0018, 0x9089, "FD"),
        ("SIEMENS MR HEADER", 0x0019, 0x0E, "FD"),
        ("GEMS_ACQU_01", 0x0019, 0xBB, ""),
        ("GEMS_ACQU_01", 0x0019, 0xBC, ""),
        ("GEMS_ACQU_01", 0x0019, 0xBD, ""),
        ("Philips MR Imaging DD 005", 0x2005, 0x13, ""),
        ("Philips MR Imaging DD 001", 0x2005, 0xB0, "FL"),
        ("Philips MR Imaging DD 001", 0x2005, 0xB1, "FL"),
        ("Philips MR Imaging DD 001", 0x2005, 0xB2, "FL"),
        ("Image Private Header", 0x0065, 0x37, "FD"),
    ),
    "inversion": (("", 0x0018, 0x0082, ""),),
    "flip": (("", 0x0018, 0x1314, ""),),
    "phase": (("", 0x0020, 0x9241, "FL"), ("Philips Imaging DD 001", 0x2001, 0x08, "")),
    "trigger": (("", 0x0018, 0x1060, ""),),
    "label": (("Philips MR Imaging DD 005", 0x2005, 0x29, ""),),
    "time": (("", 0x0020, 0x0100, ""),),
    "reference": (("", 0x0054, 0x1300, ""),),
    "acquisition": (("", 0x0020, 0x0012, ""),),
    "stack": (("", 0x0020, 0x9056, ""),),
    "kv": (("", 0x0018, 0x0060, ""),),
    "tr": (("", 0x0018, 0x0080, ""),),
    "kernel": (("", 0x0018, 0x1210, ""),),
    "option": (("", 0x0018, 0x0021, ""), ("", 0x0018, 0x0022, ""), ("", 0x0018, 0x0010, "")),
    "clock": (("", 0x0008, 0x0032, ""), ("", 0x0008, 0x0033, ""), ("", 0x0008, 0x002A, "")),
    "comment": (("", 0x0020, 0x4000, ""),),
}  # fmt: skip
"""Where a file of one image says each fact."""


_PLACES = tuple(
    (TOLD.index(name), place, place[1] << 16 | (0x10 if place[0] else place[2]))
    for name, places in _FILE.items()
    for place in places
)
"""(number of the fact, place, an element that is there where the place may be)."""


def told_by_file(header: Header) -> tuple[str, ...]:
    """What a file of one image says, in the order of ``TOLD``; several elements are joined by "|"."""
    said, elements = [""] * len(TOLD), header.skeleton.elements
    for at, place, needed in _PLACES:
        if needed in elements and (text := _text(header, place)):
            said[at] = f"{said[at]}|{text}" if said[at] else text
    return tuple(
        text if len(text) <= _LONGEST else hashlib.sha256(text.encode()).hexdigest() for text in said
    )


def _text(header: Header, place: _Place) -> str:
    """The value of an element as text, "" where it is absent. It is compared, never shown: what is no text is
    decoded by its VR, and what does not fit it stays bytes in hexadecimal.
    """
    creator, group, number, vr = place
    elements = header.skeleton.elements
    if creator:
        if (block := next(header.private_blocks(group, creator), 0)) == 0:
            return ""
        number |= block << 8
    element = elements.get(group << 16 | number)
    if element is None:
        return ""
    value = header.buffer[element.start : element.end]
    kind = element.vr if element.vr not in (None, "UN") else vr
    if kind not in _DECODERS:
        return value.decode("latin-1").strip(" \0")
    letter, size = _DECODERS[kind]
    if len(value) % size:
        return value.hex()
    numbers = struct.unpack(f"{'<' if header.little else '>'}{len(value) // size}{letter}", value)
    return "\\".join(f"{n:g}" for n in numbers)


def told_by_frame(
    header: Header, group: Callable[[str], Dataset], image_type: list[str], index: tuple[int, ...]
) -> tuple[str, ...]:
    """What a frame of an enhanced object says (PS3.3 sections C.7.6.16 and C.8.13.5), in the order of
    ``TOLD``. group: a functional group by its name. index: the frame's values of the dimensions that are no
    place.
    """
    content, diffusion, heart = (
        group("FrameContentSequence"),
        group("MRDiffusionSequence"),
        group("CardiacSynchronizationSequence"),
    )
    component = group("MRImageFrameTypeSequence").get("ComplexImageComponent")
    said: dict[str, object] = {
        "kind": "\\".join([*image_type, *([str(component)] if component else [])]),
        "te": group("MREchoSequence").get("EffectiveEchoTime"),
        "b": diffusion.get("DiffusionBValue"),
        "direction": "|".join(_directions(diffusion)),
        "inversion": group("MRModifierSequence").get("InversionTimes"),
        "flip": group("MRTimingAndRelatedParametersSequence").get("FlipAngle"),
        "phase": heart.get("NominalPercentageOfCardiacPhase"),
        "trigger": heart.get("NominalCardiacTriggerDelayTime"),
        "time": content.get("TemporalPositionIndex"),
        "acquisition": content.get("FrameAcquisitionNumber"),
        "stack": content.get("StackID"),
        "kv": group("CTXRayDetailsSequence").get("KVP"),
        "tr": group("MRTimingAndRelatedParametersSequence").get("RepetitionTime"),
        "option": group("MRArterialSpinLabelingSequence").get("ASLContext"),
        "file": header.text("SOPInstanceUID"),
        "clock": content.get("FrameReferenceDateTime") or content.get("FrameAcquisitionDateTime"),
        "index": "\\".join(map(str, index)),
    }
    return tuple("" if said.get(name) in (None, "") else str(said[name]) for name in TOLD)


def _directions(diffusion: Dataset) -> Iterator[str]:
    yield str(diffusion.get("DiffusionDirectionality") or "")
    for item in diffusion.get("DiffusionGradientDirectionSequence") or ():
        yield str(item.get("DiffusionGradientOrientation") or "")

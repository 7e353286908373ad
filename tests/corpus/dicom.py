"""DICOM rows of the corpus: what a hospital, a broken disk or an attacker may hand over. Everything is made
here, from a seed.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
)

from . import Case
from .dicom_parts import (
    CANARY,
    SHAPE,
    axial,
    changed,
    ct_slice,
    encoded,
    enhanced,
    frame_groups,
    mirrored,
    patched,
    phantom,
    sagittal,
    save,
    save_all,
    uid,
)

__all__ = ["cases", "seeds"]


def cases(folder: Path) -> list[Case]:
    """Writes every row below ``folder`` and says what must happen to each."""
    made: list[Case] = []
    for kind in (_bytes, _bombs, _encodings, _colours, _values, _places, _stacks, _frames, _odd_folders):
        for name, (path, expect) in kind(folder / kind.__name__.strip("_")).items():
            made.append(Case(name, path, expect))
    return made


def seeds(folder: Path) -> list[Path]:
    """Small good files of many kinds, to be mutated."""
    image = phantom()[0]
    rgb = np.repeat((image % 256).astype(np.uint8)[..., None], 3, axis=2)
    files: dict[str, Dataset | bytes] = {
        "explicit": ct_slice(image),
        "mono1": ct_slice(
            image,
            Modality="MR",
            PhotometricInterpretation="MONOCHROME1",
            RescaleSlope=None,
            RescaleIntercept=None,
            RescaleType=None,
        ),
        "padded": ct_slice(image, PixelPaddingValue=17),
        "lut": _with_lut(image),
        "palette": _palette(image),
        "rgb": _coloured(rgb, "RGB"),
        "enhanced": enhanced(),
        "implicit": encoded(ct_slice(image), ImplicitVRLittleEndian),
        "big": _big_endian(image),
        "deflated": encoded(ct_slice(image), DeflatedExplicitVRLittleEndian),
        "rle": _compressed(image, RLELossless),
        "jpeg-ls": _compressed(image, JPEGLSLossless),
    }
    return [save(folder / f"{name}.dcm", made) for name, made in files.items()]


Rows = dict[str, tuple[Path, str]]


def _put(folder: Path, made: dict[str, tuple[Dataset | bytes, str]]) -> Rows:
    return {name: (save(folder / f"{name}.dcm", what), expect) for name, (what, expect) in made.items()}


def _bytes(folder: Path) -> Rows:
    """A1: cut, lying, nested, mislabelled."""
    image = ct_slice(phantom()[0])
    good = encoded(image)
    pixels = good.rindex(b"\xe0\x7f\x10\x00OW")
    rows = good.index(b"\x28\x00\x10\x00US")
    header = b"\0" * 128 + b"DICM"
    implicit = encoded(image, ImplicitVRLittleEndian)
    lying = patched(implicit, b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2\0")
    preamble = b"II*\0" + bytes(range(124)) + good[128:]
    bare = encoded(image, ImplicitVRLittleEndian)
    bare = bare[bare.index(b"\x08\x00\x08\x00") :]
    return _put(
        folder,
        {
            "good": (good, "reads"),
            "empty-file": (b"", "refuses:Unsupported:is empty"),
            "text": (b"not a scan\n" * 40, "refuses:Unsupported:not a DICOM file"),
            "magic-only": (header, "refuses:Unsupported:holds no pixels"),
            "cut-in-header": (good[: rows + 5], "refuses:Truncated:truncated at byte"),
            "cut-between-elements": (good[:rows], "refuses:Unsupported:holds no pixels"),
            "cut-in-pixels": (good[:-40], "refuses:Truncated:truncated at byte"),
            "cut-before-last-byte": (good[:-1], "refuses:Truncated:truncated at byte"),
            "lying-length": (
                good[: rows + 6] + struct.pack("<H", 60000) + good[rows + 8 :],
                "refuses:Truncated:truncated at byte",
            ),
            "lying-pixel-length": (
                good[: pixels + 8] + struct.pack("<L", 2**31) + good[pixels + 12 :],
                "refuses:Truncated:truncated at byte",
            ),
            "short-pixel-length": (
                good[: pixels + 8] + struct.pack("<L", 20) + good[pixels + 12 :],
                "refuses:Truncated:pixels need",
            ),
            "no-such-vr": (
                good[: rows + 4] + b"Q?" + good[rows + 6 :],
                "refuses:Corrupt:value representation",
            ),
            "nested-2000-marked": (_nested(good, pixels, 2000, False), "refuses:Corrupt:nested deeper"),
            "nested-2000-counted": (_nested(good, pixels, 2000, True), "refuses:Corrupt:nested deeper"),
            "nested-8": (_nested(good, pixels, 8, False), "equal:good"),
            "no-sequence-end": (
                _nested(good, pixels, 1, False, end=b""),
                "refuses:Truncated:truncated at byte",
            ),
            "tag-zero": (
                good[:pixels] + b"\0\0\0\0UL\4\0" + b"\0" * 4 + good[pixels:],
                "refuses:Corrupt:unexpected tag",
            ),
            "preamble-of-a-tiff": (preamble, "equal:good"),
            "no-preamble": (bare, "equal:good"),
            "implicit-as-it-says": (lying, "equal:good"),
            "implicit-said-explicit": (_relabelled(implicit), "equal:good"),
            "garbage-after-pixels": (good + b"\xff" * 300, "equal:good"),
            "private-syntax": (
                good.replace(b"1.2.840.10008.1.2.1\0", b"1.2.777.99999.1.2.1\0"),
                "refuses:Unsupported:transfer syntax 1.2.777",
            ),
            "unknown-syntax": (
                good.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.1\0"),
                "refuses:Unsupported:transfer syntax",
            ),
            "report": (
                changed(ct_slice(phantom()[0]), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", PixelData=None),
                "refuses:Unsupported:Comprehensive SR",
            ),
            "index": (_index_of_media(), "refuses:Unsupported:Media Storage Directory"),
            "segmentation": (
                changed(ct_slice(phantom()[0]), SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"),
                "refuses:Unsupported:segmentation",
            ),
            "no-pixels": (
                changed(ct_slice(phantom()[0]), PixelData=None),
                "refuses:Unsupported:holds no pixels (CT Image Storage)",
            ),
        },
    )


def _nested(good: bytes, at: int, depth: int, counted: bool, end: bytes | None = None) -> bytes:
    """``depth`` sequences, one in the other, put before the pixels."""
    inner = b""
    for _ in range(depth):
        if counted:
            item = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(inner)) + inner
            inner = b"\x40\x00\x30\xa7SQ\0\0" + struct.pack("<L", len(item)) + item
        else:
            close = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" if end is None else end
            inner = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + close
    return good[:at] + inner + good[at:]


def _relabelled(implicit: bytes) -> bytes:
    """An implicit file whose meta information says Explicit VR Little Endian (same length by padding)."""
    old = b"\x02\x00\x10\x00UI\x12\x001.2.840.10008.1.2\0"
    new = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    return implicit.replace(old, new)


def _index_of_media() -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.1.3.10", uid("index")
    made.FileSetID = CANARY
    return made


def _bombs(folder: Path) -> Rows:
    """A2: small files that promise much."""
    image = phantom()[0]
    flat = encoded(ct_slice(np.zeros((8, 8), np.uint16)))
    meta = encoded(ct_slice(np.zeros((8, 8), np.uint16)), DeflatedExplicitVRLittleEndian)
    start = meta.index(b"1.2.840.10008.1.2.1.99") + 22
    start += struct.unpack_from("<L", meta, 140)[0] - (start - 144)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = meta[:start] + b"".join(
        [packer.compress(b"\x09\x00\x10\x00LO\x04\x00ABCD" + b"\0" * 2**20) for _ in range(64)]
        + [packer.flush()]
    )
    deflated = encoded(ct_slice(image), DeflatedExplicitVRLittleEndian)
    huge = {"Rows": 60000, "Columns": 60000}
    byte = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    return _put(
        folder,
        {
            "deflated-bomb": (bomb, "refuses:TooLarge:deflated data set grows"),
            "deflated-cut": (deflated[:-30], "refuses:Truncated:truncated at byte"),
            "deflated-damaged": (
                meta[:start] + b"\x07" + meta[start + 1 :],
                "refuses:Corrupt:deflated data set is damaged",
            ),
            "giant-rows": (changed(ct_slice(image), **huge), "refuses:TooLarge:"),
            "giant-frames": (changed(ct_slice(image), NumberOfFrames=2147483647), "refuses:TooLarge:"),
            "rle-bomb": (
                _encapsulated(b"\1\0\0\0" + b"\0" * 60, RLELossless, Rows=20000, Columns=20000),
                "refuses:TooLarge:to 1",
            ),
            "jpeg-bomb": (
                _encapsulated(_jpeg_head(30000, 30000), JPEGBaseline8Bit, **byte),
                "refuses:TooLarge:compressed frame",
            ),
            "jpeg2000-bomb": (
                _encapsulated(_j2k_head(40000, 40000), JPEG2000Lossless),
                "refuses:TooLarge:compressed frame",
            ),
            "jpeg-lossless-bomb": (
                _encapsulated(_jpeg_head(65000, 65000, 0xC3), JPEGLossless),
                "refuses:TooLarge:compressed frame",
            ),
            "no-fragments": (_encapsulated(b"", RLELossless), "refuses:Corrupt:"),
            "rle-garbage": (_encapsulated(b"\xff" * 64, RLELossless), "refuses:Corrupt:"),
            "jpeg-garbage": (
                _encapsulated(b"\xff\xd8\xff\xd9" * 20, JPEGBaseline8Bit, **byte),
                "refuses:Corrupt:",
            ),
            "giant-frame-count": (
                ct_slice(np.zeros((40000, 1), np.uint16), Rows=1, NumberOfFrames=40000),
                "refuses:TooLarge:40000 frames",
            ),
            "zero-rows": (changed(ct_slice(image), Rows=0), "refuses:Corrupt:above 0"),
            "negative-frames": (changed(ct_slice(image), NumberOfFrames=-3), "refuses:Corrupt:above 0"),
            "flat": (flat, "reads"),
        },
    )


def _encapsulated(stream: bytes, syntax: str, **changes: Any) -> bytes:
    made = changed(ct_slice(phantom()[0]), **changes)
    made.add_new(0x7FE00010, "OB", encapsulate([stream or b"\0\0"]))
    made["PixelData"].is_undefined_length = True
    return encoded(made, syntax)


def _jpeg_head(rows: int, columns: int, marker: int = 0xC0) -> bytes:
    return (
        b"\xff\xd8\xff"
        + bytes([marker])
        + struct.pack(">HBHHB", 11, 8, rows, columns, 1)
        + b"\1\x11\0"
        + b"\xff\xd9\0"
    )


def _j2k_head(rows: int, columns: int) -> bytes:
    sizes = struct.pack(">LLLLLLLL", columns, rows, 0, 0, columns, rows, 0, 0)
    return (
        b"\xff\x4f\xff\x51"
        + struct.pack(">HH", 41, 0)
        + sizes
        + struct.pack(">H", 1)
        + b"\x0b\1\1"
        + b"\xff\xd9\0"
    )


def _compressed(image: np.ndarray, syntax: str) -> Dataset | bytes:
    made = ct_slice(image)
    encoded(made)
    made.compress(syntax, generate_instance_uid=False)
    return encoded(made, syntax)


def _jpeg2000(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
    return _encapsulated(
        buffer.getvalue() + b"\0" * (len(buffer.getvalue()) % 2), JPEG2000Lossless, BitsStored=16, HighBit=15
    )


def _big_endian(image: np.ndarray) -> bytes:
    made = ct_slice(image)
    made.add_new(0x7FE00010, "OW", image.astype(">u2").tobytes())
    made["PixelData"].VR = "OW"
    return encoded(made, ExplicitVRBigEndian)


def _with_lut(image: np.ndarray) -> Dataset:
    made, lut = ct_slice(image, RescaleSlope=None, RescaleIntercept=None, RescaleType=None), Dataset()
    lut.LUTDescriptor = [4096, 0, 16]
    lut.add_new(0x00283004, "LO", "HU")
    lut.add_new(0x00283006, "OW", np.arange(4096, dtype="<u2").tobytes())
    made.ModalityLUTSequence = [lut]
    return made


def _encodings(folder: Path) -> Rows:
    """A4: one CT slice in many encodings, bit-equal."""
    image = phantom()[0]
    signed = (image.astype(np.int16) - 1024).astype(np.int16)
    overlay = image | np.uint16(0x5000)
    bits = {"BitsStored": 16, "HighBit": 15}
    same = "equal:ct"
    return _put(
        folder,
        {
            "ct": (ct_slice(image), "reads"),
            "ct-implicit": (encoded(ct_slice(image), ImplicitVRLittleEndian), same),
            "ct-big-endian": (_big_endian(image), same),
            "ct-deflated": (encoded(ct_slice(image), DeflatedExplicitVRLittleEndian), same),
            "ct-rle": (_compressed(image, RLELossless), same),
            "ct-jpeg-ls": (_compressed(image, JPEGLSLossless), same),
            "ct-jpeg2000": (_jpeg2000(image), same),
            "ct-signed": (ct_slice(signed, PixelRepresentation=1, RescaleIntercept=0, **bits), same),
            "ct-signed-12-bits": (ct_slice(_twelve(signed), PixelRepresentation=1, RescaleIntercept=0), same),
            "ct-overlay-in-high-bits": (ct_slice(overlay), same),
            "ct-left-aligned": (ct_slice(image << 4, HighBit=15), same),
            "ct-32-bits": (
                ct_slice(image.astype(np.uint32), BitsAllocated=32, BitsStored=32, HighBit=31),
                same,
            ),
            "ct-half-slope": (ct_slice(image * 2, RescaleSlope=0.5, **bits), same),
            "ct-negative-slope": (ct_slice(4000 - image, RescaleSlope=-1, RescaleIntercept=2976), same),
            "ct-without-rescale-type": (ct_slice(image, RescaleType=None), same),
            "ct-one-frame-said": (ct_slice(image, NumberOfFrames=1), same),
            "ct-monochrome1-keeps-hu": (ct_slice(image, PhotometricInterpretation="MONOCHROME1"), same),
            "ct-synthetic": (ct_slice(image, SyntheticData="YES"), same),
            "ct-padding-never-met": (ct_slice(image, PixelPaddingValue=4000), same),
        },
    )


def _twelve(signed: np.ndarray) -> np.ndarray:
    """Signed values clipped to 12 bits, the four high bits left at 0."""
    return (np.clip(signed, -2048, 2047).astype(np.int32) & 0x0FFF).astype(np.uint16)


def _plain(image: np.ndarray, **changes: Any) -> Dataset:
    """An 8-bit picture without place or rescale."""
    gone = dict.fromkeys(
        ("RescaleSlope", "RescaleIntercept", "RescaleType", "ImagePositionPatient", "ImageOrientationPatient")
    )
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    made = ct_slice(image, Modality="US", SOPClassUID="1.2.840.10008.5.1.4.1.1.7", **bits, **gone, **changes)
    made.add_new(0x7FE00010, "OB", image.tobytes())
    return made


def _coloured(rgb: np.ndarray, photometric: str, planar: int = 0) -> Dataset:
    stored = rgb.transpose(2, 0, 1) if planar else rgb
    made = _plain(
        rgb[..., 0], SamplesPerPixel=3, PhotometricInterpretation=photometric, PlanarConfiguration=planar
    )
    made.add_new(0x7FE00010, "OB", np.ascontiguousarray(stored).tobytes())
    return made


def _palette(image: np.ndarray, entries: int = 256) -> Dataset:
    made = _plain((image % 256).astype(np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for n, colour in enumerate(("Red", "Green", "Blue")):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [entries % 65536, 0, 8])
        made.add_new(0x00281201 + n, "OW", bytes(range(256)))
    return made


def _colours(folder: Path) -> Rows:
    """A4: colours to grey, polarity."""
    grey = (phantom()[0] % 256).astype(np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    ybr = np.stack([grey, np.full_like(grey, 128), np.full_like(grey, 128)], axis=2)
    same = "equal:grey"
    cine = _plain(grey)
    cine.NumberOfFrames = 3
    cine.add_new(0x7FE00010, "OB", np.stack([grey] * 3).tobytes())
    short = _palette(phantom()[0])
    short.add_new(0x00281202, "OW", bytes(10))
    return _put(
        folder,
        {
            "grey": (_plain(grey), "reads"),
            "monochrome1-twin": (_plain(255 - grey, PhotometricInterpretation="MONOCHROME1"), same),
            "rgb": (_coloured(rgb, "RGB"), same),
            "rgb-planes": (_coloured(rgb, "RGB", 1), same),
            "ybr": (_coloured(ybr, "YBR_FULL"), same),
            "palette": (_palette(phantom()[0]), same),
            "palette-short": (short, "refuses:Corrupt:"),
            "palette-missing": (_plain(grey, PhotometricInterpretation="PALETTE COLOR"), "refuses:Corrupt:"),
            "cine": (cine, "refuses:BadGeometry:frames over time"),
            "rgb-one-sample": (_plain(grey, PhotometricInterpretation="RGB"), "refuses:Corrupt:samples"),
            "hsv": (_plain(grey, PhotometricInterpretation="HSV"), "refuses:Unsupported:photometric"),
        },
    )


def _values(folder: Path) -> Rows:
    """A4, A8: rescale, units, bits."""
    image = phantom()[0]
    whole = {"BitsStored": 16, "HighBit": 15}
    floats = ct_slice(
        image, PixelData=None, BitsAllocated=32, RescaleSlope=None, RescaleIntercept=None, RescaleType=None
    )
    floats.add_new(0x7FE00008, "OF", (image / 7).astype("<f4").tobytes())
    slope = encoded(ct_slice(image, RescaleSlope="1.0000"))
    at = slope.index(b"\x28\x00\x53\x10DS") + 8

    def with_slope(text: bytes) -> bytes:
        return slope[:at] + text.ljust(6) + slope[at + 6 :]

    pet = ct_slice(
        image, Modality="PT", Units="BQML", RescaleSlope=0.25, RescaleIntercept=0, RescaleType=None, **whole
    )
    dose = ct_slice(
        image,
        Modality="RTDOSE",
        DoseUnits="GY",
        DoseGridScaling=0.01,
        RescaleSlope=None,
        RescaleIntercept=None,
        RescaleType=None,
    )
    return _put(
        folder,
        {
            "slope-nan": (with_slope(b"NaN"), "refuses:Corrupt:RescaleSlope"),
            "slope-inf": (with_slope(b"inf"), "refuses:Corrupt:RescaleSlope"),
            "slope-zero": (with_slope(b"0"), "refuses:Corrupt:Rescale Slope is 0"),
            "slope-text": (with_slope(b"one"), "refuses:Corrupt:"),
            "slope-two": (with_slope(b"1\\2"), "refuses:Corrupt:RescaleSlope: wanted 1 numbers, got 2"),
            "modality-lut": (_with_lut(image), "reads"),
            "pet": (pet, "reads"),
            "dose": (dose, "reads"),
            "padding": (ct_slice(image, PixelPaddingValue=int(image[0, 0])), "reads"),
            "padding-range": (ct_slice(image, PixelPaddingValue=0, PixelPaddingRangeLimit=400), "reads"),
            "float-pixels": (floats, "reads"),
            "stored-over-allocated": (
                ct_slice(image, BitsStored=17, HighBit=16),
                "refuses:Corrupt:do not fit",
            ),
            "allocated-24": (ct_slice(image, BitsAllocated=24), "refuses:Unsupported:Bits Allocated"),
            "sign-7": (ct_slice(image, PixelRepresentation=7), "refuses:Corrupt:Pixel Representation"),
            "constant": (ct_slice(np.full_like(image, 900)), "reads"),
        },
    )


def _places(folder: Path) -> Rows:
    """A5: where one image lies."""
    image = phantom()[0]
    good = encoded(ct_slice(image, PixelSpacing=["0.80", "0.80"]))

    def put(old: bytes, new: bytes) -> bytes:
        return patched(good, old, new)

    return _put(
        folder,
        {
            "no-place": (ct_slice(image, ImagePositionPatient=None, ImageOrientationPatient=None), "reads"),
            "no-spacing": (ct_slice(image, PixelSpacing=None), "reads"),
            "spacing-zero": (put(b"0.80\\0.80 ", b"0.00\\0.00 "), "reads"),
            "spacing-negative": (put(b"0.80\\0.80 ", b"-0.8\\-0.8 "), "refuses:BadGeometry:negative"),
            "spacing-nan": (put(b"0.80\\0.80 ", b"nan\\0.800 "), "refuses:Corrupt:PixelSpacing"),
            "position-of-two": (put(b"-20.0\\-30.0\\5.0 ", b"-20.00\\-30.005.0"), "refuses:Corrupt:"),
            "directions-zero": (
                ct_slice(image, orientation=(0, 0, 0, 0, 0, 0)),
                "refuses:BadGeometry:orthonormal",
            ),
            "directions-parallel": (
                ct_slice(image, orientation=(1, 0, 0, 1, 0, 0)),
                "refuses:BadGeometry:orthonormal",
            ),
            "directions-three-decimals": (
                ct_slice(image, orientation=(0.999, 0.035, 0, -0.035, 0.999, 0)),
                "reads",
            ),
        },
    )


def _stacks(folder: Path) -> Rows:
    """A5, A6: series folders."""
    slices = axial()

    def series(name: str, images: list[Dataset], expect: str) -> tuple[str, tuple[Path, str]]:
        return name, (save_all(folder / name, images), expect)

    def moved(n: int, place: tuple[float, float, float]) -> list[Dataset]:
        return [changed(s, ImagePositionPatient=list(place)) if k == n else s for k, s in enumerate(axial())]

    def later(**changes: object) -> list[Dataset]:
        return [changed(s, SOPInstanceUID=uid("later", k), **changes) for k, s in enumerate(axial())]

    tilted = [
        changed(s, ImagePositionPatient=[-20, -30 + 0.5 * k, 5 + 2.5 * k]) for k, s in enumerate(axial())
    ]
    uneven = [
        changed(s, ImagePositionPatient=[-20, -30, 5 + 2.5 * k + (0.008 if k % 2 else 0)])
        for k, s in enumerate(axial())
    ]
    small = ct_slice(phantom()[0][:-2], (-20, -30, 20))
    scout = ct_slice(
        phantom()[0].T, (-20, 0, 100), (1, 0, 0, 0, 0, -1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    turned = [*axial(), *[changed(s, SOPInstanceUID=uid("sagittal", n)) for n, s in enumerate(sagittal())]]
    scaled = [
        ct_slice(
            p * (k % 3 + 1), (-20, -30, 5 + 2.5 * k), RescaleSlope=1 / (k % 3 + 1), BitsStored=16, HighBit=15
        )
        for k, p in enumerate(phantom())
    ]
    other = [
        changed(s, SeriesInstanceUID=uid("other series"), SOPInstanceUID=uid("other", k))
        for k, s in enumerate(axial())
    ]
    nowhere = [changed(s, ImagePositionPatient=None) for s in axial()]
    same = "equal:series"
    return dict(
        [
            series("series", slices, "reads"),
            series("series-reversed", list(reversed(axial())), same),
            series("series-sagittal", sagittal(), same),
            series("series-mirrored", mirrored(), same),
            series("series-slopes-differ", scaled, same),
            series("series-exported-twice", [*axial(), *axial()], same),
            series("series-one-uid-for-all", [changed(s, SOPInstanceUID=uid("one")) for s in axial()], same),
            series("one-slice-twice", [*axial()[:1], *axial()[:1]], "equal:good"),
            series("series-with-scout", [*axial(), scout], same),
            series("series-uneven-within-1-percent", uneven, "reads"),
            series("gap", [s for k, s in enumerate(axial()) if k != 2], "refuses:BadGeometry:gap"),
            series("gap-of-two", moved(5, (-20, -30, 25)), "refuses:BadGeometry:gap"),
            series("duplicate", moved(3, (-20, -30, 10)), "refuses:BadGeometry:duplicate"),
            series("tilt", tilted, "refuses:BadGeometry:tilted"),
            series("beside", moved(2, (-18, -30, 10)), "refuses:BadGeometry:beside the line"),
            series("mixed-size", [*axial(), small], "refuses:BadGeometry:stacks that differ"),
            series(
                "mixed-spacing",
                [*axial()[:-1], changed(axial()[-1], PixelSpacing=[0.9, 0.9])],
                "refuses:BadGeometry:stacks that differ",
            ),
            series("mixed-directions", turned, "refuses:BadGeometry:stacks that differ"),
            series(
                "two-phases",
                [*axial(AcquisitionNumber=1), *later(AcquisitionNumber=2)],
                "refuses:BadGeometry:one series with 2 volumes: acq1",
            ),
            series(
                "two-times",
                [*axial(TemporalPositionIdentifier=1), *later(TemporalPositionIdentifier=2)],
                "refuses:BadGeometry:one series with 2 volumes: t1",
            ),
            series("two-unnamed", [*axial(), *later()], "refuses:BadGeometry:duplicate"),
            series("two-series", [*axial(), *other], "refuses:BadGeometry:several series"),
            series(
                "scouts-only",
                [scout, changed(axial()[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])],
                "refuses:BadGeometry:",
            ),
            series("nowhere", nowhere, "refuses:BadGeometry:"),
            series("one-nowhere", [*axial()[:-1], nowhere[-1]], "refuses:BadGeometry:"),
            series(
                "two-modalities",
                [*axial()[:-1], changed(axial()[-1], Modality="MR")],
                "refuses:Corrupt:another unit or modality",
            ),
            series("one-slice", axial()[:1], "equal:good"),
        ]
    )


def _frames(folder: Path) -> Rows:
    """A4, A5, A6: enhanced multi-frame objects."""
    twice = enhanced([*range(SHAPE[0]), *range(SHAPE[0])])
    phases = enhanced([*range(SHAPE[0]), *range(SHAPE[0])])
    for n, groups in enumerate(phases.PerFrameFunctionalGroupsSequence):
        content = Dataset()
        content.TemporalPositionIndex = n // SHAPE[0] + 1
        groups.FrameContentSequence = [content]
    nan = enhanced()
    nan.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence[0].RescaleSlope = 0
    same = "equal:series"
    return _put(
        folder,
        {
            "enhanced": (enhanced(), same),
            "enhanced-shuffled": (enhanced([3, 0, 5, 1, 4, 2]), same),
            "enhanced-implicit": (encoded(enhanced(), ImplicitVRLittleEndian), same),
            "enhanced-slope-per-frame": (_halved(), same),
            "enhanced-gap": (enhanced([0, 1, 2, 4, 5]), "refuses:BadGeometry:gap"),
            "enhanced-twice": (twice, "refuses:BadGeometry:"),
            "enhanced-phases": (phases, "refuses:BadGeometry:one series with 2 volumes: t1"),
            "enhanced-groups-missing": (
                enhanced(PerFrameFunctionalGroupsSequence=[frame_groups(0, 1.0)]),
                "refuses:Corrupt:functional groups",
            ),
            "enhanced-slope-zero": (nan, "refuses:Corrupt:Slope is 0"),
            "enhanced-no-places": (
                enhanced(PerFrameFunctionalGroupsSequence=[Dataset() for _ in range(SHAPE[0])]),
                "refuses:BadGeometry:over time",
            ),
        },
    )


def _halved() -> Dataset:
    """Frames stored as twice, thrice the value, each with its own slope."""
    made = enhanced()
    stored = np.stack([frame * (k % 3 + 1) for k, frame in enumerate(phantom())])
    made.BitsStored, made.HighBit = 16, 15
    made.add_new(0x7FE00010, "OW", stored.tobytes())
    for k, groups in enumerate(made.PerFrameFunctionalGroupsSequence):
        groups.PixelValueTransformationSequence[0].RescaleSlope = 1 / (k % 3 + 1)
    return made


def _odd_folders(folder: Path) -> Rows:
    """A12: links, pipes, odd names, strangers among the slices."""
    builders: dict[str, tuple[Callable[[Path], object], str]] = {
        "with-notes": (lambda f: (f / "notes.txt").write_text("a note"), "equal:series"),
        "with-media-index": (lambda f: save(f / "DICOMDIR", _index_of_media()), "equal:series"),
        "with-link-to-a-slice": (
            lambda f: (f / "zz-link").symlink_to(next(f.glob("*-0.dcm")).name),
            "equal:series",
        ),
        "with-hard-link": (lambda f: os.link(next(f.glob("*-0.dcm")), f / "zz-hard"), "equal:series"),
        "with-link-to-itself": (lambda f: (f / "loop").symlink_to("."), "equal:series"),
        "with-link-to-nowhere": (lambda f: (f / "broken").symlink_to("gone"), "equal:series"),
        "with-pipe": (lambda f: os.mkfifo(f / "pipe.dcm"), "equal:series"),
        "with-odd-name": (lambda f: save(f / "line\nbreak \u202e.dcm", b"x"), "equal:series"),
        "with-truncated": (
            lambda f: save(f / "cut.dcm", encoded(axial()[0])[:-9]),
            "refuses:Truncated:truncated at byte",
        ),
        "with-empty-folder": (lambda f: (f / "nothing").mkdir(), "equal:series"),
    }
    made: Rows = {}
    for name, (add, expect) in builders.items():
        place = save_all(folder / name, axial())
        add(place)
        made[name] = (place, expect)
    deep = folder / "deep"
    for n, image in enumerate(axial()):
        save(deep / f"a/{n % 2}" / f"{n}.dcm", image)
    made["deep"] = (deep, "equal:series")
    (folder / "empty-folder").mkdir()
    made["empty-folder"] = (folder / "empty-folder", "refuses:Unsupported:no DICOM image")
    os.mkfifo(folder / "pipe")
    made["pipe"] = (folder / "pipe", "refuses:Unsupported:not a plain file")
    made["missing"] = (folder / "gone.dcm", "refuses:FileProblem:no such file")
    return made

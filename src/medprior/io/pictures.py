"""PNG, TIFF and JPEG: grey pictures with no place in the patient.

The rule for colour: a palette is looked up first. Three equal channels are grey, and so is a JPEG whose
channels differ by at most 3 of 255 (its own rounding). Anything else is refused unless ``colour="luma"`` asks
for 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601). The rule for transparency: an alpha channel that is opaque
everywhere is dropped; any other is refused unless ``colour="luma"`` drops it.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from ..data.volume import Provenance, Volume
from ..errors import BadOption, Corrupt, FileProblem, ShapeMismatch, TooLarge, Truncated, Unsupported
from .disk.decoder import decoder, read_apart
from .disk.faults import faults_of
from .disk.files import write_file
from .disk.limits import Limits, regular_file
from .disk.stamp import read_stamp, stamp_text

__all__ = ["ahead", "open_picture", "picture_format", "read_picture", "stored_png", "write_picture"]

T = TypeVar("T")

_COLOUR_RULES = ("refuse", "luma")
_GREY = ("L", "I;16", "I;16B", "I;16L", "I", "F")
_LUMA = np.array([0.299, 0.587, 0.114])
_JPEG_ROUNDING = 3
_AHEAD = 8
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_MOST_SCANS = 100
"""Of a progressive JPEG: cameras and converters write about ten."""
_MOST_CHUNKS = 2**17
"""Of a PNG: encoders write one for each 8 KiB or more."""


def picture_format(start: bytes) -> str:
    """ "PNG", "TIFF" or "JPEG" by the first bytes of a file, or ""."""
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "TIFF" if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") else ""


def read_picture(
    path: str | Path,
    *,
    limits: Limits | None = None,
    colour: str = "refuse",
    unit: str | None = None,
    modality: str | None = None,
    nonfinite: float | None = None,
) -> Volume:
    """One picture as a 2-D Volume (1, rows, columns), i down and j to the right, values as stored, geometry
    None.

    colour: "refuse" or "luma", by the rule above. unit, modality: what the numbers mean; a picture cannot
    say. nonfinite: the value put in place of NaN and infinity in a float TIFF; None refuses them. Raises
    Truncated, Corrupt, TooLarge, Unsupported or FileProblem; BadOption for an unknown ``colour``.
    """
    path = Path(path)
    if colour not in _COLOUR_RULES:
        raise BadOption(f"colour: wanted one of {', '.join(_COLOUR_RULES)}, got {colour!r}")
    limits = limits or Limits()
    pixels = read_apart(path, limits, _decoded, path, limits)
    grey, notes = _grey(path, pixels, colour)
    grey, nonfinite_notes = _finite(path, grey, nonfinite)
    stamp = read_stamp(pixels.text)
    provenance = Provenance(
        sources=(path,),
        format="picture",
        synthetic=stamp.synthetic,
        history=(f"read from {pixels.format}, {pixels.mode}, shape {grey.shape}",),
        warnings=(*pixels.notes, *notes, *nonfinite_notes),
    )
    return Volume(grey[None], unit=unit or "a.u.", modality=modality or "", provenance=provenance)


def ahead(
    entries: Iterable[T], path_of: Callable[[T], Path | None], limits: Limits | None = None
) -> Iterator[T]:
    """The entries one by one, while the guarded process decodes the pictures of the next few. path_of: the
    file of an entry that will be read, or None.
    """
    limits, soon = limits or Limits(), deque[T]()
    for entry in entries:
        path = path_of(entry)
        if path is not None and path.suffix.lower() in _SUFFIXES:
            decoder().begin(path, limits.seconds, _decoded, path, limits)
        soon.append(entry)
        if len(soon) > _AHEAD:
            yield soon.popleft()
    yield from soon


@dataclass(frozen=True, slots=True)
class _Pixels:
    """What Pillow decoded: (rows, columns) or (rows, columns, channels), the format and mode it came from,
    its text.
    """

    values: NDArray
    format: str
    mode: str
    text: str
    notes: tuple[str, ...] = ()


def stored_png(path: Path) -> tuple[bytes, tuple[int, int]]:
    """The bytes of a PNG that medprior wrote, and its (width, height). Raises Corrupt where it is none."""
    content = path.read_bytes()
    if len(content) < 24 or not content.startswith(b"\x89PNG"):
        raise Corrupt(path, "is no PNG", "do the run again with --fresh")
    width, height = struct.unpack(">II", content[16:24])
    return content, (width, height)


def _check_png(path: Path, content: bytes) -> None:
    """Every chunk whole with its checksum, IEND last: the decoder skips the checksums of the picture data."""
    at, names = 8, []
    while at < len(content):
        if len(content) < at + 12:
            raise Truncated(path, f"ends at byte {len(content)}, inside a chunk", "copy the file again")
        length, name = struct.unpack(">I4s", content[at : at + 8])
        if len(content) < at + 12 + length:
            raise Truncated(
                path, f"ends at byte {len(content)}, inside the chunk at byte {at}", "copy the file again"
            )
        (stated,) = struct.unpack(">I", content[at + 8 + length : at + 12 + length])
        if zlib.crc32(memoryview(content)[at + 4 : at + 8 + length]) != stated:
            raise Corrupt(path, f"the checksum of the chunk at byte {at} is wrong", "copy the file again")
        names.append(name)
        if len(names) > _MOST_CHUNKS:
            raise TooLarge(path, f"has more than {_MOST_CHUNKS:,} chunks", "save it again")
        at += 12 + length
        if name == b"IEND":
            break
    if not names or names[0] != b"IHDR" or names[-1] != b"IEND":
        raise Truncated(path, "its last chunk is missing", "copy the file again")
    depth, colour_type = content[24], content[25]
    if depth == 16 and colour_type != 0:
        raise Unsupported(
            path,
            "16 bits for each of several channels would be cut to 8 by the decoder",
            "save it as 16-bit grey",
        )


def _check_jpeg(path: Path, content: bytes) -> None:
    """A progressive picture is gone over once for each of its scans."""
    if (scans := content.count(b"\xff\xda")) > _MOST_SCANS:
        raise TooLarge(path, f"has {scans} scans, the limit is {_MOST_SCANS}", "save it as PNG")


def _decoded(path: Path, limits: Limits) -> _Pixels:
    """In a guarded process: what is cheap is checked first."""
    limits.check(path, 1, regular_file(path))
    with faults_of(path, "a picture"), open(path, "rb") as file:
        content = file.read()
    name = picture_format(content[:8])
    if not name:
        raise Unsupported(path, "is no PNG, TIFF or JPEG")
    if check := {"PNG": _check_png, "JPEG": _check_jpeg}.get(name):
        check(path, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # our own limit below is the one that counts
            with Image.open(io.BytesIO(content), formats=[name]) as picture:
                return _pixels(path, picture, name, limits, len(content))
    except FileProblem:
        raise
    except Image.DecompressionBombError as error:
        raise TooLarge(
            path, "has more pixels than a picture may have", "save it smaller, or cut it into parts"
        ) from error
    except MemoryError as error:
        raise TooLarge(path, "needs more memory than there is") from error
    except UnidentifiedImageError as error:
        raise Corrupt(path, f"cannot be decoded as {name}") from error
    except (OSError, EOFError) as error:
        kind = Truncated if "truncated" in str(error) else Corrupt
        raise kind(path, f"cannot be decoded as {name} ({error})", "copy the file again") from error
    # Pillow's parsers raise whatever a broken field leads to (KeyError, struct.error, SyntaxError, ...)
    except Exception as error:
        raise Corrupt(path, f"cannot be decoded as {name} ({type(error).__name__}: {error})") from error


def _pixels(path: Path, picture: Image.Image, name: str, limits: Limits, size: int) -> _Pixels:
    width, height = picture.size
    limits.check_shape(
        path, (height, width, len(picture.getbands())), 4 if picture.mode in ("I", "F") else 1, size
    )
    tiff = picture if isinstance(picture, TiffImagePlugin.TiffImageFile) else None
    # the pages of a TIFF are a chain: to count them all may take hours
    pages = ("several" if tiff.tag_v2.next else 1) if tiff else getattr(picture, "n_frames", 1)
    if pages != 1:
        raise Unsupported(path, f"holds {pages} pages", "save each page as a file")
    mode, text, notes = picture.mode, _text(picture), []
    tags = dict(tiff.tag_v2) if tiff else {}
    if name != "TIFF" and picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        notes.append("turned upright by its EXIF orientation")
        ImageOps.exif_transpose(picture, in_place=True)
    if mode in ("P", "PA") or ("transparency" in picture.info and mode in ("L", "RGB", "1")):
        alpha = mode == "PA" or "transparency" in picture.info
        picture = picture.convert("RGBA" if alpha else "RGB")
    elif mode == "1":
        picture = picture.convert("L")
    if picture.mode not in (*_GREY, "LA", "RGB", "RGBA"):
        raise Unsupported(path, f"pixels of kind {mode} ({name}), wanted grey, palette, RGB or alpha")
    values = np.asarray(picture)
    if name == "TIFF":
        values, more = _tiff_values(path, values, mode, tags)
        notes += more
    if "transparency" in picture.info and mode.startswith("I"):
        notes.append("the transparent grey value was kept as a value")
    return _Pixels(values, name, mode, text, tuple(notes))


def _tiff_values(path: Path, values: NDArray, mode: str, tags: dict) -> tuple[NDArray, list[str]]:
    """What Pillow leaves as it is: unsigned 32 bit read as signed, white-is-zero above 8 bit, 16-bit
    colour.
    """
    bits, sample = np.max(tags.get(258, 1)), np.max(tags.get(339, 1))
    if values.ndim == 3 and bits > 8:
        raise Unsupported(
            path,
            f"{bits} bits for each of several channels would be cut to 8 by the decoder",
            "save it as 16-bit grey",
        )
    if mode == "I" and bits == 32 and sample == 1:
        values = values.view(np.uint32)
    if tags.get(262) == 0 and mode.startswith(("I", "F")):
        if mode == "F" or sample != 1:
            raise Unsupported(
                path,
                "white is zero in a picture that is signed or float, so its range is unknown",
                "save it with black as zero",
            )
        return (2 ** int(bits) - 1) - values.astype(np.int64), ["white was zero and has been inverted"]
    return values, []


def _text(picture: Image.Image) -> str:
    """The Description of a PNG or the ImageDescription of a TIFF, where our stamp is."""
    if isinstance(picture, PngImagePlugin.PngImageFile):
        return str(picture.text.get("Description", ""))
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return str(picture.tag_v2.get(270, ""))
    return ""


def _grey(path: Path, pixels: _Pixels, colour: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    values, notes = pixels.values, []
    if values.ndim == 2:
        return values.astype(np.float32), ()
    if values.shape[2] in (2, 4):
        if (values[..., -1] != 255).any():
            if colour == "refuse":
                raise Unsupported(
                    path, "is partly transparent", 'flatten it, or drop the transparency with colour="luma"'
                )
            notes.append("an alpha channel that was not opaque was dropped")
        values = values[..., :-1]
    if values.shape[2] == 1:
        return values[..., 0].astype(np.float32), tuple(notes)
    spread = int((values.max(2).astype(np.int16) - values.min(2)).max())
    if spread == 0:
        return values[..., 0].astype(np.float32), tuple(notes)
    if colour == "refuse" and not (pixels.format == "JPEG" and spread <= _JPEG_ROUNDING):
        raise Unsupported(
            path,
            f"is in colour (channels differ by up to {spread} of 255)",
            'save it as grey, or convert it with colour="luma"',
        )
    if spread > _JPEG_ROUNDING:
        notes.append("colour was turned to grey: 0.299 R + 0.587 G + 0.114 B")
    return (values @ _LUMA).astype(np.float32), tuple(notes)


def _finite(
    path: Path, grey: NDArray[np.float32], nonfinite: float | None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    bad = ~np.isfinite(grey)
    count = int(bad.sum())
    if count == 0:
        return grey, ()
    if nonfinite is None:
        raise Corrupt(
            path,
            f"{count:,} of {grey.size:,} pixels are NaN or infinite",
            "read it with nonfinite=0 to replace them",
        )
    return np.where(bad, np.float32(nonfinite), grey), (
        f"{count} pixels were NaN or infinite and became {nonfinite:g}",
    )


def open_picture(path: Path) -> Image.Image:
    """A PNG that medprior has written, in its colours. Raises FileProblem."""
    try:
        picture = Image.open(io.BytesIO(path.read_bytes()), formats=["PNG"])
        picture.load()
    except (OSError, SyntaxError) as error:
        raise FileProblem(path, "cannot be read as the PNG that it was") from error
    return picture


def write_picture(
    volume: Volume,
    path: str | Path,
    *,
    window: tuple[float, float] | None = None,
    bits: int | None = None,
    synthetic: bool | None = None,
) -> None:
    """A 2-D Volume as a grey PNG or TIFF of 8 or 16 bits, with its stamp in the text of the file.

    window: (low, high) are shown as black and white, and noted in the text; without it the values themselves
    are stored, rounded and, where at most 1 in 100 lies outside, clipped. bits: 8 or 16; by default 16 where
    a value exceeds 255 (or a window is given), else 8. Raises ShapeMismatch for a volume, BadOption for
    values or a window that cannot be shown, FileProblem when the disk refuses.
    """
    path = Path(path)
    if volume.ndim != 2 or volume.data.shape[0] != 1:
        raise ShapeMismatch(
            "write_picture",
            "one channel and two axes (1, i, j)",
            volume.data.shape,
            "choose a slice, or write .nii.gz",
        )
    if path.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise BadOption(
            f"a picture is written as .png or .tif, got {path.suffix!r}",
            "JPEG is not written: it changes values",
        )
    values, text = _shown(volume, window, bits)
    made = volume.provenance.synthetic if synthetic is None else synthetic
    write_file(
        path,
        lambda temporary: _save(
            values, temporary, {"Description": stamp_text(made), "Software": "medprior", **text}
        ),
    )


def _shown(
    volume: Volume, window: tuple[float, float] | None, bits: int | None
) -> tuple[NDArray, dict[str, str]]:
    data = volume.data[0].astype(np.float64)
    if not np.isfinite(data).all():
        raise BadOption("a picture cannot hold NaN or infinity")
    bits = bits or (16 if window is not None or data.max() >= 255.5 else 8)
    if bits not in (8, 16):
        raise BadOption(f"bits: wanted 8 or 16, got {bits}")
    top, text = 2**bits - 1, {}
    if window is not None:
        low, high = window
        if not (np.isfinite(window).all() and low < high):
            raise BadOption(f"window: wanted (low, high) with low < high, got {window}")
        data = (data - low) * (top / (high - low))
        text["Window"] = f"black={low:g} white={high:g} unit={volume.unit}"
    outside = int(((data < -0.5) | (data > top + 0.5)).sum())
    if window is None and outside > 0.01 * data.size:
        raise BadOption(
            f"values reach from {data.min():g} to {data.max():g} and do not fit {bits} bits",
            "give window=(low, high), or write .nii.gz",
        )
    if outside:
        text["Clipped"] = f"{outside} of {data.size} pixels"
    return np.rint(np.clip(data, 0, top)).astype(np.uint8 if bits == 8 else np.uint16), text


def _save(values: NDArray, path: Path, text: dict[str, str]) -> None:
    picture = Image.fromarray(values)
    if path.suffix.lower() == ".png":
        info = PngImagePlugin.PngInfo()
        for key, value in text.items():
            info.add_text(key, value)
        picture.save(path, format="PNG", pnginfo=info)
    else:
        words = "; ".join(
            [text["Description"], *(f"{k}: {v}" for k, v in text.items() if k in ("Window", "Clipped"))]
        )
        picture.save(
            path,
            format="TIFF",
            compression="tiff_adobe_deflate",
            tiffinfo={270: words, 305: text["Software"]},
        )

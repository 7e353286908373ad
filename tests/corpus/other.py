"""Bad and odd inputs that are no DICOM: NIfTI, pictures, NPZ, zip archives, and things that are no files at
all.
"""

from __future__ import annotations

import gzip
import io
import os
import socket
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import h5py
import nibabel as nib
import numpy as np
from PIL import Image

from . import Case

__all__ = ["cases", "nifti", "npz", "png", "png_chunks", "seeds", "zipped"]

VOXELS = np.arange(120, dtype=np.int16).reshape(6, 5, 4) * 7 - 50
AFFINE = np.array([[2.0, 0, 0, -10], [0, 3.0, 0, 20], [0, 0, 4.0, -30], [0, 0, 0, 1]])
GREY = (np.arange(20 * 24).reshape(20, 24) * 7 % 251).astype(np.uint8)

Row = tuple[str, str, bytes, str]
"""name, suffix, content, expectation"""


def nifti(
    voxels: np.ndarray = VOXELS,
    affine: np.ndarray | None = AFFINE,
    *,
    version: int = 1,
    big: bool = False,
    extension: bytes = b"",
    **fields: object,
) -> bytes:
    """A single-file NIfTI; ``fields`` overwrite the header after everything else, e.g. ``scl_slope=0``,
    ``dim=[...]``.
    """
    kind = {1: nib.Nifti1Image, 2: nib.Nifti2Image}[version]
    header = kind(voxels, affine, dtype=voxels.dtype).header
    if affine is not None:
        header.set_sform(affine, 1)
        header.set_qform(affine, 1)
    if big:
        header = header.as_byteswapped(">")
    body = voxels.astype(voxels.dtype.newbyteorder(">" if big else "<")).tobytes(order="F")
    start = header.single_vox_offset + len(extension)
    header["magic"], header["vox_offset"], header["scl_slope"], header["scl_inter"] = (
        header.single_magic,
        start,
        1,
        0,
    )
    for name, value in fields.items():
        header[name] = value
    marker = b"\1\0\0\0" if extension else b"\0\0\0\0"
    return header.binaryblock + marker + extension + body


def png_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of hand-made chunks with right checksums."""
    packed = (
        struct.pack(">I4s", len(body), name) + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def png(values: np.ndarray = GREY, mode: str | None = None, **options: object) -> bytes:
    """A PNG by Pillow."""
    return picture(Image.fromarray(values), "PNG", mode, **options)


def picture(image: Image.Image, name: str, mode: str | None = None, **options: object) -> bytes:
    """Any picture by Pillow, as bytes."""
    out = io.BytesIO()
    (image.convert(mode) if mode else image).save(out, format=name, **options)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    """A compressed NPZ."""
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=True, **arrays)
    return out.getvalue()


def zipped(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED, mode: int = 0) -> bytes:
    """A zip archive; mode: the Unix type bits of every member, e.g. ``stat.S_IFLNK``."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = compression, (mode | 0o644) << 16
            archive.writestr(info, content)
    return out.getvalue()


def bytes_changed(content: bytes, at: int, new: bytes) -> bytes:
    at %= len(content)
    return content[:at] + new + content[at + len(new) :]


def _turned(codes: str) -> bytes:
    """The base volume with its axes stored in another order and direction."""
    image = nib.Nifti1Image(VOXELS, AFFINE)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(AFFINE), nib.orientations.axcodes2ornt(tuple(codes))
    )
    other = image.as_reoriented(turn.tolist())
    return nifti(np.asarray(other.dataobj), other.affine)


def _nifti_equal() -> Iterator[tuple[str, str, bytes]]:
    packed = gzip.compress(nifti(), mtime=0)
    yield "big-endian", ".nii", nifti(big=True)
    yield "packed", ".nii.gz", packed
    yield (
        "packed-in-two-members",
        ".nii.gz",
        gzip.compress(nifti()[:300], mtime=0) + gzip.compress(nifti()[300:], mtime=0),
    )
    yield "packed-without-saying-so", ".nii", packed
    yield "version-2", ".nii", nifti(version=2)
    yield "version-2-big-endian", ".nii", nifti(version=2, big=True)
    yield "stored-las", ".nii", _turned("LAS")
    yield "stored-pir", ".nii", _turned("PIR")
    yield "stored-isl", ".nii", _turned("SLA")
    yield "in-metres", ".nii", nifti(affine=np.diag([0.001, 0.001, 0.001, 1]) @ AFFINE, xyzt_units=1)
    yield "slope-zero", ".nii", nifti(scl_slope=0, scl_inter=9)
    yield "slope-unset", ".nii", nifti(scl_slope=np.nan, scl_inter=np.nan)
    yield "slope-half", ".nii", nifti((2 * (VOXELS - 3)).astype(np.int16), scl_slope=0.5, scl_inter=3)
    yield "float64", ".nii", nifti(VOXELS.astype(np.float64))
    yield "int64", ".nii", nifti(VOXELS.astype(np.int64))
    yield "bytes-after-the-voxels", ".nii", nifti() + b"\0" * 100
    yield "extension", ".nii", nifti(extension=struct.pack("<ii", 16, 6) + b"comment\0")
    yield "offset-unset", ".nii", nifti(vox_offset=0)
    yield "named-dcm", ".dcm", nifti()
    yield "qform-only", ".nii", nifti(sform_code=0)
    yield "sform-zero", ".nii", nifti(srow_x=0, srow_y=0, srow_z=0)
    yield "sform-nan", ".nii", nifti(srow_y=np.nan)
    yield "sform-only", ".nii", nifti(qform_code=0)
    yield "4-d-of-one", ".nii", nifti(VOXELS[..., None])


def _nifti_rows() -> Iterator[Row]:
    yield "nifti", ".nii", nifti(), "reads"
    for name, suffix, content in _nifti_equal():
        yield f"nifti-{name}", suffix, content, "equal:nifti"
    yield "nifti-forms-disagree", ".nii", nifti(srow_x=[-2, 0, 0, 10]), "reads"
    yield "nifti-no-codes", ".nii", nifti(sform_code=0, qform_code=0), "reads"
    yield (
        "nifti-no-codes-packed",
        ".nii.gz",
        gzip.compress(nifti(sform_code=0, qform_code=0), mtime=0),
        "equal:nifti-no-codes",
    )
    yield "nifti-singular", ".nii", nifti(srow_x=[2, 0, 0, 0], srow_y=[2, 0, 0, 0], qform_code=0), "reads"
    yield "nifti-image", ".nii", nifti(VOXELS[..., 0]), "reads"
    for name, content, expect in _nifti_refused():
        yield (
            f"nifti-{name}",
            ".nii.gz" if content[:2] == b"\x1f\x8b" else ".nii",
            content,
            "refuses:" + expect,
        )


def _nifti_refused() -> Iterator[tuple[str, bytes, str]]:
    packed = gzip.compress(nifti(), mtime=0)
    yield "4-d", nifti(np.stack([VOXELS] * 3, -1)), "Unsupported:time=0 to time=2"
    yield "no-axis", nifti(dim=[0, 6, 5, 4, 1, 1, 1, 1]), "Corrupt:0 axes"
    yield "one-axis", nifti(dim=[1, 6, 1, 1, 1, 1, 1, 1]), "Corrupt:1 axes"
    yield "eight-axes", nifti(dim=[8, 6, 5, 4, 1, 1, 1, 1]), "Corrupt:8 axes"
    yield "empty-axis", nifti(dim=[3, 6, 0, 4, 1, 1, 1, 1]), "Corrupt:empty or negative"
    yield "negative-axis", nifti(dim=[3, 6, -5, 4, 1, 1, 1, 1]), "Corrupt:empty or negative"
    yield "giant-dims", nifti(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "TooLarge:voxels"
    yield "giant-dims-4-d", nifti(dim=[7, 32767, 32767, 32767, 32767, 32767, 32767, 32767]), "TooLarge:voxels"
    yield (
        "giant-dims-version-2",
        nifti(version=2, dim=[3, 2**62, 2**62, 2**62, 1, 1, 1, 1]),
        "TooLarge:voxels",
    )
    yield (
        "giant-bytes",
        nifti(np.zeros((2, 2, 2), np.float64), dim=[3, 1024, 1024, 1024, 1, 1, 1, 1]),
        "TooLarge:bytes",
    )
    yield (
        "promises-too-much",
        gzip.compress(nifti(dim=[3, 512, 512, 512, 1, 1, 1, 1]), mtime=0),
        "TooLarge:to 1",
    )
    yield "bomb", gzip.compress(nifti(np.zeros((256, 256, 320), np.int16)), mtime=0), "TooLarge:to 1"
    yield "goes-on-for-ever", gzip.compress(nifti() + bytes(2**26 + 2**21), mtime=0), "Corrupt:goes on"
    yield "cut-in-the-voxels", nifti()[:-1], "Truncated:before its header says so"
    yield "cut-in-the-header", nifti()[:200], "Truncated:inside the header"
    yield "packed-cut", packed[:-20], "Truncated:ends too early"
    yield "packed-cut-in-the-checksum", packed[:-3], "Truncated:ends too early"
    yield "packed-cut-at-its-start", packed[:6], "Corrupt:damaged at its start"
    yield "packed-short", gzip.compress(nifti()[:-2], mtime=0), "Truncated:before its header says so"
    yield "packed-wrong-checksum", bytes_changed(packed, -6, bytes([packed[-6] ^ 1])), "Corrupt:CRC"
    yield "packed-wrong-length", bytes_changed(packed, -2, bytes([packed[-2] ^ 1])), "Corrupt:damaged"
    yield "packed-with-garbage-after", packed + b"garbage", "Corrupt:damaged"
    yield "packed-text", gzip.compress(b"no scan at all", mtime=0), "Unsupported:does not hold NIfTI"
    yield "pair", nifti(magic=b"ni1"), "Unsupported:.hdr/.img"
    yield "analyze", nifti(magic=b""), "Unsupported:Analyze"
    yield "rgb", nifti(datatype=128, bitpix=24), "Unsupported:RGB"
    yield "complex", nifti(datatype=32, bitpix=64), "Unsupported:complex"
    yield "unknown-datatype", nifti(datatype=77), "Unsupported:77"
    yield "wrong-bits", nifti(bitpix=8), "Corrupt:bits"
    yield "offset-nan", nifti(vox_offset=np.nan), "Corrupt:start at byte"
    yield "offset-negative", nifti(vox_offset=-8), "Corrupt:start at byte"
    yield "offset-in-the-header", nifti(vox_offset=100), "Corrupt:start at byte"
    yield "offset-far-away", nifti(vox_offset=2**40), "Corrupt:start at byte"
    yield "offset-behind-the-end", nifti(vox_offset=2**20), "Truncated:inside the header"
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        voxels = VOXELS.astype(np.float32)
        voxels[1, 2, 3] = value
        yield f"{name}-voxel", nifti(voxels), "Corrupt:1 of 120 voxels"
    yield "beyond-float32", nifti(np.full((2, 2, 2), 1e300)), "Corrupt:8 of 8 voxels"
    yield "slope-nan", nifti(scl_slope=np.nan, scl_inter=5), "Corrupt:not finite"
    yield "slope-infinite", nifti(scl_slope=np.inf), "Corrupt:not finite"
    yield "intercept-nan", nifti(scl_slope=2, scl_inter=np.nan), "Corrupt:not finite"


def _picture_rows() -> Iterator[Row]:
    grey, wide = Image.fromarray(GREY), GREY.astype(np.uint16) * 257
    deep = Image.fromarray(wide)
    palette = Image.fromarray(255 - GREY).convert("P")
    palette.putpalette([v for n in range(256) for v in (255 - n,) * 3])
    turned = Image.Exif()
    turned[274] = 6
    yield "png", ".png", png(), "reads"
    yield "png-rgb", ".png", png(mode="RGB"), "equal:png"
    yield "png-opaque", ".png", png(mode="RGBA"), "equal:png"
    yield "png-grey-opaque", ".png", png(mode="LA"), "equal:png"
    yield "png-palette", ".png", picture(palette, "PNG"), "equal:png"
    yield "png-named-jpg", ".jpg", png(), "equal:png"
    yield "png-lying-on-its-side", ".png", png(np.rot90(GREY).copy(), exif=turned), "equal:png"
    yield "tiff", ".tif", picture(grey, "TIFF"), "equal:png"
    yield "tiff-packed", ".tif", picture(grey, "TIFF", compression="tiff_lzw"), "equal:png"
    yield "png-16", ".png", picture(deep, "PNG"), "reads"
    yield "tiff-16", ".tif", picture(deep, "TIFF"), "equal:png-16"
    yield "tiff-16-big-endian", ".tif", _tiff(wide, ">"), "equal:png-16"
    yield "tiff-16-white-is-zero", ".tif", _tiff(65535 - wide, "<", photometric=0), "equal:png-16"
    yield "tiff-32", ".tif", _tiff(wide.astype(np.uint32), "<"), "equal:png-16"
    yield "tiff-float", ".tif", _tiff(wide.astype(np.float32), "<", sample=3), "equal:png-16"
    yield "tiff-big-numbers", ".tif", _tiff(wide.astype(np.uint32) + 2**31, "<"), "reads"
    yield "jpeg", ".jpg", picture(grey, "JPEG", quality=95), "reads"
    yield (
        "jpeg-three-equal-channels",
        ".jpg",
        picture(grey, "JPEG", "RGB", quality=95, subsampling=0),
        "reads",
    )
    yield "png-two-levels", ".png", png(mode="1"), "reads"
    for name, suffix, content, expect in _pictures_refused(grey, wide):
        yield name, suffix, content, "refuses:" + expect


def _tiff(values: np.ndarray, order: Literal["<", ">"], *, photometric: int = 1, sample: int = 1) -> bytes:
    """A TIFF of one strip, in either byte order."""
    tags = [
        (256, values.shape[1]),
        (257, values.shape[0]),
        (258, 8 * values.itemsize),
        (259, 1),
        (262, photometric),
        (273, 8 + 2 + 12 * 10 + 4),
    ]
    tags += [(277, 1), (278, values.shape[0]), (279, values.nbytes), (339, sample)]
    head = (
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(order + "I", 8)
        + struct.pack(order + "H", len(tags))
    )
    table = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    return head + table + bytes(4) + values.astype(values.dtype.newbyteorder(order)).tobytes()


def _pictures_refused(grey: Image.Image, wide: np.ndarray) -> Iterator[Row]:
    colour = np.dstack([GREY, GREY[::-1], GREY.T.copy().reshape(GREY.shape)])
    clear = np.dstack([GREY, GREY, GREY, np.full_like(GREY, 100)])
    nan = wide.astype(np.float32)
    nan[3, 4] = np.nan
    body = png()
    header = struct.pack(">IIBBBBB", 24, 20, 8, 0, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in GREY))
    yield "png-colour", ".png", png(colour), "Unsupported:colour"
    yield "jpeg-colour", ".jpg", picture(Image.fromarray(colour), "JPEG"), "Unsupported:colour"
    yield "jpeg-cmyk", ".jpg", picture(Image.merge("CMYK", [grey] * 4), "JPEG"), "Unsupported:CMYK"
    yield "png-transparent", ".png", png(clear), "Unsupported:transparent"
    yield "png-16-rgb", ".png", _png16(2), "Unsupported:cut to 8"
    yield "png-16-with-alpha", ".png", _png16(4), "Unsupported:cut to 8"
    yield "png-bomb", ".png", png(np.zeros((13_000, 13_000), np.uint8), compress_level=1), "TooLarge:to 1"
    many = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    yield (
        "png-of-too-many-pixels",
        ".png",
        png_chunks((b"IHDR", many), (b"IEND", b"")),
        "TooLarge:more pixels",
    )
    for name, width, expect in (("giant", 2**31 - 1, "TooLarge:"), ("empty-axis", 0, "Corrupt:")):
        yield (
            f"png-{name}",
            ".png",
            png_chunks(
                (b"IHDR", struct.pack(">II", width, 2**20) + header[8:]), (b"IDAT", lines), (b"IEND", b"")
            ),
            expect,
        )
    yield "png-wrong-checksum", ".png", bytes_changed(body, 60, bytes([body[60] ^ 1])), "Corrupt:checksum"
    yield "png-cut", ".png", body[:-30], "Truncated:inside"
    yield "png-without-end", ".png", body[:-12], "Truncated:last chunk"
    yield "png-only-magic", ".png", body[:8], "Truncated:last chunk"
    yield (
        "png-bad-stream",
        ".png",
        png_chunks((b"IHDR", header), (b"IDAT", lines[:40] + b"\xff" * 40), (b"IEND", b"")),
        "Truncated:",
    )
    yield (
        "png-short-stream",
        ".png",
        png_chunks((b"IHDR", header), (b"IDAT", lines[:60]), (b"IEND", b"")),
        "Truncated:",
    )
    yield "png-no-picture", ".png", png_chunks((b"IHDR", header), (b"IEND", b"")), "Corrupt:"
    yield (
        "png-moving",
        ".png",
        picture(grey, "PNG", save_all=True, append_images=[grey.rotate(180)]),
        "Unsupported:2 pages",
    )
    yield (
        "tiff-pages",
        ".tif",
        picture(grey, "TIFF", save_all=True, append_images=[grey, grey]),
        "Unsupported:several pages",
    )
    yield "tiff-cut", ".tif", picture(grey, "TIFF")[:-200], "Truncated:"
    yield "tiff-nan", ".tif", _tiff(nan, "<", sample=3), "Corrupt:1 of 480 pixels"
    yield (
        "tiff-float-white-is-zero",
        ".tif",
        _tiff(wide.astype(np.float32), "<", photometric=0, sample=3),
        "Unsupported:white is zero",
    )
    yield "jpeg-cut", ".jpg", picture(grey, "JPEG")[:-120], "Truncated:truncated"
    yield "jpeg-only-magic", ".jpg", b"\xff\xd8\xff\xe0", "Corrupt:cannot be decoded"


def _png16(colour_type: int) -> bytes:
    channels = {2: 3, 4: 2}[colour_type]
    lines = zlib.compress((b"\0" + bytes(2 * channels * 4)) * 4)
    return png_chunks(
        (b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, colour_type, 0, 0, 0)), (b"IDAT", lines), (b"IEND", b"")
    )


def _npz_rows() -> Iterator[Row]:
    image = GREY[None].astype(np.float32)
    good = npz(image=image)
    yield "npz", ".npz", npz(image=image), "equal:png"
    yield "npz-stack-of-one", ".npz", npz(images=GREY[None]), "equal:png"
    yield "npz-big-endian", ".npz", npz(images=GREY[None].astype(">i2")), "equal:png"
    yield "npz-column-order", ".npz", npz(images=np.asfortranarray(GREY[None])), "equal:png"
    yield (
        "npz-hounsfield",
        ".npz",
        npz(hu=GREY[None].astype(np.int16), pixel_spacing_mm=np.array([0.7])),
        "reads",
    )
    for name, content, expect in _npz_refused(image, good):
        yield f"npz-{name}", ".npz", content, "refuses:" + expect


def _npz_refused(image: np.ndarray, good: bytes) -> Iterator[tuple[str, bytes, str]]:
    yield "stack", npz(images=np.stack([GREY] * 3)), "Unsupported:choose one with index (--index) 0 to 2"
    yield "pickled", npz(image=np.array([{"a": 1}], dtype=object)), "Unsupported:run code"
    yield "records", npz(image=np.zeros(3, dtype=[("a", "f4"), ("b", "i2")])), "Unsupported:numbers or text"
    yield "kspace", npz(kspace=np.ones((2, 4, 4), np.complex64)), "Unsupported:read_kspace"
    yield (
        "sinogram",
        npz(sinogram=np.ones((2, 4), np.float32), angles_deg=np.ones(2)),
        "Unsupported:read_sinogram",
    )
    yield "something-else", npz(weights=np.ones(3)), "Unsupported:weights"
    yield "nan", npz(image=image * np.nan), "Corrupt:NaN"
    yield "stack-nan", npz(images=image * np.nan), "Corrupt:NaN"
    yield "five-axes", npz(image=np.ones((1, 2, 2, 2, 2))), "Corrupt:one volume"
    yield "empty-axis", npz(image=np.ones((1, 0, 3))), "Corrupt:empty or negative"
    yield "singular-affine", npz(image=np.ones((1, 2, 2, 2)), affine=np.zeros((4, 4))), "Corrupt:one volume"
    yield "labels-of-others", npz(images=GREY[None], labels=np.arange(4)), "Corrupt:labels"
    yield (
        "spacing-negative",
        npz(hu=GREY[None], pixel_spacing_mm=np.array([-1.0])),
        "Corrupt:pixel_spacing_mm",
    )
    yield "cut", good[:-40], "Corrupt:zip"
    yield "wrong-checksum", bytes_changed(good, 150, bytes([good[150] ^ 4])), "Corrupt:"
    yield "bomb", npz(image=np.zeros((1, 8000, 8000), np.uint8)), "TooLarge:to 1"
    giant = zipped(("image.npy", _npy_header((1, 2**20, 2**20)) + bytes(10)))
    yield "giant", giant, "TooLarge:voxels"
    yield "lying-header", zipped(("image.npy", _npy_header((1, 40, 40)) + bytes(10))), "Corrupt:declares"
    yield "twice", zipped(("image.npy", _npy(image)), ("IMAGE.npy", _npy(image))), "Corrupt:twice"
    yield "encrypted", _encrypted(zipped(("image.npy", _npy(image)))), "Unsupported:encrypted"
    yield (
        "other-compression",
        zipped(("image.npy", _npy(image)), compression=zipfile.ZIP_BZIP2),
        "Unsupported:compression",
    )
    yield "bad-array-header", zipped(("image.npy", b"\x93NUMPY\1\0\x10\0{'descr': oh no}")), "Corrupt:"
    yield "no-array-header", zipped(("image.npy", b"hello")), "Corrupt:"


def _npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return out.getvalue()


def _encrypted(archive: bytes) -> bytes:
    """The flag of encryption set in both headers of the first member."""
    at = archive.index(b"PK\1\2")
    return bytes_changed(bytes_changed(archive, 6, b"\1"), at + 8, b"\1")


def _zip_rows() -> Iterator[Row]:
    scan = nifti()
    yield "zip-nifti", ".zip", zipped(("scan.nii", scan)), "equal:nifti"
    yield "zip-stored", ".zip", zipped(("a/b/scan.nii", scan), compression=zipfile.ZIP_STORED), "equal:nifti"
    yield "zip-png", ".zip", zipped(("scan.png", png())), "equal:png"
    refused = {
        "parent": (zipped(("../../evil.nii", scan)), "Corrupt:leave the folder"),
        "parent-inside": (zipped(("a/../../evil.nii", scan)), "Corrupt:leave the folder"),
        "absolute": (zipped(("/tmp/evil.nii", scan)), "Corrupt:leave the folder"),
        "backslash": (zipped(("..\\evil.nii", scan)), "Corrupt:leave the folder"),
        "drive": (zipped(("c:/evil.nii", scan)), "Corrupt:leave the folder"),
        "escape-codes": (zipped(("a\x1b[31m.nii", scan)), "Corrupt:leave the folder"),
        "long-name": (zipped(("a" * 300, scan)), "Corrupt:leave the folder"),
        "deep": (zipped(("d/" * 40 + "scan.nii", scan)), "Corrupt:leave the folder"),
        "link": (zipped(("scan.nii", b"/etc/passwd"), mode=stat.S_IFLNK), "Unsupported:link"),
        "device": (zipped(("scan.nii", b""), mode=stat.S_IFCHR), "Unsupported:link or a device"),
        "one-bad-name-among-good": (zipped(("scan.nii", scan), ("../evil", b"")), "Corrupt:leave the folder"),
        "twice": (zipped(("scan.nii", scan), ("SCAN.nii", scan)), "Corrupt:twice"),
        "bomb": (zipped(("scan.nii", bytes(2**26))), "TooLarge:to 1"),
        "many": (
            zipped(*((f"{n}", b"") for n in range(20_001)), compression=zipfile.ZIP_STORED),
            "TooLarge:members",
        ),
        "in-a-zip": (zipped(("a.zip", zipped(("scan.nii", scan)))), "Unsupported:another archive"),
        "empty": (zipped(), "Corrupt:empty archive"),
        "encrypted": (_encrypted(zipped(("scan.nii", scan))), "Unsupported:encrypted"),
        "cut": (zipped(("scan.nii", scan))[:-30], "Corrupt:zip"),
        "wrong-checksum": (
            bytes_changed(zipped(("scan.nii", scan), compression=zipfile.ZIP_STORED), 400, b"\x77"),
            "Corrupt:CRC",
        ),
        "no-scan": (zipped(("a.txt", b"text"), ("b.txt", b"text")), "Unsupported:no DICOM"),
    }
    for name, (content, expect) in refused.items():
        yield f"zip-{name}", ".zip", content, "refuses:" + expect


def _stranger_rows() -> Iterator[Row]:
    yield "empty", ".dcm", b"", "refuses:Corrupt:empty"
    yield "one-byte", ".nii", b"\x5c", "refuses:Unsupported:no kind"
    yield "text", ".nii", b"This is a letter.\n" * 40, "refuses:Unsupported:no kind"
    yield "zeros", ".dcm", bytes(4000), "refuses:Unsupported:no kind"
    yield "pickle", ".npz", b"\x80\x04\x95" + b"cos\nsystem\n", "refuses:Unsupported:pickle"
    yield "bare-array", ".npy", _npy(GREY), "refuses:Unsupported:bare NumPy"
    starts = {
        "7z": b"7z\xbc\xaf\x27\x1c",
        "rar": b"Rar!\x1a\x07",
        "bzip2": b"BZh91AY",
        "xz": b"\xfd7zXZ\0",
        "pdf": b"%PDF-1.4",
        "gif": b"GIF89a",
    }
    starts |= {
        "bmp": b"BM\0\0",
        "nrrd": b"NRRD0005\n",
        "mha": b"ObjectType = Image\n",
        "xml": b"<?xml version='1.0'?>",
    }
    for name, start in starts.items():
        yield f"stranger-{name}", ".nii", start + bytes(200), "refuses:Unsupported:"


def _hdf5(fill: Callable[[h5py.File], None]) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        fill(file)
    return out.getvalue()


def fastmri(n_slices: int = 1) -> bytes:
    """K-space in the layout of fastMRI."""
    values = (np.arange(n_slices * 2 * 8 * 6).reshape(n_slices, 2, 8, 6) % 17 + 1j).astype(np.complex64)

    def fill(file: h5py.File) -> None:
        file["kspace"] = values

    return _hdf5(fill)


def _no_files(folder: Path) -> Iterator[Case]:
    """What is no ordinary file: never opened, never waited for."""
    os.mkfifo(folder / "pipe")
    yield Case("pipe", folder / "pipe", "refuses:FileProblem:not opened")
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket is short by law
        try:
            one.bind("socket")
        finally:
            os.chdir(here)
    yield Case("socket", folder / "socket", "refuses:FileProblem:not opened")
    yield Case("device", Path("/dev/null"), "refuses:FileProblem:not opened")
    (folder / "round").symlink_to("round")
    yield Case("link-to-itself", folder / "round", "refuses:FileProblem:cannot be read")
    (folder / "nowhere").symlink_to("gone")
    yield Case("link-to-nowhere", folder / "nowhere", "refuses:FileProblem:no such file")
    yield Case("missing", folder / "missing.nii", "refuses:FileProblem:no such file")
    yield Case("below-a-file", folder / "nifti.nii" / "scan", "refuses:FileProblem:")
    yield Case("name-too-long", folder / ("n" * 300), "refuses:FileProblem:")
    yield Case("nul-in-the-name", folder / "a\0b", "refuses:FileProblem:")
    (folder / "bare").mkdir()
    yield Case("empty-folder", folder / "bare", "refuses:Unsupported:no DICOM")


def cases(folder: Path) -> list[Case]:
    """Every row, written into ``folder``."""
    rows = [
        *_nifti_rows(),
        *_picture_rows(),
        *_npz_rows(),
        *_zip_rows(),
        *_stranger_rows(),
        ("hdf5", ".h5", fastmri(), "refuses:Unsupported:read_kspace"),
    ]
    found = []
    for name, suffix, content, expect in rows:
        path = folder / f"{name}{suffix}"
        path.write_bytes(content)
        found.append(Case(name, path, expect))
    return [*found, *_no_files(folder)]


def seeds() -> dict[str, bytes]:
    """Small good files, one a format, for mutations."""
    return {
        "a.nii": nifti(),
        "b.nii.gz": gzip.compress(nifti(), mtime=0),
        "c.nii": nifti(VOXELS.astype(np.float32), version=2, big=True),
        "d.png": png(),
        "e.png": picture(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
        "f.tif": picture(Image.fromarray(GREY), "TIFF", compression="tiff_lzw"),
        "g.tif": _tiff(GREY.astype(np.float32), ">", sample=3),
        "h.jpg": picture(Image.fromarray(GREY), "JPEG"),
        "i.npz": npz(images=np.stack([GREY] * 2), labels=np.arange(2)),
        "j.npz": npz(image=GREY[None].astype(np.float32)),
        "k.zip": zipped(("scan.nii", nifti())),
        "l.h5": fastmri(),
    }

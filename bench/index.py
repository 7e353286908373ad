"""The index of a data set: its size, and what it costs to write, to read and to bring up to date.

python bench/records.py index -- bench/index.py --rows 1000000 --files 100000 --twins 100000

Rows: made-up scans, written to SQLite one after the other and read again, with the patients that lie in
several splits and one shard of 64 by patient. Files: CT slices of 32 x 32 in series of 50 with 30 private
elements each, as small as DICOM gets; the header pass on one core, a first scan, the same scan again, and
once more after one file in a hundred has changed.
Processor time, of this process and its children; the load says how busy the machine was.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import tempfile
import time
from binascii import b2a_base64
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medprior.data.volume import Volume
from medprior.io.dataset import store
from medprior.io.dataset.index import Item
from medprior.io.dataset.layout import INDEX, THUMBS
from medprior.io.dataset.listing import list_files
from medprior.io.dataset.pixels.twins import near_pairs, thumbnail
from medprior.io.dicom.read.tree import index_files
from medprior.io.disk.limits import Limits

MB = 1e6
A_SERIES = 50


def processor() -> float:
    past = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + past.ru_utime + past.ru_stime


def peak() -> float:
    """MB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB


def made(n: int) -> Iterator[Item]:
    """Radiographs, two a patient, each with a hash and a thumbnail of its own."""
    rng = np.random.default_rng(0)
    thumbs = [thumbnail(Volume(rng.random((1, 32, 32), np.float32))) for _ in range(1000)]
    shape, spacing, splits = (512, 512), (0.2, 0.2), ("train", "train", "train", "val", "test")
    for k in range(n):
        digest = hashlib.sha256(b"%d" % k).hexdigest()
        yield Item(
            f"i{digest[:16]}", f"{k // 1000:04}/{k:08}.dcm", "s1", "normal", f"p{k // 2:016x}",
            splits[k // 2 % 5], "", "dicom", shape, 1, "a.u.", "DX", spacing, False, digest, thumbs[k % 1000],
            k % 100, False, False, digest[32:], values=(0.0, float(k % 4096)),
        )  # fmt: skip


@dataclass
class Apart:
    """Scans that are made up in blocks, and the CPU seconds that this alone takes."""

    n: int
    seconds: float = 0.0

    def __iter__(self) -> Iterator[Item]:
        scans = made(self.n)
        while True:
            start = processor()
            block = list(islice(scans, 1000))
            self.seconds += processor() - start
            if not block:
                return
            yield from block


def rows(n: int, folder: Path) -> None:
    key, start, scans = store.secret_key(folder), processor(), Apart(n)
    store._write(folder / INDEX, {}, scans, key)
    spent = processor() - start - scans.seconds
    print(f"{n} rows written      {spent:6.1f} CPU s, without {scans.seconds:.1f} s to make them up")
    start, scans = processor(), Apart(n)
    store._write_thumbs(folder / THUMBS, folder / INDEX, scans, key)
    spent = processor() - start - scans.seconds
    print(f"thumbnails written   {spent:8.1f} CPU s, into a file of their own")
    thumbs, size = (folder / THUMBS).stat().st_size, (folder / INDEX).stat().st_size
    print(f"size                 {size / MB:8.0f} MB, and {thumbs / MB:.0f} MB of thumbnails")
    start = processor()
    with closing(store._opened(folder / INDEX)) as base:
        many = "SELECT count(*) FROM (SELECT patient FROM scans GROUP BY patient HAVING count(DISTINCT split) > 1)"
        (crossing,) = base.execute(many).fetchone()
        print(f"seal and patients    {processor() - start:8.2f} CPU s, {crossing} patients in several splits")
    start, shard = processor(), 0
    for item in store.stored_scans(folder / INDEX):
        shard += int(item.owner[1:], 16) % 64 == 3
    print(f"every scan, a shard  {processor() - start:8.2f} CPU s, {shard} scans in it")
    print(f"peak of memory       {peak():8.0f} MB")


def slices(folder: Path, n: int) -> None:
    """n files of one template, in series of 50."""
    whole = template(folder / "template.dcm")
    rng = np.random.default_rng(0)
    for k in range(n):
        series, place = divmod(k, A_SERIES)
        home = folder / "a" / f"{series:05}"
        home.mkdir(parents=True, exist_ok=True)
        content = whole
        for old, new in (
            (b"1.2.9.3.1000000", b"1.2.9.3.%07d" % (1_000_000 + k)),
            (b"1.2.9.1.10000", b"1.2.9.1.%05d" % (10_000 + series)),
            (b"1.2.9.2.10000", b"1.2.9.2.%05d" % (10_000 + series)),
            (b"P00000", b"P%05d" % series),
            (b"0000.00", b"%07.2f" % (place * 1.25)),
            (b"IS\x06\x0000000 ", b"IS\x06\x00%05d " % (place + 1)),
        ):
            content = content.replace(old, new)
        (home / f"{place}.dcm").write_bytes(
            content[:-2048] + rng.integers(0, 4096, 1024, np.uint16).tobytes()
        )


def template(path: Path) -> bytes:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "1.2.9.3.1000000"
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.9.1.10000", "1.2.9.2.10000"
    image.FrameOfReferenceUID, image.PatientName, image.PatientID = "1.2.9.4", "Phantom^One", "P00000"
    image.Modality, image.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.Manufacturer, image.ManufacturerModelName = "Acme", "One"
    image.PatientSex, image.PatientAge = "F", "047Y"
    image.ImagePositionPatient, image.ImageOrientationPatient = ["0", "0", "0000.00"], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness, image.InstanceNumber = [0.7, 0.7], 1.25, "00000"
    image.Rows = image.Columns = 32
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleSlope, image.RescaleIntercept = 1, -1024
    block = image.private_block(0x0099, "BENCH", create=True)
    for element in range(30):
        block.add_new(element, "LO", f"private value {element}")
    image.PixelData = bytes(2048)
    image.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    path.unlink()
    return content


def files(n: int, folder: Path) -> None:
    from medprior.io.dataset.scan import scan  # brings torch, which the rows are measured without

    data, out = folder / "data", folder / "out"
    data.mkdir()
    slices(data, n)
    paths, start = [entry.path for entry in list_files(data).files], processor()
    tree, _ = index_files(paths, Limits(), slim=True)
    rate = n / (processor() - start)
    print(f"header pass          {rate:8.0f} files a second and core, {len(tree.series)} series")
    del tree, paths
    for what in ("a first scan", "nothing has changed", "1 % has changed"):
        if what == "1 % has changed":
            change(sorted(data.rglob("*.dcm"))[: max(1, n // 100)])
        start, clock = processor(), time.perf_counter()
        index = scan(data, out=out)
        taken = f"{processor() - start:8.1f} CPU s, {time.perf_counter() - clock:.1f} s by the clock"
        print(f"{what:20} {taken}, {len(index.items)} scans")


def change(paths: Iterable[Path]) -> None:
    """The last byte of the pixels of each."""
    for path in paths:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)


def twins(n: int, folder: Path) -> None:
    """Near duplicates among made-up thumbnails that resemble each other as radiographs do: smooth, with one
    mean for all; each hundredth is a copy with noise.
    """
    rng = np.random.default_rng(0)
    mean, modes = rng.normal(size=256), rng.normal(size=(256, 20)) / (1 + np.arange(20))
    images = mean + (rng.normal(size=(n, 20)) @ modes.T) + 0.2 * rng.normal(size=(n, 256))
    images[::100] = images[1::100][: len(images[::100])] + 0.01 * rng.normal(size=(len(images[::100]), 256))
    small = images - images.mean(1, keepdims=True)
    small = np.rint(127 * small / np.abs(small).max(1, keepdims=True)).astype(np.int8)
    texts = [b2a_base64(one.tobytes(), newline=False).decode() for one in small]
    start = processor()
    found = near_pairs(texts)
    print(f"near duplicates      {processor() - start:8.1f} CPU s, {len(found)} pairs among {n} images")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--twins", type=int, default=0)
    wanted = parser.parse_args()
    for n, work in ((wanted.rows, rows), (wanted.files, files), (wanted.twins, twins)):
        if n:
            with tempfile.TemporaryDirectory() as name:
                work(n, Path(name))
    print(f"load of the machine  {os.getloadavg()[0]:8.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()

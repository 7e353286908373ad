"""Reading a DICOM series: medprior beside SimpleITK and pydicom, in one run.

Makes a series of 200 CT slices of 512x512 in a temporary folder, reads it with each in turn, and prints
medians of repeated rounds and whether values and geometry agree. SimpleITK is timed both with and without its
own search for the files of the series, which medprior always does.

    python bench/dicom_speed.py [--slices 200] [--size 512] [--rounds 9]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medprior.io.read import read


def make_series(folder: Path, n_slices: int, size: int) -> None:
    """Slices as a scanner writes them: 12 bits in 16, intercept -1024, some 80 elements of header."""
    rng = np.random.default_rng(0)
    study, series, frame = (generate_uid(entropy_srcs=[name]) for name in ("study", "series", "frame"))
    for n in range(n_slices):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[str(n)])
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.PatientName, image.PatientID, image.Modality, image.ImageType = (
            "Phantom^One",
            "1",
            "CT",
            ["ORIGINAL", "PRIMARY", "AXIAL"],
        )
        image.ImagePositionPatient, image.ImageOrientationPatient = (
            [-180, -170, -100 + 1.25 * n],
            [1, 0, 0, 0, 1, 0],
        )
        image.PixelSpacing, image.SliceThickness, image.InstanceNumber = [0.7, 0.7], 1.25, n + 1
        image.Rows = image.Columns = size
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
        image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, -1024, "HU"
        block = image.private_block(0x0099, "BENCH", create=True)
        for element in range(40):
            block.add_new(element, "LO", f"private value {element} of slice {n}")
        image.PixelData = rng.integers(0, 4096, (size, size), dtype=np.uint16).tobytes()
        image.save_as(folder / f"{(n * 7919) % 10007:05d}.dcm", enforce_file_format=True)


def with_medprior(folder: Path) -> np.ndarray:
    return read(folder).data[0]


def with_simpleitk(folder: Path, names: tuple[str, ...] | None = None) -> sitk.Image:
    return sitk.ReadImage(
        names or sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)), sitk.sitkFloat32
    )


def with_pydicom(folder: Path) -> np.ndarray:
    slices = sorted(
        (pydicom.dcmread(path) for path in folder.iterdir()), key=lambda d: d.ImagePositionPatient[2]
    )
    return np.stack(
        [
            d.pixel_array.astype(np.float32) * np.float32(d.RescaleSlope) + np.float32(d.RescaleIntercept)
            for d in slices
        ]
    )


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--slices", type=int, default=200)
    options.add_argument("--size", type=int, default=512)
    options.add_argument("--rounds", type=int, default=9)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_series(folder, chosen.slices, chosen.size)
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
        calls: dict[str, Callable[[], object]] = {
            "medprior": lambda: with_medprior(folder),
            "SimpleITK": lambda: with_simpleitk(folder),
            "SimpleITK, files known": lambda: with_simpleitk(folder, names),
            "pydicom": lambda: with_pydicom(folder),
        }
        times: dict[str, list[float]] = {who: [] for who in calls}
        for _ in range(chosen.rounds):
            for who, call in calls.items():
                times[who].append(seconds(call))
        ours = times["medprior"]
        print(
            f"{chosen.slices} slices of {chosen.size} x {chosen.size}, median of {chosen.rounds} interleaved rounds, files in the page cache"
        )
        for who, found in times.items():
            ratio = statistics.median(b / a for a, b in zip(ours, found, strict=True))
            print(
                f"{who:24s} {statistics.median(found):7.3f} s   (fastest {min(found):.3f} s)   {ratio:5.2f} x medprior"
            )
        print_agreement(folder)


def print_agreement(folder: Path) -> None:
    volume, image = read(folder), with_simpleitk(folder)
    turned = sitk.DICOMOrient(image, "LPS")
    values = np.flip(
        sitk.GetArrayFromImage(turned).transpose(2, 1, 0), (0, 1)
    )  # LPS (k, j, i) -> RAS (i, j, k)
    corner = np.array(
        turned.TransformIndexToPhysicalPoint((turned.GetWidth() - 1, turned.GetHeight() - 1, 0))
    ) * (-1, -1, 1)
    affine = volume.affine
    if affine is None:
        raise SystemExit("medprior found no geometry")
    print(
        f"values equal: {np.array_equal(values, volume.data[0])}; first voxel differs by {np.abs(corner - affine[:3, 3]).max():.2e} mm"
    )


if __name__ == "__main__":
    main()

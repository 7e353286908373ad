"""Series of many volumes as the vendors' scanners write them, from their public rules: conformance
statements, and what converters document about private elements. Every voxel of every volume differs: no slice
that is filed wrongly can hide.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from .dicom_parts import save, uid

__all__ = ["SERIES", "Planned", "write_series"]

ROWS, COLUMNS, STEP = 12, 10, 3.0
SPACING = (1.5, 1.25)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.96, 0.28, 0.0, -0.28 * 0.8, 0.96 * 0.8, -0.6)


@dataclass(frozen=True)
class Planned:
    """A series to write. names: those of its volumes, in order."""

    vendor: str
    names: tuple[str, ...]
    write: Callable[[Path], None]


def pixels(volume: int, slices: int, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    return np.random.default_rng(volume).integers(1, 3000, (slices, rows, columns)).astype(np.uint16)


def image(maker: str, values: np.ndarray, name: str, number: int, sop: str = MRImageStorage) -> Dataset:
    """One file's header. values: (rows, columns), or (frames, rows, columns)."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop, uid(name, number)
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = (
        uid("study", name),
        uid("series", name),
        uid("frame", name),
    )
    made.PatientID, made.PatientName, made.StudyDate, made.StudyTime = "P1", "Doe^Jane", "20200101", "120000"
    made.Modality, made.Manufacturer, made.SeriesNumber, made.InstanceNumber = "MR", maker, 5, number
    made.SeriesDescription = made.ProtocolName = name
    made.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    made.MagneticFieldStrength, made.RepetitionTime, made.EchoTime = "3", "2000", "30"
    made.AcquisitionNumber, made.AcquisitionTime, made.EchoNumbers = 1, "120000.000000", 1
    made.ScanningSequence, made.SequenceVariant, made.MRAcquisitionType = "EP", "SK", "2D"
    made.Rows, made.Columns = values.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    if values.ndim == 3:
        made.NumberOfFrames = len(values)
    made.PixelData = values.astype("<u2").tobytes()
    return made


def placed(made: Dataset, orientation: Sequence[float], k: int) -> None:
    """Slice k of a stack."""
    normal = np.cross(orientation[:3], orientation[3:])
    place = np.array([-20.0, -30.0, 10.0]) + k * STEP * normal
    made.ImagePositionPatient = [f"{v:.6f}" for v in place]
    made.ImageOrientationPatient = [f"{v:.6f}" for v in orientation]
    made.PixelSpacing, made.SliceThickness = list(SPACING), STEP
    made.SpacingBetweenSlices = STEP
    made.SliceLocation = float(place @ normal)


Change = Callable[[Dataset, int, int], None]
"""(file, volume, slice): what the scanner says there."""


def classic(
    maker: str,
    n_volumes: int,
    change: Change,
    *,
    slices: int = 5,
    orientation: Sequence[float] = AXIAL,
    by_slice: bool = False,
    lost: int = 0,
) -> Callable[[Path], None]:
    """One file a slice; instance numbers run volume by volume, or slice by slice. lost: slices that the last
    volume lacks.
    """

    def write(folder: Path) -> None:
        for v in range(n_volumes):
            values = pixels(v, slices)
            for k in range(slices - (lost if v == n_volumes - 1 else 0)):
                number = k * n_volumes + v + 1 if by_slice else v * slices + k + 1
                made = image(maker, values[k], folder.name, number)
                placed(made, orientation, k)
                made.AcquisitionTime = f"1200{2 * v:02d}.{k * 1000:06d}"
                made.ContentTime = made.AcquisitionTime
                change(made, v, k)
                save(folder / f"{(number * 7919) % 10007:05d}.dcm", made)

    return write


def csa(tags: dict[str, tuple[str, Sequence[str]]]) -> bytes:
    """A Siemens CSA2 header: name -> (VR, values)."""
    parts = [b"SV10\x04\x03\x02\x01", struct.pack("<II", len(tags), 77)]
    for name, (vr, values) in tags.items():
        parts.append(
            struct.pack("<64si4siii", name.encode(), len(values), vr.encode(), 0, max(6, len(values)), 77)
        )
        for n in range(max(6, len(values))):
            text = values[n].encode() + b"\0" if n < len(values) else b""
            parts.append(struct.pack("<4i", len(text), len(text), 77, len(text)))
            parts.append(text + b"\0" * (-len(text) % 4))
    return b"".join(parts)


def mosaic(
    n_volumes: int, *, slices: int = 7, orientation: Sequence[float] = AXIAL, sign: int = 1,
    b: Sequence[int] = (), with_csa: bool = True,
) -> Callable[[Path], None]:  # fmt: skip
    """Siemens: one file a volume. sign: -1 where the slices run against the normal."""

    def write(folder: Path) -> None:
        side = int(np.ceil(np.sqrt(slices)))
        normal = np.cross(orientation[:3], orientation[3:])
        for v in range(n_volumes):
            values, tiled = pixels(v, slices), np.zeros((side * ROWS, side * COLUMNS), np.uint16)
            for k, plane in enumerate(values):
                row, column = k // side * ROWS, k % side * COLUMNS
                tiled[row : row + ROWS, column : column + COLUMNS] = plane
            made = image("SIEMENS", tiled, folder.name, v + 1)
            placed(made, orientation, 0)
            made.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
            made.AcquisitionNumber, made.AcquisitionTime = v + 1, f"1200{2 * v:02d}.000000"
            corner = np.array([-20.0, -30.0, 10.0])
            half = np.array([(side - 1) * ROWS, (side - 1) * COLUMNS]) / 2
            stated = (
                corner
                - np.asarray(orientation[3:]) * SPACING[0] * half[0]
                - np.asarray(orientation[:3]) * SPACING[1] * half[1]
            )
            made.ImagePositionPatient = [f"{p:.6f}" for p in stated]
            tags: dict[str, tuple[str, Sequence[str]]] = {
                "NumberOfImagesInMosaic": ("US", [str(slices)]),
                "SliceNormalVector": ("FD", [f"{sign * c:.8f}" for c in normal]),
                "PhaseEncodingDirectionPositive": ("IS", ["1"]),
            }
            if b:
                tags["B_value"] = ("IS", [str(b[v])])
                tags["DiffusionGradientDirection"] = ("FD", ["0.0", "0.6", "0.8"] if b[v] else [])
            block = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
            block.add_new(0x0A, "US", slices)
            if b:
                block.add_new(0x0C, "IS", str(b[v]))
            if with_csa:
                made.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa(tags))
            save(folder / f"{(v * 7919) % 10007:05d}.dcm", made)

    return write


def uih_grid(n_volumes: int, slices: int = 7) -> Callable[[Path], None]:
    """UIH: one file a volume, with a sequence that says where each tile lies."""

    def write(folder: Path) -> None:
        side = int(np.ceil(np.sqrt(slices)))
        for v in range(n_volumes):
            values, tiled = pixels(v, slices), np.zeros((side * ROWS, side * COLUMNS), np.uint16)
            for k, plane in enumerate(values):
                row, column = k // side * ROWS, k % side * COLUMNS
                tiled[row : row + ROWS, column : column + COLUMNS] = plane
            made = image("UIH", tiled, folder.name, v + 1)
            placed(made, AXIAL, 0)
            made.AcquisitionNumber, made.AcquisitionTime = v + 1, f"1200{2 * v:02d}.000000"
            items = []
            for k in range(slices):
                item = Dataset()
                placed(item, AXIAL, k)
                item.AcquisitionTime, item.InstanceNumber = made.AcquisitionTime, k + 1
                items.append(item)
            block = made.private_block(0x0065, "Image Private Header", create=True)
            block.add_new(0x50, "DS", str(slices))
            block.add_new(0x51, "SQ", items)
            save(folder / f"{(v * 7919) % 10007:05d}.dcm", made)

    return write


Frame = tuple[int, int, dict[str, Any]]
"""Volume, slice and what the frame says."""


def enhanced(maker: str, files: Sequence[Sequence[Frame]], slices: int = 5) -> Callable[[Path], None]:
    """Enhanced MR: one file for each list of frames."""

    def write(folder: Path) -> None:
        for number, frames in enumerate(files, 1):
            values = np.stack([pixels(v, slices)[k] for v, k, _ in frames])
            made = image(maker, values, folder.name, number, EnhancedMRImageStorage)
            for name in ("EchoTime", "EchoNumbers", "AcquisitionTime"):
                delattr(made, name)
            made.AcquisitionDateTime = f"202001011200{2 * number:02d}.000000"
            shared = Dataset()
            shared.PixelMeasuresSequence = [
                part(PixelSpacing=list(SPACING), SliceThickness=STEP, SpacingBetweenSlices=STEP)
            ]
            shared.PlaneOrientationSequence = [part(ImageOrientationPatient=list(AXIAL))]
            shared.PixelValueTransformationSequence = [
                part(RescaleSlope="1", RescaleIntercept="0", RescaleType="US")
            ]
            made.SharedFunctionalGroupsSequence = [shared]
            made.PerFrameFunctionalGroupsSequence = [frame_groups(k, said) for _, k, said in frames]
            said = frames[0][2]
            if "index" in said:
                made.DimensionIndexSequence = [
                    part(DimensionIndexPointer=tag, FunctionalGroupPointer=group)
                    for tag, group in (
                        (0x00209056, 0x00209111),
                        (0x00209057, 0x00209111),
                        (said["pointer"], 0x00209111),
                    )
                ]
            save(folder / f"{(number * 7919) % 10007:05d}.dcm", made)

    return write


def part(**elements: Any) -> Dataset:
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def frame_groups(k: int, said: dict[str, Any]) -> Dataset:
    content = part(StackID="1", InStackPositionNumber=k + 1)
    groups = Dataset()
    if "time" in said:
        content.TemporalPositionIndex = said["time"]
    if "index" in said:
        content.DimensionIndexValues = [1, k + 1, said["index"]]
    groups.FrameContentSequence = [content]
    groups.PlanePositionSequence = [part(ImagePositionPatient=[-20.0, -30.0, 10.0 + k * STEP])]
    if "te" in said:
        groups.MREchoSequence = [part(EffectiveEchoTime=float(said["te"]))]
    if "trigger" in said:
        groups.CardiacSynchronizationSequence = [part(NominalCardiacTriggerDelayTime=float(said["trigger"]))]
    if "kind" in said:
        groups.MRImageFrameTypeSequence = [
            part(
                FrameType=["ORIGINAL", "PRIMARY", said["kind"][0], "NONE"], ComplexImageComponent=said["kind"]
            )
        ]
    if "b" in said:
        diffusion = part(
            DiffusionBValue=float(said["b"]),
            DiffusionDirectionality="DIRECTIONAL" if said.get("g") else "NONE",
        )
        if said.get("g"):
            diffusion.DiffusionGradientDirectionSequence = [
                part(DiffusionGradientOrientation=list(said["g"]))
            ]
        groups.MRDiffusionSequence = [diffusion]
    return groups


B = (0, 1000, 1000, 2000)
G = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.6, 0.8), (0.0, 1.0, 0.0))
B_NAMES = ("b0", "b1000-d1", "b1000-d2", "b2000")


def put(creator: str, group: int, **elements: tuple[str, Any]) -> Callable[[Dataset], None]:
    """Private elements, by names such as x0C."""

    def add(made: Dataset) -> None:
        block = made.private_block(group, creator, create=True)
        for name, (vr, value) in elements.items():
            block.add_new(int(name[1:], 16), vr, value)

    return add


def siemens_b(made: Dataset, v: int, k: int) -> None:
    more = {"x0E": ("FD", list(G[v]))} if B[v] else {}
    put("SIEMENS MR HEADER", 0x0019, x0C=("IS", str(B[v])), **more)(made)
    made.AcquisitionNumber = v + 1


def ge_b(made: Dataset, v: int, k: int) -> None:
    put("GEMS_PARM_01", 0x0043, x39=("IS", [str(B[v] + 1_000_000_000 * bool(B[v])), "8", "0", "0"]))(made)
    directions = {f"x{0xBB + n:02X}": ("DS", f"{g:.6f}") for n, g in enumerate(G[v])}
    put("GEMS_ACQU_01", 0x0019, **directions)(made)


def philips_b(made: Dataset, v: int, k: int) -> None:
    put("Philips Imaging DD 001", 0x2001, x03=("FL", float(B[v])), x0A=("IS", str(k + 1)))(made)
    directions = {f"xB{n}": ("FL", g) for n, g in enumerate(G[v])}
    put("Philips MR Imaging DD 001", 0x2005, **directions)(made)


def canon_b(made: Dataset, v: int, k: int) -> None:
    made.DiffusionBValue = float(B[v])
    if B[v]:
        made.DiffusionGradientOrientation = list(G[v])


def uih_b(made: Dataset, v: int, k: int) -> None:
    put("Image Private Header", 0x0065, x09=("FD", float(B[v])), x37=("FD", list(G[v])))(made)


def canon_comment(made: Dataset, v: int, k: int) -> None:
    made.ImageComments = f"b={B[v]}({G[v][0]:.3f},{G[v][1]:.3f},{G[v][2]:.3f})"


def times(made: Dataset, v: int, k: int) -> None:
    made.TemporalPositionIdentifier, made.NumberOfTemporalPositions = v + 1, 4


def acquisitions(made: Dataset, v: int, k: int) -> None:
    made.AcquisitionNumber = v + 1


def echoes(made: Dataset, v: int, k: int) -> None:
    made.EchoNumbers, made.EchoTime = v + 1, f"{12 + 15 * v}"


def kinds(made: Dataset, v: int, k: int) -> None:
    made.ImageType = ["ORIGINAL", "PRIMARY", "MP"[v], "ND"]


def philips_kinds(made: Dataset, v: int, k: int) -> None:
    made.ImageType = ["ORIGINAL", "PRIMARY", ("M_FFE", "PHASE MAP")[v], "MP"[v], "FFE"]


def ge_kinds(made: Dataset, v: int, k: int) -> None:
    put("GEMS_PARM_01", 0x0043, x2F=("SS", v))(made)


def triggers(made: Dataset, v: int, k: int) -> None:
    made.TriggerTime = f"{40 * v}"


def echo_times(made: Dataset, v: int, k: int) -> None:
    echoes(made, v % 2, k)
    made.AcquisitionNumber = made.TemporalPositionIdentifier = v // 2 + 1


def silent(made: Dataset, v: int, k: int) -> None:
    """Instance numbers alone."""


def _grid(n_volumes: int, said: Callable[[int], dict[str, Any]], slices: int = 5) -> Iterator[Frame]:
    for v in range(n_volumes):
        for k in range(slices):
            yield v, k, said(v)


def _one_file(n: int, said: Callable[[int], dict[str, Any]]) -> list[list[Frame]]:
    return [list(_grid(n, said))]


def _a_file_each(n: int, said: Callable[[int], dict[str, Any]]) -> list[list[Frame]]:
    return [[frame for frame in _grid(n, said) if frame[0] == v] for v in range(n)]


def diffusion(v: int) -> dict[str, Any]:
    return {"b": B[v], "g": G[v] if B[v] else None, "index": v + 1, "pointer": 0x00189087}


def temporal(v: int) -> dict[str, Any]:
    return {"time": v + 1, "index": v + 1, "pointer": 0x00209128}


def complex_parts(v: int) -> dict[str, Any]:
    return {"kind": ("MAGNITUDE", "PHASE")[v], "time": 1}


def echo_parts(v: int) -> dict[str, Any]:
    return {"te": 5 + 5 * v, "index": v + 1, "pointer": 0x00189082}


def dimensions(v: int) -> dict[str, Any]:
    """Only the values of the dimensions tell the volumes apart."""
    return {"index": v + 1, "pointer": 0x00209128}


def _t(n: int, word: str = "t") -> tuple[str, ...]:
    return tuple(f"{word}{v + 1}" for v in range(n))


SIEMENS, GE, PHILIPS, CANON, UIH = (
    "SIEMENS",
    "GE MEDICAL SYSTEMS",
    "Philips Medical Systems",
    "TOSHIBA_MEC",
    "UIH",
)
ECHOES = ("echo1", "echo2", "echo3")
COMPLEX = ("magnitude", "phase", "real", "imaginary")
SERIES = {
    "siemens-mosaic-fmri": Planned(SIEMENS, _t(3, "acq"), mosaic(3)),
    "siemens-mosaic-oblique": Planned(SIEMENS, _t(2, "acq"), mosaic(2, orientation=OBLIQUE)),
    "siemens-mosaic-sagittal": Planned(SIEMENS, _t(2, "acq"), mosaic(2, orientation=SAGITTAL, slices=9)),
    "siemens-mosaic-reversed": Planned(SIEMENS, _t(2, "acq"), mosaic(2, orientation=CORONAL, sign=-1)),
    "siemens-mosaic-dwi": Planned(SIEMENS, ("b0", "b500", "b1000"), mosaic(3, b=(0, 500, 1000))),
    "siemens-mosaic-one": Planned(SIEMENS, ("",), mosaic(1, slices=4)),
    "siemens-fmri-slices": Planned(SIEMENS, _t(4, "acq"), classic(SIEMENS, 4, acquisitions)),
    "siemens-dwi-slices": Planned(SIEMENS, B_NAMES, classic(SIEMENS, 4, siemens_b)),
    "siemens-echoes": Planned(SIEMENS, ECHOES, classic(SIEMENS, 3, echoes, by_slice=True)),
    "siemens-magnitude-phase": Planned(SIEMENS, ("magnitude", "phase"), classic(SIEMENS, 2, kinds)),
    "siemens-xa-fmri": Planned(SIEMENS, _t(3), enhanced(SIEMENS, _a_file_each(3, temporal))),
    "siemens-xa-dwi": Planned(SIEMENS, B_NAMES, enhanced(SIEMENS, _a_file_each(4, diffusion))),
    "siemens-xa-no-index": Planned(SIEMENS, _t(3), enhanced(SIEMENS, _a_file_each(3, lambda v: {}))),
    "ge-fmri": Planned(GE, _t(4), classic(GE, 4, times)),
    "ge-fmri-by-slice": Planned(GE, _t(4), classic(GE, 4, silent, by_slice=True)),
    "ge-fmri-by-volume": Planned(GE, _t(4), classic(GE, 4, silent, orientation=SAGITTAL)),
    "ge-dwi": Planned(GE, B_NAMES, classic(GE, 4, ge_b)),
    "ge-complex": Planned(GE, COMPLEX, classic(GE, 4, ge_kinds, by_slice=True)),
    "ge-echoes": Planned(GE, ECHOES, classic(GE, 3, echoes)),
    "ge-phases": Planned(GE, ("trigger0", "trigger40", "trigger80"), classic(GE, 3, triggers, by_slice=True)),
    "philips-fmri": Planned(PHILIPS, _t(4), classic(PHILIPS, 4, times, by_slice=True)),
    "philips-dwi": Planned(PHILIPS, B_NAMES, classic(PHILIPS, 4, philips_b, by_slice=True)),
    "philips-magnitude-phase": Planned(PHILIPS, ("magnitude", "phase"), classic(PHILIPS, 2, philips_kinds)),
    "philips-echoes": Planned(PHILIPS, ECHOES, classic(PHILIPS, 3, echoes, orientation=OBLIQUE)),
    "philips-enhanced-fmri": Planned(PHILIPS, _t(3), enhanced(PHILIPS, _one_file(3, temporal))),
    "philips-enhanced-dwi": Planned(PHILIPS, B_NAMES, enhanced(PHILIPS, _one_file(4, diffusion))),
    "philips-enhanced-echoes": Planned(
        PHILIPS, ("te5", "te10"), enhanced(PHILIPS, _one_file(2, echo_parts))
    ),
    "philips-enhanced-complex": Planned(
        PHILIPS, ("magnitude", "phase"), enhanced(PHILIPS, _one_file(2, complex_parts))
    ),
    "canon-dwi": Planned(CANON, B_NAMES, classic(CANON, 4, canon_b)),
    "canon-dwi-comments": Planned(CANON, _t(4, "kind"), classic(CANON, 4, canon_comment)),
    "canon-fmri": Planned(CANON, _t(4), classic(CANON, 4, times, orientation=CORONAL)),
    "canon-enhanced": Planned(CANON, _t(3), enhanced(CANON, _one_file(3, dimensions))),
    "canon-enhanced-phases": Planned(
        CANON, ("trigger0", "trigger50"), enhanced(CANON, _one_file(2, lambda v: {"trigger": 50 * v}))
    ),
    "uih-grid": Planned(UIH, _t(3, "acq"), uih_grid(3)),
    "uih-dwi": Planned(UIH, B_NAMES, classic(UIH, 4, uih_b)),
    "uih-echoes": Planned(UIH, ECHOES, classic(UIH, 3, echoes)),
    "siemens-echoes-times": Planned(
        SIEMENS, ("echo1-t1", "echo2-t1", "echo1-t2", "echo2-t2"), classic(SIEMENS, 4, echo_times)
    ),
}  # fmt: skip
"""Name -> series; the vendor's rule that each follows is the function that fills its headers."""


def write_series(folder: Path) -> None:
    for name, planned in SERIES.items():
        planned.write(folder / name)

"""Series of many volumes, as Siemens, GE, Philips, Canon and UIH write them: each volume is found, by name,
with its own values and place; dcm2niix, where it is installed, says the same.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from medprior.data.volume import Volume
from medprior.errors import BadGeometry, BadOption, FileProblem
from medprior.io.dataset.scan import scan
from medprior.io.dicom.read.tree import list_series
from medprior.io.read import read, read_all
from tests.corpus import vendors
from tests.corpus.dicom_parts import save
from tests.corpus.vendors import (
    GE,
    SERIES,
    SIEMENS,
    Change,
    acquisitions,
    classic,
    mosaic,
    pixels,
    silent,
    times,
    uih_grid,
    write_series,
)

UNKNOWN_TO_DCM2NIIX = {"canon-enhanced", "canon-enhanced-phases", "philips-enhanced-complex"}
"""Enhanced objects that it stacks as one, or mixes: a frame type or a dimension alone parts the volumes."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vendors")
    write_series(folder)
    return folder


def as_planned(volume: Volume, v: int) -> bool:
    """Whether a volume holds the values of number ``v``, each slice whole and none twice."""
    wanted = pixels(v, min(volume.shape))
    axes = sorted(range(3), key=lambda a: volume.shape[a])
    planes = volume.data[0].transpose(axes[0], *sorted(axes[1:]))
    found = {np.sort(plane, axis=None).tobytes() for plane in planes}
    return found == {np.sort(plane, axis=None).astype(np.float32).tobytes() for plane in wanted}


def test_every_volume_of_every_vendor_is_found_by_name(corpus: Path) -> None:
    wrong = []
    for name, planned in SERIES.items():
        found = read_all(corpus / name)
        names = tuple(volume.provenance.volume for volume in found)
        if names != planned.names or not all(as_planned(volume, v) for v, volume in enumerate(found)):
            wrong.append(f"{name}: {names}")
    assert not wrong and len(SERIES) >= 35


def test_dcm2niix_says_the_same(corpus: Path, tmp_path: Path) -> None:
    """Values and affine are equal for 90 % of the series at least; none is silently different."""
    dcm2niix = pytest.importorskip("dcm2niix")
    equal, different = [], []
    for name in SERIES:
        out = tmp_path / name
        out.mkdir()
        options = ["-b", "n", "-p", "n", "-z", "n", "-f", "%s_%e", "-o", str(out)]
        subprocess.run([dcm2niix.bin, *options, str(corpus / name)], check=True, capture_output=True)
        theirs = [one for path in sorted(out.glob("*.nii")) for one in read_all(path)]
        ours = read_all(corpus / name)
        same = [any(alike(one, other) for other in theirs) for one in ours]
        (equal if all(same) and len(theirs) == len(ours) else different).append(name)
    assert {*different} <= UNKNOWN_TO_DCM2NIIX
    assert len(equal) >= 0.9 * len(SERIES)


def alike(one: Volume, other: Volume) -> bool:
    assert one.affine is not None and other.affine is not None
    return np.array_equal(one.data, other.data) and np.abs(one.affine - other.affine).max() < 1e-3


def test_a_series_of_volumes_asks_which(corpus: Path) -> None:
    with pytest.raises(
        BadGeometry, match=r"one series with 4 volumes: b0: MR, 5 x 12 x 10; b1000-d1"
    ) as caught:
        read(corpus / "ge-dwi")
    assert "volume='b0' (--volume b0)" in caught.value.remedy
    assert as_planned(read(corpus / "ge-dwi", volume="b1000-d2"), 2)
    with pytest.raises(BadOption, match="did you mean 'b2000'"):
        read(corpus / "ge-dwi", volume="b200")
    with pytest.raises(BadOption, match="it holds one volume"):
        read(corpus / "siemens-mosaic-one", volume="t1")


@pytest.mark.parametrize(
    "series", ["philips-dwi", "siemens-mosaic-dwi", "uih-grid", "siemens-xa-dwi", "philips-enhanced-dwi"]
)
def test_scan_lists_each_volume_and_learns_from_the_first(corpus: Path, tmp_path: Path, series: str) -> None:
    """Whether a volume is many files, one, or a part of one."""
    index = scan(corpus / series, out=tmp_path)
    names = SERIES[series].names
    assert {item.volume for item in index.items} == {*names}
    assert [item.volume for item in index.usable()] == [names[0]]
    for item in index.items:
        assert as_planned(index.load(item), names.index(item.volume))
    again = scan(corpus / series, out=tmp_path)
    assert again.items == index.items and not index.near_duplicates


def test_the_volumes_of_a_4d_nifti_are_listed_too(corpus: Path, tmp_path: Path) -> None:
    values = np.stack([pixels(v, 6).transpose(2, 1, 0) for v in range(3)], -1).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "bold.nii.gz")
    index = scan(tmp_path)
    assert [(item.volume, item.later) for item in index.items] == [("0", False), ("1", True), ("2", True)]
    assert np.array_equal(index.load(index.items[2]).data[0], values[..., 2])
    assert np.array_equal(read(tmp_path / "bold.nii.gz", volume="1").data[0], values[..., 1])
    assert len(read_all(tmp_path / "bold.nii.gz")) == 3


def test_a_mosaic_that_cannot_be_cut_is_refused_by_name(tmp_path: Path) -> None:
    """A picture of nine heads is no slice of a head."""
    mosaic(1, with_csa=False)(tmp_path / "bare")
    with pytest.raises(BadGeometry, match="a Siemens mosaic without its CSA header"):
        read(tmp_path / "bare")
    uih_grid(1)(tmp_path / "uih")
    (path,) = (tmp_path / "uih").iterdir()
    made = pydicom.dcmread(path)
    del made[0x0065, 0x1051]
    save(path, made)
    with pytest.raises(BadGeometry, match="a UIH mosaic of 7 slices that does not say where they lie"):
        read(path)


def test_a_scan_that_was_broken_off_loses_its_last_volume_only(tmp_path: Path) -> None:
    classic(SIEMENS, 4, times, lost=2)(tmp_path)
    with pytest.raises(BadGeometry, match="volume t4 has 3 of 5 slices"):
        read(tmp_path, volume="t4")
    assert as_planned(read(tmp_path, volume="t3"), 2)
    index = scan(tmp_path)
    assert {item.volume for item in index.items} == {"t1", "t2", "t3"}
    assert "3 of 5 slices" in index.unusable[0].reason


@pytest.mark.parametrize("change", [times, silent])
def test_all_whole_volumes_of_a_scan_that_was_broken_off_are_read(change: Change, tmp_path: Path) -> None:
    classic(GE, 4, change, lost=2)(tmp_path)
    found = read_all(tmp_path)
    assert [volume.provenance.volume for volume in found] == ["t1", "t2", "t3"]
    assert all(as_planned(volume, v) for v, volume in enumerate(found))
    for volume in found:
        assert any("left out: volume t4 has 3 of 5 slices" in said for said in volume.provenance.warnings)


def test_a_hole_in_one_of_two_volumes_is_that_volumes(tmp_path: Path) -> None:
    classic(SIEMENS, 2, acquisitions)(tmp_path)
    made = {path: pydicom.dcmread(path) for path in tmp_path.iterdir()}
    next(p for p in made if made[p].AcquisitionNumber == 2 and made[p].InstanceNumber == 8).unlink()
    with pytest.raises(BadGeometry, match="volume acq2 has 4 of 5 slices"):
        read(tmp_path, volume="acq2")
    (found,) = read_all(tmp_path)
    assert as_planned(found, 0) and found.provenance.volume == "acq1"


ODD = {
    "has 6 x 5 pixels where the others have 12 x 10": {"Rows": 6, "Columns": 5},
    "has pixels of 3 x 2.5 mm where the others have 1.5 x 1.25 mm": {"PixelSpacing": [3.0, 2.5]},
    "is turned by 2.00 degrees against the others": {
        "ImageOrientationPatient": [1, 0, 0, 0, 0.99939083, 0.0348995]
    },
}


@pytest.mark.parametrize("reason", ODD)
def test_a_slice_on_another_grid_has_its_true_name(reason: str, tmp_path: Path) -> None:
    """And is no missing slice, whether the series is read alone, chosen, or indexed."""
    classic(SIEMENS, 1, times, slices=9)(tmp_path)
    made = {path: pydicom.dcmread(path) for path in tmp_path.iterdir()}
    (path,) = (p for p in made if made[p].InstanceNumber == 5)
    for name, value in ODD[reason].items():
        setattr(made[path], name, value)
    made[path].PixelData = made[path].PixelData[: 2 * made[path].Rows * made[path].Columns]
    save(path, made[path])
    with pytest.raises(BadGeometry, match=f"slice {path.name} {reason}") as caught:
        read(tmp_path)
    (large,) = (one for one in list_series(tmp_path) if one.n_slices == 8)
    assert f"series={large.id!r}" in caught.value.remedy
    assert read(tmp_path, series=large.id, keep_slices="1-4").shape[2] == 4
    assert read(tmp_path, series=large.id, resample=True).shape[2] == 9
    assert any(reason in one.reason for one in scan(tmp_path).unusable)


def test_numbers_that_say_nothing_tell_nothing_apart(tmp_path: Path) -> None:
    """Two volumes of one moment whose instance numbers are mixed: whatever is put together would be a
    guess.
    """

    def mixed(made: object, v: int, k: int) -> None:
        made.InstanceNumber = (7 * (v * 5 + k)) % 11  # type: ignore[attr-defined]
        made.AcquisitionTime = made.ContentTime = "120000"  # type: ignore[attr-defined]

    classic(GE, 2, mixed)(tmp_path)
    with pytest.raises(BadGeometry, match="nothing in their headers tells them apart"):
        read(tmp_path)


@pytest.mark.parametrize("by_slice", [False, True])
def test_where_numbers_begin_anew_the_clock_tells_volumes_apart(by_slice: bool, tmp_path: Path) -> None:
    def anew(made: object, v: int, k: int) -> None:
        made.InstanceNumber = k + 1  # type: ignore[attr-defined]
        seconds = 3 * k + v if by_slice else 10 * v + k
        made.AcquisitionTime, made.ContentTime = f"1200{seconds:02d}", "120000"  # type: ignore[attr-defined]

    classic(GE, 3, anew)(tmp_path)
    found = read_all(tmp_path)
    assert [volume.provenance.volume for volume in found] == ["t1", "t2", "t3"]
    assert all(as_planned(volume, v) for v, volume in enumerate(found))


ALONE: dict[str, tuple[str, tuple[object, ...]]] = {
    "t1 t2": ("FrameReferenceTime", ("500", "1500")),  # dynamic PET
    "kv80 kv140": ("KVP", ("80", "140")),
    "tr500 tr3000": ("RepetitionTime", ("500", "3000")),
    "kernel1 kernel2": ("ConvolutionKernel", ("B30f", "B70f")),
    "kind1 kind2": ("ScanOptions", ("", "MT")),
    "kind1 kind2 ": ("ContrastBolusAgent", ("", "Gd")),
    "t1 t2 ": ("AcquisitionDateTime", ("20200101120000", "20200101120100")),
    "te5 te7.5": ("EchoTime", ("5", "7.5")),
    "ti700 ti2500": ("InversionTime", ("700", "2500")),
    "fat water": ("ImageType", (["DERIVED", "PRIMARY", "FAT"], ["DERIVED", "PRIMARY", "WATER"])),
    "phase40 phase70": ("NominalPercentageOfCardiacPhase", (40.0, 70.0)),
}


@pytest.mark.parametrize("names", ALONE)
def test_one_element_tells_volumes_apart_where_numbers_and_clock_begin_anew(
    names: str, tmp_path: Path
) -> None:
    keyword, values = ALONE[names]

    def alone(made: object, v: int, k: int) -> None:
        made.InstanceNumber, made.AcquisitionTime, made.ContentTime = k + 1, "120000", "120000"  # type: ignore[attr-defined]
        setattr(made, keyword, values[v])

    classic(SIEMENS, 2, alone)(tmp_path)
    found = read_all(tmp_path)
    assert [volume.provenance.volume for volume in found] == names.split()
    assert all(as_planned(volume, v) for v, volume in enumerate(found))


def test_private_sequences_in_implicit_vr_are_read(tmp_path: Path) -> None:
    """Implicit VR does not say that the place of UIH's tiles is a sequence."""
    uih_grid(2)(tmp_path)
    for path in tmp_path.iterdir():
        made = pydicom.dcmread(path)
        made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        made.save_as(path, implicit_vr=True, little_endian=True)
    found = read_all(tmp_path)
    assert len(found) == 2 and all(as_planned(volume, v) for v, volume in enumerate(found))


def test_mosaics_of_older_siemens_scanners_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their CSA header has no mark at its start, and lengths that count from the items of its second tag."""
    monkeypatch.setattr(vendors, "csa", csa_of_old)
    mosaic(2)(tmp_path)
    found = read_all(tmp_path)
    assert len(found) == 2 and all(as_planned(volume, v) for v, volume in enumerate(found))
    monkeypatch.setattr(vendors, "csa", lambda tags: csa_of_old(tags)[8 + 84 :])
    mosaic(1)(tmp_path / "torn")
    with pytest.raises(FileProblem, match="CSA header is damaged"):
        read(tmp_path / "torn")


def csa_of_old(tags: dict[str, tuple[str, Sequence[str]]]) -> bytes:
    parts = [struct.pack("<II64si4siii", len(tags) + 1, 77, b"EchoLinePosition", 0, b"IS", 0, 0, 77)]
    for name, (vr, values) in tags.items():
        parts.append(struct.pack("<64si4siii", name.encode(), len(values), vr.encode(), 0, 6, 77))
        for n in range(6):
            text = values[n].encode() + b"\0" if n < len(values) else b""
            parts.append(
                struct.pack("<4i", len(text) + 6, len(text), 77, 0) + text + b"\0" * (-len(text) % 4)
            )
    return b"".join(parts)


def test_phases_that_reach_over_other_heights_are_volumes(tmp_path: Path) -> None:
    """The first phase of a CT may end before the second does; a hole in one is a hole, though."""
    classic(SIEMENS, 2, acquisitions)(tmp_path)
    made = {path: pydicom.dcmread(path) for path in tmp_path.iterdir()}
    first = sorted((p for p in made if made[p].AcquisitionNumber == 1), key=lambda p: made[p].InstanceNumber)
    first[-1].unlink()
    assert [volume.shape[2] for volume in read_all(tmp_path)] == [4, 5]
    assert as_planned(read(tmp_path, volume="acq2"), 1)
    first[1].unlink()
    with pytest.raises(BadGeometry, match="volume acq1 has 3 of 5 slices"):
        read(tmp_path, volume="acq1")


def test_flip_angles_are_named_as_such(tmp_path: Path) -> None:
    def flips(made: object, v: int, k: int) -> None:
        made.FlipAngle = f"{5 + 10 * v}"  # type: ignore[attr-defined]

    classic(GE, 3, flips)(tmp_path)
    assert [volume.provenance.volume for volume in read_all(tmp_path)] == ["flip5", "flip15", "flip25"]


def test_names_hold_nothing_that_was_typed(tmp_path: Path) -> None:
    def typed(made: object, v: int, k: int) -> None:
        made.ImageType = ["ORIGINAL", "PRIMARY", f"DOE{v}"]  # type: ignore[attr-defined]
        made.ImageComments = f"Jane Doe {v}"  # type: ignore[attr-defined]

    classic(GE, 2, typed)(tmp_path)
    assert [volume.provenance.volume for volume in read_all(tmp_path)] == ["kind1", "kind2"]

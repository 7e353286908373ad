"""Measurements and stacks: k-space and sinograms come in as they were measured, or are refused by name;
nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from medprior.data.acquisitions import KSpace, Sinogram
from medprior.data.volume import Volume
from medprior.errors import (
    BadOption,
    Corrupt,
    FileProblem,
    MedpriorError,
    ShapeMismatch,
    TooLarge,
    Truncated,
    Unsupported,
)
from medprior.io import arrays as door
from medprior.io.arrays import read_array_volume, read_kspace, read_sinogram, read_stack, write_array_volume
from medprior.io.disk.limits import Limits
from tests.corpus.other import GREY, npz

Fill = Callable[[h5py.File], object]
RNG = np.random.default_rng(0)
LINES = (RNG.normal(size=(3, 2, 8, 6)) + 1j * RNG.normal(size=(3, 2, 8, 6))).astype(np.complex64)
XML = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace><matrixSize><x>8</x><y>6</y><z>1</z></matrixSize>
<fieldOfView_mm><x>240</x><y>180</y><z>5</z></fieldOfView_mm></encodedSpace><trajectory>cartesian</trajectory>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>5</maximum><center>3</center></kspace_encoding_step_1></encodingLimits>
</encoding></ismrmrdHeader>"""


def stored(folder: Path, content: bytes, name: str = "a.npz") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def hdf5(folder: Path, fill: Fill) -> Path:
    path = folder / "a.h5"
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def fastmri(**more: object) -> Fill:
    def fill(file: h5py.File) -> None:
        for name, value in ({"kspace": LINES} | more).items():
            file[name] = value

    return fill


def head_type() -> np.dtype:
    """AcquisitionHeader of ISMRMRD, version 1, the order of its C structure."""
    index = [(f"kspace_encode_step_{n}", "<u2") for n in (1, 2)] + [
        (n, "<u2") for n in ["average", "slice", "contrast", "phase", "repetition", "set", "segment"]
    ]
    index += [("user", "<u2", (8,))]
    fields = [
        ("version", "<u2"),
        ("flags", "<u8"),
        ("measurement_uid", "<u4"),
        ("scan_counter", "<u4"),
        ("acquisition_time_stamp", "<u4"),
    ]
    fields += [
        ("physiology_time_stamp", "<u4", (3,)),
        ("number_of_samples", "<u2"),
        ("available_channels", "<u2"),
        ("active_channels", "<u2"),
    ]
    fields += [
        ("channel_mask", "<u8", (16,)),
        ("discard_pre", "<u2"),
        ("discard_post", "<u2"),
        ("center_sample", "<u2"),
        ("encoding_space_ref", "<u2"),
    ]
    fields += [
        ("trajectory_dimensions", "<u2"),
        ("sample_time_us", "<f4"),
        ("position", "<f4", (3,)),
        ("read_dir", "<f4", (3,)),
        ("phase_dir", "<f4", (3,)),
    ]
    fields += [
        ("slice_dir", "<f4", (3,)),
        ("patient_table_position", "<f4", (3,)),
        ("idx", index),
        ("user_int", "<i4", (8,)),
        ("user_float", "<f4", (8,)),
    ]
    return np.dtype(fields)


def ismrmrd(
    xml: str = XML, steps: tuple[int, ...] = (0, 2, 3, 5), change: Callable[[np.ndarray], None] | None = None
) -> Fill:
    """Every slice of LINES as acquisitions in the layout of ISMRMRD; a noise scan first, line 3 twice."""
    floats = h5py.vlen_dtype(np.dtype("<f4"))
    rows = [(None, 0)] + [(n, step) for n in range(3) for step in (*steps, 3)]
    table = np.zeros(len(rows), dtype=[("head", head_type()), ("traj", floats), ("data", floats)])
    for row, (n, step) in zip(table, rows, strict=True):
        line = np.full((2, 8), 99 + 0j, np.complex64) if n is None else LINES[n, :, :, step]
        head = row["head"]
        head["flags"], head["number_of_samples"], head["active_channels"], head["center_sample"] = (
            (1 << 18 if n is None else 0),
            8,
            2,
            4,
        )
        head["idx"]["kspace_encode_step_1"], head["idx"]["slice"] = step, n or 0
        row["traj"], row["data"] = (
            np.zeros(0, np.float32),
            np.ascontiguousarray(line).view(np.float32).ravel(),
        )
    if change is not None:
        change(table)

    def fill(file: h5py.File) -> None:
        group = file.create_group("dataset")
        group.create_dataset("xml", data=np.array([xml.encode()], dtype=object), dtype=h5py.string_dtype())
        group.create_dataset("data", data=table, dtype=table.dtype)

    return fill


def test_fastmri_gives_a_slice_with_its_mask_and_reference(tmp_path: Path) -> None:
    mask = np.array([1, 0, 1, 1, 0, 1], bool)
    reference = RNG.normal(size=(3, 8, 6)).astype(np.float32)
    path = hdf5(tmp_path, fastmri(mask=mask, reconstruction_rss=reference, ismrmrd_header=XML))
    found = read_kspace(path, index=1)
    assert np.array_equal(found.data, LINES[1])
    assert np.array_equal(found.mask, np.broadcast_to(mask, (8, 6)))
    assert found.reference is not None
    assert np.array_equal(found.reference, reference[1])
    assert found.spacing_mm == (30, 30)
    assert found.acceleration == pytest.approx(1.5)
    single = read_kspace(hdf5(tmp_path, fastmri(kspace=LINES[:, 0])), index=2)
    assert np.array_equal(single.data, LINES[2, :1])


def test_numbers_that_lie_as_they_are_and_packed_ones_are_the_same(tmp_path: Path) -> None:
    """Read by the guarded process or beside it, in either order of bytes, of any width; what was never
    written is zero.
    """
    wanted = read_kspace(hdf5(tmp_path, fastmri()), index=1)
    path = tmp_path / "other.h5"
    for kind, more in (("<c8", {"chunks": True, "compression": "gzip"}), (">c8", {}), ("<c16", {})):
        with h5py.File(path, "w") as file:
            file.create_dataset("kspace", data=LINES.astype(kind), **more)
        found = read_kspace(path, index=1)
        assert np.array_equal(found.data, wanted.data) and np.array_equal(found.mask, wanted.mask)
        assert found.data.dtype == np.complex64
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", LINES.shape, "<c8")
    assert not read_kspace(path, index=0).data.any()


def test_numbers_beyond_the_end_of_the_file_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file got shorter after the guarded process has looked at it."""
    path = hdf5(tmp_path, fastmri())
    reading = door.read_apart

    def cut_after(*given: Any) -> Any:
        found = reading(*given)
        path.write_bytes(path.read_bytes()[: found.offset + 8])
        return found

    monkeypatch.setattr(door, "read_apart", cut_after)
    with pytest.raises(Truncated, match="inside the numbers of 'kspace'"):
        read_kspace(path, index=0)
    monkeypatch.setattr(door, "read_apart", reading)
    with pytest.raises(Corrupt, match=r"truncated|ends"):
        read_kspace(path, index=0)


def test_a_file_of_slices_needs_a_choice(tmp_path: Path) -> None:
    path = hdf5(tmp_path, fastmri())
    with pytest.raises(Unsupported, match=r"3 slices .*choose one with index \(--index\) 0 to 2"):
        read_kspace(path)
    with pytest.raises(BadOption, match="wanted 0 to 2"):
        read_kspace(path, index=3)


def test_ismrmrd_lines_land_on_the_centred_grid(tmp_path: Path) -> None:
    """Noise scans are left out, a line measured twice is averaged, what was not measured is zero and not in
    the mask.
    """
    found = read_kspace(hdf5(tmp_path, ismrmrd()), index=2)
    wanted = np.zeros_like(LINES[2])
    wanted[:, :, [0, 2, 3, 5]] = LINES[2][:, :, [0, 2, 3, 5]]
    assert np.allclose(found.data, wanted, atol=1e-6)
    assert found.mask[0].tolist() == [True, False, True, True, False, True]
    assert found.spacing_mm == (30, 30)


def test_a_noise_scan_is_scaled_to_a_sample_of_the_image(tmp_path: Path) -> None:
    """Its receiver was open for 10 us a sample and that of the image for 40: half the deviation. Where no
    time is stated it is left alone.
    """

    def timed(table: np.ndarray) -> None:
        table["head"]["sample_time_us"] = 40
        table["head"]["sample_time_us"][0] = 10

    found = read_kspace(hdf5(tmp_path, ismrmrd(change=timed)), index=2).noise
    assert found is not None and np.allclose(found, np.full((2, 8), 49.5))
    assert read_kspace(hdf5(tmp_path, ismrmrd()), index=2).noise is None

    def again(table: np.ndarray) -> None:
        timed(table)
        table["head"]["idx"]["kspace_encode_step_1"][1:] = 3  # all lines of a slice are one, five times

    found = read_kspace(hdf5(tmp_path, ismrmrd(change=again)), index=2).noise
    assert found is not None and np.allclose(found, np.full((2, 8), 49.5 / 5**0.5))


def test_the_header_says_how_much_of_the_readout_the_image_needs(tmp_path: Path) -> None:
    half = (
        "<reconSpace><fieldOfView_mm><x>120</x><y>180</y><z>5</z></fieldOfView_mm></reconSpace><trajectory>"
    )
    for fill in (
        ismrmrd(XML.replace("<trajectory>", half)),
        fastmri(ismrmrd_header=XML.replace("<trajectory>", half)),
    ):
        assert read_kspace(hdf5(tmp_path, fill), index=0).readout == 4
    assert read_kspace(hdf5(tmp_path, ismrmrd()), index=0).readout is None
    whole = half.replace("120", "240")
    assert read_kspace(hdf5(tmp_path, ismrmrd(XML.replace("<trajectory>", whole))), index=0).readout is None


def test_a_partial_and_a_reversed_readout_are_placed_by_their_centre(tmp_path: Path) -> None:
    def shorten(table: np.ndarray) -> None:
        for row in table[1:]:
            values = row["data"].view(np.complex64).reshape(2, 8)[:, 2:]
            row["data"], row["head"]["number_of_samples"], row["head"]["center_sample"] = (
                np.ascontiguousarray(values).view(np.float32).ravel(),
                6,
                2,
            )

    found = read_kspace(hdf5(tmp_path, ismrmrd(change=shorten)), index=0)
    assert not found.mask[:2].any()
    assert np.allclose(found.data[:, 2:, 0], LINES[0][:, 2:, 0])

    def reverse(table: np.ndarray) -> None:
        for row in table[1:]:
            row["data"] = (
                np.ascontiguousarray(row["data"].view(np.complex64).reshape(2, 8)[:, ::-1])
                .view(np.float32)
                .ravel()
            )
            row["head"]["flags"] |= 1 << 21

    assert np.allclose(
        read_kspace(hdf5(tmp_path, ismrmrd(change=reverse)), index=0).data[:, :, 5], LINES[0][:, :, 5]
    )


@pytest.mark.parametrize("turned", [False, True])
def test_a_reversed_partial_readout_lies_where_the_others_do(tmp_path: Path, turned: bool) -> None:
    """Six of eight samples, every second line backwards: its echo is sample 6 - 1 - 2 of what was recorded.
    turned: a converter that states it as after turning, which the lines between tell.
    """

    def change(table: np.ndarray) -> None:
        for n, row in enumerate(table[1:]):
            values = row["data"].view(np.complex64).reshape(2, 8)[:, 2:]
            values, centre = (values[:, ::-1], 2 if turned else 3) if n % 2 else (values, 2)
            row["data"] = np.ascontiguousarray(values).view(np.float32).ravel()
            row["head"]["number_of_samples"], row["head"]["center_sample"] = 6, centre
            row["head"]["flags"] |= (1 << 21) * (n % 2)

    found = read_kspace(hdf5(tmp_path, ismrmrd(change=change)), index=0)
    assert found.mask[:, 0].tolist() == [False, False, *[True] * 6]
    assert np.allclose(found.data[:, found.mask], LINES[0][:, found.mask])


def test_samples_that_the_header_discards_are_no_measurement(tmp_path: Path) -> None:
    """Two samples before and one after the readout of eight, or a ramp inside of it."""

    def around(table: np.ndarray) -> None:
        for row in table[1:]:
            values = np.pad(
                row["data"].view(np.complex64).reshape(2, 8), ((0, 0), (2, 1)), constant_values=99
            )
            row["data"] = np.ascontiguousarray(values).view(np.float32).ravel()
            head = row["head"]
            head["number_of_samples"], head["center_sample"] = 11, 6
            head["discard_pre"], head["discard_post"] = 2, 1

    def ramp(table: np.ndarray) -> None:
        table["head"]["discard_pre"][1:] = 3

    whole = read_kspace(hdf5(tmp_path, ismrmrd(change=around)), index=1)
    assert np.allclose(whole.data[:, whole.mask], LINES[1][:, whole.mask]) and whole.mask[:, 0].all()
    partial = read_kspace(hdf5(tmp_path, ismrmrd(change=ramp)), index=1)
    assert partial.mask[:, 0].tolist() == [False] * 3 + [True] * 5
    assert np.allclose(partial.data[:, partial.mask], LINES[1][:, partial.mask])

    def all_of_it(table: np.ndarray) -> None:
        table["head"]["discard_post"][1:] = 8

    with pytest.raises(Corrupt, match="discards 0 \\+ 8 of its 8 samples"):
        read_kspace(hdf5(tmp_path, ismrmrd(change=all_of_it)), index=1)


def test_a_mask_that_is_one_on_zero_padding_measures_nothing_there(tmp_path: Path) -> None:
    """As the test sets of fastMRI have it: the header's limits say which columns the scanner encoded."""
    xml = XML.replace("<maximum>5</maximum><center>3<", "<maximum>3</maximum><center>2<")
    mask = np.array([1, 1, 0, 1, 1, 1], np.float32)
    stated = read_kspace(hdf5(tmp_path, fastmri(mask=mask, ismrmrd_header=xml)), index=0)
    assert stated.mask[0].tolist() == [False, True, False, True, True, False]
    empty = LINES.copy()
    empty[..., 0] = 0
    found = read_kspace(hdf5(tmp_path, fastmri(kspace=empty, mask=mask[None])), index=0)
    assert found.mask[0].tolist() == [False, True, False, True, True, True]


def test_what_a_cartesian_reader_cannot_place_is_refused(tmp_path: Path) -> None:
    def outside(table: np.ndarray) -> None:
        table["head"]["idx"]["kspace_encode_step_1"][3] = 40

    def lying(table: np.ndarray) -> None:
        table["head"]["number_of_samples"][3] = 9

    def no_image(table: np.ndarray) -> None:
        table["head"]["flags"] = 1 << 18

    def nan(table: np.ndarray) -> None:
        table["data"][2][0] = np.nan

    def echoes(table: np.ndarray) -> None:
        table["head"]["idx"]["contrast"][3] = 1

    rows: list[tuple[Fill, type[MedpriorError], str]] = [
        (ismrmrd(XML.replace("cartesian", "spiral")), Unsupported, "trajectory is spiral"),
        (ismrmrd(XML.replace("<z>1</z>", "<z>4</z>")), Unsupported, "three dimensions"),
        (ismrmrd(XML.replace("<x>8</x>", "")), Corrupt, "cannot be understood"),
        (ismrmrd(XML.replace("<x>8</x>", "<x>900000</x>")), Corrupt, "matrix"),
        (ismrmrd(XML[:200]), Corrupt, "cannot be understood"),
        (
            ismrmrd('<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + XML.split("\n", 1)[1]),
            Unsupported,
            "document type",
        ),
        (ismrmrd("<a>" * 5000), Corrupt, "nested too deeply"),
        (ismrmrd(change=outside), Corrupt, "outside of the encoded matrix"),
        (ismrmrd(change=lying), Corrupt, "9 samples"),
        (ismrmrd(change=no_image), Corrupt, "no acquisition of an image"),
        (ismrmrd(change=nan), Corrupt, "NaN"),
        (ismrmrd(change=echoes), Unsupported, "2 images of slice 0, which differ in 'contrast'"),
        (fastmri(kspace=np.ones((2, 3, 4))), Corrupt, "complex"),
        (fastmri(mask=np.ones(5)), Corrupt, "mask"),
        (fastmri(kspace=LINES * np.nan), Corrupt, "NaN"),
        (fastmri(reconstruction_rss=np.ones((3, 2), np.float32)), Corrupt, "reconstruction_rss"),
        (lambda file: file.create_dataset("other", data=1), Unsupported, "it holds other"),
    ]
    for fill, kind, reason in rows:
        with pytest.raises(kind, match=reason):
            read_kspace(hdf5(tmp_path, fill), index=0)


def test_no_other_file_is_ever_opened_through_hdf5(tmp_path: Path) -> None:
    """Links, virtual data sets and external storage could reach any file of the machine: refused, not
    followed.
    """
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kspace"] = LINES
    (tmp_path / "raw").write_bytes(LINES.tobytes())
    layout = h5py.VirtualLayout(LINES.shape, LINES.dtype)
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "kspace", LINES.shape)

    def outer(file: h5py.File) -> None:
        file["kspace"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "kspace")

    def soft(file: h5py.File) -> None:
        file["kspace"] = h5py.SoftLink("/elsewhere")

    def virtual(file: h5py.File) -> None:
        file.create_virtual_dataset("kspace", layout)

    def external(file: h5py.File) -> None:
        file.create_dataset(
            "kspace", LINES.shape, LINES.dtype, external=[(str(tmp_path / "raw"), 0, LINES.nbytes)]
        )

    for fill in (outer, soft, virtual, external):
        with pytest.raises(Unsupported, match=r"link to another place|lie in other files"):
            read_kspace(hdf5(tmp_path, fill), index=0)


def test_a_giant_data_set_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = hdf5(
        tmp_path,
        lambda file: file.create_dataset(
            "kspace", (4000, 32, 640, 640), np.complex64, chunks=(1, 1, 640, 640)
        ),
    )
    with pytest.raises(TooLarge):
        read_kspace(path, index=0)
    with pytest.raises(TooLarge):
        read_kspace(hdf5(tmp_path, fastmri()), index=0, limits=Limits(voxels=10))


def test_what_is_no_hdf5_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no HDF5"):
        read_kspace(stored(tmp_path, b"text"))
    with pytest.raises(Corrupt, match="HDF5"):
        read_kspace(stored(tmp_path, b"\x89HDF\r\n\x1a\n" + bytes(500)))
    with pytest.raises(FileProblem, match="no such file"):
        read_kspace(tmp_path / "none")


def test_kspace_in_npz(tmp_path: Path) -> None:
    values = LINES[0].copy()
    values[:, :, 2] = 0
    found = read_kspace(stored(tmp_path, npz(kspace=values)))
    assert np.array_equal(found.data, values)
    assert not found.mask[:, 2].any()
    assert found.mask[:, 0].all()
    for arrays, reason in (
        ({"k": values}, "no array kspace"),
        ({"kspace": values.real}, "complex"),
        ({"kspace": values, "mask": np.ones(3)}, "mask"),
    ):
        with pytest.raises(FileProblem, match=reason):
            read_kspace(stored(tmp_path, npz(**arrays)))
    with pytest.raises(BadOption, match="one slice"):
        read_kspace(stored(tmp_path, npz(kspace=values)), index=1)


def test_a_sinogram_has_its_angles_in_radians(tmp_path: Path) -> None:
    geometry = json.dumps({"distanceUnit": "mm", "distanceSourceOrigin": 410.5})
    good = {
        "sinogram": np.ones((3, 5), np.float32),
        "angles_deg": np.array([0, 90, 180]),
        "geometry_json": np.array(geometry),
    }
    found = read_sinogram(stored(tmp_path, npz(**good)))
    assert np.allclose(found.angles, [0, np.pi / 2, np.pi])
    assert found.geometry == {"distanceUnit": "mm", "distanceSourceOrigin": 410.5}
    bad: dict[str, np.ndarray] = {
        "angles_deg": np.ones(2),
        "sinogram": np.full((3, 5), np.nan),
        "geometry_json": np.array("[1, 2]"),
    }
    for name, value in bad.items():
        with pytest.raises(Corrupt):
            read_sinogram(stored(tmp_path, npz(**(good | {name: value}))))
    with pytest.raises(Corrupt, match="not valid JSON"):
        read_sinogram(stored(tmp_path, npz(**(good | {"geometry_json": np.array("{")}))))
    with pytest.raises(Unsupported, match="angles_deg"):
        read_sinogram(stored(tmp_path, npz(sinogram=np.ones((2, 2)))))


def test_a_stack_gives_one_image_each_with_label_and_patient(tmp_path: Path) -> None:
    hounsfield = np.stack([GREY, GREY + 1]).astype(np.int16) - 1000
    path = stored(
        tmp_path,
        npz(
            hu=hounsfield,
            patient=np.array(["a", "b"]),
            pixel_spacing_mm=np.array([0.5, 0.7]),
            labels=np.array([1, 0]),
        ),
    )
    stack = read_stack(path)
    assert [(image.unit, image.modality) for image in stack.images] == [("HU", "CT")] * 2
    assert [image.spacing_mm for image in stack.images] == [(0.5, 0.5), (0.7, 0.7)]
    assert (stack.labels, stack.patients) == (("1", "0"), ("a", "b"))
    assert np.array_equal(stack.images[1].data[0], hounsfield[1])
    assert np.array_equal(read_array_volume(path, limits=Limits(), index=1).data[0], hounsfield[1])
    with pytest.raises(BadOption, match="wanted 0 to 1"):
        read_array_volume(path, limits=Limits(), index=-1)


@pytest.mark.parametrize("geometry", ["affine", "spacing", "none"])
def test_our_own_npz_comes_back_whole(tmp_path: Path, geometry: str) -> None:
    affine = np.diag([1.0, 2, 3, 1]) if geometry == "affine" else None
    volume = Volume(
        RNG.normal(size=(2, 3, 4, 5)).astype(np.float32),
        affine,
        "HU",
        "CT",
        (3.0, 2.0, 1.0) if geometry == "spacing" else None,
    )
    write_array_volume(volume, tmp_path / "a.npz", synthetic=True)
    again = read_array_volume(tmp_path / "a.npz", limits=Limits())
    assert np.array_equal(again.data, volume.data)
    assert (again.unit, again.modality, again.spacing_mm, again.provenance.synthetic) == (
        "HU",
        "CT",
        volume.spacing_mm,
        True,
    )
    assert (again.affine is None) == (affine is None)
    with pytest.raises(BadOption, match="holds one image"):
        read_array_volume(tmp_path / "a.npz", limits=Limits(), index=0)


def test_measured_data_of_the_real_sets(real_data: Path) -> None:
    kspace = read_kspace(next((real_data / "kspace_brain_sigpy").rglob("*.npz")))
    assert kspace.data.shape == (8, 230, 180)
    assert 7.5 < kspace.acceleration < 8.5
    image = np.fft.fftshift(
        np.fft.ifft2(np.fft.ifftshift(kspace.data, axes=(1, 2)), norm="ortho"), axes=(1, 2)
    )
    energy = (np.abs(image) ** 2).sum(0)
    corners = np.mean(
        [
            energy[:15, :15].mean(),
            energy[:15, -15:].mean(),
            energy[-15:, :15].mean(),
            energy[-15:, -15:].mean(),
        ]
    )
    assert corners < 0.05 * energy[57:173, 45:135].mean(), "centred: the head lies in the middle"
    sinogram = read_sinogram(next((real_data / "ct_projections_htc2022" / "val").glob("*.npz")))
    assert sinogram.data.shape == (61, 560)
    assert np.ptp(sinogram.angles) == pytest.approx(np.radians(30), rel=1e-4)
    assert sinogram.geometry["distanceUnit"] == "mm"
    stack = read_stack(real_data / "ct_slices_hu" / "val" / "slices_256.npz")
    assert len(stack.images) == 9
    assert all(image.data.min() >= -1024 and image.data.max() <= 3071 for image in stack.images)


def test_acquisitions_check_what_they_are_given() -> None:
    with pytest.raises(ShapeMismatch, match=r"KSpace\.data"):
        KSpace(LINES, np.ones((8, 6), bool))
    with pytest.raises(ShapeMismatch, match=r"KSpace\.mask"):
        KSpace(LINES[0], np.ones((6, 8), bool))
    with pytest.raises(ShapeMismatch, match=r"KSpace\.noise"):
        KSpace(LINES[0], np.ones((8, 6), bool), noise=LINES[0, 0])
    with pytest.raises(ShapeMismatch, match=r"Sinogram\.data"):
        Sinogram(np.ones(3, np.float32), np.ones(3))
    with pytest.raises(ShapeMismatch, match=r"Sinogram\.angles"):
        Sinogram(np.ones((3, 4), np.float32), np.ones(4))


def test_hostile_sizes_in_hdf5_are_refused_before_anything_is_inflated(tmp_path: Path) -> None:
    """A chunk of 2 GiB for a slice of 32 kB, a header text of 2 GiB, a filter that only a plugin knows."""

    def chunk(file: h5py.File) -> None:
        made = {"maxshape": (None,) * 4, "chunks": (1, 1, 2**14, 2**13), "compression": "gzip"}
        file.create_dataset("kspace", (1, 1, 64, 64), "c8", **made)

    def text(file: h5py.File) -> None:
        file["kspace"] = LINES[:1]
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(2**31 - 1)
        late = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        late.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
        h5py.h5d.create(file.id, b"ismrmrd_header", kind, h5py.h5s.create(h5py.h5s.SCALAR), late)

    def plugin(file: h5py.File) -> None:
        packed = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        packed.set_chunk((1, 2, 8, 6))
        packed.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)
        kind = h5py.h5t.py_create(np.dtype("c8"))
        h5py.h5d.create(file.id, b"kspace", kind, h5py.h5s.create_simple((1, 2, 8, 6)), packed)

    rows = (
        (chunk, TooLarge, "chunks of"),
        (text, Corrupt, "header text is"),
        (plugin, Unsupported, "filter"),
    )
    for fill, kind, reason in rows:
        with pytest.raises(kind, match=reason):
            read_kspace(hdf5(tmp_path, fill))


def test_a_file_of_a_thousand_other_things_is_named_in_one_short_line(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for n in range(1000):
            file.create_group(f"{n:04d}{'x' * 90}")
    with pytest.raises(Unsupported, match=r"0007x+\.\.\., 992 more") as caught:
        read_kspace(tmp_path / "a.h5")
    assert len(str(caught.value)) < 700

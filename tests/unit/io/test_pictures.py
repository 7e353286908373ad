"""Promises A3, A4, A8, E1: a picture's values are as stored or the picture is refused by name; what is
written says what it is for.
"""

from __future__ import annotations

import struct
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medprior.data.volume import Volume
from medprior.errors import BadOption, Corrupt, ShapeMismatch, TooLarge, Unsupported
from medprior.io.disk.limits import Limits
from medprior.io.pictures import picture_format, read_picture, write_picture
from tests.corpus.other import GREY, picture, png


def stored(folder: Path, content: bytes, name: str = "a.png") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def test_rows_go_down_and_columns_to_the_right(tmp_path: Path) -> None:
    volume = read_picture(stored(tmp_path, png()))
    assert np.array_equal(volume.data, GREY[None])
    assert (volume.affine, volume.spacing_mm, volume.unit, volume.modality) == (None, None, "a.u.", "")
    assert read_picture(stored(tmp_path, png()), unit="optical density", modality="DX").modality == "DX"


def test_sixteen_bits_survive(tmp_path: Path) -> None:
    deep = (np.arange(600).reshape(20, 30) * 109).astype(np.uint16)
    for name in ("PNG", "TIFF"):
        assert np.array_equal(
            read_picture(stored(tmp_path, picture(Image.fromarray(deep), name))).data[0], deep
        )


def test_colour_is_refused_or_turned_to_grey_by_the_stated_weights(tmp_path: Path) -> None:
    colour = np.zeros((4, 5, 3), np.uint8)
    colour[:] = [200, 100, 50]
    path = stored(tmp_path, png(colour))
    with pytest.raises(Unsupported, match=r"channels differ by up to 150 of 255.*luma"):
        read_picture(path)
    volume = read_picture(path, colour="luma")
    assert np.allclose(volume.data, 0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert any("0.299 R" in line for line in volume.provenance.warnings)
    with pytest.raises(BadOption, match="colour: wanted one of"):
        read_picture(path, colour="grey")


def test_a_grey_jpeg_in_three_channels_is_grey(tmp_path: Path) -> None:
    """Its channels may differ by the rounding of the format, no more."""
    path = stored(tmp_path, picture(Image.fromarray(GREY), "JPEG", "RGB", quality=90))
    assert np.abs(read_picture(path).data[0] - GREY).mean() < 40
    assert read_picture(path).provenance.warnings == ()


def test_transparency_is_refused_or_dropped_by_name(tmp_path: Path) -> None:
    clear = np.dstack([GREY, GREY, GREY, np.full_like(GREY, 7)])
    path = stored(tmp_path, png(clear))
    with pytest.raises(Unsupported, match="transparent"):
        read_picture(path)
    volume = read_picture(path, colour="luma")
    assert np.array_equal(volume.data[0], GREY)
    assert "an alpha channel that was not opaque was dropped" in volume.provenance.warnings


def test_a_picture_on_its_side_is_turned_as_its_exif_says_and_that_is_noted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    volume = read_picture(stored(tmp_path, png(np.rot90(GREY).copy(), exif=exif)))
    assert np.array_equal(volume.data[0], GREY)
    assert "turned upright by its EXIF orientation" in volume.provenance.warnings


def test_the_number_of_pixels_is_limited_before_they_are_decoded(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="480 voxels, the limit is 100"):
        read_picture(stored(tmp_path, png()), limits=Limits(voxels=100))


def test_nan_in_a_float_tiff_is_counted_and_replaced_by_name(tmp_path: Path) -> None:
    values = GREY.astype(np.float32)
    values[0, :2] = np.nan
    path = stored(tmp_path, picture(Image.fromarray(values), "TIFF"))
    with pytest.raises(Corrupt, match="2 of 480 pixels"):
        read_picture(path)
    assert read_picture(path, nonfinite=0).data[0, 0, :2].tolist() == [0, 0]


def test_kinds_are_told_by_content() -> None:
    assert [
        picture_format(start)
        for start in (png()[:8], b"\xff\xd8\xff\xe1", b"II*\0", b"MM\0*", b"GIF89a", b"")
    ] == ["PNG", "JPEG", "TIFF", "TIFF", "", ""]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("synthetic", [True, False])
def test_what_is_written_reads_back_with_its_mark(tmp_path: Path, suffix: str, synthetic: bool) -> None:
    for values in (GREY.astype(np.float32), GREY.astype(np.float32) * 257):
        write_picture(Volume(values[None]), tmp_path / f"a{suffix}", synthetic=synthetic)
        again = read_picture(tmp_path / f"a{suffix}")
        assert np.array_equal(again.data[0], values)
        assert again.provenance.synthetic == synthetic
    with Image.open(tmp_path / f"a{suffix}") as image:
        text = str(image.info.get("Description") or image.getexif().get(270))
    assert text.startswith(
        f"medprior: {'synthetic' if synthetic else 'derived'} / research use only, not for diagnosis"
    )


def test_a_window_is_stored_with_the_picture(tmp_path: Path) -> None:
    hounsfield = np.linspace(-1024, 1500, 400, dtype=np.float32).reshape(1, 20, 20)
    write_picture(Volume(hounsfield, unit="HU"), tmp_path / "a.png", window=(-1000, 1000))
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Window"] == "black=-1000 white=1000 unit=HU"
        assert image.info["Clipped"].endswith(" of 400 pixels")
        back = np.asarray(image).astype(float) / 65535 * 2000 - 1000
    inside = (hounsfield[0] > -1000) & (hounsfield[0] < 1000)
    assert np.abs(back - hounsfield[0])[inside].max() <= 0.5 * 2000 / 65535 + 1e-3


def test_values_that_no_picture_can_show_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(BadOption, match=r"reach from -5 to -5 .*window"):
        write_picture(Volume(np.full((1, 4, 4), -5, np.float32)), path)
    with pytest.raises(BadOption, match="NaN"):
        write_picture(Volume(np.full((1, 4, 4), np.nan, np.float32)), path)
    with pytest.raises(BadOption, match="low < high"):
        write_picture(Volume(np.ones((1, 4, 4), np.float32)), path, window=(3, 3))
    with pytest.raises(BadOption, match="8 or 16"):
        write_picture(Volume(np.ones((1, 4, 4), np.float32)), path, bits=12)
    with pytest.raises(BadOption, match="JPEG"):
        write_picture(Volume(np.ones((1, 4, 4), np.float32)), tmp_path / "a.jpg")
    with pytest.raises(ShapeMismatch, match="choose a slice"):
        write_picture(Volume(np.ones((1, 4, 4, 4), np.float32)), path)
    assert list(tmp_path.iterdir()) == []


def test_scans_and_pages_without_end_are_refused_at_once(tmp_path: Path) -> None:
    """A progressive JPEG that goes over its picture again and again, and a chain of 20 000 pages."""
    held = BytesIO()
    Image.fromarray(GREY).save(held, "JPEG", progressive=True)
    whole = held.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    bad = tmp_path / "a.jpg"
    bad.write_bytes(whole[:-2] + last * 3000 + whole[-2:])
    with pytest.raises(TooLarge, match="scans, the limit is 100"):
        read_picture(bad)
    page = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 64)]
    size = 2 + 12 * len(page) + 4
    tags = struct.pack("<H", len(page)) + b"".join(struct.pack("<HHII", *tag) for tag in page)
    pages = (tags + struct.pack("<I", 8 + (n + 1) * size) for n in range(20_000))
    chain = tmp_path / "a.tif"
    chain.write_bytes(b"II*\0" + struct.pack("<I", 8) + b"".join(pages))
    start = time.process_time()
    with pytest.raises(Unsupported, match="several pages"):
        read_picture(chain)
    assert time.process_time() - start < 2

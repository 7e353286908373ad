"""Pictures: upright the radiological way, square pixels, windows as stated, fixed scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medprior.data.views import Window, grey, plane_of, sides, upright, window_for
from medprior.data.volume import Volume
from medprior.runs.page.pictures import coloured, contact_sheet, flat, mosaic, overlaid


def head() -> Volume:
    """RAS volume, 1 mm: bright at the patient's right, front, top."""
    data = np.zeros((1, 8, 10, 12), dtype=np.float32)
    data[0, 7, 9, 11] = 1  # i to the right, j to the front, k up
    data[0, 7, 9, 6] = 1
    return Volume(data, np.eye(4))


def test_axial_slices_show_the_right_on_the_left_and_the_front_up() -> None:
    assert np.argwhere(upright(head(), plane="axial") == 1).tolist() == [[0, 0]]


def test_coronal_slices_show_the_right_on_the_left_and_the_head_up() -> None:
    assert np.argwhere(upright(head(), plane="coronal", at=9) == 1).tolist() == [[0, 0], [5, 0]]


@pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
@pytest.mark.parametrize("swapped", [False, True])
def test_an_image_is_upright_whatever_its_array_order(flips: tuple[int, int], swapped: bool) -> None:
    """The same axial slice, stored in eight orders, gives the same picture."""
    data = np.arange(20, dtype=np.float32).reshape(4, 5)  # i to the right, j to the front
    affine = np.eye(4)
    moved, columns = (data.T, affine[:, [1, 0, 2, 3]]) if swapped else (data, affine)
    for axis, flip in enumerate(flips):
        if flip < 0:
            moved = np.flip(moved, axis)
            columns = columns.copy()
            columns[:3, 3] += columns[:3, axis] * (moved.shape[axis] - 1)
            columns[:3, axis] *= -1
    volume = Volume(np.ascontiguousarray(moved)[None], columns)
    assert plane_of(volume) == "axial"
    assert np.array_equal(upright(volume), data[::-1, ::-1].T)


def test_unknown_geometry_is_shown_as_stored() -> None:
    data = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert np.array_equal(upright(Volume(data)), data[0])


def test_pixels_are_square_and_pictures_no_larger_than_needed() -> None:
    assert upright(Volume(np.zeros((1, 10, 20), np.float32), spacing_mm=(2.0, 1.0))).shape == (20, 20)
    assert upright(Volume(np.zeros((1, 2000, 1000), np.float32))).shape == (640, 320)


def test_windows() -> None:
    window = window_for(Volume(np.zeros((1, 4, 4), np.float32), unit="HU", modality="CT"))
    assert (window.low, window.high) == (-160, 240) and "level 40, width 400" in window.name
    shown = np.asarray(grey(np.array([[-1000.0, -160.0, 40.0, 240.0, 3000.0]]), window))
    assert shown.tolist() == [[0, 0, 128, 255, 255]]
    constant = window_for(Volume(np.full((1, 4, 4), 7, np.float32)))
    assert constant.high > constant.low


def test_the_colour_scale_is_fixed_and_not_stretched_to_the_image() -> None:
    low, high = (np.asarray(coloured(np.full((2, 2), value), 1.0)) for value in (0.1, 1.0))
    assert not np.array_equal(low, high)
    assert np.array_equal(high, np.asarray(coloured(np.full((2, 2), 5.0), 1.0)))
    assert np.asarray(coloured(np.array([[0.0, 1.0]]), 1.0)).tolist() == [[[0, 0, 4], [252, 255, 164]]]


def test_a_layer_is_transparent_below_its_level() -> None:
    values = np.array([[0.0, 2.9, 3.0, 6.0, 9.0]])
    layer = overlaid(values, 3.0, 6.0)
    assert np.asarray(layer.getchannel("A")).tolist() == [[0, 0, 255, 255, 255]]
    colours = np.asarray(layer)[..., :3]
    assert np.array_equal(colours[0, 3], colours[0, 4]) and not np.array_equal(colours[0, 2], colours[0, 3])
    assert int(colours[0, 2].max()) > 120, "the lowest colour can be seen on a dark scan"
    under = grey(np.full((1, 5), 0.5), Window(0, 1, ""))
    both = np.asarray(flat(under, layer, 1.0))
    assert both[0, :2].tolist() == [[128, 128, 128]] * 2 and np.array_equal(both[0, 2:], colours[0, 2:])


def test_sheets(tmp_path: Path) -> None:
    tile = Image.new("L", (10, 8), 200)
    assert mosaic([tile] * 5, 3).size == (34, 18)
    (tmp_path / "sheet.png").write_bytes(contact_sheet([("one", tile), ("two", tile)], height=40))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (50 + 50 + 36, 90)


def test_the_sides_of_a_patient_are_named_where_they_are_known() -> None:
    """The voxel at the patient's right stands on the left of the picture, and letters say so."""
    data = np.zeros((1, 6, 8, 4), np.float32)
    data[0, 5] = 1  # RAS: i grows to the right
    volume = Volume(data, np.eye(4))
    assert upright(volume)[:, 0].min() == 1 and upright(volume)[:, -1].max() == 0
    assert sides(volume) == sides(volume, plane="coronal") == ("R", "L")
    assert sides(volume, plane="sagittal") == ("A", "P") and sides(Volume(data)) == ("", "")
    assert upright(Volume(data.transpose(0, 2, 1, 3), np.eye(4)), plane="sagittal")[:, 0].max() == 1, "front"

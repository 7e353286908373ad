"""Planes of a volume: the radiological way, in millimetres, labels unmixed."""

from __future__ import annotations

import threading
from functools import partial
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from medprior.data.views import upright
from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.web.pictures import Shelf, drawn, presets, views_in

RAS = np.diag([1.0, 1.0, 2.5, 1.0])


def volume() -> Volume:
    return Volume(np.random.default_rng(0).uniform(0, 100, (1, 8, 9, 10)).astype(np.float32), RAS, "HU", "CT")


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)))


def test_three_planes_with_letters_and_millimetres() -> None:
    found = {view.name: view for view in views_in(volume())}
    assert {name: view.count for name, view in found.items()} == {"axial": 10, "coronal": 9, "sagittal": 8}
    assert found["axial"].letters == ("R", "L", "A", "P") and found["coronal"].letters == ("R", "L", "S", "I")
    assert found["axial"].mm == found["coronal"].mm == 1.0
    assert (found["coronal"].rows, found["coronal"].columns) == (25, 8)


@pytest.mark.parametrize("plane, at", [("axial", 3), ("coronal", 7), ("sagittal", 0)])
def test_the_brightest_voxel_lies_where_the_geometry_says(plane: str, at: int) -> None:
    """A voxel is set, its millimetres are computed by the affine, and the picture shows it at the pixel that
    ``place`` takes to the same millimetres.
    """
    view = next(view for view in views_in(volume()) if view.name == plane)
    data = np.zeros((1, 8, 9, 10), np.float32)
    voxel = {"axial": (2, 5, at), "coronal": (2, at, 6), "sagittal": (at, 5, 6)}[plane]
    data[0][voxel] = 1000
    shown = upright(Volume(data, RAS, "HU", "CT"), plane=plane, at=at)
    row, column = np.unravel_index(shown.argmax(), shown.shape)
    there = np.array(view.place) @ [row, column, at, 1]
    assert np.allclose(there, (RAS @ [*voxel, 1])[:3], atol=1.3)  # within half of the thickest slice


def test_an_image_without_geometry_is_shown_as_it_is_stored() -> None:
    image = Volume(np.arange(12, dtype=np.float32).reshape(1, 3, 4))
    (view,) = views_in(image)
    assert (view.name, view.count, view.letters, view.mm) == ("as stored", 1, ("", "", "", ""), None)
    assert pixels(drawn(image, "as stored", 0, low=0, high=11))[2, 3] == 255


@pytest.mark.parametrize("plane, at", [("axial", 10), ("axial", -1), ("oblique", 0)])
def test_what_is_not_there_is_refused(plane: str, at: int) -> None:
    with pytest.raises(BadOption):
        drawn(volume(), plane, at)


def test_an_overlay_is_transparent_below_its_level_and_keeps_its_scale() -> None:
    image = Volume(np.array([[[0.0, 1.0], [2.0, 4.0]]], np.float32))
    shown = pixels(drawn(image, "as stored", 0, colours="overlay", low=1.0, high=2.0))
    assert shown[..., 3].tolist() == [[0, 255], [255, 255]]
    assert (shown[1, 0, :3] == shown[1, 1, :3]).all() and (shown[0, 1, :3] != shown[1, 0, :3]).any()
    less = pixels(drawn(image, "as stored", 0, colours="overlay", low=1.0, high=2.0, start=0.0))
    assert (less[..., 3] == 255).all() and (less[:, :, :3] == shown[:, :, :3]).all()


def test_labels_are_outlined_each_in_its_colour_and_never_mixed() -> None:
    data = np.zeros((1, 12, 12), np.float32)
    data[0, :6], data[0, 6:] = 1, 3
    shown = pixels(drawn(Volume(data, unit="label"), "as stored", 0, colours="labels"))
    assert len({tuple(colour) for colour in shown[..., :3].reshape(-1, 3)}) == 2
    assert set(np.unique(shown[..., 3])) == {40, 255}


def test_windows_by_modality() -> None:
    assert [one["name"] for one in presets(volume())][:3] == ["soft tissue", "lung", "bone"]
    grey = presets(Volume(np.zeros((1, 4, 4), np.float32)))
    assert all(one["high"] > one["low"] for one in grey)  # type: ignore[operator]


def test_readers_who_want_the_same_scan_wait_for_one_reading() -> None:
    read: list[str] = []

    def slow() -> Volume:
        read.append("a")
        threading.Event().wait(0.05)
        return volume()

    shelf = Shelf()
    threads = [threading.Thread(target=shelf.get, args=("a", slow)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == ["a"]


def test_the_shelf_keeps_what_was_looked_at_last() -> None:
    read: list[str] = []

    def opened(name: str) -> Volume:
        read.append(name)
        return volume()

    shelf = Shelf(most=2 * volume().data.nbytes)
    for name in "abacab":
        shelf.get(name, partial(opened, name))
    assert read == ["a", "b", "c", "b"]

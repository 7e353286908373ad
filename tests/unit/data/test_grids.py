"""One grid or not: shape, place and order of axes."""

from __future__ import annotations

import numpy as np

from medprior.data.axes import reorient
from medprior.data.grids import middle_half, on_grid_of, slice_heights
from medprior.data.volume import Volume

AFFINE = np.array([[2.0, 0, 0, -10], [0, 2.0, 0, 5], [0, 0, 3.0, 7], [0, 0, 0, 1]])


def volume(affine: np.ndarray | None = AFFINE, shape: tuple[int, ...] = (4, 5, 6)) -> Volume:
    return Volume(np.random.default_rng(0).random((1, *shape)).astype(np.float32), affine)


def test_the_same_grid_in_another_order_of_axes_is_turned_back() -> None:
    scan = volume()
    other, fault = on_grid_of(scan, reorient(volume(), "IPL"))
    assert fault == "" and np.array_equal(other.data, scan.data) and np.allclose(other.affine, AFFINE)  # type: ignore[arg-type]


def test_a_shift_of_a_voxel_is_said_in_voxels_and_rounding_is_not() -> None:
    moved, rounded = AFFINE.copy(), AFFINE.copy()
    moved[2, 3] += 3.0
    rounded[0, 3] += 0.01
    assert "1.0 voxels away" in on_grid_of(volume(), volume(moved))[1]
    assert on_grid_of(volume(), volume(rounded))[1] == ""


def test_another_shape_and_an_unknown_place() -> None:
    assert on_grid_of(volume(), volume(shape=(4, 5, 7)))[1] == "has shape (4, 5, 7), wanted (4, 5, 6)"
    assert on_grid_of(volume(), volume(None))[1] == ""
    assert on_grid_of(volume(None, (4, 5)), volume(None, (4, 5)))[1] == ""


def test_slices_of_the_middle_half_and_their_heights() -> None:
    assert (
        list(middle_half(8)) == [2, 3, 4, 5]
        and list(middle_half(1)) == [0]
        and list(middle_half(3)) == [0, 1, 2]
    )
    assert slice_heights(4).tolist() == [-0.75, -0.25, 0.25, 0.75]

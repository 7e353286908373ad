"""Invariants of Volume, KSpace and Sinogram: what cannot be is refused when it is made, and nothing changes
afterwards.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medprior.data.acquisitions import KSpace, Sinogram
from medprior.data.volume import Provenance, Volume
from medprior.errors import ShapeMismatch

shapes = hnp.array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=4)
numbers = st.sampled_from([np.uint8, np.int16, np.int32, np.float32, np.float64])


@given(shapes, numbers)
def test_every_type_of_number_becomes_float32_and_the_axes_are_told_apart(
    shape: tuple[int, ...], kind: type
) -> None:
    volume = Volume(np.ones(shape, kind))
    assert volume.data.dtype == np.float32
    assert (volume.ndim, volume.shape) == (len(shape) - 1, shape[1:])
    assert volume.affine is None and volume.spacing_mm is None, "nothing is made up"


@given(
    hnp.arrays(np.float64, (3, 3), elements=st.floats(-5, 5)),
    st.lists(st.floats(-500, 500), min_size=3, max_size=3),
    shapes,
)
def test_the_spacing_follows_from_the_affine(
    matrix: np.ndarray, origin: list[float], shape: tuple[int, ...]
) -> None:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, origin
    data = np.zeros(shape, np.float32)
    with np.errstate(all="ignore"):  # numbers so small that their product is none
        size = abs(np.linalg.det(matrix))
    if not size >= 1e-12:
        with pytest.raises(ShapeMismatch, match="invertible"):
            Volume(data, affine)
        return
    volume = Volume(data, affine, spacing_mm=(99.0,) * (len(shape) - 1))
    assert volume.spacing_mm == pytest.approx(tuple(np.linalg.norm(matrix, axis=0)[: volume.ndim]))


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (1, 2, 3, 4, 5), (0, 2, 3), (1, 0, 3), (1, 2, 3, 0)])
def test_shapes_that_are_no_image_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeMismatch, match=r"Volume\.data"):
        Volume(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "wrong",
    [np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1, 1, 0, 1]), np.diag([np.inf, 1, 1, 1])],
)
def test_an_affine_that_places_nothing_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ShapeMismatch, match=r"Volume\.affine"):
        Volume(np.zeros((1, 2, 2, 2), np.float32), wrong)


@pytest.mark.parametrize("wrong", [np.diag([1.0, 1, 1, 2]), np.eye(4) + np.eye(4)[[3, 0, 1, 2]]])
def test_an_affine_whose_last_row_is_another_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ShapeMismatch, match="last row"):
        Volume(np.zeros((1, 2, 2, 2), np.float32), wrong)


@pytest.mark.parametrize(
    "wrong", [(1.0,), (1.0, 1.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (np.nan, 1.0), (np.inf, 1.0)]
)
def test_a_spacing_that_measures_nothing_is_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ShapeMismatch, match="spacing_mm"):
        Volume(np.zeros((1, 2, 2), np.float32), spacing_mm=wrong)


def test_a_volume_does_not_change() -> None:
    volume = Volume(np.zeros((1, 2, 2), np.float32))
    with pytest.raises(FrozenInstanceError):
        volume.unit = "HU"  # type: ignore[misc]


@given(shapes, st.booleans(), st.sampled_from([None, True, False]))
def test_history_grows_and_the_mark_is_kept_unless_it_is_set(
    shape: tuple[int, ...], before: bool, said: bool | None
) -> None:
    volume = Volume(np.zeros(shape, np.float32), provenance=Provenance(history=("read",), synthetic=before))
    noted = volume.noted("turned", synthetic=said)
    assert noted.provenance.history == ("read", "turned")
    assert noted.provenance.synthetic == (before if said is None else said)
    assert noted.data is volume.data and volume.provenance.history == ("read",)


def test_new_numbers_keep_the_place_and_the_shape() -> None:
    volume = Volume(
        np.zeros((1, 2, 3, 4), np.float32),
        np.diag([2.0, 3, 4, 1]),
        "HU",
        "CT",
        provenance=Provenance(history=("read",)),
    )
    other = volume.with_data(np.ones((2, 2, 3, 4)))
    assert other.data.dtype == np.float32 and other.data.shape == (2, 2, 3, 4)
    assert (other.unit, other.modality, other.spacing_mm, other.provenance) == (
        "HU",
        "CT",
        (2, 3, 4),
        volume.provenance,
    )
    with pytest.raises(ShapeMismatch, match="with_data"):
        volume.with_data(np.ones((1, 2, 3, 5)))
    assert replace(volume, affine=None, spacing_mm=None).spacing_mm is None


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_kspace_knows_its_acceleration(coils: int, rows: int, columns: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.5
    found = KSpace(np.ones((coils, rows, columns), np.complex128), mask.astype(np.uint8))  # type: ignore[arg-type]
    assert found.data.dtype == np.complex64 and found.mask.dtype == bool
    if mask.any():
        assert found.acceleration * mask.sum() == pytest.approx(mask.size)
    else:
        assert found.acceleration == np.inf, "nothing was measured"


def test_measurements_of_another_shape_are_refused() -> None:
    good = np.ones((2, 4, 3), np.complex64)
    for data, mask in (
        (good[0], np.ones((4, 3), bool)),
        (good, np.ones((3, 4), bool)),
        (good[:0], np.ones((4, 3), bool)),
    ):
        with pytest.raises(ShapeMismatch, match="KSpace"):
            KSpace(data, mask)
    with pytest.raises(ShapeMismatch, match="Sinogram"):
        Sinogram(np.ones(4, np.float32), np.ones(4))
    with pytest.raises(ShapeMismatch, match="one angle for each view"):
        Sinogram(np.ones((4, 3), np.float32), np.ones(3))
    found = Sinogram(np.ones((4, 3), np.float64), np.arange(4))  # type: ignore[arg-type]
    assert found.data.dtype == np.float32 and found.angles.dtype == np.float64


def test_a_volume_says_what_it_is_in_one_line() -> None:
    made = Volume(np.zeros((1, 4, 5, 6), np.float32), np.diag([2.0, 2, 2, 1]), modality="MR").noted(
        "made", synthetic=True
    )
    assert repr(made) == "Volume MR 4 x 5 x 6, a.u., 2 mm, synthetic"
    assert (
        repr(Volume(np.zeros((2, 4, 5), np.float32))) == "Volume of unknown modality 4 x 5, 2 channels, a.u."
    )


def test_numpy_and_nibabel_take_a_volume() -> None:
    data = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    made = Volume(data, np.diag([1.0, 2, 3, 1]))
    assert np.array_equal(np.asarray(made), data) and np.asarray(made, dtype=np.float64).dtype == np.float64
    image = made.to_nibabel()
    assert image.shape == (2, 3, 4) and np.array_equal(image.affine, np.diag([1.0, 2, 3, 1]))
    assert np.array_equal(image.get_fdata(), data[0])
    assert Volume(data[..., 0], np.eye(4)).to_nibabel().shape == (2, 3, 1)
    assert Volume(np.concatenate([data, data])).to_nibabel().shape == (2, 3, 4, 2)

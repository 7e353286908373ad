"""Laws of the axes of the body: turning moves no voxel to another place, and there is a way back."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes

from medprior.data.axes import PLANES, axcodes, orient_plane, plane_of_codes, reorient, stacking_axis
from medprior.data.volume import Volume
from medprior.errors import BadOption, WrongKind

PAIRS = ("RL", "AP", "SI")
CODES = ["".join(letters) for order in permutations(PAIRS) for letters in product(*order)]
"""All 48 ways in which three axes can point."""

shapes = st.tuples(*[st.integers(1, 5)] * 3)
codes = st.sampled_from(CODES)
seeds = st.integers(0, 2**31)


def rotation(rng: np.random.Generator, degrees: float) -> np.ndarray:
    """A rotation by at most ``degrees`` about a random axis (Rodrigues): the closest axes stay the
    closest.
    """
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.radians(rng.uniform(-degrees, degrees))
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def volume_pointing(code: str, shape: tuple[int, int, int], seed: int, degrees: float = 20.0) -> Volume:
    """A volume whose axes point to ``code``, tilted by at most ``degrees``, each voxel with a value of its
    own.
    """
    rng = np.random.default_rng(seed)
    matrix = np.zeros((3, 3))
    for column, letter in enumerate(code):
        row = next(n for n, pair in enumerate(PAIRS) if letter in pair)
        matrix[row, column] = (1 if letter == PAIRS[row][0] else -1) * rng.uniform(0.5, 4)
    affine = np.eye(4)
    affine[:3, :3] = rotation(rng, degrees) @ matrix
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    data = rng.permutation(np.prod(shape)).reshape(1, *shape).astype(np.float32)
    return Volume(np.concatenate([data, data + 0.5]), affine)


def where(volume: Volume) -> dict[float, np.ndarray]:
    """value -> place in mm, of the first channel."""
    assert volume.affine is not None
    return {
        float(volume.data[0][index]): (volume.affine @ [*index, 1])[:3] for index in np.ndindex(volume.shape)
    }


def test_there_are_48_ways() -> None:
    assert len(set(CODES)) == 48
    assert all(axcodes(volume_pointing(code, (2, 3, 4), 0)) == code for code in CODES)


@given(codes, codes, shapes, seeds)
def test_turning_moves_no_voxel(have: str, want: str, shape: tuple[int, int, int], seed: int) -> None:
    volume = volume_pointing(have, shape, seed)
    turned = reorient(volume, want)
    assert axcodes(turned) == want
    before, after = where(volume), where(turned)
    assert before.keys() == after.keys()
    assert max(np.abs(before[value] - after[value]).max() for value in before) < 1e-9
    assert np.array_equal(turned.data[1], turned.data[0] + 0.5), "channels turn together"


@given(codes, codes, codes, shapes, seeds)
def test_two_turns_are_one_and_there_is_a_way_back(
    have: str, over: str, want: str, shape: tuple[int, int, int], seed: int
) -> None:
    volume = volume_pointing(have, shape, seed)
    direct, detour, back = (
        reorient(volume, want),
        reorient(reorient(volume, over), want),
        reorient(reorient(volume, want), have),
    )
    for one, other in ((direct, detour), (volume, back)):
        assert np.array_equal(one.data, other.data)
        assert (
            one.affine is not None
            and other.affine is not None
            and np.allclose(one.affine, other.affine, atol=1e-9)
        )
        assert one.spacing_mm == pytest.approx(other.spacing_mm)


@given(codes, st.sampled_from(sorted(PLANES)), st.tuples(st.integers(1, 5), st.integers(1, 5)), seeds)
def test_an_image_turns_in_its_plane_only(code: str, plane: str, shape: tuple[int, int], seed: int) -> None:
    """The two letters of a picture are reached from every image of that plane, and from no other."""
    whole = volume_pointing(code, (*shape, 1), seed)
    image = Volume(whole.data[..., 0], whole.affine)
    lies_in_it = code[2] in next(pair for pair in PAIRS if stacking_axis(plane) in pair)
    if not lies_in_it:
        with pytest.raises(WrongKind, match="lies in plane"):
            orient_plane(image, PLANES[plane])
        return
    turned = orient_plane(image, PLANES[plane])
    assert axcodes(turned)[:2] == PLANES[plane]
    assert sorted(turned.data[0].ravel()) == sorted(image.data[0].ravel())
    assert whole.affine is not None and turned.affine is not None
    for index in np.ndindex(turned.shape):
        (place,) = (np.argwhere(image.data[0] == turned.data[0][index])).tolist()
        assert np.allclose(turned.affine @ [*index, 0, 1], whole.affine @ [*place, 0, 1], atol=1e-9)


def test_what_is_unknown_cannot_be_turned() -> None:
    blind = Volume(np.ones((1, 2, 3, 4), np.float32))
    assert axcodes(blind) == ""
    for call in (
        lambda: reorient(blind, "RAS"),
        lambda: orient_plane(Volume(np.ones((1, 2, 3), np.float32)), "PL"),
    ):
        with pytest.raises(WrongKind, match="unknown"):
            call()
    with pytest.raises(WrongKind, match="2-D"):
        reorient(Volume(np.ones((1, 2, 3), np.float32), np.eye(4)), "RAS")
    with pytest.raises(BadOption, match="axial"):
        stacking_axis("oblique")


@pytest.mark.parametrize("wrong", ["RRS", "RA", "XYZ", "ras", "RASL", "RLS", ""])
def test_codes_that_name_no_three_axes_are_refused(wrong: str) -> None:
    with pytest.raises(BadOption, match="three letters"):
        reorient(Volume(np.ones((1, 2, 3, 4), np.float32), np.eye(4)), wrong)


@pytest.mark.parametrize("wrong", ["RL", "RR", "P", "PLS", "pl", "XY"])
def test_codes_that_name_no_plane_are_refused(wrong: str) -> None:
    with pytest.raises(BadOption, match="two letters"):
        orient_plane(Volume(np.ones((1, 2, 3), np.float32), np.eye(4)), wrong)


def test_the_letters_are_those_of_nibabel() -> None:
    for code in CODES:
        volume = volume_pointing(code, (1, 1, 1), 1)
        assert "".join(aff2axcodes(volume.affine)) == axcodes(volume)


def test_the_plane_of_two_axes_is_the_inverse_of_the_table() -> None:
    assert [plane_of_codes(codes) for codes in PLANES.values()] == list(PLANES) and plane_of_codes(
        "RAS"
    ) == "axial"

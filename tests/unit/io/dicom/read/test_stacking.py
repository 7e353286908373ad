"""Slices that do not lie evenly are refused by their true name, with a remedy that works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medprior.errors import BadGeometry, BadOption
from medprior.io.read import read
from tests.corpus.dicom_parts import changed, ct_slice, phantom, save_all, uid


def stack(folder: Path, heights: Sequence[float], numbers: Sequence[int] = (), aside: float = 0.0) -> Path:
    """Slices at these heights; the value of each is its height, and grows by 100 to the right."""
    numbers = numbers or range(1, len(heights) + 1)
    ramp = (np.arange(8) * 100 + 1000).astype(np.uint16) * np.ones((10, 1), np.uint16)
    made = [
        changed(
            ct_slice((ramp + round(10 * z)).astype(np.uint16), (-20, -30 + aside * n, z)),
            InstanceNumber=number,
            SOPInstanceUID=uid("uneven", n),
            RescaleIntercept=0,
        )
        for n, (z, number) in enumerate(zip(heights, numbers, strict=True))
    ]
    return save_all(folder, made)


EVEN = [2.5 * k for k in range(8)]
ONCE = [*EVEN, *(17.5 + 5 * k for k in range(1, 6))]


@pytest.mark.parametrize(
    ("heights", "numbers", "reason", "remedy"),
    [
        (ONCE, (), "spacing changes once: 2.500 mm up to slice 8, 5.000 mm", "'1-8' or '8-13'"),
        ([*EVEN[:3], *EVEN[4:]], (1, 2, 3, 5, 6, 7, 8), "1 is missing", "add the missing slices, choose"),
        ([*EVEN[:3], *EVEN[4:]], (), "gap, though the slices are numbered without one", "'1-3' or '4-7'"),
        ([*EVEN, 40.0], (), "a slice apart", "'1-8'"),
        ([0, 2, 5, 6, 9, 14, 15, 21], (), "uneven: slices lie 1.000 to 6.000 mm apart", "--resample"),
    ],
)
def test_uneven_slices_have_a_true_name_and_a_way_out(
    tmp_path: Path, heights: list[float], numbers: tuple[int, ...], reason: str, remedy: str
) -> None:
    folder = stack(tmp_path, heights, numbers)
    with pytest.raises(BadGeometry, match=reason) as caught:
        read(folder)
    assert remedy in caught.value.remedy
    assert ("add the missing" in caught.value.remedy) == ("missing" in reason)
    volume = read(folder, resample=True)
    assert volume.affine is not None and volume.affine[2, 2] == pytest.approx(
        np.sort(np.diff(heights))[(len(heights) - 2) // 2], rel=0.25
    )
    z = volume.affine[2, 3] + volume.affine[2, 2] * np.arange(volume.shape[2])
    assert np.allclose(volume.data[0, -1, 0], 1000 + 10 * z, atol=0.51), "values lie where they were measured"


def test_slices_can_be_chosen(tmp_path: Path) -> None:
    folder = stack(tmp_path, ONCE)
    fine, coarse = read(folder, keep_slices="1-8"), read(folder, keep_slices="8-13")
    assert fine.shape == (8, 10, 8) and fine.spacing_mm == pytest.approx((0.8, 0.8, 2.5))
    assert coarse.shape == (8, 10, 6) and coarse.spacing_mm == pytest.approx((0.8, 0.8, 5.0))
    for wrong in ("0-3", "3-99", "three"):
        with pytest.raises(BadOption, match="keep_slices: wanted FIRST-LAST within 1-13"):
            read(folder, keep_slices=wrong)


@pytest.mark.parametrize("step", [1.25, 0.33])
def test_rounded_positions_take_the_mean_step(tmp_path: Path, step: float) -> None:
    volume = read(stack(tmp_path, [round(step * k, 1) for k in range(20)]))
    assert volume.spacing_mm is not None and volume.spacing_mm[2] == pytest.approx(step, abs=0.006)
    assert "the mean step of" in volume.provenance.warnings[-1]


def test_two_stacks_are_two_volumes(tmp_path: Path) -> None:
    folder = stack(tmp_path, [*EVEN, *(100 + z for z in EVEN)])
    with pytest.raises(BadGeometry, match="one series with 2 volumes: stack1") as caught:
        read(folder)
    assert "--volume stack1" in caught.value.remedy
    upper = read(folder, volume="stack2")
    assert upper.affine is not None and upper.affine[2, 3] == 100 and upper.shape == (8, 10, 8)


def test_a_tilt_is_made_upright(tmp_path: Path) -> None:
    """The head in the gantry: each slice 0.4 mm further back than the one below."""
    tilted = [
        changed(ct_slice(np.full((10, 8), 1000 + 100 * k, np.uint16), (-20, -30 + 0.4 * k, 2.5 * k)))
        for k in range(6)
    ]
    for k, one in enumerate(tilted):
        one.InstanceNumber, one.SOPInstanceUID = k + 1, uid("tilt", k)
    folder = save_all(tmp_path, tilted)
    with pytest.raises(BadGeometry, match=r"tilted: .* 9\.09 degrees .*--resample"):
        read(folder)
    volume = read(folder, resample=True)
    assert volume.affine is not None and np.allclose(volume.affine[:3, :3], np.diag([0.8, 0.8, 2.5]))
    assert volume.shape == (8, 13, 6), "0.4 mm x 5 are 2.5 pixels more"
    for k in range(6):  # +y is to the front: the slice lies 0.4 k / 0.8 pixels further back
        line = volume.data[0, 4, :, k] + 1024
        whole = np.flatnonzero(np.isclose(line, 1000 + 100 * k))
        back = 12 - (whole.max() if whole.size else 0)
        assert whole.size >= 9 and (k == 0 or abs(back - 0.5 * k) <= 1)


def test_a_copy_of_one_slice_does_not_hide_the_volumes(tmp_path: Path) -> None:
    made = [
        changed(
            ct_slice(p + 100 * v, (-20, -30, 2.5 * k)),
            TemporalPositionIdentifier=v + 1,
            InstanceNumber=6 * v + k,
        )
        for v in range(2)
        for k, p in enumerate(phantom())
    ]
    folder = save_all(tmp_path, [*made, made[3]])
    assert read(folder, volume="t2").shape == (8, 10, 6)

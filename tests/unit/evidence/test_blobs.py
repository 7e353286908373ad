"""Regions of a map: those that reach the high mark, with all that is above the low one, highest first."""

from __future__ import annotations

import numpy as np
import pytest

from medprior.evidence.blobs import blobs


def test_a_region_is_what_lies_above_low_around_what_reaches_high() -> None:
    """Hysteresis: what never reaches the high mark is nothing, however large."""
    values = np.zeros((8, 12))
    values[1:4, 1:4] = 1.5
    values[2, 2] = 3.0
    values[1:7, 6:11] = 1.9
    labels, found = blobs(values, high=2.0, low=1.0)
    assert [(b.number, b.voxels, b.peak, b.centre) for b in found] == [(1, 9, 3.0, (2.0, 2.0))]
    assert labels.dtype == np.int32 and labels.shape == values.shape
    assert (labels == 1).sum() == 9 and labels.max() == 1 and not labels[:, 5:].any()
    assert blobs(values, high=2.0, low=2.0)[1][0].voxels == 1


def test_the_highest_peak_comes_first() -> None:
    """Not the largest, nor the first on the page; the label map says the same."""
    values = np.zeros((20, 20))
    for corner, size, peak in ((1, 5, 4.0), (8, 1, 9.0), (12, 3, 6.0), (17, 2, 1.2)):
        values[corner : corner + size, corner : corner + size] = 1.1
        values[corner, corner] = peak
    labels, found = blobs(values, high=1.5, low=1.0)
    assert [(b.number, b.peak, b.voxels) for b in found] == [(1, 9.0, 1), (2, 6.0, 9), (3, 4.0, 25)]
    for blob in found:
        at = np.argwhere(labels == blob.number)
        assert len(at) == blob.voxels and values[labels == blob.number].max() == blob.peak
        assert blob.centre == pytest.approx(tuple(at.mean(0)))
    assert labels[17, 17] == 0 and set(np.unique(labels)) == {0, 1, 2, 3}


@pytest.mark.parametrize("ndim", [2, 3])
def test_corners_connect_and_a_gap_parts(ndim: int) -> None:
    values = np.zeros((9,) * ndim)
    values[(1,) * ndim] = values[(2,) * ndim] = 5.0
    values[(4,) * ndim] = 6.0
    _, found = blobs(values, 1.0, 1.0)
    assert [(b.voxels, b.centre) for b in found] == [(1, (4.0,) * ndim), (2, (1.5,) * ndim)]


def test_where_nothing_is_nothing_is_found() -> None:
    for values in (np.zeros((5, 6)), np.full((5, 6), 1.5), np.full((4, 5, 6), -1.0), np.full((5, 6), np.nan)):
        labels, found = blobs(values, high=2.0, low=1.0)
        assert found == [] and labels.shape == values.shape and not labels.any()


def test_a_low_mark_above_the_high_one_does_not_hide_a_peak() -> None:
    """The lower of both bounds the region."""
    values = np.zeros((6, 6))
    values[2, 2:4] = 2.5
    labels, found = blobs(values, high=2.0, low=3.0)
    assert [b.voxels for b in found] == [2] and labels.sum() == 2


def test_everything_may_be_one_region() -> None:
    labels, found = blobs(np.full((4, 5, 6), 3.0), high=2.0, low=1.0)
    assert found[0].voxels == 120 and found[0].centre == (1.5, 2.0, 2.5) and (labels == 1).all()

"""Pictures of scans stand upright, and a notebook's picture says what it is not for."""

from __future__ import annotations

import tracemalloc

import numpy as np
from PIL import Image

from medprior.data.views import Window, as_html, cut, grey, row_of, upright, views_of
from medprior.data.volume import Volume


def test_a_volume_shows_three_upright_planes() -> None:
    """A bright column at the patient's right and front: left and up in an axial picture."""
    data = np.zeros((1, 8, 10, 12), np.float32)
    data[0, -1, -1, :] = 1.0  # RAS+: the last i lies at the patient's right
    volume = Volume(data, np.diag([1.0, 1, 1, 1]), modality="MR")
    axial = upright(volume)
    assert axial.shape == (10, 8) and axial[0, 0] == 1.0
    assert views_of(volume, Window(0, 1, "test")).size == (8 + 8 + 10 + 2 * 4, 12)


def test_a_slice_is_cut_without_a_copy_of_its_volume() -> None:
    """A series of slices lies in memory slice by slice, whatever the order of its axes."""
    stored = np.zeros((40, 256, 256, 1), np.float32)
    volume = Volume(stored.transpose(3, 2, 1, 0), np.diag([1.0, 1, 2, 1]), modality="CT", unit="HU")
    cut(volume, "axial", 3)
    tracemalloc.start()
    try:
        for plane in ("axial", "coronal", "sagittal"):
            cut(volume, plane, 3)
        assert tracemalloc.get_traced_memory()[1] < stored.nbytes / 4
    finally:
        tracemalloc.stop()


def test_html_escapes_what_it_is_given() -> None:
    shown = as_html(grey(np.eye(4), Window(0, 1, "test")), "<script>")
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "not for diagnosis" in shown


def test_a_row_keeps_every_picture_whole() -> None:
    row = row_of([Image.new("L", (3, 5), 255), Image.new("L", (2, 4), 255)], gap=1)
    assert row.size == (6, 5) and np.asarray(row).sum() == 255 * (15 + 8)

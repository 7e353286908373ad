"""A job in Python takes what the command line takes: a name, a path, an array. Else: one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import medprior as mp
from medprior.errors import BadOption, FileProblem, ShapeMismatch
from medprior.jobs.given import load_scan, prior_of
from tests.unit.runs.conftest import blobs, picture, tiny

__all__ = ["picture", "tiny"]


def test_a_path_and_a_volume_give_the_same(tiny: Path, picture: Path) -> None:
    by_path = mp.detect(str(tiny), picture)
    by_value = mp.detect(mp.load(tiny), mp.read(picture))
    assert np.array_equal(by_path.map.data, by_value.map.data)


@pytest.mark.parametrize("made", [lambda x: x, lambda x: x[0], lambda x: torch.from_numpy(x)])
def test_an_array_is_a_scan_of_the_priors_kind(made, tiny: Path) -> None:
    prior = mp.load(tiny)
    scan = load_scan(made(blobs()), prior)
    assert scan.shape == (32, 32) and scan.affine is None and scan.modality == prior.card.modality
    assert len(mp.augment(tiny, made(blobs()), n=1)) == 1


def test_what_is_no_scan_is_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    prior = mp.load(tiny)
    with pytest.raises(BadOption, match="wanted a volume, a path or an array"):
        load_scan({"image": 1}, prior)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ShapeMismatch, match="C, i, j"):
        load_scan(np.zeros(5), prior)
    with pytest.raises(FileProblem):
        mp.detect(tiny, tmp_path / "gone.png")
    with pytest.raises(FileProblem):
        mp.synthesize("chestxray", n=1)
    with pytest.raises(BadOption, match="wanted a prior"):
        prior_of(3)  # pyright: ignore[reportArgumentType]


def test_results_say_what_they_are_in_one_line(tiny: Path, picture: Path) -> None:
    prior, scan = mp.load(tiny), mp.read(picture)
    found = mp.detect(prior, scan)
    for thing, start in ((prior, "Prior tiny: any modality images"), (scan, "Volume"), (found, "Found: ")):
        assert repr(thing).startswith(start) and "\n" not in repr(thing) and len(repr(thing)) < 200
    assert repr(prior.card).startswith("Card tiny") and len(repr(prior.card)) < 200


def test_a_notebook_shows_a_picture_with_one_line(tiny: Path, picture: Path) -> None:
    scan = mp.read(picture)
    found = mp.detect(tiny, scan)
    measured = mp.Measurement(torch.zeros(1, 1, 32, 32), mp.operators.identity((1, 32, 32)), mp.Gaussian(0.1))
    drawn = mp.reconstruct(tiny, measured, n=2, scale=(0.0, 255.0), settings=mp.Settings(n_steps=2))
    for thing in (scan, found, drawn):
        shown = thing._repr_html_()
        assert shown.startswith('<figure><img src="data:image/png;base64,') and "not for diagnosis" in shown
        assert thing.show().width >= 32

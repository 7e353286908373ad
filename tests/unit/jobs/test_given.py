"""A job in Python takes what the command line takes: a name, a path, an array. Else: one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import medprior as mp
from medprior.errors import BadOption, FileProblem, ShapeMismatch
from medprior.jobs.given import prior_of, scan_of
from tests.unit.runs.conftest import blobs, picture, tiny

__all__ = ["picture", "tiny"]


def test_a_path_and_a_volume_give_the_same(tiny: Path, picture: Path) -> None:
    by_path = mp.detect(str(tiny), picture)
    by_value = mp.detect(mp.load(tiny), mp.read(picture))
    assert np.array_equal(by_path.map.data, by_value.map.data)


@pytest.mark.parametrize("made", [lambda x: x, lambda x: x[0], lambda x: torch.from_numpy(x)])
def test_an_array_is_a_scan_of_the_priors_kind(made, tiny: Path) -> None:
    prior = mp.load(tiny)
    scan = scan_of(made(blobs()), prior)
    assert scan.shape == (32, 32) and scan.affine is None and scan.modality == prior.card.modality
    assert len(mp.augment(tiny, made(blobs()), n=1)) == 1


def test_what_is_no_scan_is_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    prior = mp.load(tiny)
    with pytest.raises(BadOption, match="wanted a volume, a path or an array"):
        scan_of({"image": 1}, prior)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ShapeMismatch, match="C, i, j"):
        scan_of(np.zeros(5), prior)
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

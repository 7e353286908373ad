"""A scan with an axis of a few voxels gets a result, or a refusal that says what to do. More of it:
python -m tests.corpus.thin
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.corpus.thin import ONE, answer, answers, priors, write_set
from tests.unit.runs.conftest import save_tiny

SOME = ("reconstruct sr2", "reconstruct whole", "detect", "augment", "augment-classical")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return priors(tmp_path_factory.mktemp("priors"))


@pytest.mark.parametrize(("size", "axis"), [(1, 0), (1, 2), (2, 2)])
def test_a_thin_scan_is_judged_or_refused(
    size: int, axis: int, known: dict[str, Path], tmp_path: Path
) -> None:
    found = [one for verb in SOME for one in answers(verb, size, axis, known, tmp_path)]
    assert [one for one in found if not one.fair] == []
    assert {one.verb for one in found if one.code == 0} >= {"detect", "augment", "augment-classical"}
    assert {one.verb for one in found if one.code == 2} >= {"reconstruct sr2"}


def test_a_thin_picture_has_a_remedy_that_can_be_followed(tmp_path: Path) -> None:
    picture, prior = tmp_path / "a.png", save_tiny(tmp_path / "tiny")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (3, 3), np.uint8)).save(picture)
    words = ("reconstruct", picture, "--prior", prior, "--fast", "--out", tmp_path / "out")
    said = answer(words, "reconstruct", "").said
    assert "at least 4 pixels a side, got 3 x 3 (take a larger picture)" in said


@pytest.mark.minutes
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("verb", ONE)
def test_every_verb_of_one_scan(verb: str, known: dict[str, Path], tmp_path: Path) -> None:
    for size in (1, 2, 3, 4, 5, 7, 10):
        for axis in range(3):
            found = answers(verb, size, axis, known, tmp_path / f"{size}-{axis}")
            assert [one for one in found if not one.fair] == []


def test_a_data_set_too_thin_to_learn_from_names_the_first_scan(
    known: dict[str, Path], tmp_path: Path
) -> None:
    scans = write_set(tmp_path / "scans", (24, 24, 2))
    learn = ("--steps", 2, "--modality", "MR", "--out", tmp_path / "out")
    said = answer(("train", scans, "--preset", "tiny", "--ndim", 3, *learn), "train", "3-D").said
    assert "p0.nii.gz: is 24 x 24 x 2: too small for a network" in said
    assert "learn from its slices (--ndim 2)" in said
    said = answer(("adapt", scans, "--prior", known["3-D prior"], *learn), "adapt", "3-D").said
    assert "p0.nii.gz: is to this prior 24 x 24 x 2: too small" in said

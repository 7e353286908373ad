"""A segmenter from a few masks: Dice of patients that it has not seen, label maps on the scan's own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.errors import BadOption, ShapeMismatch
from medprior.jobs.learn_masks import learn_segmenter, mask_in, segment
from medprior.learning.head_folder import load_head, save_head
from tests.unit.jobs.exact import tiny
from tests.unit.jobs.test_learn import learning_set
from tests.unit.learning.test_voxels import HOW, QUICK, block, blocks


def test_learned_stored_and_asked(tmp_path: Path) -> None:
    prior, (scans, masks) = tiny(), blocks(2, 8)
    steps: list[tuple[int, int]] = []
    who = [f"p{n // 2}" for n in range(8)]
    head, dice = learn_segmenter(prior, scans, masks, who, HOW, QUICK, lambda a, b: steps.append((a, b)))
    assert steps[-1] == (5, 5) and len(dice) == 8
    at = head.promises.estimates["Dice"]
    assert at.n == 4 and at.value == pytest.approx(np.mean(dice)) and at.value > 0.4
    save_head(head, tmp_path / "head")
    image, truth = block(2, 70)
    found = segment(load_head(tmp_path / "head"), image)
    assert found.unit == "label" and found.shape == image.shape
    hit = (found.data[0] > 0) & (truth[0].numpy() > 0)
    assert 2 * hit.sum() / ((found.data > 0).sum() + truth.sum().item()) > 0.4


def test_a_mask_is_laid_on_the_slices_of_its_scan() -> None:
    prior = tiny()
    volume = Volume(np.random.default_rng(0).normal(size=(1, 12, 10, 4)).astype(np.float32))
    mask = np.zeros((1, 12, 10, 4), np.float32)
    mask[0, 2:5, 3:6, 1] = 2
    laid = mask_in(prior.admit(volume), Volume(mask, unit="label"), prior)
    assert laid.shape == (4, 12, 10) and laid[1, 2:5, 3:6].eq(2).all() and int(laid.sum()) == 18
    with pytest.raises(ShapeMismatch, match="mask"):
        mask_in(prior.admit(volume), Volume(mask[:, 1:], unit="label"), prior)


def test_what_cannot_be_learned_is_said() -> None:
    prior, (scans, masks) = tiny(), blocks(2, 2)
    with pytest.raises(BadOption, match="masks of 1 patient"):
        learn_segmenter(prior, scans, masks, ["p", "p"], HOW, QUICK)
    from medprior.jobs.learn import LearnSettings, head_from

    head, *_ = head_from(learning_set(8), prior, LearnSettings(sigmas=(0.3,)))
    with pytest.raises(BadOption, match="the head is a classifier"):
        segment(head, block(2, 0)[0])

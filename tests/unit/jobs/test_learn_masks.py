"""A segmenter from a few masks: Dice of patients that it has not seen, label maps on the scan's own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import medprior.jobs.learn_masks as module
from medprior.data.volume import Volume
from medprior.errors import BadOption, ShapeMismatch
from medprior.jobs.learn_masks import DECODER, VOXELS, learn_segmenter, mask_in, segment
from medprior.jobs.tuning.decoder import DecoderSettings
from medprior.learning.head_folder import load_head, save_head
from tests.unit.jobs.exact import tiny
from tests.unit.jobs.test_learn import learning_set
from tests.unit.learning.test_voxels import HOW, QUICK, block, blocks


def test_learned_stored_and_asked(tmp_path: Path) -> None:
    prior, (scans, masks) = tiny(), blocks(2, 8)
    steps: list[tuple[int, int]] = []
    who = [f"p{n // 2}" for n in range(8)]
    head, dice = learn_segmenter(prior, scans, masks, who, HOW, QUICK, lambda a, b: steps.append((a, b)))
    assert steps[-2:] == [(4, 5), (1, 1)] and len(dice) == 8
    at = head.promises.estimates["Dice"]
    assert at.n == 4 and at.value == pytest.approx(np.mean(dice)) and at.value > 0.4
    save_head(head, tmp_path / "head")
    image, truth = block(2, 70)
    found = segment(load_head(tmp_path / "head"), image)
    assert found.unit == "label" and found.shape == image.shape
    hit = (found.data[0] > 0) & (truth[0].numpy() > 0)
    assert 2 * hit.sum() / ((found.data > 0).sum() + truth.sum().item()) > 0.4


def test_the_tuned_decoder_is_used_only_where_held_out_patients_prefer_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior, (scans, masks) = tiny(), blocks(2, 6)
    few, who = DecoderSettings(steps=4, batch=4, sigma=0.3, checks=2), [f"p{n}" for n in range(6)]
    rows = np.array([[0.5] * 6, [0.7, 0.8] * 3, [0.6, 0.7] * 3])
    monkeypatch.setattr(module, "_held_out", lambda *_: rows)
    head, dice = learn_segmenter(prior, scans, masks, who, HOW, QUICK, decoder=few)
    assert head.card.method == DECODER and head.card.sigmas == (0.3,) and dice == rows[1].tolist()
    assert head.promises.compared == pytest.approx({VOXELS: 0.5, DECODER: 0.75})
    assert head.promises.estimates[f"gain of {DECODER} over {VOXELS}"].low > 0
    save_head(head, tmp_path / "head")
    image, _ = block(2, 70)
    assert (segment(load_head(tmp_path / "head"), image).data == segment(head, image).data).all()
    monkeypatch.setattr(module, "_held_out", lambda *_: np.stack([rows[1], rows[0], rows[0]]))
    head, dice = learn_segmenter(prior, scans, masks, who, HOW, QUICK, decoder=few)
    assert head.card.method == VOXELS and dice == rows[1].tolist()
    assert head.promises.compared[DECODER] == 0.5


def test_both_ways_are_judged_on_patients_that_they_have_not_seen() -> None:
    prior, (scans, masks) = tiny(), blocks(2, 4)
    few = DecoderSettings(steps=4, batch=4, sigma=0.3, checks=2)
    head, dice = learn_segmenter(prior, scans, masks, [*"aabb"], HOW, QUICK, decoder=few)
    assert set(head.promises.compared) == {VOXELS, DECODER} and len(dice) == 4
    assert head.promises.estimates["Dice"].n == 2


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
    from medprior.jobs.learn import head_from
    from medprior.jobs.tuning.ways import LearnSettings

    head, *_ = head_from(learning_set(8), prior, LearnSettings(sigmas=(0.3,)))
    with pytest.raises(BadOption, match="the head is a classifier"):
        segment(head, block(2, 0)[0])

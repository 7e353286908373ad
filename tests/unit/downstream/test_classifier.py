"""The downstream networks: they learn, the same seed gives the same network, and every set of images gets the
same number of steps.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medprior.downstream.classifier import ClassifierSettings, train_classifier
from medprior.downstream.loop import Batches
from medprior.downstream.segmenter import SegmenterSettings, mean_dice, train_segmenter
from medprior.errors import BadOption, Diverged, ShapeMismatch
from medprior.evidence.metrics import auroc

QUICK = ClassifierSettings(steps=40, batch=8, widths=(8, 8, 16, 16))


def bars(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """(n, 1, 28, 28) noise with a bright bar, label 1 where it stands upright."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = 0.3 * torch.randn((n, 1, 28, 28), generator=rng) - 0.5
    for image, label in zip(images, labels.tolist(), strict=True):
        at = int(torch.randint(4, 20, (), generator=rng))
        image[(0, slice(None), slice(at, at + 4)) if label else (0, slice(at, at + 4))] += 1.0
    return images, labels


def test_it_learns_what_can_be_learned_and_nothing_else() -> None:
    images, labels = bars(40, 0)
    others, truth = bars(100, 1)
    made = train_classifier(
        images, labels, ClassifierSettings(steps=80, batch=16, widths=(8, 8, 16, 16)), seed=0
    )
    found = made(others)
    assert found.shape == (100, 2) and torch.allclose(found.sum(1), torch.ones(100), atol=1e-5)
    assert auroc(found[:, 1], truth) > 0.95
    shuffled = labels[torch.randperm(40, generator=torch.Generator().manual_seed(2))]
    assert abs(auroc(train_classifier(images, shuffled, QUICK, seed=0)(others)[:, 1], truth) - 0.5) < 0.3


def test_the_same_seed_gives_the_same_network_and_another_seed_another() -> None:
    images, labels = bars(16, 0)
    a, b, c = (train_classifier(images, labels, QUICK, seed)(images) for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    state = torch.random.get_rng_state()
    train_classifier(images, labels, QUICK, 0)
    assert torch.equal(state, torch.random.get_rng_state()), "nobody else's random numbers are touched"


@pytest.mark.parametrize("n", [8, 64])
def test_steps_do_not_depend_on_the_number_of_images(n: int) -> None:
    images, labels = bars(n, 0)
    seen: list[int] = []

    def counted(batch: Tensor, places: Tensor, passes: Tensor) -> Tensor:
        seen.append(len(batch))
        assert torch.equal(batch, images[places]) and len(passes) == len(places)
        return batch

    train_classifier(images, labels, QUICK, 0, counted)
    assert seen == [QUICK.batch] * QUICK.steps


def test_labels_come_equally_often_and_each_image_once_a_pass() -> None:
    kinds = torch.tensor([0] * 3 + [1] * 9)
    batches, places, passes = Batches(kinds, 12, 6, seed=0), [], []
    for _ in range(12):
        at, turn = batches.next()
        places += at.tolist()
        passes += turn.tolist()
    assert [int(kinds[at]) for at in places].count(0) == 36
    times = [places.count(n) for n in range(12)]
    assert times[:3] == [12] * 3 and times[3:] == [4] * 9
    assert len(set(zip(places, passes, strict=True))) == len(places), "no image twice in one pass"


def test_soft_labels_of_one_kind_are_the_hard_ones() -> None:
    images, labels = bars(16, 0)
    hard = train_classifier(images, labels, QUICK, 0)(images)
    assert torch.equal(hard, train_classifier(images, torch.eye(2)[labels], QUICK, 0)(images))


def test_what_cannot_be_learned_from_is_refused() -> None:
    images, labels = bars(8, 0)
    with pytest.raises(ShapeMismatch, match="images and labels"):
        train_classifier(images[:4], labels, QUICK, 0)
    with pytest.raises(BadOption, match="at least two kinds"):
        train_classifier(images, labels * 0, QUICK, 0)
    with pytest.raises(BadOption, match="at least 16 pixels"):
        train_classifier(images[..., :9, :9], labels, QUICK, 0)
    with pytest.raises(BadOption, match="steps >= 1"):
        ClassifierSettings(steps=0)
    with pytest.raises(Diverged):
        train_classifier(images * float("inf"), labels, QUICK, 0)


def discs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """(n, 1, 35, 40) noise with a bright disc, and the disc as a mask."""
    rng = torch.Generator().manual_seed(seed)
    i, j = torch.meshgrid(torch.arange(35), torch.arange(40), indexing="ij")
    at = torch.randint(8, 27, (n, 2), generator=rng)
    masks = ((i - at[:, :1, None]) ** 2 + (j - at[:, 1:, None]) ** 2 < 30).long()
    return masks[:, None] * 1.2 - 0.6 + 0.3 * torch.randn((n, 1, 35, 40), generator=rng), masks


def test_the_segmenter_finds_discs_on_grids_of_any_size() -> None:
    images, masks = discs(16, 0)
    made = train_segmenter(
        images, masks, SegmenterSettings(steps=80, batch=8, average=0.9, widths=(8, 8, 8, 16, 16, 8)), 0
    )
    others, truth = discs(8, 1)
    found = made(others)
    assert found.shape == truth.shape
    assert sum(mean_dice(a, b, 2) for a, b in zip(found, truth, strict=True)) / 8 > 0.85


def test_dice_is_the_mean_over_the_labels_that_are_there() -> None:
    truth = torch.tensor([[0, 1, 1, 2]])
    assert mean_dice(truth, truth, 3) == 1
    assert mean_dice(torch.tensor([[0, 1, 0, 2]]), truth, 3) == pytest.approx((2 * 1 / 3 + 1) / 2)
    assert mean_dice(truth * 0, truth, 3) == 0
    assert mean_dice(truth * 0, truth * 0, 3) == 1 and mean_dice(truth, truth * 0, 3) == 0

"""Enlarging a training set: variations in batches are those of the prior's law, keep their label's name, and
hang on the seed alone.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medprior.augmentation import Policy
from medprior.downstream.augmented import ClassicalAugmentation
from medprior.errors import BadOption
from medprior.jobs.synthetic.enlarge import Variation, draw_by_label, prior_variations
from medprior.training.folder import load
from tests.unit.runs.conftest import save_tiny


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory):
    return load(save_tiny(tmp_path_factory.mktemp("priors") / "tiny"))


def test_variations_hang_on_the_seed_and_a_weaker_one_stays_nearer(prior) -> None:
    images = torch.linspace(-0.8, 0.8, 5)[:, None, None, None] * torch.ones((5, 1, 16, 16))
    how = Variation(strengths=(0.1, 0.6), per_image=2, seed=1, n_steps=2)
    made, one = prior_variations(prior, images, how), replace(how, strengths=(0.1,), per_image=1)
    assert made.shape == (2, 5, 1, 16, 16)
    assert torch.equal(made, prior_variations(prior, images, how))
    assert torch.equal(made[0], prior_variations(prior, images, one)[0]), "however many are asked for"
    assert not torch.equal(made, prior_variations(prior, images, replace(how, seed=2)))
    near, far = ((one - images).square().mean() for one in made)
    assert near < far


def test_labels_stay_with_their_images(prior) -> None:
    """Images are grouped by label for the network; each variation still stands where its source does."""
    images = torch.tensor([-0.9, 0.9, -0.9, 0.9])[:, None, None, None] * torch.ones((4, 1, 16, 16))
    labels = ["pneumonia", "no_finding", "no_finding", "pneumonia"]
    how = Variation(strengths=(0.02,), n_steps=2)
    made = prior_variations(prior, images, how, labels=labels)[0]
    assert (made.flatten(1).mean(1).sign() == images.flatten(1).mean(1).sign()).all()
    with pytest.raises(BadOption, match="a label for each"):
        prior_variations(prior, images, how, labels=["pneumonia"])
    with pytest.raises(BadOption):
        prior_variations(prior, images, how, labels=["pneumonia", "no_finding", "no_finding", "tumour"])


@pytest.mark.parametrize("wrong", [{"strengths": ()}, {"strengths": (1.0,)}, {"per_image": 0}])
def test_a_variation_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(BadOption):
        Variation(**wrong)


def test_new_images_by_label_are_as_many_as_asked_for_and_differ(prior) -> None:
    made = draw_by_label(prior, {"no_finding": 2, "pneumonia": 1}, (16, 16), seed=0)
    assert {name: tuple(x.shape) for name, x in made.items()} == {
        "no_finding": (2, 1, 16, 16),
        "pneumonia": (1, 1, 16, 16),
    }
    assert not torch.equal(made["no_finding"][0], made["pneumonia"][0])


def test_classical_transforms_hang_on_image_and_pass_not_on_the_batch() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.rand((4, 1, 20, 20), generator=rng) * 2 - 1
    change = ClassicalAugmentation([Policy.of("DX", unit="a.u.")] * 4, seed=3)
    all_at_once = change(images, torch.arange(4), torch.zeros(4, dtype=torch.long))
    fresh = ClassicalAugmentation([Policy.of("DX", unit="a.u.")] * 4, seed=3)
    assert torch.equal(all_at_once[2:3], fresh(images[2:3], torch.tensor([2]), torch.tensor([0])))
    assert not torch.equal(all_at_once, fresh(images, torch.arange(4), torch.ones(4, dtype=torch.long))), (
        "anew in every pass"
    )
    moved = ClassicalAugmentation([Policy.of("DX", unit="a.u.")] * 2, seed=3, numbers=[2, 0])
    assert torch.equal(
        moved(images[[2, 0]], torch.tensor([0, 1]), torch.tensor([0, 0])), all_at_once[[2, 0]]
    ), "an image keeps its number"


def test_masks_move_with_their_images() -> None:
    masks = torch.zeros((1, 24, 24), dtype=torch.long)
    masks[0, 6:14, 8:18] = 2
    images = masks[:, None].float()
    change = ClassicalAugmentation([Policy.of("MR").only("rotate", "scale", "shift")], seed=0)
    for turn in range(6):
        x, m = change.pair(images, masks, torch.tensor([0]), torch.tensor([turn]))
        assert set(m.unique().tolist()) <= {0, 2} and (x[0, 0][m[0] == 2] > 0.9).float().mean() > 0.95

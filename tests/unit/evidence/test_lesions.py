"""Lesions that are put in are found with the size, contrast and recovery they have; blobs that are not there
are counted.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medprior.errors import BadOption, ShapeMismatch
from medprior.evidence.lesions import (
    CONTRASTS,
    RADII,
    Lesion,
    false_blobs,
    insert_lesions,
    lesion_ladder,
    random_centres,
    recoveries,
    recovery,
)


def flat(*size: int, value: float = 0.2) -> Tensor:
    return torch.full((1, 1, *size), value)


DISC = Lesion((30.0, 20.0), 6.0, 0.5)


def test_a_disc_has_its_contrast_inside_and_none_outside() -> None:
    added = insert_lesions(flat(64, 48), [DISC]) - flat(64, 48)
    away = DISC.distance((64, 48))
    assert float((added[0, 0][away < -0.5] - 0.5).abs().max()) < 1e-6
    assert float(added[0, 0][away > 0.5].abs().max()) < 1e-6
    assert float(added.sum()) == pytest.approx(0.5 * math.pi * 36, rel=0.02)


def test_a_ball_is_as_large_in_mm_on_every_axis() -> None:
    ball = Lesion((10.0, 10.0, 6.0), 8.0, -1.0)
    core = ball.core((20, 20, 12), (1.0, 1.0, 2.0))
    assert float(core.sum()) * 2 == pytest.approx(4 / 3 * math.pi * 512, rel=0.05)
    added = insert_lesions(flat(20, 20, 12), [ball], spacing=(1.0, 1.0, 2.0)) - flat(20, 20, 12)
    assert float(added.min()) == pytest.approx(-1.0) and float(added.max()) <= 1e-6


@pytest.mark.parametrize("kept", [0.0, 0.4, 1.0, 1.3])
def test_recovery_is_the_share_of_the_contrast_that_is_kept(kept: float) -> None:
    """Whatever is added to or scaled in the whole result, the background takes out."""
    truth = insert_lesions(flat(64, 48), [DISC])
    result = flat(64, 48, value=0.7) + kept * (truth - flat(64, 48))
    assert recovery(result, truth, DISC) == pytest.approx(kept, abs=1e-5)


def test_a_blurred_lesion_is_recovered_less_the_smaller_it_is() -> None:
    kernel = torch.ones(1, 1, 7, 7) / 49
    found = []
    for radius in (2.0, 4.0, 8.0):
        lesion = Lesion((30.0, 22.0), radius, 0.3)
        truth = insert_lesions(flat(64, 48, value=0.0), [lesion])
        found.append(recovery(torch.nn.functional.conv2d(truth, kernel, padding=3), truth, lesion))
    assert found == sorted(found) and found[0] < 0.5 < found[2] < 1


def test_places_lie_in_tissue_and_apart() -> None:
    place = torch.linspace(-1, 1, 96)
    tissue = (place[:, None] ** 2 + place**2) < 0.8
    found = random_centres(tissue, [8.0, 6.0, 4.0], torch.Generator().manual_seed(0), spacing=2.0)
    taken = torch.zeros(96, 96)
    for centre, radius in zip(found, (8.0, 6.0, 4.0), strict=True):
        lesion = Lesion(centre, radius, 1.0)
        both = lesion.core((96, 96), 2.0) | lesion.ring((96, 96), 2.0)
        assert bool(tissue[both].all())
        taken = taken + both
    assert float(taken.max()) == 1
    assert random_centres(tissue, [90.0], torch.Generator()) == []


def test_blobs_are_counted_by_size_side_and_height() -> None:
    truth = flat(40, 40)
    result = truth.clone()
    result[..., 3:6, 3:6] += 0.4  # nine voxels, above 3 x 0.1
    result[..., 20:22, 20:22] += 0.4  # four: too few
    result[..., 30:36, 30:36] += 0.2  # too low
    result[..., 10:13, 30:33] -= 0.4
    result[..., 10:13, 33:36] += 0.4  # beside the former, to the other side: two blobs
    assert false_blobs(result, truth, 0.1) == 3
    assert false_blobs(result, truth, torch.full((1, 1, 40, 40), 0.1), least=3) == 4
    assert false_blobs(result, truth, 0.1, threshold=1.5) == 4
    assert false_blobs(result, truth, 0.2) == 0 == false_blobs(truth, truth, 0.1)


def test_errors_within_the_spread_make_few_blobs() -> None:
    """White errors of the stated size: five neighbours over three deviations are not found in a hundred
    images; half the spread is found out at once.
    """
    truth = torch.zeros(1, 1, 64, 64)
    errors = torch.randn(100, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    assert sum(false_blobs(e[None], truth, 1.0) for e in errors) == 0
    assert sum(false_blobs(e[None], truth, 0.4) for e in errors) > 10


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(BadOption, match="positive spread"):
        false_blobs(flat(8, 8), flat(8, 8), 0.0)
    with pytest.raises(ShapeMismatch):
        false_blobs(flat(8, 8), flat(8, 9), 1.0)
    with pytest.raises(ShapeMismatch):
        recovery(flat(8, 8), flat(8, 9), DISC)
    with pytest.raises(BadOption, match="differs from its background"):
        recovery(flat(64, 48), flat(64, 48), DISC)
    with pytest.raises(BadOption, match="inside of the image"):
        recovery(flat(8, 8), flat(8, 8), DISC)
    with pytest.raises(ShapeMismatch, match="centre"):
        insert_lesions(flat(8, 8, 8), [DISC])
    with pytest.raises(BadOption, match="positive radius"):
        insert_lesions(flat(8, 8), [Lesion((3.0, 3.0), 0.0, 1.0)])


def test_a_ladder_of_lesions_is_dark_in_bright_tissue_and_bright_in_dark() -> None:
    tissue = torch.ones(96, 96, dtype=torch.bool)
    image = torch.full((1, 1, 96, 96), 300.0)
    image[:, :, 48:] = 900.0
    for seed in range(4):
        lesions = lesion_ladder(
            image, tissue, torch.Generator().manual_seed(seed), low=0.0, high=1200.0, spacing=2.0
        )
        assert [one.radius for one in lesions] == list(RADII)
        for one in lesions:
            assert abs(one.contrast) / 600 in CONTRASTS and (one.contrast < 0) == (one.centre[0] > 47)


def test_a_lesion_that_the_anatomy_swallows_is_not_counted() -> None:
    """Its ring lies on an edge as high as the lesion, so that nothing of its contrast shows in the truth."""
    plain, edge = flat(64, 48), flat(64, 48)
    away = DISC.distance((64, 48))
    edge[0, 0][away > 1] += DISC.contrast
    for image, n in ((plain, 1), (edge, 0)):
        truth = insert_lesions(image, [DISC])
        found = recoveries(0.5 * truth, truth, [DISC])
        assert len(found) == n
    assert found == [] and recoveries(insert_lesions(plain, []), insert_lesions(plain, [DISC]), [DISC]) == [
        (DISC, pytest.approx(0.0, abs=1e-6))
    ]

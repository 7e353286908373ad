"""Distances between sets: nothing between equals, more the more they differ."""

import pytest
import torch

from medprior.errors import BadOption
from medprior.evidence.metrics import mean_discrepancy
from medprior.evidence.synthetic.fidelity import MEASURES, _half, fidelity, gaussian_images


def _features(n: int, seed: int, shift: float = 0.0, spread: float = 1.0) -> torch.Tensor:
    return shift + spread * torch.randn((n, 8), generator=torch.Generator().manual_seed(seed))


def test_a_set_of_the_same_law_is_not_told_apart():
    found = fidelity("plain", _features(120, 1), _features(150, 2), _features(120, 3))
    for name in MEASURES:
        assert found.apart[name].low <= 0 <= found.apart[name].high, name
    assert found.size == 60 and found.dimensions == 8


@pytest.mark.parametrize(
    ("how", "worse"), [({"shift": 2.0}, ("frechet", "mmd")), ({"spread": 0.2}, ("frechet", "mmd"))]
)
def test_another_law_lies_farther_by_interval(how: dict, worse: tuple[str, ...]):
    found = fidelity("plain", _features(120, 1, **how), _features(150, 2), _features(120, 3))
    for name in worse:
        assert found.apart[name].low > 0, name
    assert found.apart["coverage"].high < 0


def test_a_narrow_set_is_precise_and_covers_little():
    found = fidelity("plain", _features(120, 1, spread=0.3), _features(150, 2), _features(120, 3))
    assert found.made["precision"].value > found.made["recall"].value + 0.2


def test_halves_hold_whole_patients():
    whose = torch.tensor(
        [n // 4 for n in torch.randperm(120, generator=torch.Generator().manual_seed(0)).tolist()]
    )
    rng = torch.Generator().manual_seed(1)
    halves = [torch.bincount(whose[_half(whose, 60, rng)], minlength=30) for _ in range(20)]
    assert (
        all(set(half.tolist()) == {0, 4} and int(half.sum()) == 60 for half in halves)
        and len({tuple(h.tolist()) for h in halves}) > 1
    )
    sets = _features(120, 1), _features(150, 2), _features(120, 3)
    of_patients = fidelity("plain", *sets, patients=whose.tolist())
    assert of_patients.size == 60 and of_patients.made != fidelity("plain", *sets).made, (
        "whose they are is asked"
    )


def test_the_same_seed_gives_the_same_numbers():
    sets = _features(60, 1), _features(60, 2), _features(60, 3)
    assert fidelity("plain", *sets) == fidelity("plain", *sets)


def test_few_images_are_refused():
    with pytest.raises(BadOption, match="at least 24"):
        fidelity("plain", _features(10, 1), _features(60, 2), _features(60, 3))


def test_mean_discrepancy_is_unbiased_and_sees_a_shift():
    same = [mean_discrepancy(_features(40, 2 * n), _features(40, 2 * n + 1)) for n in range(60)]
    values = torch.tensor(same)
    assert abs(values.mean()) < 3 * values.std() / 60**0.5
    assert mean_discrepancy(_features(40, 1), _features(40, 2, shift=1.0)) > 10 * values.std()


def test_mean_discrepancy_of_points_in_closed_form():
    # kernel of two equal points (x x / 1 + 1)^3: at 1 it is 8, at 0 it is 1, between them 1
    a, b = torch.ones((2, 1)), torch.zeros((2, 1))
    assert mean_discrepancy(a, b) == pytest.approx(8 + 1 - 2)


def test_gaussian_images_have_the_mean_and_covariance_of_the_scans():
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn((16, 16), generator=rng) * 0.05
    scans = list((torch.randn((400, 16), generator=rng) @ mix).reshape(400, 1, 4, 4) + 0.1)
    made = torch.stack(gaussian_images(scans, 6000)).flatten(1)
    real = torch.stack(scans).flatten(1)
    assert (made.mean(0) - real.mean(0)).abs().max() < 0.02
    assert torch.linalg.norm(torch.cov(made.T) - torch.cov(real.T)) < 0.1 * torch.linalg.norm(
        torch.cov(real.T)
    )


def test_gaussian_images_want_one_shape():
    with pytest.raises(BadOption, match="one shape"):
        gaussian_images([torch.zeros((1, 4, 4)), torch.zeros((1, 4, 5))], 2)

"""Judge: nobody judges what he has seen, the rule is the conformal one, and what has lost its label is
refused.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medprior.data.seeds import generator
from medprior.data.volume import Volume
from medprior.downstream.classifier import Classifier, ClassifierSettings
from medprior.errors import BadOption
from medprior.jobs.augment import VariationRequest, vary
from medprior.jobs.synthetic.judge import Judge, folds_of, glance, learn_judge
from tests.unit.jobs.exact import Exact, volume_of

QUICK = ClassifierSettings(steps=40, batch=16, widths=(8, 16, 16, 32))
SIDE = 24


class _Brightness(nn.Module):
    """Says "light" the brighter an image is; knows nothing else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean((1, 2, 3))
        return torch.stack([-4 * mean, 4 * mean], 1)


def test_the_p_value_is_the_conformal_one() -> None:
    judge = Judge(
        ("dark", "light"),
        (Classifier(_Brightness(), 2),),
        {"dark": (0.9, 0.8, 0.7), "light": (0.9, 0.8, 0.7, 0.6)},
        1.0,
    )
    images = torch.stack([torch.full((1, 16, 16), v) for v in (0.5, 0.15, -0.5)])
    probabilities = torch.sigmoid(torch.tensor([4.0, 1.2, -4.0]))
    said = judge.verdicts(images, ["light"] * 3, [0] * 3)
    assert [v.probability for v in said] == pytest.approx(probabilities.tolist(), abs=1e-6)
    assert [v.p for v in said] == [
        5 / 5,
        3 / 5,
        1 / 5,
    ]  # 0.98 lies above all four real ones, 0.77 above 0.7 and 0.6, 0.02 above none
    assert judge.verdicts(images[2:], ["dark"], [0])[0].p == 4 / 4
    with pytest.raises(BadOption, match="'grey' is not one of"):
        judge.verdicts(images, ["grey"] * 3, [0] * 3)


def test_a_patient_lies_in_one_fold_and_each_label_in_all() -> None:
    patients = [f"p{n // 3}" for n in range(60)]
    labels = ["a" if n < 30 else "b" for n in range(60)]
    folds = folds_of(patients, labels, seed=1)
    assert set(folds) == {0, 1, 2, 3}
    assert all(len({f for f, p in zip(folds, patients, strict=True) if p == one}) == 1 for one in patients)
    assert all(
        {f for f, of in zip(folds, labels, strict=True) if of == label} == {0, 1, 2, 3} for label in "ab"
    )
    assert folds_of(["p", "q", "r", "s", "t"], ["a", "a", "a", "b", "b"]) == folds_of(
        ["p", "q", "r", "s", "t"], ["a", "a", "a", "b", "b"]
    )
    assert set(folds_of(["p", "q", "r", "s", "t"], ["a", "a", "a", "b", "b"])) == {0, 1}, (
        "no more folds than the rarest label has patients"
    )


def test_no_classifier_has_seen_what_it_says_of_real_scans() -> None:
    """Labels without any image behind them can be learned by heart, never foreseen: held-out accuracy is that
    of chance, on what was learned it is not.
    """
    images = torch.randn(48, 1, 16, 16, generator=generator(0, "nothing"))
    labels = ["a" if n % 2 else "b" for n in range(48)]
    folds = [n // 2 % 2 for n in range(48)]
    judge = learn_judge(
        images, labels, folds, settings=ClassifierSettings(steps=60, batch=16, widths=(8, 16, 16, 32))
    )
    assert judge.accuracy < 0.75
    learned = [n for n in range(48) if folds[n] != 0]
    assert (
        float(np.mean([judge.verdicts(images[n : n + 1], [labels[n]], [0])[0].probability for n in learned]))
        > 0.8
    ), "by heart"


@pytest.fixture(scope="module")
def world() -> tuple[Exact, list[Volume], list[str], Judge, list[int]]:
    """Two labels that differ in their mean alone, and a judge of them."""
    prior = Exact(apart=(-0.6, 0.6), power=0.3)
    dark, light = prior.draw(40, (SIDE, SIDE), 1) - 0.6, prior.draw(40, (SIDE, SIDE), 2) + 0.6
    scans = [volume_of(prior, x) for x in torch.cat([dark, light])]
    labels = ["dark"] * 40 + ["light"] * 40
    folds = folds_of([str(n) for n in range(80)], labels)
    judge = learn_judge(torch.stack([glance(v, SIDE) for v in scans]), labels, folds, settings=QUICK)
    return prior, scans, labels, judge, folds


def refused(
    world: tuple[Exact, list[Volume], list[str], Judge, list[int]],
    strength: float,
    *,
    swapped: bool = False,
    told: bool = False,
) -> float:
    """Share of variations with p below 0.1. told: the prior is told the label; swapped: the other one."""
    prior, scans, labels, judge, folds = world
    other = {"dark": "light", "light": "dark"}
    given = [(other[label] if swapped else label) if told or swapped else None for label in labels]
    wanted = [
        VariationRequest(prior.admit(v), generator(3, n), "", label)
        for n, (v, label) in enumerate(zip(scans, given, strict=True))
    ]
    small = torch.stack([glance(v, SIDE) for v in vary(prior, wanted, strength=strength)])
    return float(np.mean([v.p < 0.1 for v in judge.verdicts(small, labels, folds)]))


def test_what_forgets_its_source_is_refused_and_what_keeps_it_is_not(
    world: tuple[Exact, list[Volume], list[str], Judge, list[int]],
) -> None:
    """A prior that is told nothing: a bold variation is anything, a gentle one is still its source."""
    gentle, bold = refused(world, 0.2), refused(world, 0.95)
    assert gentle < 0.25 and bold > gentle + 0.3
    assert refused(world, 0.95, told=True) < bold - 0.2, "told the label, even a bold one carries it"


def test_a_swapped_label_is_refused(world: tuple[Exact, list[Volume], list[str], Judge, list[int]]) -> None:
    assert refused(world, 0.95, swapped=True) > 0.8


def test_about_alpha_of_new_real_scans_would_be_refused(
    world: tuple[Exact, list[Volume], list[str], Judge, list[int]],
) -> None:
    prior, _, _, judge, _ = world
    new = torch.stack(
        [
            glance(volume_of(prior, x), SIDE)
            for x in torch.cat([prior.draw(60, (SIDE, SIDE), 8) - 0.6, prior.draw(60, (SIDE, SIDE), 9) + 0.6])
        ]
    )
    said = judge.verdicts(new, ["dark"] * 60 + ["light"] * 60, [n % 4 for n in range(120)])
    assert float(np.mean([v.p < 0.1 for v in said])) < 0.25


def test_what_cannot_be_judged_is_said() -> None:
    images = torch.randn(6, 1, 16, 16)
    with pytest.raises(BadOption, match="at least two labels"):
        learn_judge(images, ["a"] * 6, [0, 1] * 3)
    with pytest.raises(BadOption, match="too few patients"):
        learn_judge(images, ["a", "a", "a", "a", "a", "b"], [0, 1, 0, 1, 0, 0], settings=QUICK)


def test_a_glance_of_a_volume_is_its_three_middle_planes() -> None:
    data = np.random.default_rng(0).normal(size=(1, 20, 16, 12)).astype(np.float32)
    seen = glance(Volume(data), 16)
    assert seen.shape == (3, 16, 16) and float(seen.min()) >= -1 and float(seen.max()) <= 1
    assert glance(Volume(data[..., 0]), 28).shape == (1, 28, 28)

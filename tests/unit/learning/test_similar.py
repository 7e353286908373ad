"""The nearest cases of each label."""

from __future__ import annotations

import pytest
import torch

from medprior.errors import BadOption, ShapeMismatch
from medprior.learning.similar import nearest_cases


def test_the_nearest_of_each_label_come_first_whatever_the_unit_of_a_feature() -> None:
    cases = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    unit = torch.tensor([1.0, 1000.0])
    found = nearest_cases(torch.tensor([0.9, 0.1]) * unit, cases * unit, ["a", "b", "a", "b"], 1)
    assert [(one.label, one.at) for one in found] == [("a", 0), ("b", 1)]
    same = nearest_cases(cases[3] * unit, cases * unit, ["a", "b", "a", "b"], 2)
    assert next(one.at for one in same if one.label == "b") == 3
    assert max(one.alike for one in same) == pytest.approx(1, abs=1e-5)


def test_wrong_features_and_too_few_cases_are_refused() -> None:
    with pytest.raises(ShapeMismatch):
        nearest_cases(torch.zeros(3), torch.zeros(4, 2), ["a"] * 4, 1)
    with pytest.raises(BadOption, match="at least 2"):
        nearest_cases(torch.zeros(2), torch.zeros(1, 2), ["a"], 1)

"""The search for the weight of a baseline."""

from __future__ import annotations

import pytest
import torch

from bench.tuned import best_of
from medprior.errors import BadOption


def test_best_of_walks_to_the_peak_from_a_bad_grid() -> None:
    """Error |log10(weight / 3)|: from a grid far below, the search grows until the peak is inside; a score
    that only rises is refused.
    """
    reference = torch.zeros(1, 1, 4, 4)
    found = best_of(
        [1e-4, 1e-3], lambda w: reference + abs(torch.log10(torch.tensor(w / 3.0))) + 0.01, reference, 1.0
    )
    assert found.weight == pytest.approx(1, rel=1e-6) or found.weight == pytest.approx(10, rel=1e-6)
    assert found.psnr == max(db for _, db in found.tried) and len(found.tried) >= 5
    with pytest.raises(BadOption, match="end of the grid"):
        best_of([1.0, 2.0], lambda w: reference + 1 / w, reference, 1.0)

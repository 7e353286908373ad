"""What a p-value says in words: how many healthy patients look as unusual, and why no flag is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.jobs.detect import Found
from medprior.runs.detect import map_scale, measured_table, sentence, widest_slice
from medprior.runs.sources import known_prior


def found(p_value: float | None, n_healthy: int, refused: str = "", map_high: float | None = None) -> Found:
    image = Volume(np.zeros((1, 4, 4), np.float32))
    return Found(image, image, 1.5, p_value, n_healthy, map_high, refused)


@pytest.mark.parametrize(
    ("p_value", "n_healthy", "refused", "words"),
    [
        (1 / 40, 39, "", "Of 39 healthy patients that the prior has not learned from, 0 look at least as unusual as this scan: p = 0.025. It is flagged"),
        (20 / 40, 39, "", "19 look at least as unusual as this scan: p = 0.5. It is not flagged: that does not mean it is healthy"),
        (1 / 8, 7, "7 healthy patients cannot support a flag at 5 %", "0 look at least as unusual as this scan: p = 0.12. No flag is given: 7 healthy"),
        (None, 0, "no healthy patients were held out", "No healthy patients were held out. The map shows where"),
    ],
)
def test_a_sentence(p_value: float | None, n_healthy: int, refused: str, words: str) -> None:
    assert words in sentence(found(p_value, n_healthy, refused))


def test_what_was_measured_of_a_prior_is_shown_with_its_interval(tiny: Path) -> None:
    prior = known_prior(str(tiny)).prior
    assert measured_table(prior) == []
    rate = {"value": 0.05, "low": 0.01, "high": 0.14, "level": 0.95, "n": 60}
    prior.trust["detect"] = {"measured": {"false_positive_rate": rate, "n_test_patients": 60}, "calibrated_on": "80 healthy val patients"}
    table = measured_table(prior)[0]
    assert table.rows[1] == ["false positive rate", "0.050", "0.010 to 0.140", "60"] and len(table.rows) == 2
    assert "95% intervals" in table.note and "80 healthy val patients" in table.note


def test_the_scale_of_the_map_does_not_depend_on_the_scan() -> None:
    assert map_scale(found(0.5, 39, map_high=12.0), half=100)[0] == 12.0
    high, text = map_scale(found(None, 0), half=100)
    assert high == 50 and "no healthy scans have calibrated it" in text


def test_the_slice_that_is_shown_is_the_one_with_the_largest_difference() -> None:
    data = np.zeros((1, 4, 5, 6), np.float32)
    data[0, 1, 1, 4] = 9
    volume = Volume(data, np.diag([1.0, 1.0, -1.0, 1.0]))  # stored head first: turned for display
    seen = Found(volume, volume, 0, None, 0, None, "")
    assert widest_slice(seen, "axial") == (1, 6)
    assert widest_slice(seen, "coronal") == (1, 5), "counted in the plane that is shown, not in that of the file"
    assert widest_slice(found(None, 0), "axial") is None

"""What a p-value says in words: how many healthy patients look as unusual, and why no flag is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medprior.data.views import widest_slice
from medprior.data.volume import Volume
from medprior.jobs.detect import Finding, Found, RankedScore
from medprior.prior.promises import DetectPromise, Promises
from medprior.runs.core.inputs import known_prior
from medprior.runs.detect.page import (
    ELSEWHERE,
    beside_table,
    detect_section,
    evidence_table,
    findings_line,
    findings_table,
    map_high,
    map_level,
    measured_table,
    sentence,
    slices_table,
)
from medprior.runs.page.blocks import Compare


def found(p_value: float | None, n_healthy: int, refused: str = "", map_high: float | None = None) -> Found:
    image = Volume(np.zeros((1, 4, 4), np.float32))
    return Found(image, image, image, 1.5, {}, p_value, n_healthy, map_high, (), (), refused)


@pytest.mark.parametrize(
    ("p_value", "n_healthy", "refused", "words"),
    [
        (
            1 / 40,
            39,
            "",
            "Of 39 healthy patients that the prior has not learned from, 0 look at least as unusual as this "
            "scan: p = 0.025. It is flagged",
        ),
        (
            20 / 40,
            39,
            "",
            "19 look at least as unusual as this scan: p = 0.5. It is not flagged: that does not mean it is "
            "healthy",
        ),
        (
            1 / 8,
            7,
            "7 healthy patients cannot support a flag at 5 %",
            "0 look at least as unusual as this scan: p = 0.12. No flag is given: 7 healthy",
        ),
        (
            None,
            0,
            "no healthy patients were held out",
            "No healthy patients were held out. The map shows where",
        ),
    ],
)
def test_a_sentence(p_value: float | None, n_healthy: int, refused: str, words: str) -> None:
    assert words in sentence(found(p_value, n_healthy, refused))


def test_the_rate_of_false_flags_elsewhere_is_the_one_that_was_measured() -> None:
    results = Path(__file__).parents[4] / "bench" / "results" / "detect-pneumonia.json"
    assert f"test, false positive rate: {ELSEWHERE}" in results.read_text(encoding="utf-8")


def test_what_was_measured_of_a_prior_is_shown_with_its_interval(tiny: Path) -> None:
    prior = known_prior(str(tiny)).prior
    assert measured_table(prior) == []
    rate = {"value": 0.05, "low": 0.01, "high": 0.14, "level": 0.95, "n": 60}
    measured = {"false_positive_rate": rate, "n_test_patients": 60}
    detect = DetectPromise(measured=measured, calibrated_on="80 healthy val patients")
    prior.promises = Promises(detect=detect)
    table = measured_table(prior)[0]
    assert table.rows[1] == ["false positive rate", "0.050", "0.010 to 0.140", "60"] and len(table.rows) == 2
    assert "95% intervals" in table.note and "80 healthy val patients" in table.note


def test_plain_scores_stand_beside_ours_or_it_is_said_why_not() -> None:
    seen = replace(
        found(3 / 40, 39),
        plain={
            "mean intensity": RankedScore(-0.25, 7, 8 / 40),
            "PCA residual": RankedScore(0.01234, 0, 1 / 40),
        },
    )
    table = beside_table(seen)
    assert table.rows[0] == ["score", "this scan", "healthy patients at least as high", "p"]
    assert table.rows[1:] == [
        ["medprior (ours)", "1.5", "2", "0.075"],
        ["mean intensity", "-0.25", "7", "0.2"],
        ["PCA residual", "0.0123", "0", "0.025"],
    ]
    assert "Of 39 held-out healthy patients" in table.note and "PatchCore and PaDiM" in table.note
    assert "no healthy patients" in beside_table(found(None, 0)).rows[0][1]


def test_the_scale_of_the_map_does_not_depend_on_the_scan(tiny: Path) -> None:
    prior = known_prior(str(tiny)).prior
    assert map_high(prior, found(0.5, 39, map_high=12.0)) == 12.0
    one, two = (map_high(prior, replace(found(None, 0), score=score)) for score in (1.0, 9.0))
    assert one == two > 0


def test_the_map_is_transparent_where_nothing_is_unusual(tiny: Path) -> None:
    """Calibrated, an unflagged scan shows no coloured pixel; else the highest hundredth, and it says so."""
    prior = known_prior(str(tiny)).prior
    values = np.linspace(0, 5, 400, dtype=np.float32).reshape(1, 20, 20)
    seen = replace(found(0.5, 39, map_high=5.5), map=Volume(values), healthy=Volume(values))
    assert map_level(seen)[0] == 5.5 and "one healthy scan in twenty" in map_level(seen)[1]

    def opaque(one: Found) -> int:
        section, preview = detect_section(prior, Volume(values), one)
        compare = section.blocks[0]
        assert isinstance(compare, Compare) and compare.beside is not None and len(preview) == 3
        return int((np.asarray(compare.beside.layer)[..., 3] > 0).sum())

    assert opaque(seen) == 0
    assert opaque(replace(seen, map_high=4.0)) == int((values >= 4).sum())
    rough = replace(seen, map_high=None)
    assert opaque(rough) == 4 and "highest 1 %" in map_level(rough)[1]


def test_findings_are_named_also_where_there_are_none() -> None:
    assert findings_line(found(0.5, 39, map_high=3.0)).startswith(
        "No finding: nothing in the map passes what"
    )
    assert "not one place" in findings_line(found(0.02, 49, map_high=3.0))
    assert "not calibrated" in findings_line(found(None, 0))
    two = tuple(Finding(n, 12 * n, None, (1.0, 2.0), 9.0, None) for n in (1, 2))
    assert findings_line(replace(found(0.5, 39), findings=two)) == "2 findings; the largest has 24 voxels."


def test_the_slice_that_is_shown_is_the_one_with_the_largest_difference() -> None:
    data = np.zeros((1, 4, 5, 6), np.float32)
    data[0, 1, 1, 4] = 9
    volume = Volume(data, np.diag([1.0, 1.0, -1.0, 1.0]))  # stored head first: turned for display
    assert widest_slice(volume, "axial") == (1, 6)
    assert widest_slice(volume, "coronal") == (1, 5), (
        "counted in the plane that is shown, not in that of the file"
    )
    assert widest_slice(found(None, 0).map, "axial") is None


def test_findings_slices_and_evidence_are_told() -> None:
    """Size, place and p of each finding; which slices stand out; every part of the score."""
    volume = Volume(np.zeros((1, 4, 5, 6), np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
    parts = dict.fromkeys(("features", "memory", "layout", "profile", "map"), 1.25)
    findings = tuple(Finding(n, 12, 0.024 * n, (1.0, -2.0, 30.4), 9.5 - n, 1 / 40) for n in range(1, 13))
    seen = replace(
        found(1 / 40, 39), map=volume, findings=findings, slices=(1.0, 0.05, 0.1, 0.2), evidence=parts
    )
    (first,), (slices,), (evidence,) = findings_table(volume, seen), slices_table(seen), evidence_table(seen)
    assert (
        first.rows[1] == ["1", "0.024 ml", "1, -2, 30", "8.50", "0.025"]
        and len(first.rows) == 11
        and "2 smaller peaks" in first.note
    )
    assert slices.rows[0][1] == "2, 3" and "Of 4" in slices.note
    assert [row[2] for row in evidence.rows[1:]] == ["+1.25"] * 5
    bare = found(None, 0)
    assert findings_table(volume, bare) == slices_table(bare) == evidence_table(bare) == []


@pytest.mark.parametrize(
    "patients, slices, said", [(4, 96, "192 slices"), (19, 96, "48 slices must be as rare"), (1000, 96, "")]
)
def test_few_healthy_patients_name_no_slice(patients: int, slices: int, said: str) -> None:
    """q = p n / k: with 4 patients p is at least 0.2, and 192 of the 96 slices would be needed."""
    seen = replace(found(0.2, patients), slices=(0.5,) * slices)
    note = str(slices_table(seen)[0])
    assert ("NO SLICE CAN BE NAMED" in note) == (patients == 4)
    assert said in note and ("as rare" in note) == bool(said)

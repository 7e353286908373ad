"""Subgroups: figures of each group and its distance from the others, silence where it is too small, a flag
where chance does not explain it.
"""

# pyright: reportOptionalMemberAccess=false
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.evidence.metrics import auroc
from medprior.io.dataset.index import Item
from medprior.io.groups import Tags
from medprior.io.write import write
from medprior.runs.ask.requests import EvaluateDetect
from medprior.runs.core.progress import silent
from medprior.runs.studies import detect as evaluate_detect
from medprior.runs.studies.detect import run_evaluate_detect
from medprior.runs.studies.detection.subgroups import (
    LEAST,
    Member,
    Tag,
    groups_of,
    subgroup_section,
    subgroups,
)
from tests.unit.runs.conftest import scene


def members(n: int, group: str, *, apart: float, hits: int, start: int = 0, tag: str = "sex") -> list[Member]:
    """n healthy and n sick patients, the sick ones ``apart`` deviations above; of the healthy ones ``hits``
    flagged.
    """
    rng = np.random.default_rng(start)
    healthy = [Member(False, start + i, float(rng.normal()), i < hits, {tag: group}) for i in range(n)]
    return healthy + [
        Member(True, start + n + i, float(rng.normal() + apart), False, {tag: group}) for i in range(n)
    ]


def test_a_group_that_is_served_worse_is_named() -> None:
    """Both figures, both ways; in words, with its interval; and how many differences were looked at."""
    scans = members(60, "female", apart=0.3, hits=18) + members(60, "male", apart=3.0, hits=1, start=1000)
    found = subgroups(scans, 0.05, n_healthy=40)["sex"].groups
    worse, better = found["female"], found["male"]
    assert worse.flagged == better.flagged == ["auroc", "false_positive_rate"]
    assert worse.auroc.value == auroc([s.score for s in scans[:120]], [int(s.sick) for s in scans[:120]])
    assert worse.auroc_difference.value == pytest.approx(worse.auroc.value - better.auroc.value)
    assert worse.auroc_difference.high < -0.05 and worse.auroc_difference.value == pytest.approx(
        -better.auroc_difference.value
    )
    assert worse.false_positive_rate.value == pytest.approx(0.3) and worse.false_positive_rate.n == 60
    section = subgroup_section({"sex": Tag(2, found)})
    assert (
        "Sex: female: healthy and other scans are told apart WORSE" in section.verdict
        and "MORE healthy patients are flagged" in section.verdict
    )
    assert "2 scans do not state sex" in section.blocks[0].note and "2 differences" in section.caveats[0]  # type: ignore[union-attr]


def test_chance_is_not_named() -> None:
    """Groups without a difference; and a difference that is sure but under 5 points."""
    alike = members(80, "female", apart=1.5, hits=4) + members(80, "male", apart=1.5, hits=5, start=500)
    found = subgroups(alike, 0.05, n_healthy=40)
    assert [one.flagged for one in found["sex"].groups.values()] == [[], []]
    assert "No group differs" in subgroup_section(found).verdict
    small = members(2000, "a", apart=9, hits=0) + members(2000, "b", apart=9, hits=60, start=9000)
    (first, second) = subgroups([s for s in small if not s.sick], 0.05, n_healthy=40)["sex"].groups.values()
    assert first.false_positive_rate_difference.high < 0 and first.flagged == second.flagged == []


def test_too_few_is_said_and_nothing_is_named() -> None:
    """A patient under the least; too few of a label; a rate that the calibration cannot promise; and one
    group alone has nobody to stand beside.
    """
    few = members(LEAST // 2 - 1, "few", apart=9, hits=9)
    lone = members(40, "many", apart=1, hits=2, start=100)
    found = subgroups(few + lone, 0.05, n_healthy=40)["sex"].groups
    assert found["few"].auroc is found["few"].false_positive_rate is None and found["few"].flagged == []
    assert (
        found["many"].auroc is not None
        and found["many"].auroc_difference is None
        and found["many"].false_positive_rate_difference is None
    )
    rows = subgroup_section({"sex": Tag(0, found)}).blocks[0].rows  # type: ignore[union-attr]
    assert [row[2] for row in rows[1:]] == [
        f"{found['many'].auroc.value:.3f}",
        "too few",
    ] and "too few others" in rows[1]
    unbalanced = [s for s in lone if not s.sick] + [s for s in lone if s.sick][:9]
    at = subgroups(unbalanced, 0.05, n_healthy=18)["sex"].groups["many"]
    assert at.auroc is None and at.false_positive_rate is None


def test_nothing_stated_is_one_line() -> None:
    assert subgroups([Member(False, 1, 0.0, False, {})], 0.05, 40) == {}
    section = subgroup_section({})
    assert "nothing can be said of groups" in section.text and not section.blocks and not section.caveats


def test_sites_are_numbered_by_size() -> None:
    def item(site: str) -> Item:
        return Item(
            "i",
            "",
            "",
            "",
            "",
            "test",
            "",
            "png",
            (8, 8),
            1,
            "a.u.",
            "",
            None,
            False,
            "",
            "",
            0,
            True,
            False,
            "",
            tags=Tags("female", site=site),
        )

    found = groups_of([item("site77"), item("site11"), item(""), item("site11")])
    assert found == [
        {"sex": "female", "site": "site 2"},
        {"sex": "female", "site": "site 1"},
        {"sex": "female"},
        {"sex": "female", "site": "site 1"},
    ]


def test_an_evaluation_tells_groups(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder with a table: 64 patients; another table is another run; no site by its name, no age."""
    seen = {
        "p_value": None,
        "n_healthy": 0,
        "refused": "",
        "red": None,
        "other": False,
        "plain": {"mean intensity": 0.0},
        "located": None,
    }
    monkeypatch.setattr(
        evaluate_detect,
        "_one",
        lambda request, prior, index, item, plain: {"score": float(int(item.path[:-4]) % 7), **seen},
    )
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for n in range(64):
        image = (0.3 * scene(n, 16) + 60).astype(np.float32)
        write(Volume(image), folder / f"{n}.png", kind="converted")
        rows.append(
            f"{n}.png,{'ill' if n % 2 else 'normal'},patient "
            f"{n},test,{'f' if n < 32 else 'm'},{87 if n < 40 else 21},Mustermann Clinic {n % 3}"
        )
    (folder / "scans.csv").write_text("\n".join(["path,label,patient,split,sex,age,site", *rows]) + "\n")
    asked = EvaluateDetect.model_validate(
        {"folder": folder, "prior": str(tiny), "out": tmp_path / "run", "baselines": "quick"}
    )
    done = run_evaluate_detect(asked, silent)
    found = done.record["metrics"]["subgroups"]
    assert {tag: list(at["groups"]) for tag, at in found.items()} == {
        "sex": ["female", "male"],
        "age": ["65 and over", "18 to 39"],
        "site": ["site 1", "site 2", "site 3"],
    }
    female = found["sex"]["groups"]["female"]
    assert (
        female["patients"] == 32
        and female["auroc"]["n"] == 32
        and female["auroc_difference"]["n"] == 64
        and female["false_positive_rate"] is None
    )
    assert found["age"]["groups"]["18 to 39"]["auroc"] is None, "24 patients are too few"
    page = done.report.read_text()
    assert "site 1" in page and "sex: female" in page
    for path in done.path.rglob("*"):
        assert not path.is_file() or b"Mustermann" not in path.read_bytes()
    assert " 87" not in json.dumps(found)
    assert run_evaluate_detect(asked, silent).reused
    (folder / "scans.csv").write_text(
        "path,label,patient,split\n" + "".join(",".join(row.split(",")[:4]) + "\n" for row in rows)
    )
    with pytest.raises(Exception, match="another"):
        run_evaluate_detect(asked, silent)
    again = run_evaluate_detect(asked.model_copy(update={"out": tmp_path / "untold"}), silent)
    assert (
        again.record["metrics"]["subgroups"] == {}
        and "nothing can be said of groups" in again.report.read_text()
    )


def test_groups_of_a_handful_are_not_told_apart() -> None:
    """Three scanners with one or two patients become one group without their names; the large one keeps its
    own.
    """
    scanners = ["big"] * 30 + ["rare a", "rare b", "rare b", "rare c"]
    scans = [Member(n % 2 == 0, n, float(n), False, {"scanner": name}) for n, name in enumerate(scanners)]
    groups = subgroups(scans, 0.05, 100)["scanner"].groups
    assert set(groups) == {"big", "groups under 5"} and groups["groups under 5"].patients == 4

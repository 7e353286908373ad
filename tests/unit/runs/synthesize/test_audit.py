"""Nothing synthetic is written before it was held against the scans behind the prior, or somebody took that
on himself.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.evidence.intervals import clopper_pearson
from medprior.evidence.synthetic.copies import STATISTIC, CopyAudit, Nearness
from medprior.evidence.synthetic.descriptors import Descriptor
from medprior.evidence.synthetic.moves import Move
from medprior.io.dataset.scan import scan
from medprior.io.write import write
from medprior.jobs.synthetic.audit import Control, KnownScans, SetEvidence, valid_audit
from medprior.jobs.synthetic.synthesize import DRAWING, Drawing
from medprior.prior import Prior
from medprior.prior.promises import Audit
from medprior.runs.ask.requests import CalibrateSynthesize, Synthesize
from medprior.runs.execute import execute
from medprior.runs.studies import calibrate_synthesize
from medprior.runs.studies.calibrate_synthesize import run_calibrate_synthesize
from medprior.runs.synthesize import run
from medprior.runs.synthesize.audit_page import audit_table, failing, reach_lines, unproven
from medprior.training.folder import load, read_promises
from tests.unit.runs.conftest import save_tiny, scene

N_TRAIN, N_HELD = 26, 40


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that states its splits; nobody's scans."""
    folder = tmp_path_factory.mktemp("data")
    for n in range(N_TRAIN + N_HELD):
        place = folder / ("train" if n < N_TRAIN else "val") / ("no_finding" if n % 2 else "pneumonia")
        place.mkdir(parents=True, exist_ok=True)
        write(Volume(scene(n)), place / f"{n}.png", kind="converted")
    return folder


@pytest.fixture(scope="module")
def own(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior whose card names the scans of the train split."""
    index = scan(scans, out=tmp_path_factory.mktemp("index"))
    digest = hashlib.sha256(
        "\n".join(sorted(item.digest for item in index.usable("train"))).encode()
    ).hexdigest()
    return save_tiny(
        tmp_path_factory.mktemp("own") / "prior", data={"shape": [32, 32], "sha256": digest, "scans": N_TRAIN}
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that tries mirrors and shifts alone, and a twin that has hardly learned."""
    moves = Move.of(2)
    monkeypatch.setattr(
        "medprior.evidence.synthetic.likeness._MOVES", replace(moves, flip=torch.tensor([0.0, 1.0]))
    )
    monkeypatch.setattr("medprior.jobs.synthetic.audit._TWIN_STEPS", 10)
    twin = Control("over-fitted twin", clopper_pearson(64, 64), 0.95)
    monkeypatch.setattr("medprior.runs.synthesize.audit.over_fitted_twin", lambda *_, **__: twin)
    monkeypatch.setattr(
        "medprior.jobs.synthetic.audit.descriptors", lambda: (Descriptor("four means", _four_means),)
    )


def _four_means(images: Sequence[Tensor]) -> Tensor:
    return torch.stack([torch.nn.functional.adaptive_avg_pool2d(image, 2).flatten() for image in images])


def _draws(monkeypatch: pytest.MonkeyPatch, images: list[np.ndarray]) -> None:
    """The prior draws these, one after the other, over and over."""
    following = itertools.cycle([torch.from_numpy(image) / 127.5 - 1 for image in images])
    monkeypatch.setattr(
        run,
        "draw_images",
        lambda prior, n, how, **_: (torch.stack([next(following) for _ in range(n)]), None),
    )


def _asked(prior: Path, out: Path, **more) -> Synthesize:
    return Synthesize.model_validate({"prior": str(prior), "out": out, "n": 30, "size": (32, 32), **more})


def test_without_an_audit_nothing_is_written(tiny: Path, tmp_path: Path):
    with pytest.raises(
        BadOption, match="it was not measured whether this prior copies its patients; nothing was written"
    ):
        execute(_asked(tiny, tmp_path / "a"))
    assert not (tmp_path / "a").exists()
    done = execute(_asked(tiny, tmp_path / "a", n=2, unproven=True))
    assert done.record["overrides"] == [
        "written although it was not measured whether this prior copies its patients"
    ]
    assert "was not measured" in done.report.read_text()


def test_an_audit_is_a_table_of_tests() -> None:
    """One row a test, with what is allowed; a test that failed is shouted."""
    share = {"value": 0.02, "low": 0.0, "high": 0.05}
    old = {"way": "pixels", "copies": share, "allowed": 0.1, "nearer": share, "passed": True}
    entry = {
        "copies": [{"way": "detail", "copies": share, "chance": 0.03, "passed": False}, old],
        "controls": [{"passed": True}, {"passed": False}],
        "membership": [{"attack": "loss", "auc": {"value": 0.5, "low": 0.45, "high": 0.54}, "low": True}],
    }
    head, copies, older, controls, attack = audit_table(entry).rows
    assert head == ["test", "result", "allowed", "passed"]
    assert copies[1:] == ["2.0%", "a chance above 5 %; here 0.03", "NO"]
    assert "older statistic" in older[0] and older[1:] == ["2.0%", "at most 10.0%", "yes"]
    assert (controls[1], attack[3]) == ("1 of 2", "yes")
    assert audit_table({"said": ["an older audit"]}).rows == [head]


def test_copies_are_refused_and_the_set_is_blocked(
    own: Path, scans: Path, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    half = [
        scene(n)[:, :, ::-1].copy() if n % 2 else scene(1000 + n) for n in range(N_TRAIN)
    ]  # every other one a training scan, mirrored
    _draws(monkeypatch, half)
    with pytest.raises(
        BadOption, match=r"% of .* images lie nearer to a training patient .*nothing was written"
    ):
        execute(_asked(own, tmp_path / "b", data=scans))
    assert not (tmp_path / "b").exists()
    done = execute(_asked(own, tmp_path / "b", data=scans, unproven=True))
    assert any("images lie nearer to a training patient" in line for line in done.record["overrides"])
    assert done.record["metrics"]["refused"] >= 15  # the hard filter holds all the same
    _draws(monkeypatch, half[1::2])
    with pytest.raises(
        BadOption,
        match="all of 150 images lie nearer to a training scan than any held-out scan does; nothing was "
        "written",
    ):
        execute(_asked(own, tmp_path / "c", data=scans, unproven=True))


def test_a_few_copies_among_new_images_do_not_leave(
    own: Path, scans: Path, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _draws(monkeypatch, [scene(0), *(scene(1000 + n) for n in range(29))])
    done = execute(_asked(own, tmp_path / "c", data=scans))
    metrics = done.record["metrics"]
    assert metrics["refused"] >= 1 and metrics["n"] == 30 and metrics["drawn"] == 30 + metrics["refused"]
    assert (
        len([path for path in done.outputs if path.suffix == ".png"]) == 30 and not done.record["overrides"]
    )
    page = done.report.read_text()
    for words in (
        "Is any of them somebody",
        "How faithful, how various?",
        "Beside the scans nearest",
        "Can this audit find a copy?",
        "plain Gaussian",
    ):
        assert words in page
    assert str(scans) not in json.dumps(done.record) and str(scans) not in page


def test_the_audit_of_a_prior_goes_into_its_promises(scans: Path, quick: None, tmp_path: Path):
    prior = save_tiny(tmp_path / "prior")
    ask = {"folder": scans, "prior": str(prior), "out": tmp_path / "run", "n": 24, "guidance": 1.0}
    done = run_calibrate_synthesize(CalibrateSynthesize.model_validate(ask), lambda event: None)
    entry = read_promises(prior).to_json()["synthesize"]
    assert entry == done.record["metrics"]["entry"] and entry["mix"] == {"no_finding": 12, "pneumonia": 12}
    assert (entry["train"], entry["held"]) == (N_TRAIN, N_HELD)
    assert [one["name"] for one in entry["controls"]][-1] == "over-fitted twin" and not entry["controls"][-1][
        "passed"
    ]
    assert (
        not entry["valid"] and not entry["passed"]
    )  # a twin of ten steps knows nothing by heart: then no number counts
    assert {one["attack"] for one in entry["membership"]} == {"loss", "mid-frequency"}
    assert "NOT VALID" in done.report.read_text()
    with pytest.raises(BadOption, match="its controls failed"):
        execute(_asked(prior, tmp_path / "d", n=1))


def test_another_data_set_is_not_taken_for_the_priors_own(scans: Path, tmp_path: Path):
    prior = save_tiny(tmp_path / "prior", data={"shape": [32, 32], "sha256": "0" * 64, "scans": 5})
    with pytest.raises(
        BadOption, match="the 26 scans of the train split are not the 5 that the prior learned from"
    ):
        execute(_asked(prior, tmp_path / "e", data=scans))


def test_scans_that_no_card_names_are_the_callers_word(
    tiny: Path, scans: Path, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _draws(monkeypatch, [scene(1000 + n) for n in range(30)])
    with pytest.raises(BadOption, match="the prior's card does not say which scans it learned from"):
        execute(_asked(tiny, tmp_path / "f", data=scans))
    done = execute(_asked(tiny, tmp_path / "f", data=scans, unproven=True))
    assert done.record["overrides"] == [
        "written although the prior's card does not say which scans it learned from; that they are these is "
        "the caller's word"
    ]


def test_few_images_and_failed_controls_are_no_proof(
    own: Path, scans: Path, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _draws(monkeypatch, [scene(1000 + n) for n in range(30)])
    with pytest.raises(BadOption, match=r"it was not measured .*nothing was written.*ask for 24 or more"):
        execute(_asked(own, tmp_path / "g", data=scans, n=8))
    blind = Control("over-fitted twin", clopper_pearson(3, 64), 0.95)
    monkeypatch.setattr("medprior.runs.synthesize.audit.over_fitted_twin", lambda *_, **__: blind)
    with pytest.raises(BadOption, match=r"the audit's own controls failed \(.* over-fitted twin\)"):
        execute(_asked(own, tmp_path / "g", data=scans))


def test_a_run_that_compares_is_another_run(
    own: Path, scans: Path, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _draws(monkeypatch, [scene(1000 + n) for n in range(30)])
    plain = execute(_asked(own, tmp_path / "h", unproven=True))
    assert "copies" not in plain.record["metrics"]
    with pytest.raises(BadOption, match="another run"):
        execute(_asked(own, tmp_path / "h", unproven=True, data=scans))
    assert "copies" in execute(_asked(own, tmp_path / "i", data=scans)).record["metrics"]


PASSED = Audit(passed=True, drawing=DRAWING, statistic=STATISTIC, guidance=1.5)


def test_an_audit_by_an_older_statistic_lets_nothing_through():
    with pytest.raises(BadOption, match=r"older statistic, which misses copies .*nothing was written"):
        unproven(Audit(passed=True, drawing=DRAWING), False)
    (line,) = unproven(Audit(passed=True, drawing=DRAWING), True)
    assert line.startswith("written although the audit of this prior is by an older statistic")


@pytest.mark.parametrize(
    ("audit", "guidance", "why"),
    [
        (None, None, "it was not measured"),
        (replace(PASSED, passed=False), None, "found copies, or its controls failed"),
        (replace(PASSED, drawing=DRAWING - 1), None, "drew in another way"),
        (replace(PASSED, drawing=0), None, "drew in another way"),
        (PASSED, 2.0, "is of a guidance of 1.5"),
        (PASSED, 1.5, ""),
        (PASSED, None, ""),
    ],
)
def test_an_audit_stands_for_images_of_its_kind(audit: Audit | None, guidance: float | None, why: str):
    if not why:
        assert unproven(audit, False, guidance=guidance) == ()
        return
    with pytest.raises(BadOption, match=why):
        unproven(audit, False, guidance=guidance)
    assert why in unproven(audit, True, guidance=guidance)[0]


@pytest.mark.parametrize(("reference", "excused"), [(0.01, True), (0.4, False)])
def test_what_real_scans_show_is_said(reference: float, excused: bool):
    """Held-out scans of another kind are the reason where real scans would not pass either."""
    way = CopyAudit(clopper_pearson(9, 100), 0.001, 0, 0.1, reference, 80, 40)
    nothing = Nearness(torch.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    said = failing(SetEvidence((), (), way, nothing))
    assert said and not way.passed
    assert ("what is held out is unlike training" in said) is excused


def _control(name: str, smallest: float | None, turned: float) -> Control:
    return Control(name, clopper_pearson(30, 40), 0.9, (turned / 2, turned), smallest)


def test_what_an_audit_cannot_find_was_not_asked() -> None:
    """Named in the lines; where even plain copies, or the twin, are not seen, the audit says nothing."""
    twin = Control("over-fitted twin", clopper_pearson(64, 64), 0.95)
    mirrored, mixed = _control("mirrored", 0.08, 1.0), _control("mixed of two", 0.4, 0.5)
    seen, missed = reach_lines([mirrored, mixed, _control("turned by 25 degrees", None, 0.0), twin])
    assert seen == "smallest share of copies found in 9 of 10 cases: mirrored 0.08"
    assert (
        "more than 20%" in missed and "mixed of two (from 40%), turned by 25 degrees (never found)" in missed
    )
    assert valid_audit([mirrored, mixed, twin]) == ""
    assert "over-fitted twin" in valid_audit([mirrored, Control(twin.name, clopper_pearson(9, 64), 0.95)])
    assert "20% of copies that are mirrored" in valid_audit([replace(mirrored, smallest=0.5), twin])


def test_an_audit_asks_for_numbers_over_the_range_of_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values are spread evenly and are nobody's; heights are left to chance, as every draw leaves them."""
    prior = load(
        save_tiny(tmp_path / "p", labels=(), numbers=("height", "age"), ranges=((-1.0, 1.0), (20.0, 80.0)))
    )
    heard: list[dict[str, Sequence[float]]] = []

    def listening(prior: Prior, n: int, how: Drawing) -> tuple[Tensor, None]:
        heard.append(dict(how.numbers))
        return torch.zeros(n, 1, 16, 16), None

    monkeypatch.setattr("medprior.runs.studies.calibrate_synthesize.draw_images", listening)
    made, _ = calibrate_synthesize._drawn(
        prior,
        KnownScans((), (), ((), ()), ((), ()), ()),
        CalibrateSynthesize(prior="p", folder=tmp_path, n=24),
    )
    assert len(made) == 24 and list(heard[0]) == ["age"]
    assert sorted(heard[0]["age"]) == pytest.approx([20 + 60 * (n + 0.5) / 24 for n in range(24)])

"""Is it worth it: noise must not be recommended and more real images must; nothing leaks from the scans that
judge; a stopped run goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medprior.cli import main
from medprior.data.volume import Provenance, Volume
from medprior.downstream.classifier import ClassifierSettings
from medprior.downstream.segmenter import SegmenterSettings
from medprior.errors import BadOption
from medprior.evidence.gain import SeedScores, mean_scores
from medprior.io.dataset.index import digest_of
from medprior.io.write import write
from medprior.runs.ask.requests import EvaluateAugment
from medprior.runs.core.inputs import indexed, of_split
from medprior.runs.core.outputs import Outcome, Summary
from medprior.runs.core.progress import Event, silent
from medprior.runs.page.blocks import Section
from medprior.runs.rebuild import rebuild
from medprior.runs.studies import augment as evaluate_augment
from medprior.runs.studies.augment import run_evaluate_augment
from medprior.runs.studies.labelled_scans import LabelledScans, middle_slices
from medprior.runs.studies.training_sets import (
    SEEN_ARMS,
    Arm,
    Trial,
    arms_of,
    images_of,
    pool_of,
    trial_scans,
)
from medprior.runs.studies.verdict import verdict_of, worth_of
from tests.unit.runs.conftest import save_tiny

LABELS = ("lying", "upright")


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is the experiment; a network of less width learns such stripes as well."""
    monkeypatch.setattr(
        evaluate_augment,
        "ClassifierSettings",
        lambda steps: ClassifierSettings(steps=steps, batch=8, average=0.9, widths=(16, 16, 16, 16)),
    )


def striped(label: str, rng: np.random.Generator) -> np.ndarray:
    """(1, 28, 28) faint stripes in noise, upright or lying: two scans a label do not teach them, sixty do."""
    stripes = 12 * np.sin(np.arange(28) * 2 * np.pi / 5 + rng.uniform(0, 2 * np.pi))
    image = rng.normal(100, 25, (1, 28, 28)) + (stripes[:, None] if label == "lying" else stripes)
    return image.clip(0, 255).astype(np.float32)


def put(folder: Path, images: list[np.ndarray], kind: str = "converted") -> None:
    folder.mkdir(parents=True)
    for n, image in enumerate(images):
        synthetic = kind == "synthesized"
        write(
            Volume(image, provenance=Provenance(synthetic=synthetic)),
            folder / f"Mustermann_{n}.png",
            kind=kind,
        )


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few scans to learn from, more to judge; the file names are names of people."""
    folder, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    for split, n in (("train", 6), ("val", 25), ("test", 40)):
        for label in LABELS:
            put(folder / split / label, [striped(label, rng) for _ in range(n)])
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """more: what a perfect generator would make. noise: what a useless one would."""
    folder, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(1)
    for label in LABELS:
        put(folder / "more" / label, [striped(label, rng) for _ in range(60)], "synthesized")
        put(
            folder / "noise" / label,
            [rng.normal(100, 25, (1, 28, 28)).clip(0, 255).astype(np.float32) for _ in range(60)],
            "synthesized",
        )
    return folder


def asked(scans: Path, made: Path | None, out: Path, **changes: Any) -> EvaluateAugment:
    values = {
        "folder": scans,
        "generated": made,
        "out": out,
        "per_class": 2,
        "ratios": (30.0,),
        "steps": 60,
        "seeds": 2,
        **changes,
    }
    return EvaluateAugment.model_validate(
        {name: value for name, value in values.items() if value is not None}
    )


def test_more_real_images_are_recommended_and_a_stopped_run_goes_on(
    scans: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, trained, real = (
        asked(scans, made / "more", tmp_path / "run", steps=90, seeds=4),
        [],
        evaluate_augment.train_and_score,
    )
    arms = [
        Arm(),
        Arm(classical=True),
        Arm("generative", 30.0, classical=True),
    ]  # those that the verdict hangs on; the others are trained below
    monkeypatch.setattr(evaluate_augment, "arms_of", lambda ratios: arms)

    def stopping(*arguments: Any) -> Any:
        trained.append(arguments[1].key)
        if len(trained) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(evaluate_augment, "train_and_score", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_evaluate_augment(request, silent)
    assert not (tmp_path / "run").exists()
    heard: list[Event] = []
    done = run_evaluate_augment(request, heard.append)
    metrics = done.record["metrics"]
    assert len(trained) == 1 + 4 * len(arms) and any(
        "3 results are there already" in event.text for event in heard
    )
    assert metrics["verdict"].startswith("Use it at ratio 30") and metrics["gain"]["low"] > 0
    assert metrics["verdict"].endswith("name their folder with --seen.") and metrics["rival"] is None
    page = done.report.read_text()
    assert "Use it at ratio 30" in page and "It is unknown what made" in page
    assert not any(b"Mustermann" in p.read_bytes() for p in done.path.rglob("*") if p.is_file())
    assert rebuild(done.path).reused and run_evaluate_augment(request, silent).reused
    rows = (done.path / "results.csv").read_text().splitlines()
    assert rows[0] == "arm,ratio,split,seed,AUROC" and len(rows) == 1 + 2 * 4 * len(arms)


def test_noise_is_not_recommended(scans: Path, made: Path, tmp_path: Path) -> None:
    done = run_evaluate_augment(asked(scans, made / "noise", tmp_path / "run"), silent)
    assert done.record["metrics"]["verdict"].startswith("Do not use it")


def test_a_prior_varies_the_scans_and_val_leaves_test_untouched(
    scans: Path, tiny: Path, tmp_path: Path
) -> None:
    heard: list[Event] = []
    values = {"prior": str(tiny), "split": "val", "ratios": (0.5, 1.0), "seeds": 2, "steps": 10, "levels": 2}
    done = run_evaluate_augment(asked(scans, None, tmp_path / "run", **values), heard.append)
    metrics = done.record["metrics"]
    assert set(metrics["values"]) == {arm.key for arm in arms_of((0.5, 1.0))}
    assert all(set(of) == {"val"} for of in metrics["values"].values()) and not metrics["verdict"].startswith(
        "Use it"
    )
    assert "too kind" in done.report.read_text() and done.record["data"]["split"] == "val"
    assert (
        metrics["labels_of_the_prior"] == ["no_finding", "pneumonia"]
        and "labels that the other arms have not seen" in done.report.read_text()
    )
    assert any(event.kind == "cost" for event in heard)


def test_what_judges_may_not_be_learned_from(scans: Path, made: Path, tmp_path: Path) -> None:
    leaking, rng = tmp_path / "leaking", np.random.default_rng(2)
    for label in LABELS:
        put(leaking / label, [striped(label, rng) for _ in range(60)], "synthesized")
        (leaking / label / "one.png").write_bytes((scans / "test" / label / "Mustermann_0.png").read_bytes())
    with pytest.raises(BadOption, match="are scans of those that judge"):
        run_evaluate_augment(asked(scans, leaking, tmp_path / "run"), silent)
    with pytest.raises(BadOption, match="fewer than the smallest ratio"):
        run_evaluate_augment(asked(scans, made / "more", tmp_path / "run", ratios=(40.0,)), silent)


def knowing(right: dict[str, float], data: LabelledScans, arm: Arm) -> list[list[float]]:
    """What a network says that is right in such a share of scans, by what its arm adds."""
    rng = np.random.default_rng(len(arm.key))
    wrong = rng.permutation(len(data.patients)) >= right[arm.extra] * len(data.patients)
    said = np.where(wrong, 1 - data.scan_labels.numpy(), data.scan_labels.numpy())
    return np.stack([1 - said, said], 1).tolist()


@pytest.mark.parametrize(("rival", "start"), [(0.99, "Do not use it: the network does"), (0.7, "Use it at")])
def test_labels_that_the_prior_has_seen_are_the_strongest_rival(
    rival: float, start: str, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card names the train split. So its other labelled scans are at hand, and who learns from them must
    be beaten.
    """
    with indexed(scans, None, None, silent) as index:
        behind = digest_of(of_split(index, "train", allow_synthetic=False))
    prior = save_tiny(tmp_path / "prior", labels=LABELS, data={"shape": [32, 32], "sha256": behind})
    right, trials = {"": 0.6, "duplicates": 0.6, "generative": 0.9, SEEN_ARMS[0].extra: rival}, []

    def said(trial: Trial, arm: Arm, judges: dict[str, LabelledScans], _: int) -> dict[str, Any]:
        trials.append(trial)
        return {split: knowing(right, data, arm) for split, data in judges.items()}

    monkeypatch.setattr(evaluate_augment, "train_and_score", said)
    values = {"prior": str(prior), "ratios": (0.5,), "levels": 2, "seeds": 3}
    metrics = run_evaluate_augment(asked(scans, None, tmp_path / "run", **values), silent).record["metrics"]
    assert metrics["verdict"].startswith(start) and "Not compared" not in metrics["verdict"]
    assert {arm.key for arm in SEEN_ARMS} <= set(metrics["values"]) and metrics["rival"] in metrics["values"]
    assert all(len(trial.seen.images) == 8 for trial in trials), "12 scans, 4 of them are the trial's own"
    whole = asked(scans, None, tmp_path / "whole", **{**values, "per_class": None})
    assert run_evaluate_augment(whole, silent).record["metrics"]["rival"] is None, "nothing is left to learn"


def test_a_folder_of_scans_behind_the_prior_is_the_rival(
    scans: Path, made: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, trained = evaluate_augment.train_and_score, []
    monkeypatch.setattr(evaluate_augment, "arms_of", lambda ratios: [Arm(), Arm("generative", 1.0)])
    monkeypatch.setattr(
        evaluate_augment, "train_and_score", lambda *given: trained.append(given) or real(*given)
    )
    request = asked(
        scans, made / "noise", tmp_path / "run", seen=made / "more", allow_synthetic=True, steps=40
    )
    done = run_evaluate_augment(request, silent)
    assert str(made) not in (done.path / "run.json").read_text()
    values = done.record["metrics"]["values"]
    assert values[SEEN_ARMS[0].key]["test"] > values["real + generative at 1"]["test"] + 0.1
    assert {len(given[0].seen.images) for given in trained} == {120}
    with pytest.raises(BadOption, match="seen: 80 images are scans of those that judge"):
        run_evaluate_augment(
            asked(scans, made / "noise", tmp_path / "again", seen=scans / "test", ratios=(1.0,)), silent
        )


def test_no_patient_in_two_splits(tmp_path: Path, tiny: Path) -> None:
    """Without stated splits the patients are split; a patient's two scans stay together."""
    rng, rows = np.random.default_rng(3), ["path,label,patient"]
    for n in range(60):
        for again in range(2):
            name, label = f"{n}_{again}.png", LABELS[n % 2]
            write(
                Volume(striped(label, rng)), tmp_path / "data" / name, kind="converted"
            ) if n + again else put(tmp_path / "data", [])
            rows += [f"{name},{label},p{n}"] if n + again else []
    (tmp_path / "data" / "scans.csv").write_text("\n".join(rows) + "\n")
    seen: dict[str, set[str]] = {}

    def listened(*arguments: Any) -> Any:
        found = evaluate_augment_read(*arguments)
        seen.update({split: set(data.patients) for split, data in found.items()})
        raise KeyboardInterrupt

    evaluate_augment_read, evaluate_augment._read = evaluate_augment._read, listened  # type: ignore[assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            run_evaluate_augment(
                asked(tmp_path / "data", None, tmp_path / "run", prior=str(tiny), per_class=None), silent
            )
    finally:
        evaluate_augment._read = evaluate_augment_read
    assert set(seen) == {"train", "val", "test"} and all(seen.values())
    assert sum(map(len, seen.values())) == len(set().union(*seen.values()))


def discs(folder: Path) -> None:
    """Bright discs in noise and their masks, with a scans.csv."""
    rng, rows, (i, j) = np.random.default_rng(4), ["path,split,mask"], np.mgrid[0:32, 0:32]
    folder.mkdir()
    for n in range(16):
        disc = (i - rng.integers(10, 22)) ** 2 + (j - rng.integers(10, 22)) ** 2 < 40
        image = (rng.normal(60, 10, (1, 32, 32)) + 120 * disc).clip(0, 255).astype(np.float32)
        write(Volume(image), folder / f"{n}.png", kind="converted")
        write(Volume(disc[None].astype(np.float32), unit="label"), folder / f"{n}_mask.png", kind="converted")
        rows.append(f"{n}.png,{'train' if n < 8 else 'val' if n < 12 else 'test'},{n}_mask.png")
    (folder / "scans.csv").write_text("\n".join(rows) + "\n")


def test_a_joint_prior_gives_a_segmenter_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and masks are drawn together and stretched to the side of the real ones; of a volume as many
    slices are labelled as asked for.
    """
    settings = SegmenterSettings(steps=4, batch=4, rate=1e-2, average=0.8, widths=(8, 8, 8, 8, 8, 8))
    monkeypatch.setattr(evaluate_augment, "SegmenterSettings", lambda steps: settings)
    discs(tmp_path / "data")
    joint = save_tiny(tmp_path / "joint", channels=("image", "mask:1"), labels=(), data={"shape": [16, 20]})
    values = {
        "prior": str(joint),
        "segment": True,
        "how": "synthesize",
        "ratios": (1.5,),
        "seeds": 2,
        "steps": 10,
        "per_class": 4,
    }
    pools = []
    monkeypatch.setattr(
        evaluate_augment, "pool_of", lambda *given: pools.append(pool_of(*given)) or pools[-1]
    )
    run = run_evaluate_augment(asked(tmp_path / "data", None, tmp_path / "run", **values), silent)
    assert "new pairs of image and mask" in (run.path / "report.html").read_text(encoding="utf-8")
    assert [pool.images.shape for pool in pools] == [(6, 1, 32, 32)] * 2 and not torch.equal(
        pools[0].images, pools[1].images
    )
    for pool in pools:
        assert (
            pool.masks is not None
            and pool.masks.shape == (6, 32, 32)
            and set(pool.masks.unique().tolist()) <= {0, 1}
        )
    with pytest.raises(BadOption, match="take --how synthesize"):
        run_evaluate_augment(
            asked(tmp_path / "data", None, tmp_path / "vary", **{**values, "how": "vary"}), silent
        )


def test_a_segmenter_is_judged_by_dice(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks of scans.csv; a variation keeps its scan's mask; no label is needed."""
    settings = SegmenterSettings(steps=60, batch=4, rate=1e-2, average=0.8, widths=(8, 8, 8, 8, 8, 8))
    monkeypatch.setattr(evaluate_augment, "SegmenterSettings", lambda steps: settings)
    discs(tmp_path / "data")
    values = {
        "prior": str(tiny),
        "segment": True,
        "ratios": (1.0,),
        "seeds": 2,
        "steps": 60,
        "levels": 2,
        "strengths": (0.05,),
        "per_class": 6,
    }
    metrics = run_evaluate_augment(asked(tmp_path / "data", None, tmp_path / "run", **values), silent).record[
        "metrics"
    ]
    assert metrics["metric"] == "Dice" and metrics["labelled_scans_a_trial"] == 6
    assert all(0 <= value <= 1 for of in metrics["values"].values() for value in of.values())
    assert max(of["test"] for of in metrics["values"].values()) > 0.4, "a bright disc can be found"


@pytest.mark.parametrize(
    ("low", "high", "honest", "start"),
    [
        (0.01, 0.05, True, "Use it at ratio 2"),
        (0.01, 0.05, False, "It may help at ratio 2"),
        (-0.01, 0.05, True, "Do not use it: no gain that could be told from chance"),
        (-0.05, -0.01, True, "Do not use it: it does harm"),
        (0.0, 0.05, True, "Do not use it: no gain"),
    ],
)
def test_the_verdict_claims_what_the_interval_does(low: float, high: float, honest: bool, start: str) -> None:
    at = {"value": (low + high) / 2, "low": low, "high": high, "level": 0.95, "n": 50}
    text = verdict_of(
        at,
        ratio=2,
        ours="real + classical + generative",
        against="real + classical",
        metric="AUROC",
        honest=honest,
    )
    assert text.startswith(start) and f"({low:+.3f} to {high:+.3f}) over real + classical" in text
    assert f"gain in AUROC {at['value']:+.3f}" in text and "Too few seeds" not in text


def test_an_interval_that_is_too_wide_says_so() -> None:
    at = {"value": -0.016, "low": -0.817, "high": 0.785, "level": 0.95, "n": 4}
    text = verdict_of(at, ratio=1, ours="real + generative", against="real", metric="AUROC")
    assert "gain in AUROC -0.016" in text and "Too few seeds, or too few patients" in text


def test_neither_arm_of_labels_behind_the_prior_may_be_ahead() -> None:
    """Val prefers the one that is weak on test; the other one is ahead there."""
    arms = [Arm(), Arm("generative", 1.0), *SEEN_ARMS]
    means = dict(
        zip((arm.key for arm in arms), ((0.6, 0.6), (0.8, 0.8), (0.9, 0.7), (0.7, 0.9)), strict=True)
    )
    rng = np.random.default_rng(0)
    found = {
        key: {
            split: [mean_scores(mean + 0.01 * rng.normal(size=50)) for _ in range(5)]
            for split, mean in zip(("val", "test"), both, strict=True)
        }
        for key, both in means.items()
    }
    worth = worth_of(arms, found, {"val": range(50), "test": range(50)}, "test")
    assert worth.rival == SEEN_ARMS[1]
    said = verdict_of(
        worth.gain, ratio=1.0, ours="ours", against="real", metric="Dice", rivalry=worth.rivalry
    )
    assert said.startswith("Do not use it: the network does better")


def test_both_plain_arms_must_be_beaten_and_test_chooses_nothing() -> None:
    """On val real + classical was unlucky; on test it is as good as ours. And the ratio that is best on test
    is not the one that val has chosen.
    """
    rng = np.random.default_rng(0)

    def scored(mean: float) -> list[SeedScores]:
        return [mean_scores(mean + 0.01 * rng.normal(size=50)) for _ in range(5)]

    arms = [
        Arm(),
        Arm(classical=True),
        Arm("generative", 1.0, classical=True),
        Arm("generative", 4.0, classical=True),
    ]
    means = {
        "real": (0.8, 0.7),
        "real + classical": (0.6, 0.9),
        arms[2].key: (0.85, 0.9),
        arms[3].key: (0.84, 0.95),
    }
    found = {key: {"val": scored(val), "test": scored(test)} for key, (val, test) in means.items()}
    worth = worth_of(arms, found, {"val": range(50), "test": range(50)}, "test")
    assert worth.chosen == arms[2] and worth.against == arms[1] and worth.honest
    assert worth.gains[arms[2].key]["test"]["real"]["low"] > 0 > worth.gain["low"]
    facts = {"ratio": 1.0, "ours": worth.chosen.name, "against": worth.against.key, "metric": "Dice"}
    assert verdict_of(worth.gain, **facts).startswith("Do not use it: no gain")
    assert not worth_of(arms, found, {"val": range(50), "test": range(50)}, "val").honest


def test_the_command_line_refuses_what_makes_no_experiment(
    scans: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "augment", str(scans)]) == 2
    assert "wanted one of the two" in capsys.readouterr().err
    assert main(["evaluate", "augment", str(scans), "--prior", "chest-xray", "--split", "train"]) == 2
    assert "wanted val or test" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seeds", "--ratios", "--strengths", "--per-class", "--how", "--steps"])
def test_a_hostile_value_is_one_line_and_code_2(
    option: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in ("", "-1", "nan", "inf", "../..", "{{7*7}}", "a" * 5000):
        code = main(
            [
                "evaluate",
                "augment",
                str(scans),
                "--prior",
                "chest-xray",
                "--out",
                str(tmp_path / "run"),
                f"{option}={value}",
            ]
        )
        said = capsys.readouterr()
        assert code == 2 and "Traceback" not in said.err + said.out, (value, said.err[-300:])
        assert (
            len([line for line in said.err.splitlines() if line.startswith("medprior: ")]) == 1
            and list(tmp_path.iterdir()) == []
        )


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run is called hangs on what it is told, not on what comes out."""
    monkeypatch.setattr(
        evaluate_augment,
        "_work",
        lambda *given: Outcome({"verdict": "none"}, [Section("none", "none")], [], Summary()),
    )


def test_other_generated_images_are_another_run(
    scans: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folder lies says nothing; what lies in it does."""
    quick(monkeypatch)
    run_evaluate_augment(asked(scans, made / "more", tmp_path / "run"), silent)
    assert run_evaluate_augment(
        asked(scans, (made / "more").rename(made / "moved"), tmp_path / "run"), silent
    ).reused
    (made / "moved").rename(made / "more")
    with pytest.raises(BadOption, match="holds another run"):
        run_evaluate_augment(asked(scans, made / "noise", tmp_path / "run"), silent)


def test_other_masks_are_another_run(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    discs(tmp_path / "data")
    request = asked(tmp_path / "data", None, tmp_path / "run", prior=str(tiny), segment=True)
    run_evaluate_augment(request, silent)
    assert run_evaluate_augment(request, silent).reused
    (tmp_path / "data" / "3_mask.png").write_bytes((tmp_path / "data" / "4_mask.png").read_bytes())
    with pytest.raises(BadOption, match="holds another run"):
        run_evaluate_augment(request, silent)
    discs(tmp_path / "made")
    given = asked(tmp_path / "data", tmp_path / "made", tmp_path / "given", segment=True)
    run_evaluate_augment(given, silent)
    (tmp_path / "made" / "3_mask.png").write_bytes((tmp_path / "made" / "4_mask.png").read_bytes())
    with pytest.raises(BadOption, match="holds another run"):
        run_evaluate_augment(given, silent)


def labelled_scans(*counts: int, slices: tuple[int, ...] = ()) -> LabelledScans:
    """So many scans of each label, of one image or of ``slices`` by turns."""
    labels = [k for k, n in enumerate(counts) for _ in range(n)]
    each = [slices[s % len(slices)] if slices else 1 for s in range(len(labels))]
    scans = torch.tensor([s for s, n in enumerate(each) for _ in range(n)])
    names = tuple("abc"[: len(counts)])
    return LabelledScans(
        torch.zeros(len(scans), 1, 16, 16),
        torch.tensor(labels)[scans],
        scans,
        tuple(map(str, range(len(labels)))),
        names,
        (),
        "",
    )


def test_one_slice_of_each_patient_shows_all_heights() -> None:
    """What labels are given for must look like what judges: the same slice of everybody would teach one
    height, and any other image would seem to help.
    """
    one = [middle_slices(36, 1, scan)[0] for scan in range(40)]
    judged = middle_slices(36, 8)
    assert len(set(one)) == 18 and set(one) == set(range(9, 27))
    assert abs(np.mean(one) - np.mean(judged)) < 1
    for part in (one[:10], one[17:27]):
        assert np.ptp(part) > 12, "any few of them, too"
    for n in range(1, 40):
        for most in (1, 2, 8, 50):
            found = middle_slices(n, most, scan=n)
            assert (
                len(set(found)) == len(found) <= most
                and n // 4 <= min(found)
                and max(found) <= max(n // 4, n - n // 4 - 1)
            )


def test_every_first_part_of_the_scans_has_each_label_in_its_share() -> None:
    data = labelled_scans(10, 60, 30)
    labels = data.scan_labels[trial_scans(data, None, 1)]
    for n in range(1, 101):
        assert all(
            abs(int((labels[:n] == k).sum()) - n * share) <= 1 for k, share in enumerate((0.1, 0.6, 0.3))
        ), n
    balanced = data.scan_labels[trial_scans(data, 4, 1)].tolist()
    assert balanced == [0, 1, 2] * 4, "labels of equal number take turns"


def test_no_arm_learns_from_fewer_images_than_its_ratio_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with half as many images of each label serves ratio 0.5 to the last image; where a label runs
    out the ratio is left out, and said.
    """
    request = asked(Path("x"), Path("y"), Path("z"), per_class=None, ratios=(0.25, 0.5), seeds=3)
    train, given, heard = labelled_scans(10, 90), labelled_scans(5, 45), []
    arms = evaluate_augment._possible(request, arms_of(request.ratios), train, given, heard.append)
    assert arms == arms_of(request.ratios) and not heard
    for n in range(3):
        beside = evaluate_augment._Beside(given, None)
        trial = evaluate_augment._trial(request, None, train, beside, arms, n, silent, announced=1)  # pyright: ignore[reportArgumentType]
        assert trial.pool.labels.bincount().tolist() == [5, 45]
    few = labelled_scans(3, 45)
    left = evaluate_augment._possible(request, arms_of(request.ratios), train, few, heard.append)
    assert {arm.ratio for arm in left} == {
        0.0,
        0.25,
    } and "ratios left out: 0.5; the folder holds 0.3 images for each real one" in heard[0].text
    uneven = labelled_scans(4, 8, slices=(1, 7, 2, 3))  # the shares of the first images are not those of all
    at = uneven.of_scans(trial_scans(uneven, None, 0))
    scarce = labelled_scans(1, 40)
    with pytest.raises(BadOption, match="holds too few images"):
        pool_of(request, None, uneven, at, scarce, images_of(0.5, len(at)), 0, print)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("split", "kept", "patient", "words"),
    [
        ("val", "upright", None, "the split val holds scans of one label alone, upright"),
        ("test", "lying", None, "the split test holds scans of one label alone, lying"),
        ("test", "", "one", "the split test holds scans of one patient alone"),
    ],
)
def test_what_cannot_judge_is_refused_before_anything_is_trained(
    split: str,
    kept: str,
    patient: str | None,
    words: str,
    scans: Path,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluate_augment, "train_and_score", lambda *given: pytest.fail("trained"))
    rows = ["path,label,split,patient"]
    for path in sorted(scans.rglob("*.png")):
        where, label = path.relative_to(scans).parts[:2]
        if where != split or label == kept or patient:
            target = tmp_path / "data" / path.relative_to(scans)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            name = path.relative_to(scans).as_posix()
            rows.append(f"{name},{label},{where},{patient if patient and where == split else name}")
    (tmp_path / "data" / "scans.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(BadOption, match=words):
        run_evaluate_augment(asked(tmp_path / "data", made / "more", tmp_path / "run"), silent)

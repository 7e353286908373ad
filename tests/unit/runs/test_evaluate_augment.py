"""Is it worth it: noise must not be recommended and more real images must; nothing leaks from the scans that judge; a stopped run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medprior.cli import main
from medprior.data.volume import Provenance, Volume
from medprior.errors import BadOption
from medprior.io.write import write
from medprior.learning.classifier import ClassifierSettings
from medprior.runs import evaluate_augment
from medprior.runs.arms import arms_of
from medprior.runs.evaluate_augment import run_evaluate_augment
from medprior.runs.events import Event, silent
from medprior.runs.rebuild import rebuild
from medprior.runs.requests import EvaluateAugment
from medprior.runs.worth import verdict_of

LABELS = ("lying", "upright")


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is the experiment; a network of less width learns such stripes as well."""
    monkeypatch.setattr(evaluate_augment, "ClassifierSettings", lambda steps: ClassifierSettings(steps=steps, batch=8, average=0.9, widths=(16, 16, 16, 16)))


def striped(label: str, rng: np.random.Generator) -> np.ndarray:
    """(1, 28, 28) faint stripes in noise, upright or lying: two scans a label do not teach them, sixty do."""
    stripes = 12 * np.sin(np.arange(28) * 2 * np.pi / 5 + rng.uniform(0, 2 * np.pi))
    image = rng.normal(100, 25, (1, 28, 28)) + (stripes[:, None] if label == "lying" else stripes)
    return image.clip(0, 255).astype(np.float32)


def put(folder: Path, images: list[np.ndarray], kind: str = "converted") -> None:
    folder.mkdir(parents=True)
    for n, image in enumerate(images):
        synthetic = kind == "synthesized"
        write(Volume(image, provenance=Provenance(synthetic=synthetic)), folder / f"Mustermann_{n}.png", kind=kind)


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
        put(folder / "noise" / label, [rng.normal(100, 25, (1, 28, 28)).clip(0, 255).astype(np.float32) for _ in range(60)], "synthesized")
    return folder


def asked(scans: Path, made: Path | None, out: Path, **changes: Any) -> EvaluateAugment:
    values = {"folder": scans, "generated": made, "out": out, "per_class": 2, "ratios": (30.0,), "steps": 60, "seeds": 2, **changes}
    return EvaluateAugment.model_validate({name: value for name, value in values.items() if value is not None})


def test_more_real_images_are_recommended_and_a_stopped_run_goes_on(scans: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request, trained, real = asked(scans, made / "more", tmp_path / "run", steps=120, seeds=4), [], evaluate_augment.judged

    def stopping(*arguments: Any) -> Any:
        trained.append(arguments[1].key)
        if len(trained) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(evaluate_augment, "judged", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_evaluate_augment(request, silent)
    assert not (tmp_path / "run").exists()
    heard: list[Event] = []
    done = run_evaluate_augment(request, heard.append)
    metrics = done.record["metrics"]
    assert len(trained) == 1 + 4 * len(arms_of((30.0,))) and any("3 results are there already" in event.text for event in heard)
    assert metrics["verdict"].startswith("Use it at ratio 30") and metrics["gain"]["low"] > 0
    page = done.report.read_text()
    assert "Use it at ratio 30" in page and "Nobody here knows what made" in page
    assert not any(b"Mustermann" in p.read_bytes() for p in done.path.rglob("*") if p.is_file())
    assert rebuild(done.path).reused and run_evaluate_augment(request, silent).reused
    rows = (done.path / "results.csv").read_text().splitlines()
    assert rows[0] == "arm,ratio,split,seed,AUROC" and len(rows) == 1 + 2 * 4 * len(arms_of((30.0,)))


def test_noise_is_not_recommended(scans: Path, made: Path, tmp_path: Path) -> None:
    done = run_evaluate_augment(asked(scans, made / "noise", tmp_path / "run"), silent)
    assert done.record["metrics"]["verdict"].startswith("Do not use it")


def test_a_prior_varies_the_scans_and_val_leaves_test_untouched(scans: Path, tiny: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    values = {"prior": str(tiny), "split": "val", "ratios": (0.5, 1.0), "seeds": 2, "steps": 10, "levels": 2}
    done = run_evaluate_augment(asked(scans, None, tmp_path / "run", **values), heard.append)
    metrics = done.record["metrics"]
    assert all(set(of) == {"val"} for of in metrics["values"].values()) and not metrics["verdict"].startswith("Use it")
    assert "too kind" in done.report.read_text() and done.record["data"]["split"] == "val"
    assert metrics["labels_of_the_prior"] == ["no_finding", "pneumonia"] and "labels that the other arms have not seen" in done.report.read_text()
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


def test_no_patient_in_two_splits(tmp_path: Path, tiny: Path) -> None:
    """Without stated splits the patients are split; a patient's two scans stay together."""
    rng, rows = np.random.default_rng(3), ["path,label,patient"]
    for n in range(60):
        for again in range(2):
            name, label = f"{n}_{again}.png", LABELS[n % 2]
            write(Volume(striped(label, rng)), tmp_path / "data" / name, kind="converted") if n + again else put(tmp_path / "data", [])
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
            run_evaluate_augment(asked(tmp_path / "data", None, tmp_path / "run", prior=str(tiny), per_class=None), silent)
    finally:
        evaluate_augment._read = evaluate_augment_read
    assert set(seen) == {"train", "val", "test"} and all(seen.values())
    assert sum(map(len, seen.values())) == len(set().union(*seen.values()))


@pytest.mark.parametrize(
    ("low", "high", "honest", "start"),
    (
        (0.01, 0.05, True, "Use it at ratio 2"),
        (0.01, 0.05, False, "It may help at ratio 2"),
        (-0.01, 0.05, True, "Do not use it: no gain that could be told from chance"),
        (-0.05, -0.01, True, "Do not use it: it does harm"),
        (0.0, 0.05, True, "Do not use it: no gain"),
    ),
)
def test_the_verdict_claims_what_the_interval_does(low: float, high: float, honest: bool, start: str) -> None:
    at = {"value": (low + high) / 2, "low": low, "high": high, "level": 0.95, "n": 50}
    text = verdict_of(at, ratio=2, ours="real + classical + generative", against="real + classical", metric="AUROC", honest=honest)
    assert text.startswith(start) and f"({low:+.3f} to {high:+.3f}) over real + classical" in text


def test_the_command_line_refuses_what_makes_no_experiment(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "augment", str(scans)]) == 2
    assert "wanted one of the two" in capsys.readouterr().err
    assert main(["evaluate", "augment", str(scans), "--prior", "chest-xray", "--split", "train"]) == 2
    assert "wanted val or test" in capsys.readouterr().err

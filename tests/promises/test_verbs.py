"""The verbs from end to end: flags, YAML and JSON mean the same, and the same command finds its run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medprior.cli import main
from medprior.runs.ask.requests import Synthesize
from medprior.runs.execute import execute
from tests.unit.runs.conftest import save_tiny


def spoken(capsys: pytest.CaptureFixture[str], *tokens: str) -> dict:
    assert main([*tokens, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_flags_and_yaml_make_the_same_run(
    tiny: Path,
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    by_flags = spoken(capsys, "augment", str(picture), "--prior", str(tiny), "--n", "1", "--strength", "0.2")
    Path("augment.yaml").write_text(f"prior: {tiny}\nn: 1\nstrength: 2e-1\n")
    by_yaml = spoken(capsys, "augment", str(picture), "--config", "augment.yaml", "--out", "again")
    assert by_flags["id"] == by_yaml["id"]
    assert [p.name for p in (tmp_path / "runs").iterdir()] == [f"augment-{by_flags['id'][:8]}"]
    both = [
        (tmp_path / place / "outputs" / "variation_1.png").read_bytes()
        for place in (f"runs/augment-{by_flags['id'][:8]}", "again")
    ]
    assert both[0] == both[1]
    assert (
        spoken(capsys, "augment", str(picture), "--config", "augment.yaml", "--n", "2")["request"]["n"] == 2
    ), "the command line wins over YAML"


def test_a_person_is_told_where_things_are(
    tiny: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["reconstruct", str(picture), "--prior", str(tiny), "--fast", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert (
        "non-local means" in said.out
        and "total variation" not in said.out
        and "medprior, point estimate" in said.out
    )
    assert f"report  {out / 'report.html'}" in said.out and "medprior.json" not in said.out
    assert "simulated: white Gaussian noise" in said.err
    assert main(["reconstruct", str(picture), "--prior", str(tiny), "--fast", "--out", str(out)]) == 0
    assert "complete already" in capsys.readouterr().err


def test_info_shows_the_card(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tiny)]) == 0
    said = capsys.readouterr().out
    assert "labels     no_finding, pneumonia" in said and "nothing yet: no interval is calibrated" in said


def test_doctor_answers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from medprior.runs.doctor import Check

    monkeypatch.setattr(
        "medprior.runs.doctor.diagnose", lambda: [Check("memory", "warning", "1 GiB", "close something")]
    )
    assert main(["doctor"]) == 0
    assert "warning  memory: 1 GiB\n         -> close something" in capsys.readouterr().out
    monkeypatch.setattr("medprior.runs.doctor.diagnose", lambda: [Check("torch", "problem", "not installed")])
    assert main(["doctor"]) == 1, "a script can ask whether this installation works"


def test_an_interruption_leaves_nothing(
    tiny: Path,
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medprior.runs.detect.run.detect", interrupted)
    assert main(["detect", str(picture), "--prior", str(tiny), "--out", str(tmp_path / "run")]) == 130
    assert "interrupted" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_label_leads_out_of_no_folder(tmp_path: Path) -> None:
    """A card is somebody else's text: what it calls a class must not choose where a file is written."""
    label = "../../évil\0one"
    prior = save_tiny(tmp_path / "priors" / "odd", labels=("no_finding", label))
    out = tmp_path / "place" / "run"
    done = execute(
        Synthesize.model_validate({"prior": str(prior), "out": out, "label": label, "n": 1, "unproven": True})
    )
    assert [p.name for p in done.outputs if p.suffix == ".png"] == ["------évil-one_1.png"]
    assert {p.name for p in tmp_path.iterdir()} == {"priors", "place"} and {
        p.name for p in (tmp_path / "place").iterdir()
    } == {"run"}

"""Verb by verb, what all of them promise: the cost before the work, clean JSON, the same run found again; and
for every wrong option one line and code 2.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medprior.cli import main
from medprior.data.volume import Volume
from medprior.io.write import write
from tests.unit.runs.conftest import scene

# {scan}: a picture, {data}: a labelled folder, {prior}: a tiny prior; each verb at its quickest
VERBS: dict[str, str] = {
    "detect": "detect {scan} --prior {prior} --n-twins 1",
    "augment": "augment {scan} --prior {prior} --n 1",
    "synthesize": "synthesize --prior {prior} --n 1 --size 16 16 --unproven",
    "reconstruct": "reconstruct {scan} --prior {prior} --fast --baselines quick",
    "evaluate-reconstruct": "evaluate reconstruct {data} --prior {prior} --fast --most 1",
    "evaluate-detect": "evaluate detect {data} --prior {prior} --baselines quick",
    "train": "train {data} --preset tiny --steps 2",
    "label": "label {data} --prior {prior} --n 2",
}

HOSTILE = ("", "-1", "nan", "inf", "1e400", "../..", "\x00", "𝟜", "{{7*7}}", "--", "a" * 5000, "0x10", "None")
"""Values that no option of a number, a choice or a file takes."""

LEGAL = {"--name": {"nan", "inf", "1e400", "0x10"}, "--healthy": set(HOSTILE) - {"{{7*7}}"}}
"""What of them an option may be after all; of a label that nobody has, one is enough: it is found out after
the folder was read.
"""

OPTIONS = {
    "detect": ("--n-twins", "--seed", "--device", "--prior"),
    "augment": ("--n", "--strength", "--guidance", "--seed"),
    "synthesize": ("--n", "--format", "--guidance"),
    "reconstruct": ("--task", "--n", "--noise", "--turn", "--rule", "--slice"),
    "evaluate-reconstruct": ("--task", "--most", "--split"),
    "evaluate-detect": ("--alpha", "--baselines", "--healthy"),
    "train": ("--preset", "--steps", "--ndim", "--plane", "--minutes", "--name"),
    "label": ("--n", "--by", "--split", "--undo", "--repeat"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for label in ("no_finding", "pneumonia"):
        (folder / label).mkdir()
        for n in range(2):
            write(
                Volume(scene(n + 10 * (label == "pneumonia"))), folder / label / f"{n}.png", kind="converted"
            )
    return folder


def tokens(verb: str, tiny: Path, picture: Path, data: Path, out: Path) -> list[str]:
    return [word.format(scan=picture, prior=tiny, data=data) for word in VERBS[verb].split()] + [
        "--out",
        str(out),
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_what_every_verb_promises(
    verb: str, tiny: Path, picture: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tokens(verb, tiny, picture, data, tmp_path / "run")
    assert main(asked) == 0
    said = capsys.readouterr()
    assert "network evaluations" in said.err or "cost: " in said.err, "what it costs is said before"
    assert "report  " in said.out and "Traceback" not in said.err
    assert main([*asked, "--json"]) == 0
    again = capsys.readouterr()
    record = json.loads(again.out)
    assert record["complete"] and record["job"] == verb and again.err == "", (
        "JSON alone, the same run found again"
    )
    assert record["id"] == json.loads((tmp_path / "run" / "run.json").read_text())["id"]
    assert "research use only" in (tmp_path / "run" / "report.html").read_text().lower()
    beside = {p.name for p in tmp_path.iterdir()} - {"run"}
    assert beside <= {"run.private"}, "nothing lies beside it but what is not passed on"


@pytest.mark.parametrize(
    ("verb", "option"), [(verb, option) for verb, options in OPTIONS.items() for option in options]
)
def test_a_hostile_value_is_one_line_and_code_2(
    verb: str,
    option: str,
    tiny: Path,
    picture: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever is typed: no traceback, no fault of ours, nothing written."""
    for value in (v for v in HOSTILE if v not in LEGAL.get(option, ())):
        asked = [*tokens(verb, tiny, picture, data, tmp_path / "run"), f"{option}={value}"]
        code = main(asked)
        said = capsys.readouterr()
        assert code == 2, f"{option}={value[:20]!r} gave {code}: {said.err[-300:]}"
        lines = [line for line in said.err.splitlines() if line.startswith("medprior: ")]
        assert len(lines) == 1 and "Traceback" not in said.err + said.out, (value, said.err[-300:])
        assert list(tmp_path.iterdir()) == [], value

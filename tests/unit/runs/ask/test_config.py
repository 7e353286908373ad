"""A YAML file of options is plain data, or one line says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medprior.cli import main
from medprior.errors import BadOption
from medprior.runs.ask.config import options_in

HOSTILE = {
    "nested lists": "a: " + "[" * 5000 + "]" * 5000,
    "nested maps": "a: " + "{b: " * 3000 + "1" + "}" * 3000,
    "list of lists": "size: [[1, 2]]",
    "map": "steps: {a: 1}",
    "date": "steps: 2020-01-31",
    "set": "steps: !!set {a, b}",
    "bytes": "steps: !!binary aGVsbG8=",
    "code": "steps: !!python/object/apply:os.system ['true']",
    "keys": "? [a]\n: 1",
    "number as a name": "1: 2",
    "not text": "\x00\x01",
    "laughs": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "empty": "",
    "huge": "a: " + "x" * 1_100_000,
    "whole number without end": "steps: " + "9" * 5000,
    "unknown": "minutez: 3",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_ends_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(HOSTILE[kind])
    assert main(["train", str(tmp_path), "--config", str(file)]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("medprior: ") and "\n" not in said and "unexpected" not in said and len(said) < 500


def test_plain_values_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("steps: 3\nname: 'x'\nchannels: [image, T2]\nfresh: yes\nunit:\n")
    assert options_in(file) == {
        "steps": 3,
        "name": "x",
        "channels": ["image", "T2"],
        "fresh": True,
        "unit": None,
    }
    file.write_text("steps: 2020-01-31")
    with pytest.raises(BadOption, match="config: steps: wanted a number, text"):
        options_in(file)

"""The card of a prior as text: what a stranger wrote on it cannot move the cursor or colour the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medprior.cli import main
from medprior.prior import Prior
from medprior.runs.info import card_lines
from medprior.training.folder import save
from tests.unit.jobs.exact import tiny


def test_a_card_is_text_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    prior = tiny()
    save(
        Prior(prior.net, prior.path, replace(prior.card, name="brain\x1b[2J", limits=("one\nline",))),
        tmp_path / "prior",
    )
    assert main(["info", str(tmp_path / "prior")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("brain\\x1b[2J: 2-D prior") and any("one\\nline" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_the_bundled_priors_are_named() -> None:
    assert [line.split()[0] for line in card_lines("")] == [
        "brain-t1",
        "breast-us",
        "chest-ct",
        "chest-xray",
        "hippocampus",
    ]


def test_what_was_measured_is_said_in_sentences() -> None:
    lines = [line for line in card_lines("chest-xray") if line.lstrip().startswith("measured")]
    assert any("p-values from 26 held-out healthy patients" in line for line in lines)
    assert any("can recognise it in trust.json" in line for line in lines)
    assert any("best plain score (minus mean intensity)" in line for line in lines)
    assert any("copy audit passed on 60 images" in line for line in lines)
    assert max(map(len, lines)) < 160

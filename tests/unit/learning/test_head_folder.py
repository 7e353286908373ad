"""A head as a folder: the same head comes back; a changed byte, another prior or another folder is
refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medprior.errors import BadOption, Corrupt, FileProblem
from medprior.learning.head_folder import Head, HeadCard, HeadPromises, load_head, prior_digest, save_head
from medprior.prior.promises import Estimate
from tests.unit.jobs.exact import tiny

PROMISES = HeadPromises(
    {"AUROC": Estimate(0.9, 0.8, 0.95, 0.95, 40)}, ((0.8, 0.75, 20),), {"labels alone": 0.9}, ("a note",)
)


def head() -> Head:
    prior = tiny()
    card = HeadCard(("a", "b"), prior.card.name, prior_digest(prior), sigmas=(0.1,), labels=(3, 4), reach=0.7)
    return Head(card, prior, {"weight": torch.randn(2, 64), "bias": torch.randn(2)}, PROMISES)


def test_a_head_comes_back_as_it_was(tmp_path: Path) -> None:
    made = head()
    save_head(made, tmp_path / "run" / "head")
    for name in (tmp_path / "run", tmp_path / "run" / "head"):
        found = load_head(name, made.prior)
        assert found.card == made.card and found.promises == PROMISES and found.digest == made.digest
        assert torch.equal(found.tensors["weight"], made.tensors["weight"])
        assert prior_digest(found.prior) == made.card.prior_sha256


def test_a_head_of_another_prior_is_refused(tmp_path: Path) -> None:
    save_head(head(), tmp_path / "head")
    with pytest.raises(BadOption, match="was learned on another prior"):
        load_head(tmp_path / "head", tiny(2, widths=(4, 8)))
    made = head()
    save_head(replace(made, card=replace(made.card, prior_sha256="0" * 64)), tmp_path / "other")
    with pytest.raises(BadOption, match="was learned on another prior"):
        load_head(tmp_path / "other")


def test_what_is_no_head_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="neither the folder of a head"):
        load_head(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadOption, match="holds files that are no head"):
        save_head(head(), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "card.json", "trust.json", "prior/weights.safetensors"]
)
def test_a_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    save_head(head(), tmp_path / "head")
    path = tmp_path / "head" / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Corrupt):
        load_head(tmp_path / "head")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 9}, "newer than"),
        ({"colour": "red"}, "is not that of a head"),
        ({"classes": ["a"]}, "names no classes"),
        ({"kind": "oracle"}, "kind that is not known"),
    ],
)
def test_a_card_that_no_head_can_have_is_refused(change: dict[str, object], words: str) -> None:
    stored = {"classes": ["a", "b"], "prior": "p", "prior_sha256": "0"} | change
    with pytest.raises(BadOption, match=words):
        HeadCard.from_json(json.loads(json.dumps(stored)))


def test_promises_that_are_none_are_refused() -> None:
    with pytest.raises(BadOption, match="promises"):
        HeadPromises.from_json({"estimates": {"AUROC": {"value": 1}}})

"""A prior as a folder: what is saved is what is loaded, and a folder that somebody touched is not loaded at
all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import medprior
from medprior.errors import BadOption, Corrupt, FileProblem, MedpriorError
from medprior.io.disk.files import save_weights, sha256
from medprior.prior import Card, Condition, Prior
from medprior.prior.image_kind import ImageKind
from medprior.prior.prior import untrained_prior
from medprior.prior.promises import Audit, Promises
from medprior.training.folder import load, locate, read_promises, save, save_promises

TRUST = Promises.from_json({"detect": {"scores": [1.0, 2.5], "n_healthy": 2}})


def made(**other: Any) -> Prior:
    torch.manual_seed(3)
    prior = untrained_prior(
        Card(
            "one",
            "MR",
            widths=(8, 16),
            blocks=1,
            labels=("a", "b"),
            numbers=("height",),
            spacing_mm=(2.0, 1.5),
            **other,
        )
    )
    torch.nn.init.normal_(prior.net.leave[2].weight, std=0.1)  # type: ignore[union-attr, index]
    return prior


HEALTHY = {
    "bank": torch.arange(12.0).reshape(3, 4).half() / 7,
    "turn": torch.arange(6.0).reshape(2, 3).T,
    "shift": torch.tensor([0.25]),
}


def knowing() -> Prior:
    """One that was shown healthy scans."""
    prior = made()
    prior.healthy.update(HEALTHY)
    return prior


def answer(prior: Prior) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn((2, 1, 17, 12) if prior.card.ndim == 2 else (2, 1, 9, 8, 6), generator=rng)
    with torch.no_grad():
        return prior(
            x, torch.tensor([0.3, 2.0]), Condition(torch.tensor([0, 1]), torch.tensor([[0.1], [torch.nan]]))
        )


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("half", [False, True])
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, half: bool, ndim: int) -> None:
    """Card, promises and answers; half precision halves the file and moves the answers by less than a
    thousandth.
    """
    prior = (
        made(ndim=ndim, data={"scans": 3, "labels": {"a": 1}}, limits=("one", "two"))
        if ndim == 2
        else untrained_prior(
            Card("s", "MR", ndim=3, widths=(8, 16), blocks=1, labels=("a", "b"), numbers=("height",))
        )
    )
    save(prior, tmp_path / "p", promises=TRUST, half=half)
    back = load(tmp_path / "p")
    assert back.card == prior.card and back.promises == TRUST == read_promises(tmp_path / "p")
    assert torch.allclose(answer(back), answer(prior), atol=2e-3 if half else 1e-5)
    assert not any(p.requires_grad for p in back.net.parameters()) and not back.net.training
    assert torch.equal(answer(back), answer(load(tmp_path / "p")))


def test_half_precision_is_half_the_file(tmp_path: Path) -> None:
    for half in (False, True):
        save(made(), tmp_path / str(half), half=half)
    small, large = ((tmp_path / str(half) / "weights.safetensors").stat().st_size for half in (True, False))
    assert small < 0.65 * large


def test_promises_are_kept_when_a_prior_is_saved_again(tmp_path: Path) -> None:
    """They are about its weights; to write none, say so."""
    save(made(), tmp_path / "p", promises=TRUST)
    save(load(tmp_path / "p"), tmp_path / "q")
    assert load(tmp_path / "q").promises == TRUST
    save(load(tmp_path / "p"), tmp_path / "q", promises=Promises())
    assert load(tmp_path / "q").promises == Promises()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a
    )


def test_what_a_prior_knows_of_healthy_scans_is_kept(tmp_path: Path) -> None:
    """In its own precision, laid out in any way, when it is saved, loaded, saved again, and given other
    promises.
    """
    save(knowing(), tmp_path / "p", promises=TRUST)
    save(load(tmp_path / "p"), tmp_path / "q")
    save_promises(tmp_path / "q", Promises(synthesize=Audit()), tmp_path / "r")
    save_promises(tmp_path / "r", TRUST, tmp_path / "r")
    for name in ("p", "q", "r"):
        back = load(tmp_path / name)
        assert same(back.healthy, HEALTHY) and back.promises == TRUST
    assert (tmp_path / "r" / "healthy.safetensors").read_bytes() == (
        tmp_path / "p" / "healthy.safetensors"
    ).read_bytes()


def test_what_is_learned_of_healthy_scans_takes_the_place_of_what_was_known(tmp_path: Path) -> None:
    """Also where nothing was; weights and card stay as they are to the byte."""
    other = {"shift": torch.tensor([7.0])}
    for n, prior in enumerate((knowing(), made())):
        save(prior, tmp_path / f"{n}")
        save_promises(tmp_path / f"{n}", TRUST, tmp_path / f"{n}-new", healthy=other)
        assert (
            same(load(tmp_path / f"{n}-new").healthy, other) and load(tmp_path / f"{n}-new").promises == TRUST
        )
        assert (
            same(load(tmp_path / f"{n}").healthy, prior.healthy)
            and load(tmp_path / f"{n}").promises == Promises()
        )
        for name in ("weights.safetensors", "card.json"):
            assert (tmp_path / f"{n}-new" / name).read_bytes() == (tmp_path / f"{n}" / name).read_bytes()
    save_promises(tmp_path / "0-new", Promises(), tmp_path / "0-new", healthy={})
    assert (
        load(tmp_path / "0-new").healthy == {} and not (tmp_path / "0-new" / "healthy.safetensors").exists()
    )


def test_the_kind_of_its_images_is_kept_whatever_is_measured_again(tmp_path: Path) -> None:
    prior = made()
    rng = torch.Generator().manual_seed(0)
    prior.kind = ImageKind.fitted([torch.rand(1, 20, 16, generator=rng) for _ in range(40)])
    save(prior, tmp_path / "a")
    save_promises(tmp_path / "a", Promises(), tmp_path / "b")
    image = torch.rand(1, 20, 16, generator=rng)
    kinds = [kind for name in "ab" if (kind := load(tmp_path / name).kind) is not None]
    assert (
        prior.kind
        and len(kinds) == 2
        and torch.allclose(kinds[0].parts(image), prior.kind.parts(image), rtol=0.02)
    )
    assert torch.equal(kinds[0].parts(image), kinds[1].parts(image))
    save_weights(tmp_path / "a" / "kind.safetensors", {"mean": torch.zeros(3)})
    (tmp_path / "a" / "manifest.json").write_text(
        json.dumps({p.name: sha256(p) for p in (tmp_path / "a").iterdir() if p.name != "manifest.json"})
    )
    with pytest.raises(Corrupt, match="lacks 'axes'"):
        load(tmp_path / "a")


def test_weights_that_have_changed_know_no_healthy_scans(tmp_path: Path) -> None:
    """What was measured with other weights goes with their promises, and takes its file along."""
    save(knowing(), tmp_path / "p", promises=TRUST)
    save(load(tmp_path / "p"), tmp_path / "p", promises=Promises())
    assert load(tmp_path / "p").healthy == {} and not (tmp_path / "p" / "healthy.safetensors").exists()
    save(made(), tmp_path / "q", promises=TRUST)
    assert load(tmp_path / "q").healthy == {} and not (tmp_path / "q" / "healthy.safetensors").exists()


def test_promises_of_a_folder_that_was_touched_are_not_renewed(tmp_path: Path) -> None:
    save(knowing(), tmp_path / "p")
    (tmp_path / "p" / "healthy.safetensors").write_bytes(b"other")
    with pytest.raises(Corrupt, match=r"healthy\.safetensors"):
        save_promises(tmp_path / "p", TRUST, tmp_path / "q")
    assert not (tmp_path / "q").exists()


FILES = ["weights.safetensors", "card.json", "trust.json", "healthy.safetensors"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.3, 0.99])
def test_a_flipped_bit_is_found(tmp_path: Path, name: str, place: float) -> None:
    save(knowing(), tmp_path / "p", promises=TRUST)
    file = tmp_path / "p" / name
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 4
    file.write_bytes(data)
    with pytest.raises(Corrupt, match=name):
        load(tmp_path / "p")


def resealed(folder: Path) -> None:
    """The manifest as somebody writes it who edits a file on purpose."""
    files = [p for p in folder.iterdir() if p.name != "manifest.json"]
    (folder / "manifest.json").write_text(json.dumps({p.name: sha256(p) for p in files}))


def edited(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        card = json.loads((folder / "card.json").read_text())
        change(card)
        (folder / "card.json").write_text(json.dumps(card))

    return edit


def weights(tensors: Callable[[Prior], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    return lambda folder: save_weights(folder / "weights.safetensors", tensors(made()))


FOREIGN = {
    "newer schema": (edited(lambda c: c.update(schema=99)), BadOption, "newer"),
    "unknown key": (edited(lambda c: c.update(labls=["a"])), BadOption, "did you mean 'labels'"),
    "unknown path": (edited(lambda c: c.update(path="karas")), BadOption, "did you mean 'karras'"),
    "wider than its weights": (edited(lambda c: c.update(widths=[16, 32])), Corrupt, "does not fit its card"),
    "more labels than its weights": (
        edited(lambda c: c.update(labels=["a", "b", "c"])),
        Corrupt,
        "does not fit its card",
    ),
    "other dimensions": (
        edited(lambda c: c.update(ndim=3, spacing_mm=None)),
        Corrupt,
        "does not fit its card",
    ),
    "no weights": (weights(lambda p: {"x": torch.zeros(1)}), Corrupt, "does not fit its card"),
    "weights of NaN": (
        weights(lambda p: {k: v * torch.nan for k, v in p.net.state_dict().items()}),
        Corrupt,
        "NaN",
    ),
    "weights in another format": (
        lambda folder: (folder / "weights.safetensors").write_bytes(b"\x80\x04K\x01."),
        Corrupt,
        "safetensors",
    ),
    "healthy scans of NaN": (
        lambda folder: save_weights(folder / "healthy.safetensors", {"shift": torch.tensor([torch.nan])}),
        Corrupt,
        "NaN",
    ),
    "card that is no JSON": (lambda folder: (folder / "card.json").write_text("{"), Corrupt, "JSON"),
    "promises that are a list": (
        lambda folder: (folder / "trust.json").write_text("[1]"),
        Corrupt,
        "promises",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_folder_is_refused_by_name(tmp_path: Path, case: str) -> None:
    """Checksums that fit do not make it right."""
    change, kind, says = FOREIGN[case]
    save(made(), tmp_path / "p")
    change(tmp_path / "p")
    resealed(tmp_path / "p")
    with pytest.raises(kind, match=says):
        load(tmp_path / "p")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_the_manifest_leaves_out_is_not_believed(tmp_path: Path, name: str) -> None:
    """Promises that were slipped in, weights that were exchanged."""
    save(knowing(), tmp_path / "p")
    manifest = tmp_path / "p" / "manifest.json"
    listed = json.loads(manifest.read_text())
    del listed[name]
    manifest.write_text(json.dumps(listed))
    with pytest.raises(Corrupt, match="its content is unchecked"):
        load(tmp_path / "p")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save(knowing(), tmp_path / "p")
    (tmp_path / "p" / name).unlink()
    with pytest.raises(MedpriorError, match=name.replace(".", r"\.")):
        load(tmp_path / "p")


@pytest.mark.parametrize("value, half", [(torch.nan, False), (torch.inf, False), (7e4, True)])
def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path, value: float, half: bool) -> None:
    """Nor such as half precision cannot hold; the folder that was there stays."""
    save(made(), tmp_path / "p", promises=TRUST)
    prior = made()
    prior.net.leave[2].bias.data[0] = value  # type: ignore[union-attr, index]
    with pytest.raises(BadOption, match="not saved"):
        save(prior, tmp_path / "p", half=half)
    assert load(tmp_path / "p").promises == TRUST


def test_an_unknown_name_is_said(tmp_path: Path) -> None:
    for name in ("no-such-prior", str(tmp_path)):
        with pytest.raises(FileProblem, match="neither a bundled prior nor a folder"):
            locate(name)


def test_a_promise_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="JSON"):
        save(made(), tmp_path / "p", promises=Promises(more={"auroc": float("nan")}))
    assert not (tmp_path / "p").exists()


def test_a_training_run_is_known_by_its_folder(tmp_path: Path) -> None:
    save(knowing(), tmp_path / "run" / "prior", promises=TRUST)
    assert load(tmp_path / "run").promises == read_promises(tmp_path / "run") == TRUST
    assert locate(tmp_path / "run") == locate(tmp_path / "run" / "prior") == tmp_path / "run" / "prior"


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose me")
    with pytest.raises(BadOption, match="holds files that are no prior"):
        medprior.save(made(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "do not lose me"
    (tmp_path / "empty").mkdir()
    medprior.save(made(), tmp_path / "empty")
    assert medprior.load(tmp_path / "empty").card == made().card

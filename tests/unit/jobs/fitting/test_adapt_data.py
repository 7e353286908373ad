"""What a prior is adapted to: who is held out, how scans are varied, what is replayed and how often."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import FileProblem, WrongKind
from medprior.io.write import write
from medprior.jobs.fitting.adapt import _images
from medprior.jobs.fitting.adapt_data import (
    HOLD_FROM,
    LabelledImages,
    Newcomers,
    gentle_policy,
    gentle_variations,
    load_images,
    newcomers,
    replay_draws,
    store,
)
from medprior.jobs.fitting.changes import index_once
from medprior.jobs.fitting.options import Adaptation, Listener
from medprior.prior import Card
from medprior.training.folder import load
from medprior.training.patches import plan_step
from tests.unit.runs.conftest import save_tiny, scene, tiny_card


def put(folder: Path, n: int, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(n):
        write(Volume(scene(start + k)), folder / f"{k}.png", kind="converted")
    return folder


def found_in(card: Card, folder: Path, out: Path, **other: object) -> Newcomers:
    options = Adaptation("parent", folder, out=out, **other)  # type: ignore[arg-type]
    return newcomers(card, index_once(options, Listener()), options)


def test_what_was_drawn_is_read_back(tmp_path: Path) -> None:
    """Who continues replays the same images, labels and numbers; an unknown number stays unknown."""
    drawn = shown(3, 1)
    store(drawn, tmp_path / "drawn.safetensors")
    back = load_images(tmp_path / "drawn.safetensors")
    assert back is not None and back.labels == drawn.labels
    assert all(torch.equal(a, b) for a, b in zip(back.images, drawn.images, strict=True))
    assert all(bool(number.isnan().all()) and number.shape == (1,) for number in back.numbers)
    assert load_images(tmp_path / "nothing.safetensors") is None


def shown(n: int, label: int = 0) -> LabelledImages:
    rng = torch.Generator().manual_seed(label)
    return LabelledImages(
        tuple(torch.randn(1, 32, 32, generator=rng) for _ in range(n)),
        (label,) * n,
        (torch.full((1,), torch.nan),) * n,
    )


@pytest.mark.parametrize("n, held", [(HOLD_FROM - 1, 0), (HOLD_FROM, 2), (20, 4)])
def test_a_fifth_is_held_out_where_there_are_enough(n: int, held: int, tmp_path: Path) -> None:
    put(tmp_path / "data" / "rare", n)
    found = found_in(tiny_card(), tmp_path / "data", tmp_path / "out")
    assert (len(found.learn), len(found.held), found.scans) == (n - held, held, n)
    assert found.labels == ("rare",) and set(found.learn.labels) == {2}, "after the two that the prior has"
    again = found_in(tiny_card(), tmp_path / "data", tmp_path / "other")
    assert all(torch.equal(a, b) for a, b in zip(found.held.images, again.held.images, strict=True)), (
        "the same seed holds the same ones out"
    )
    pixels = {image.numpy().tobytes() for image in found.learn.images}
    assert not any(image.numpy().tobytes() in pixels for image in found.held.images)


def test_known_labels_keep_their_place_and_new_ones_follow(tmp_path: Path) -> None:
    for label, start in (("zebra", 0), ("pneumonia", 20), ("abscess", 40)):
        put(tmp_path / "data" / label, 2, start)
    found = found_in(tiny_card(), tmp_path / "data", tmp_path / "out", hold=0.0)
    assert found.labels == ("abscess", "zebra") and sorted(found.learn.labels) == [1, 1, 2, 2, 3, 3]


def test_stated_splits_are_kept_and_test_is_not_opened(tmp_path: Path) -> None:
    for split, n, start in (("train", 6, 0), ("val", 2, 20), ("test", 3, 40)):
        put(tmp_path / "data" / split / "rare", n, start)
    found = found_in(tiny_card(), tmp_path / "data", tmp_path / "out")
    assert (len(found.learn), len(found.held), found.scans) == (6, 2, 8)


def test_a_patient_is_on_one_side_only(tmp_path: Path) -> None:
    put(tmp_path / "data", 12)
    rows = "".join(f"{k}.png,rare,patient{k // 2}\n" for k in range(12))
    (tmp_path / "data" / "scans.csv").write_text("path,label,patient\n" + rows)
    found = found_in(tiny_card(), tmp_path / "data", tmp_path / "out")
    assert len(found.held) == 2 and found.patients == 6
    whole = [found_in(tiny_card(), tmp_path / "data", tmp_path / "out", hold=0.0).learn.images]
    where = [
        n for n, image in enumerate(whole[0]) if any(torch.equal(image, other) for other in found.held.images)
    ]
    order = sorted(range(12), key=lambda k: f"{k}.png")
    assert len({order[n] // 2 for n in where}) == 1


def test_other_kinds_are_refused_by_name_unless_allowed(tmp_path: Path) -> None:
    put(tmp_path / "data" / "rare", 3)
    card = tiny_card(modality="MR")
    with pytest.raises(WrongKind, match=r"is for MR, this is US.*allow-other"):
        found_in(card, tmp_path / "data", tmp_path / "out", modality="US")
    found = found_in(card, tmp_path / "data", tmp_path / "out", modality="US", allow_other=True)
    assert len(found.learn) == 3 and found.others == ("modality US, the prior's is MR",)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    put(tmp_path / "data" / "rare", 3)
    (tmp_path / "data" / "rare" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(FileProblem, match=r"1 of 4 files are unusable.*rare/broken.png: .*see unusable.csv"):
        found_in(tiny_card(), tmp_path / "data", tmp_path / "out")


def test_variations_are_gentle_and_legal() -> None:
    policy = gentle_policy(tiny_card(modality="DX"), "cardiomegaly")
    assert set(policy.allowed) <= {"rotate", "shift"}, "a label that is a size is not scaled"
    assert set(gentle_policy(tiny_card(modality="DX"), "").allowed) == {"rotate", "scale", "shift"}
    card = tiny_card(modality="DX")
    smooth = LabelledImages((torch.from_numpy(scene(3)) / 128 - 1,), (0,), (torch.tensor([0.5]),))
    made = gentle_variations(card, smooth, seed=1, copies=6)
    assert len(made) == 6 and made.labels == (0,) * 6 and [float(n) for n in made.numbers] == [0.5] * 6
    away = [float((image - smooth.images[0]).abs().mean()) for image in made.images]
    assert max(away) > 0 and max(away) < 0.5 * float(smooth.images[0].std()) + 0.5
    assert all(
        torch.equal(a, b)
        for a, b in zip(made.images, gentle_variations(card, smooth, seed=1, copies=6).images, strict=True)
    )
    assert len(gentle_variations(card, smooth, copies=0)) == 0


def test_replay_has_its_share_of_every_batch() -> None:
    """Over many batches, whatever the numbers of images."""
    data = _images(tiny_card(), shown(5, 0), shown(45, 0), shown(11, 1), 0.4)
    taken = torch.tensor(
        [n for step in range(300) for n in plan_step(data, step, seed=0, batch=16, ranks=1).order]
    )
    assert float((taken >= 50).float().mean()) == pytest.approx(0.4, abs=0.03)
    assert float((taken < 5).float().mean()) == pytest.approx(0.3, abs=0.03), (
        "the scans themselves have half of the rest"
    )
    alone = _images(tiny_card(), shown(5, 0), LabelledImages(), LabelledImages(), 0.4)
    assert alone.weights is not None and float(alone.weights.sum()) == pytest.approx(1.0)


def test_a_parent_remembers_each_of_its_labels(tmp_path: Path) -> None:
    parent = load(save_tiny(tmp_path / "parent"))
    found = replay_draws(parent, 5, seed=2)
    assert found.labels == (0, 0, 0, 1, 1) and {tuple(x.shape) for x in found.images} == {(1, 32, 32)}
    assert all(
        torch.equal(a, b) for a, b in zip(found.images, replay_draws(parent, 5, seed=2).images, strict=True)
    )
    parent.card = replace(parent.card)
    unlabelled = load(save_tiny(tmp_path / "plain", labels=()))
    assert replay_draws(unlabelled, 3).labels == (-1, -1, -1)

"""What the loop learns from: a pure function of seed and step, that knows where each patch lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medprior.data.seeds import generator, seed_for
from medprior.errors import BadOption, ShapeMismatch
from medprior.prior import position_channels
from medprior.training.loop import _drawer, train
from medprior.training.patches import Batch, Images, StoredImages, draw_batch
from medprior.training.resident import Resident
from tests.unit.training import small

SIGMAS = (-1.0, 1.4)


WAYS = {
    "patch by patch": draw_batch,
    "resident": lambda data, step, **how: Resident(data, "cpu").draw(step, **how),
}
"""What a GPU does runs here on the CPU: the same lines, another device."""

At = Callable[..., Batch]


@pytest.fixture(params=WAYS)
def at(request: pytest.FixtureRequest) -> At:
    """A batch of the small set, or of another; every promise holds for both ways of drawing it."""

    def drawn(
        step: int,
        *,
        data: Images | None = None,
        seed: int = 3,
        batch: int = 4,
        drop: float = 0.1,
        rank: int = 0,
        ranks: int = 1,
    ) -> Batch:
        return WAYS[request.param](
            data or small.images(),
            step,
            seed=seed,
            batch=batch,
            sigmas=SIGMAS,
            drop=drop,
            share=(rank, ranks),
        )

    return drawn


def same(a: Batch, b: Batch) -> bool:
    return (
        a.items == b.items
        and torch.equal(a.x0, b.x0)
        and torch.equal(a.noise, b.noise)
        and torch.equal(a.sigma, b.sigma)
    )


def test_a_step_has_one_batch(at: At) -> None:
    """No state between steps: step 7 is step 7, whatever was drawn before; another step or seed is another
    batch.
    """
    torch.manual_seed(1)
    first = at(7)
    torch.manual_seed(2)
    at(3)
    assert same(first, at(7))
    assert not same(first, at(8)) and not same(first, at(7, seed=4))


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_share_the_batch_of_one(at: At, ranks: int) -> None:
    """Together they see what one process sees, each patch once, with its own noise, level, label and
    place.
    """
    for step in range(6):
        whole, parts = at(step), [at(step, rank=r, ranks=ranks) for r in range(ranks)]
        assert sum(len(p.items) for p in parts) == len(whole.items) == whole.total
        assert all(p.total == whole.total for p in parts)
        for r, part in enumerate(parts):
            assert part.items == whole.items[r::ranks]
            for mine, all_of_it in (
                (part.x0, whole.x0),
                (part.noise, whole.noise),
                (part.sigma, whole.sigma),
            ):
                assert torch.equal(mine, all_of_it[r::ranks])
            for mine, all_of_it in zip(known(part), known(whole), strict=True):
                assert torch.equal(mine.nan_to_num(9), all_of_it[r::ranks].nan_to_num(9))


def known(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    given = batch.condition
    assert given.label is not None and given.numbers is not None and given.position is not None
    return given.label, given.numbers, given.position


def numbers_of(batch: Batch) -> Tensor:
    assert batch.condition.numbers is not None
    return batch.condition.numbers


def known_position(batch: Batch) -> Tensor:
    assert batch.condition.position is not None
    return batch.condition.position


def test_no_draw_repeats(at: At) -> None:
    """Noise of 40 steps and two ranks: every patch has its own."""
    seen = {
        tuple(n.flatten()[:4].tolist())
        for step in range(40)
        for r in range(2)
        for n in at(step, rank=r, ranks=2).noise
    }
    assert len(seen) == sum(at(step).total for step in range(40))


def test_more_ranks_than_patches_is_an_error(at: At) -> None:
    with pytest.raises(BadOption, match="one patch a rank"):
        at(0, batch=2, ranks=3)


def test_a_patch_lies_where_its_position_says(at: At) -> None:
    """An image made of its own coordinates: patch and position channels agree, at each resolution and size,
    mirrored images included.
    """
    full = (48, 64)
    image = position_channels(full)[:2]
    data = Images([image], levels=(0.5, 0.5), patches=((16, 0.5), (100, 0.5)))
    shapes = set()
    for step in range(20):
        batch = at(step, data=data)
        position = known_position(batch)
        assert float((batch.x0 - position[:, :2]).abs().max()) < 1e-6
        shapes.add(tuple(batch.x0.shape[2:]))
    assert shapes == {(16, 16), (48, 64), (24, 32)}


def test_mirrored_patches_keep_the_place_that_they_now_have(at: At) -> None:
    """A mirrored brain lies where brains lie: coordinates run on, the picture is turned; half of the patches
    are.
    """
    image = position_channels((32, 32))[:1]
    data = Images([image], patches=((100, 1.0),), flip=0)
    turned = [bool(torch.equal(patch, -image)) for step in range(40) for patch in at(step, data=data).x0]
    assert 0.3 < sum(turned) / len(turned) < 0.7
    assert torch.equal(known_position(at(0, data=data))[:, :1], image.expand(4, -1, -1, -1))


def test_images_of_any_size_give_windows_of_their_own(at: At) -> None:
    """Wide and tall, odd and even, mirrored or not, each at its own resolution: the picture is what lies at
    the place that is named.
    """
    images = [position_channels(size)[:2] for size in ((33, 48), (40, 21), (64, 64))]
    mirrored: list[bool] = []
    for step in range(8):
        batch = at(
            step, batch=20, data=Images(images, levels=(0.5, 0.5), patches=((8, 0.5), (30, 0.5)), flip=1)
        )
        position = known_position(batch)
        for n, item in enumerate(batch.items):
            full = images[item].shape[1:]
            halved = batch.x0[n, 0, :, 0].diff().mean() > 1.5 * 2 / full[0]
            assert float(position[n, 2, 0, 0]) == pytest.approx(
                float(torch.log2(torch.tensor(max(f >> int(halved) for f in full) / 64))) / 2, abs=1e-6
            )
            # an odd side loses its last line where it is halved, and the place is told in the image that is
            # left
            tolerance = 1e-6 if not any(f % 2 for f in full) else 2 / min(full)
            assert float((batch.x0[n, 0] - position[n, 0]).abs().max()) < tolerance
            same_way, turned = (
                float((batch.x0[n, 1] - sign * position[n, 1]).abs().max()) for sign in (1, -1)
            )
            assert min(same_way, turned) < tolerance
            mirrored.append(turned < same_way)
    assert len(mirrored) == 160 and 0.3 < sum(mirrored) / len(mirrored) < 0.7


def test_every_place_is_as_likely_as_any_other(at: At) -> None:
    """25 places for a 16-pixel window of a 20-pixel image, 2000 windows: chi squared of 24 degrees of
    freedom, 0.01 % level.
    """
    data = Images([torch.zeros(1, 20, 20)], patches=((16, 1.0),))
    first = torch.cat([known_position(at(step, data=data, batch=100))[:, :2, 0, 0] for step in range(20)])
    place = ((first + 1) * 10 - 0.5).round().long()
    counts = torch.zeros(25).index_add(0, place[:, 0] * 5 + place[:, 1], torch.ones(len(place)))
    assert float(((counts - 80).square() / 80).sum()) < 59.0


def test_noise_is_white_and_of_unit_variance(at: At) -> None:
    noise = torch.cat([at(step, batch=40).noise.flatten() for step in range(10)])
    assert float(noise.mean()) == pytest.approx(0, abs=0.02) and float(noise.std()) == pytest.approx(
        1, abs=0.02
    )
    assert float((noise[1:] * noise[:-1]).mean()) == pytest.approx(0, abs=0.02)


def test_levels_of_noise_have_the_law_that_was_asked(at: At) -> None:
    logs = torch.cat([at(step, batch=100).sigma for step in range(20)]).log()
    assert float(logs.mean()) == pytest.approx(SIGMAS[0], abs=0.1)
    assert float(logs.std()) == pytest.approx(SIGMAS[1], abs=0.1)


def test_what_is_known_is_hidden_as_often_as_asked(at: At) -> None:
    """Guidance needs an unconditional side; labels and numbers are hidden apart from one another."""
    data = Images(small.images().images, torch.ones(6, dtype=torch.long), torch.ones(6, 1))
    batches = [at(step, batch=100, drop=0.3, data=data) for step in range(12)]
    labels, numbers, _ = (torch.cat(part) for part in zip(*map(known, batches), strict=True))
    hidden = labels < 0, numbers[:, 0].isnan()
    assert all(float(h.double().mean()) == pytest.approx(0.3, abs=0.05) for h in hidden)
    assert float((hidden[0] & hidden[1]).double().mean()) == pytest.approx(0.09, abs=0.04)


def test_of_several_numbers_each_is_hidden_by_itself_too(at: At) -> None:
    """A height is known and an age is not, in most of what a prior is used for: it must have seen that."""
    data = Images(small.images().images, None, torch.ones(6, 2))
    hidden = torch.cat([numbers_of(at(step, batch=100, drop=0.3, data=data)).isnan() for step in range(12)])
    both, first, second = (
        float(h.double().mean())
        for h in (hidden.all(1), hidden[:, 0] & ~hidden[:, 1], hidden[:, 1] & ~hidden[:, 0])
    )
    assert both == pytest.approx(0.3 + 0.7 * 0.09, abs=0.05)
    assert first == pytest.approx(0.7 * 0.3 * 0.7, abs=0.04) and second == pytest.approx(
        0.7 * 0.3 * 0.7, abs=0.04
    )


def test_the_other_side_of_guidance_is_seen_often_enough(at: At) -> None:
    """No label, no age, a known height: by chance alone that would be one patch in a hundred of a drop of a
    tenth.
    """
    data = Images(small.images().images, torch.ones(6, dtype=torch.long), torch.ones(6, 2), asked=((1, 0.0),))
    batches = [at(step, batch=100, drop=0.1, data=data) for step in range(24)]
    labels, numbers, _ = (torch.cat(part) for part in zip(*map(known, batches), strict=True))
    away = (labels < 0) & numbers[:, 1].isnan() & ~numbers[:, 0].isnan()
    assert float(away.double().mean()) == pytest.approx(0.9 * 0.9 * 0.05 + 0.9 * 0.9 * 0.05 * 0.1, abs=0.015)
    assert float((labels < 0).double().mean()) == pytest.approx(0.1, abs=0.02)


def test_numbers_are_told_with_the_error_that_was_asked_for(at: At) -> None:
    data = Images(small.images().images, None, torch.tensor([[0.5, -0.25]] * 6), asked=((1, 0.2),))
    numbers = torch.cat([numbers_of(at(step, batch=100, drop=0.0, data=data)) for step in range(12)])
    assert torch.equal(numbers[:, 0], torch.full_like(numbers[:, 0], 0.5))
    assert float(numbers[:, 1].mean()) == pytest.approx(-0.25, abs=0.03) and float(
        numbers[:, 1].std()
    ) == pytest.approx(0.2, abs=0.02)
    assert data.numbers is not None and torch.equal(data.numbers[:, 1], torch.full((6,), -0.25))


@pytest.mark.parametrize("asked", [((2, 0.1),), ((0, -0.1),), ((0, float("nan")),)])
def test_what_is_asked_is_a_column_and_a_deviation(asked: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(ShapeMismatch, match="asked"):
        Images(small.images().images, None, torch.ones(6, 2), asked=asked)


def test_larger_patches_come_in_smaller_numbers(at: At) -> None:
    """A step costs about the same whatever the size of its patches."""
    data = Images([torch.zeros(1, 128, 128)] * 3, patches=((64, 0.5), (128, 0.5)))
    counts = {
        at(step, data=data, batch=16).x0.shape[2]: len(at(step, data=data, batch=16).items)
        for step in range(20)
    }
    assert counts == {64: 16, 128: 4}


def test_volumes_too(at: At) -> None:
    """A volume made of its own coordinates, at both resolutions."""
    data = Images([position_channels((20, 24, 28))[:3]], patches=((16, 1.0),), levels=(0.5, 0.5))
    for step in range(8):
        batch = at(step, data=data, batch=2)
        position = known_position(batch)
        assert position.shape[1] == 4 and float((batch.x0 - position[:, :3]).abs().max()) < 1e-6


def test_training_sets_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadOption, match="no images"):
        Images([])
    with pytest.raises(ShapeMismatch, match="same channels"):
        Images([torch.zeros(1, 8, 8), torch.zeros(2, 8, 8)])
    with pytest.raises(BadOption, match="resolutions"):
        Images([torch.zeros(1, 8, 8)], levels=(1.0, 1.0, 1.0))
    with pytest.raises(ShapeMismatch, match="labels"):
        Images([torch.zeros(1, 8, 8)], labels=torch.zeros(2))
    with pytest.raises(ShapeMismatch, match="numbers"):
        Images([torch.zeros(1, 8, 8)], numbers=torch.zeros(2, 1))


def test_a_seed_is_for_one_purpose() -> None:
    """The same on every machine and in every process; negative ones are refused."""
    assert seed_for(0, "draw", 3) == 4562444211404014318
    assert len({seed_for(s, n, i) for s in range(3) for n in ("a", "b") for i in range(10)}) == 60
    with pytest.raises(BadOption, match="seed"):
        generator(-1)


def test_images_on_disk_are_those_in_memory_to_the_bit(tmp_path: Path) -> None:
    """The same images, and so the same weights, with whatever part of them in memory."""
    data, kept = small.images(), StoredImages(tmp_path, most=3 * 4 * 40 * 44)
    for n, image in enumerate(data.images):
        kept.append(image)
        assert kept.on_disk == (n >= 3) and torch.equal(kept[-1], image)
    assert len(kept[1:4]) == 3 and all(map(torch.equal, kept, data.images))
    made = [
        train(small.prior(), replace(data, images=images), small.settings(3), tmp_path / name)
        for name, images in (("memory", data.images), ("disk", kept))
    ]
    assert all(map(torch.equal, *(prior.net.state_dict().values() for prior in made)))
    assert all(map(torch.equal, kept, data.images)), "nothing writes to what it learns from"


def test_a_gpu_draws_patch_by_patch_from_disk(tmp_path: Path) -> None:
    kept = StoredImages(tmp_path, most=0)
    for image in small.images().images:
        kept.append(image)
    data = replace(small.images(), images=kept)
    there = _drawer(data, "meta")(0, seed=3, batch=4, sigmas=SIGMAS)
    assert there.x0.is_meta and there.items == draw_batch(data, 0, seed=3, batch=4, sigmas=SIGMAS).items

"""What the loop learns from: a pure function of seed and step, that knows where each patch lies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medprior.data.seeds import generator, seed_for
from medprior.errors import BadOption, ShapeMismatch
from medprior.prior import grid
from medprior.training.patches import Batch, Images, draw
from tests.unit.training import small

SIGMAS = (-1.0, 1.4)


def at(step: int, *, data: Images | None = None, seed: int = 3, batch: int = 4, drop: float = 0.1, rank: int = 0, ranks: int = 1) -> Batch:
    return draw(data or small.images(), step, seed=seed, batch=batch, sigmas=SIGMAS, drop=drop, rank=rank, ranks=ranks)


def same(a: Batch, b: Batch) -> bool:
    return a.items == b.items and torch.equal(a.x0, b.x0) and torch.equal(a.noise, b.noise) and torch.equal(a.sigma, b.sigma)


def test_a_step_has_one_batch() -> None:
    """No state between steps: step 7 is step 7, whatever was drawn before; another step or seed is another batch."""
    torch.manual_seed(1)
    first = at(7)
    torch.manual_seed(2)
    at(3)
    assert same(first, at(7))
    assert not same(first, at(8)) and not same(first, at(7, seed=4))


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_share_the_batch_of_one(ranks: int) -> None:
    """Together they see what one process sees, each patch once, with its own noise, level, label and place."""
    for step in range(6):
        whole, parts = at(step), [at(step, rank=r, ranks=ranks) for r in range(ranks)]
        assert sum(len(p.items) for p in parts) == len(whole.items) == whole.total
        assert all(p.total == whole.total for p in parts)
        for r, part in enumerate(parts):
            assert part.items == whole.items[r::ranks]
            for mine, all_of_it in ((part.x0, whole.x0), (part.noise, whole.noise), (part.sigma, whole.sigma)):
                assert torch.equal(mine, all_of_it[r::ranks])
            for mine, all_of_it in zip(known(part), known(whole), strict=True):
                assert torch.equal(mine.nan_to_num(9), all_of_it[r::ranks].nan_to_num(9))


def known(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    given = batch.condition
    assert given.label is not None and given.numbers is not None and given.position is not None
    return given.label, given.numbers, given.position


def known_position(batch: Batch) -> Tensor:
    assert batch.condition.position is not None
    return batch.condition.position


def test_no_draw_repeats() -> None:
    """Noise of 40 steps and two ranks: every patch has its own."""
    seen = {tuple(n.flatten()[:4].tolist()) for step in range(40) for r in range(2) for n in at(step, rank=r, ranks=2).noise}
    assert len(seen) == sum(at(step).total for step in range(40))


def test_more_ranks_than_patches_is_an_error() -> None:
    with pytest.raises(BadOption, match="one patch a rank"):
        at(0, batch=2, ranks=3)


def test_a_patch_lies_where_its_position_says() -> None:
    """An image made of its own coordinates: patch and position channels agree, at each resolution and size, mirrored images included."""
    full = (48, 64)
    image = grid(full)[:2]
    data = Images([image], levels=(0.5, 0.5), patches=((16, 0.5), (100, 0.5)))
    shapes = set()
    for step in range(20):
        batch = at(step, data=data)
        position = known_position(batch)
        assert float((batch.x0 - position[:, :2]).abs().max()) < 1e-6
        shapes.add(tuple(batch.x0.shape[2:]))
    assert shapes == {(16, 16), (48, 64), (24, 32)}


def test_mirrored_patches_keep_the_place_that_they_now_have() -> None:
    """A mirrored brain lies where brains lie: coordinates run on, the picture is turned; half of the patches are."""
    image = grid((32, 32))[:1]
    data = Images([image], patches=((100, 1.0),), flip=0)
    turned = [bool(torch.equal(patch, -image)) for step in range(40) for patch in at(step, data=data).x0]
    assert 0.3 < sum(turned) / len(turned) < 0.7
    assert torch.equal(known_position(at(0, data=data))[:, :1], image.expand(4, -1, -1, -1))


def test_levels_of_noise_have_the_law_that_was_asked() -> None:
    logs = torch.cat([at(step).sigma for step in range(500)]).log()
    assert float(logs.mean()) == pytest.approx(SIGMAS[0], abs=0.1)
    assert float(logs.std()) == pytest.approx(SIGMAS[1], abs=0.1)


def test_what_is_known_is_hidden_as_often_as_asked() -> None:
    """Guidance needs an unconditional side; labels and numbers are hidden apart from one another."""
    batches = [at(step, drop=0.3, data=Images(small.images().images, torch.ones(6, dtype=torch.long), torch.ones(6, 1))) for step in range(300)]
    labels, numbers, _ = (torch.cat(part) for part in zip(*map(known, batches), strict=True))
    hidden = labels < 0, numbers[:, 0].isnan()
    assert all(float(h.double().mean()) == pytest.approx(0.3, abs=0.05) for h in hidden)
    assert float((hidden[0] & hidden[1]).double().mean()) == pytest.approx(0.09, abs=0.04)


def test_larger_patches_come_in_smaller_numbers() -> None:
    """A step costs about the same whatever the size of its patches."""
    data = Images([torch.zeros(1, 128, 128)] * 3, patches=((64, 0.5), (128, 0.5)))
    counts = {at(step, data=data, batch=16).x0.shape[2]: len(at(step, data=data, batch=16).items) for step in range(20)}
    assert counts == {64: 16, 128: 4}


def test_volumes_too() -> None:
    data = Images([torch.randn(1, 20, 24, 28)], patches=((16, 1.0),), levels=(0.5, 0.5))
    batch = at(0, data=data, batch=2)
    assert batch.x0.ndim == 5 and batch.condition.position is not None and batch.condition.position.shape[1] == 4


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

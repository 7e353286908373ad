"""The promise D4: what an item gets hangs on (seed, epoch, index), not on workers, order or ranks."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from medprior.augmentation import Augmented, Policy, apply_record
from medprior.errors import BadOption, WrongKind

N = 6


class Pairs(Dataset):
    """(image, mask, label)"""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        rng = torch.Generator().manual_seed(index)
        x = torch.rand((1, 16, 14), generator=rng)
        return x, (x[0] > 0.5).long(), index


class Named(NamedTuple):
    image: torch.Tensor
    label: int


def augmented(seed: int = 0) -> Augmented:
    return Augmented(Pairs(), Policy.of("DX").allowing("rotate", -10, 10, 1.0), seed=seed, masks=(1,))


def epoch(loader: DataLoader) -> list[torch.Tensor]:
    return [
        torch.cat([x.flatten(), mask.flatten().float(), label.float().flatten()]) for x, mask, label in loader
    ]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
def test_workers_and_order_decide_nothing_and_epochs_differ() -> None:
    """4 workers that stay alive, 2 epochs, against none; every image of both epochs is another."""
    data = augmented()
    many = DataLoader(data, batch_size=1, num_workers=4, persistent_workers=True)
    alone = DataLoader(augmented(), batch_size=1)
    seen = []
    for n in range(2):
        data.set_epoch(n)
        alone.dataset.set_epoch(n)  # type: ignore[attr-defined]
        a, b = epoch(many), epoch(alone)
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        seen += a
    assert len({tuple(x.tolist()) for x in seen}) == 2 * N
    del many
    backwards = augmented()
    backwards.set_epoch(1)
    last = [
        torch.cat([x.flatten(), m.flatten().float(), torch.tensor([float(y)])])
        for x, m, y in (backwards[i] for i in reversed(range(N)))
    ]
    assert all(torch.equal(x, y) for x, y in zip(reversed(last), seen[N:], strict=True))


def test_an_item_can_be_made_again_from_its_record() -> None:
    data = augmented(4)
    data.set_epoch(3)
    x, mask, label = data[2]
    source, source_mask, _ = Pairs()[2]
    again, (again_mask,) = apply_record(data.record(2), source, [source_mask])
    assert torch.equal(x, again) and torch.equal(mask, again_mask) and label == 2
    assert data.record(2).item == (3, 2) and data.record(-1).item == (3, N - 1)


@pytest.mark.parametrize("kind", ["mapping", "list", "tensor", "named tuple"])
def test_items_keep_their_kind(kind: str) -> None:
    x = torch.rand(1, 12, 12)
    items: dict[str, tuple[Any, int | str]] = {
        "mapping": ({"image": x, "label": 3}, "image"),
        "list": ([x, 3], 0),
        "tensor": (x, 0),
        "named tuple": (Named(x, 3), 0),
    }
    item, place = items[kind]
    made = Augmented([item], Policy.of("DX").allowing("rotate", 5, 10, 1.0), image=place)[0]
    assert type(made) is type(item)
    image = made if kind == "tensor" else made[place]  # type: ignore[index]
    assert not torch.equal(image, x)
    if kind != "tensor":
        assert made["label" if kind == "mapping" else 1] == 3


def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(BadOption, match=r"no 'mask'.*say where"):
        _ = Augmented([{"image": torch.rand(1, 8, 8)}], Policy.of("DX"), image="image", masks=("mask",))[0]


def test_epochs_count_from_zero() -> None:
    with pytest.raises(BadOption, match="epoch"):
        augmented().set_epoch(-1)


def test_a_policy_for_hounsfield_units_moves_noise_by_hounsfield_units() -> None:
    data = Augmented(
        [torch.zeros(1, 100, 100)], Policy.of("CT").only("noise").allowing("noise", 0.02, 0.02, 1.0)
    )
    assert data[0].std().item() == pytest.approx(20, rel=0.05)
    with pytest.raises(WrongKind):
        Policy.of("CT").fits(data.record(0).frame.__class__((8, 8), unit="a.u."))

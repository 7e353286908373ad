"""What healthy scans look like: learned from eight or more, stored and read back to the same judgement, and a
patch from elsewhere is remembered nowhere.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medprior.data.grids import box_mean
from medprior.errors import BadOption, Uncalibrated
from medprior.evidence.metrics import auroc
from medprior.healthy.features import SIGMAS, scan_features
from medprior.healthy.memory import Memory, Shares
from medprior.healthy.model import (
    EVIDENCE,
    HealthyModel,
    HealthySample,
    NetworkScan,
    fit_healthy_model,
    learn_healthy_model,
    n_draws_for,
    n_variants_for,
    prior_expectation,
    summarize,
)
from medprior.io.disk.files import load_weights, save_weights
from medprior.prior import Condition, Prior
from tests.unit.jobs.exact import CT, Exact, tiny

SIZE = (24, 24)


def image(seed: int, n: int = 1) -> Tensor:
    """(n, 1, *SIZE): stripes on the upper half, nothing on the lower, some noise."""
    x = 0.1 * torch.randn((n, 1, *SIZE), generator=torch.Generator().manual_seed(seed)) - 0.2
    x[:, :, :12] += 0.6 * torch.tensor([1.0, 1, -1, -1]).repeat(6)
    return x


def scan(seed: int) -> NetworkScan:
    return NetworkScan(image(seed), Condition(), stack=False)


def stack(seed: int, n: int = 5) -> NetworkScan:
    return NetworkScan(
        image(seed, n), Condition(numbers=((2 * torch.arange(n) + 1) / n - 1)[:, None]), stack=True
    )


def part(prior: Prior, healthy: HealthyModel, x: Tensor, name: str) -> float:
    return float(
        healthy.unusual(prior, NetworkScan(x, Condition(), stack=False)).evidence[EVIDENCE.index(name)]
    )


@pytest.fixture(scope="module")
def prior() -> Prior:
    return tiny()


@pytest.fixture(scope="module")
def taught(prior: Prior) -> tuple[HealthyModel, list[HealthySample]]:
    return learn_healthy_model(prior, [scan(n) for n in range(12)], n_variants=0)


@pytest.fixture(scope="module")
def healthy(taught: tuple[HealthyModel, list[HealthySample]]) -> HealthyModel:
    return taught[0]


def test_a_patch_from_elsewhere_is_in_no_memory(prior: Prior, healthy: HealthyModel) -> None:
    """Stripes are as healthy as can be, and of another scan nobody minds them, but not in the lower half."""
    for seed in (100, 101, 102):
        fine, strange, usual = image(seed), image(seed), image(seed)
        strange[0, 0, 14:22, 8:16] = fine[0, 0, 2:10, 8:16]
        usual[0, 0, 2:10, 8:16] = image(seed + 50)[0, 0, 2:10, 8:16]
        at_first = part(prior, healthy, fine, "memory")
        assert part(prior, healthy, strange, "memory") > at_first + 5
        assert part(prior, healthy, usual, "memory") < at_first + 3


def test_the_memory_knows_where_it_saw_what(prior: Prior, healthy: HealthyModel) -> None:
    """Every place of a scan with the features of the place across from it: all of them are known, none of
    them there.
    """
    found = summarize(prior, scan(100))
    across = replace(found, local=found.local.flip(2))
    fine, strange = (
        float(healthy.judged(one, None).evidence[EVIDENCE.index("memory")]) for one in (found, across)
    )
    assert strange > fine + 5


def test_who_holds_a_scan_does_not_find_it_in_the_memory(prior: Prior) -> None:
    """The nearest place of a scan that was learned is hardly nearer than that of another: places of single
    scans would name every one of them.
    """
    own, new = ([summarize(prior, scan(n)).local for n in range(at, at + 40)] for at in (0, 100))
    memory, _ = Memory.learned(
        [(one, None, n) for n, one in enumerate(own)], torch.Generator().manual_seed(0)
    )
    near = [-float(memory.near(one, None).min()) for one in own + new]
    assert auroc(near, [1] * 40 + [0] * 40) < 0.7


def test_no_number_that_the_gate_keeps_is_a_patients(
    taught: tuple[HealthyModel, list[HealthySample]],
) -> None:
    kept = taught[0].kind.known[:, None, :4]
    parts = torch.stack([taught[0].kind.parts(one.sketches[0]) for one in taught[1]])[None, :, :4]
    assert float((kept - parts).abs().amax(2).min()) > 0.01


def test_a_patient_is_measured_without_what_it_has_in_the_means(prior: Prior) -> None:
    """Groups of fewer than half of the patients are left out; without one, the mean is that of the others."""
    points = torch.randn((200, 3), generator=torch.Generator().manual_seed(0))
    owner = torch.arange(200) % 10
    shares = Shares.of(points, owner, 10, torch.Generator().manual_seed(0))
    for group in shares.group.unique():
        inside = shares.group == group
        assert len(shares.patient[inside].unique()) == int(inside.sum()) >= 5
    number = int(shares.group.unique()[0])
    of = (shares.group == number) & (shares.patient != shares.patient[0])
    assert torch.allclose(shares.bank(without=int(shares.patient[0]))[0], shares.means[of].mean(0), atol=1e-6)


def test_a_bank_of_an_older_version_counts_three_places(healthy: HealthyModel) -> None:
    stored = healthy.memory.tensors()
    assert Memory.of(stored).neighbours == 1
    assert Memory.of({name: at for name, at in stored.items() if name != "neighbours"}).neighbours == 3


def test_the_map_rises_where_the_patch_is(prior: Prior, healthy: HealthyModel) -> None:
    x = image(100)
    fine = healthy.unusual(prior, NetworkScan(x.clone(), Condition(), stack=False))
    x[0, 0, 15:21, 8:14] += 1.5
    found = healthy.unusual(prior, NetworkScan(x, Condition(), stack=False))
    rise = found.map - fine.map
    assert found.map.shape == SIZE
    assert float(rise[14:22, 7:15].mean()) > 1 > 10 * float(rise[:8].abs().mean())
    at = EVIDENCE.index("map")
    assert float(found.evidence[at]) > float(fine.evidence[at]) + 1


def test_evidence_is_the_mean_of_the_highest_share(prior: Prior) -> None:
    """A quarter of the slices, one voxel in a hundred; one row a slice, no column for the map."""
    healthy, _ = learn_healthy_model(prior, [stack(n) for n in range(8)], n_variants=0)
    found = healthy.unusual(prior, stack(100, 7))
    assert (
        found.slices.shape == (7, 5)
        and found.map.shape == (*SIZE, 7)
        and found.evidence.shape == (len(EVIDENCE),)
    )
    assert torch.allclose(found.evidence[:5], found.slices.topk(2, dim=0).values.mean(0))
    n = round(0.01 * found.map.numel())
    assert torch.allclose(found.evidence[5], found.map.flatten().topk(n).values.mean())


@pytest.mark.parametrize("kind", ["image", "stack", "volume"])
def test_what_is_stored_judges_alike(kind: str, prior: Prior, healthy: HealthyModel, tmp_path: Path) -> None:
    """Through a file; the bank was rounded to half precision before anything was measured with it."""
    new = scan(100)
    if kind == "stack":
        healthy, _ = learn_healthy_model(prior, [stack(n, 3) for n in range(8)], n_variants=0)
        new = stack(100, 3)
    if kind == "volume":
        prior = tiny(3)
        solids = [
            NetworkScan(image(n, 6)[:, :, 4:18, 4:16].movedim(0, -1)[None], Condition(), stack=False)
            for n in (*range(8), 100)
        ]
        healthy, new = learn_healthy_model(prior, solids[:8], n_variants=0)[0], solids[8]
    save_weights(tmp_path / "h.safetensors", healthy.tensors())
    kept = load_weights(tmp_path / "h.safetensors")
    assert kept["bank"].dtype == torch.float16
    one, two = healthy.unusual(prior, new), HealthyModel.of(kept).unusual(prior, new)
    for name in ("evidence", "slices", "map"):
        assert torch.allclose(getattr(one, name), getattr(two, name), rtol=1e-3, atol=2e-3)
    assert one.map.shape == new.whole.shape[1:] and one.evidence.isfinite().all()


def test_a_tensor_that_is_missing_was_written_by_another_version(healthy: HealthyModel) -> None:
    """Whichever it is, it is named."""
    whole = healthy.tensors()
    assert {
        "bank",
        "turn",
        "shift",
        "features.white",
        "layout.course",
        "profile.white",
        "course3.size",
        "place2.std",
        "kind.turns",
    } <= set(whole)
    for name in set(whole) - {"neighbours"}:
        with pytest.raises(Uncalibrated, match=rf"another version .*{name}"):
            HealthyModel.of({other: tensor for other, tensor in whole.items() if other != name})


def test_seven_scans_are_too_few(prior: Prior, taught: tuple[HealthyModel, list[HealthySample]]) -> None:
    with pytest.raises(Uncalibrated, match="7 healthy scans are too few"):
        fit_healthy_model(taught[1][:7])
    with pytest.raises(Uncalibrated, match="2 healthy scans are too few"):
        learn_healthy_model(prior, [scan(n) for n in range(2)], n_variants=3)
    assert fit_healthy_model(taught[1][:8]).memory.bank.isfinite().all()


def test_what_was_taught_is_enough_to_learn_again(taught: tuple[HealthyModel, list[HealthySample]]) -> None:
    """The same from all of them; without one of them something else."""
    whole, again, fewer = (
        taught[0].tensors(),
        fit_healthy_model(taught[1]).tensors(),
        fit_healthy_model(taught[1][1:]).tensors(),
    )
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    assert not torch.equal(fewer["features.course"], whole["features.course"])


def test_variants_are_learned_beside_their_scan(prior: Prior) -> None:
    """As many places in the memory as there are images, the same on every run with a seed, each scan told
    when it is done.
    """
    steps: list[int] = []
    scans = [NetworkScan(image(n)[..., :12], Condition(), stack=False) for n in range(8)]
    one, found = learn_healthy_model(prior, scans, n_variants=1, on_step=steps.append)
    two, other = (learn_healthy_model(prior, scans, n_variants=1, seed=seed)[0] for seed in (0, 1))
    assert steps == list(range(1, 9)) and 0 < len(one.memory.bank) <= 12 * 6
    assert [(len(t.found), len(t.gridded), len(t.sketches)) for t in found] == [(2, 2, 2)] * 8
    assert all(torch.equal(tensor, two.tensors()[name]) for name, tensor in one.tensors().items())
    assert not torch.equal(other.gaussians["features"].course, one.gaussians["features"].course)


def test_variants_make_another_posture_less_unusual(prior: Prior, healthy: HealthyModel) -> None:
    """Each scan turned and shifted a little: a new one that is shifted lies within what was shown."""
    moved = image(100).roll((1, 1), (2, 3))
    wide = learn_healthy_model(prior, [scan(n) for n in range(12)], n_variants=1)[0]
    for name in ("features", "memory"):
        assert part(prior, wide, moved, name) < part(prior, healthy, moved, name) - 1


def test_scans_whose_values_mean_something_are_not_varied_in_them() -> None:
    """Of a CT prior, in HU: air stays air in every variant; the exact prior changes a scan by how far it is
    from 0.
    """
    flat = torch.full((1, 1, *SIZE), -0.3)
    fixed, free = (
        learn_healthy_model(Exact(card), [NetworkScan(flat, Condition(), stack=False)] * 8, n_variants=1)[1]
        for card in (CT, replace(CT, scaling="foreground"))
    )
    moved = [
        [float((t.found[1].vectors["coarse"] - t.found[0].vectors["coarse"]).mean().abs()) for t in taught]
        for taught in (fixed, free)
    ]
    assert max(moved[0]) < 2e-3 and sum(m > 5e-3 for m in moved[1]) >= 4


def test_what_is_seen_of_a_scan_is_signed_means_in_units_of_doubt() -> None:
    """An exact prior, whose doubt is 1: the layout is the coarse mean of its change, the standing the size of
    the averaged change.
    """
    prior, new = Exact(), scan(0)
    found, looked = summarize(prior, new), scan_features(prior, new.images, Condition(), n_draws=2)
    layout, coarse = found.vectors["layout"], found.vectors["coarse"].reshape(1, len(SIGMAS), 7 * 7)
    assert layout.shape == (1, 14 * 14) and float(layout.min()) < 0 < float(layout.max())
    assert torch.allclose(layout.mean(), looked.offset[:, 1].mean(), atol=1e-2)
    assert torch.allclose(coarse.mean(2), looked.offset.flatten(2).mean(2), atol=2e-2)
    assert found.local.dtype == found.standing.dtype == torch.float16
    for n, (level, width) in enumerate(((1, 5), (2, 7), (3, 9))):
        assert torch.allclose(
            found.standing[n].float(),
            box_mean(looked.offset[:1, level : level + 1], width)[0, 0].abs(),
            atol=1e-3,
        )


def test_without_healthy_scans_there_is_one_piece_of_evidence(prior: Prior) -> None:
    for new in (scan(0), stack(0)):
        found = prior_expectation(prior, new)
        assert (
            found.evidence.shape == (1,)
            and found.slices.shape == (len(new.images), 0)
            and found.map.shape == new.whole.shape[1:]
        )
        assert float(found.map.min()) >= 0 and float(found.evidence) <= float(found.map.max())


def test_a_stack_is_one_volume_with_heights() -> None:
    new = stack(0, 4)
    assert new.whole.shape == (1, *SIZE, 4) and torch.equal(new.whole[..., 2], new.images[2])
    assert new.heights is not None and torch.equal(new.heights, torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    alone = replace(new, images=new.images[:1], stack=False)
    assert alone.heights is None and torch.equal(alone.whole, new.images[0])


@pytest.mark.parametrize(
    "shape, draws, variants",
    [
        ((1, 1, 64, 64), 2, 4),
        ((1, 1, 128, 128), 1, 2),
        ((1, 1, 512, 512), 1, 2),
        ((9, 1, 24, 24), 2, 1),
        ((40, 1, 64, 64), 1, 1),
        ((1, 1, 16, 16, 16), 2, 1),
    ],
)
def test_small_scans_are_seen_more_often(shape: tuple[int, ...], draws: int, variants: int) -> None:
    assert (n_draws_for(torch.zeros(shape)), n_variants_for(torch.zeros(shape))) == (draws, variants)


def test_variants_count_double(prior: Prior) -> None:
    """Where a variant differs from its scan, a new scan may differ twice as far: the Gaussian is that of
    scans stretched away from the first.
    """
    scans = [NetworkScan(image(n)[..., :12], Condition(), stack=False) for n in range(8)]
    healthy, taught = learn_healthy_model(prior, scans, n_variants=2)
    own = torch.cat([one.found[0].vectors["coarse"] for one in taught])
    parts = [own] + [
        own + 2 * (torch.cat([one.found[v].vectors["coarse"] for one in taught]) - own) for v in (1, 2)
    ]
    assert torch.allclose(healthy.gaussians["coarse"].course[0], torch.stack(parts).mean((0, 1)), atol=1e-4)


def test_nobody_is_measured_by_scans_of_the_same_patient(prior: Prior) -> None:
    """Twelve scans, each of which is there twice: told that the twins are of one patient, the memory's
    distances are those to other patients.
    """
    scans = [scan(n) for n in range(12) for _ in range(2)]
    told = learn_healthy_model(prior, scans, patients=[f"p{n // 2}" for n in range(24)], n_variants=0)[0]
    untold = learn_healthy_model(prior, scans, n_variants=0)[0]
    at = EVIDENCE.index("memory")
    assert float(told.courses[at].middle[0]) > float(untold.courses[at].middle[0])
    at = EVIDENCE.index("features")
    assert float(told.courses[at].middle[0]) > float(untold.courses[at].middle[0])
    with pytest.raises(Uncalibrated, match="of one patient"):
        learn_healthy_model(prior, scans, patients=["p"] * 24, n_variants=0)
    for n in (5, 25):
        with pytest.raises(BadOption, match="patients: wanted one for each"):
            learn_healthy_model(prior, scans, patients=["p", "q"] * n, n_variants=0)


def test_few_patients_with_many_scans_are_learned(prior: Prior) -> None:
    """Seven scans of one and one of another: nothing divides by a spread that is not there."""
    healthy, _ = learn_healthy_model(
        prior, [scan(n) for n in range(8)], patients=["a"] * 7 + ["b"], n_variants=0
    )
    found = healthy.unusual(prior, scan(100))
    assert found.evidence.isfinite().all() and found.map.isfinite().all() and len(healthy.kind.known) == 2

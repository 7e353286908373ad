"""Synthesize: the prior's own law, at any size, by label, marked synthetic."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.jobs.synthetic import synthesize as synthesis
from medprior.jobs.synthetic.synthesize import default_size, ladder, synthesize
from medprior.prior.error_table import ErrorTable
from medprior.prior.rings import radius
from tests.unit.jobs.exact import CT, Exact, tiny

SMALL = (16, 20)


def network(made: list[Volume]) -> Tensor:
    return torch.stack([torch.from_numpy(v.data) for v in made]) / 1000


def test_images_follow_the_priors_law() -> None:
    """As bright as the prior says, mean and spread of it, and as rough: the power in four bands of
    frequency.
    """
    prior = Exact()
    images = network(synthesize(prior, n=400, size=SMALL))
    power = prior.spectra(SMALL)
    assert float(images.mean()) == pytest.approx(prior.mean, abs=4 * float(power[0, 0] / (400 * 320)) ** 0.5)
    found = torch.fft.fft2(images - prior.mean, norm="ortho").abs().square().mean((0, 1))
    for low, high in ((-1.0, 0.0), (0.0, 0.2), (0.2, 0.4), (0.4, 1.1)):
        ring = (radius(SMALL) > low) & (radius(SMALL) <= high)
        assert float(found[ring].mean() / power[ring].mean()) == pytest.approx(1, abs=0.3 if low < 0 else 0.1)


def test_brightness_is_right_where_voxels_are_many() -> None:
    """4096 voxels that go up and down together: noise of level 20 has a mean of its own, which must not
    become the image's.
    """
    prior = Exact(mean=-0.8, power=60.0)
    means = network(synthesize(prior, n=60, size=(64, 64))).mean((1, 2, 3))
    deviation = float(prior.spectra((64, 64))[0, 0] / 4096) ** 0.5
    assert float(means.mean()) == pytest.approx(-0.8, abs=3.5 * deviation / 60**0.5)


def test_guidance() -> None:
    """0 forgets the label, 1 is the label's own mean, 2 goes as far again."""
    prior, mean = Exact(), {}
    for guidance in (0.0, 1.0, 2.0):
        mean[guidance] = float(
            network(synthesize(prior, n=60, size=SMALL, label="light", guidance=guidance)).mean()
        )
    assert mean[0.0] == pytest.approx(-0.4, abs=0.05)
    assert mean[1.0] == pytest.approx(0.1, abs=0.05)
    assert mean[2.0] == pytest.approx(0.6, abs=0.05)


SIZES = [(101, 122), (128, 128), (512, 512), (511, 300), (16, 16), (512, 32), (37, 1000), (130, 130)]


@pytest.mark.parametrize("size", SIZES)
def test_the_ladder_doubles_up_to_the_size(size: tuple[int, int]) -> None:
    """Every step is a factor of 2, the first is small, the last covers the size with little to spare."""
    steps = ladder(size, 64)
    assert all(tuple(2 * s for s in a) == b for a, b in zip(steps, steps[1:], strict=False))
    assert all(
        want <= have < want + 2 ** (len(steps) - 1) for have, want in zip(steps[-1], size, strict=True)
    )
    assert max(steps[0]) <= 128 or min(steps[0]) < 16
    assert min(steps[0]) >= 8


class Scene(Exact):
    """The same scene at any fineness: a coarse image is the block means of a finer one."""

    def __init__(self, finest: tuple[int, ...]) -> None:
        super().__init__()
        self.finest = finest

    def spectra(self, size: tuple[int, ...]) -> Tensor:
        if size == self.finest or max(size) > max(self.finest):
            waves = radius(size) * (0.25 * len(size)) ** 0.5 * max(size)
            return 0.01 * math.prod(size) / (1 + (waves / 2) ** 2) ** 2
        power = self.spectra(tuple(2 * n for n in size))
        for axis, n in enumerate(power.shape):
            gain = (1 + torch.cos(2 * math.pi * torch.arange(n) / n)) / 2
            power = power * gain.reshape([-1 if at == axis else 1 for at in range(power.ndim)])
            power = power.unflatten(axis, (2, n // 2)).mean(axis)
        return power


@pytest.mark.parametrize("size", [(64, 96), (75, 33)])
def test_coarse_to_fine_keeps_the_law(size: tuple[int, int]) -> None:
    """Odd and even sizes beyond twice the smallest frame: the mean, and the power in bands of frequency."""
    finest = ladder(size, 16)[-1]
    prior, rungs = Scene(finest), len(ladder(size, 16))
    steps: list[tuple[int, int]] = []
    images = network(
        synthesize(prior, n=48, size=size, on_step=lambda done, total: steps.append((done, total)))
    )
    assert images.shape[2:] == size
    assert steps == [(n, rungs) for n in range(1, rungs + 1)] and rungs > 1
    assert float(images.mean()) == pytest.approx(prior.mean, abs=0.15)
    power = prior.spectra(finest)
    assert float((images - prior.mean).square().mean() / power.mean()) == pytest.approx(1, abs=0.25)
    for axis in (2, 3):
        for apart in (1, 2, 4):
            angle = 2 * math.pi * apart * torch.fft.fftfreq(finest[axis - 2])
            wave = (2 - 2 * torch.cos(angle)).reshape([-1, 1] if axis == 2 else [1, -1])
            found = images.narrow(axis, 0, size[axis - 2] - apart)
            found = images.narrow(axis, apart, size[axis - 2] - apart) - found
            assert float(found.square().mean() / (power * wave).mean()) == pytest.approx(1, abs=0.15)


def test_the_condition_stays_the_same_on_the_way_up() -> None:
    """The heights that the coarse images were drawn at are those of the fine ones."""
    heard: list[Tensor] = []

    class Listening(Exact):
        def __call__(self, x, sigma, condition=None):
            assert condition is not None and condition.numbers is not None
            heard.append(condition.numbers)
            return super().__call__(x, sigma, condition)

    synthesize(Listening(replace(CT, numbers=("age", "height"))), n=3, size=(64, 64))
    first = heard[0]
    assert first[:, 0].isnan().all() and (first[:, 1].abs() <= 0.6).all() and len(first[:, 1].unique()) == 3
    assert all(torch.equal(n.nan_to_num(9), first.nan_to_num(9)) for n in heard)


def test_same_seed_same_bytes() -> None:
    prior = tiny()
    one, again, other = (synthesize(prior, n=3, size=(34, 18), seed=s, label="ill") for s in (2, 2, 3))
    assert [v.data.tobytes() for v in one] == [v.data.tobytes() for v in again]
    assert len({v.data.tobytes() for v in [*one, *other]}) == 6


def test_images_are_marked_and_say_how_they_were_made() -> None:
    for n, v in enumerate(synthesize(Exact(), n=2, label="dark", seed=5, size=SMALL)):
        assert v.provenance.synthetic and v.provenance.sources == () and v.affine is None
        for fact in ("exact", "label dark", "seed 5", f"number {n}"):
            assert fact in v.provenance.history[0]
        assert "not for diagnosis" in v.provenance.history[1]
        assert (v.unit, v.modality, v.data.dtype) == ("HU", "CT", np.float32)


def test_without_a_size_it_is_the_one_that_was_learned() -> None:
    assert default_size(Exact()) == (64, 64)
    prior = tiny(data={"shape": [20, 24]})
    assert synthesize(prior, n=1)[0].shape == (20, 24)
    low, high = (f(synthesize(prior, n=1)[0].data) for f in (np.min, np.max))
    assert -1 < low < high < 2  # no unit of its own: 0..1 is the range the prior was given


def test_volumes_by_a_3_d_prior() -> None:
    """At once, and coarse to fine at odd sizes."""
    prior = tiny(3)
    assert synthesize(prior, n=2, size=(16, 18, 17), n_steps=4)[1].data.shape == (1, 16, 18, 17)
    made = synthesize(prior, n=1, size=(33, 16, 17), label="ill", n_steps=4)[0]
    assert made.data.shape == (1, 33, 16, 17) and np.isfinite(made.data).all()
    assert default_size(prior) == (32, 32, 32)


@pytest.mark.parametrize(
    "options",
    [
        {"n": 0},
        {"size": (15, 64)},
        {"size": (64,)},
        {"size": (64, 64, 64)},
        {"n_steps": 0},
        {"seed": -1},
        {"label": "lihgt"},
        {"label": "light", "guidance": -0.1},
    ],
)
def test_wrong_options_are_named(options: dict) -> None:
    wanted: dict[str, Any] = {"n": 1, "size": SMALL, **options}
    with pytest.raises(BadOption):
        synthesize(Exact(), **wanted)


def test_no_rung_is_coarser_than_what_the_prior_has_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """One error table a fineness: a prior of one draws a large image whole, a prior without tables begins at
    its smallest frame.
    """
    sizes: list[tuple[int, ...]] = []
    true = synthesis._coarsest
    monkeypatch.setattr(
        synthesis,
        "_coarsest",
        lambda denoiser, shape, *rest: sizes.append(shape[2:]) or true(denoiser, shape, *rest),
    )
    prior = Exact()
    for n_tables in (0, 1, 2):
        prior.card = replace(
            prior.card, frame=(32, 128), errors=(ErrorTable(128, (1.0,), (0.1,), ((1.0,),)),) * n_tables
        )
        synthesis.draw_images(prior, 1, synthesis.Drawing(size=(128, 128), n_steps=2))
    assert sizes == [(32, 32), (128, 128), (64, 64)]

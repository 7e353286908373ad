"""Paint: outside not a bit changes, inside nothing of the source is left, and the draws are those of the
prior given the rest.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import BadOption, ShapeMismatch
from medprior.jobs.inpaint import Painting, box_mask, paint
from medprior.jobs.reconstruct import Settings
from tests.unit.jobs.exact import CT, Exact, tiny, volume_of

SIZE = (20, 16)
BOX = (6, 4, 8, 7)


def scan(prior: Exact, seed: int = 1) -> Volume:
    return volume_of(prior, prior.draw(1, SIZE, seed)[0])


def test_outside_every_bit_is_the_source_s_and_inside_none_is() -> None:
    prior = Exact()
    source = scan(prior)
    region = box_mask(source, BOX)
    inside = region.data != 0
    assert inside.sum() == 8 * 7
    made = paint(prior, source, region, Painting(n=2, seed=3))
    for v in made:
        assert (
            v.data[~inside].tobytes() == source.data[~inside].tobytes()
            and (v.data[inside] != source.data[inside]).all()
        )
        assert (
            v.provenance.synthetic
            and (v.unit, v.modality, v.shape) == ("HU", "CT", SIZE)
            and "the rest unchanged" in v.provenance.history[-1]
        )
    other = source.with_data(np.where(inside, -900.0, source.data))
    assert [v.data.tobytes() for v in paint(prior, other, region, Painting(n=2, seed=3))] == [
        v.data.tobytes() for v in made
    ], "what was there is not asked"
    assert not np.array_equal(made[0].data, made[1].data)


def test_the_draws_are_those_of_the_prior_given_the_rest() -> None:
    """A Gaussian's conditional mean and variance, by linear algebra."""
    prior = Exact()
    source = scan(prior, 5)
    region = box_mask(source, BOX)
    made = (
        torch.stack(
            [
                torch.from_numpy(v.data)
                for v in paint(
                    prior, source, region, Painting(n=64), settings=Settings(caution=False, n_steps=60)
                )
            ]
        )
        / 1000
    )
    n = math.prod(SIZE)
    unit = torch.eye(n, dtype=torch.float64).reshape(n, 1, *SIZE)
    covariance = torch.fft.ifft2(torch.fft.fft2(unit) * prior.spectra(SIZE)).real.reshape(n, n)
    inside = torch.from_numpy(region.data[0] != 0).flatten()
    known = (torch.from_numpy(source.data).double().flatten() / 1000 - prior.mean)[~inside]
    gain = torch.linalg.solve(covariance[~inside][:, ~inside], covariance[~inside][:, inside]).T
    mean = prior.mean + gain @ known
    variance = (covariance[inside][:, inside] - gain @ covariance[~inside][:, inside]).diagonal()
    drawn = made.flatten(1)[:, inside].double()
    spread = float(variance.mean().sqrt())
    assert float((drawn.mean(0) - mean).square().mean().sqrt()) < 0.5 * spread
    assert float(drawn.var(0).mean() / variance.mean()) == pytest.approx(1, abs=0.35)


def test_the_label_is_what_is_painted() -> None:
    prior = Exact(apart=(-1.0, 1.0))
    source = scan(prior)
    region = box_mask(source, (2, 2, 16, 12))
    inside = region.data != 0
    dark, light = (
        np.mean([v.data[inside].mean() for v in paint(prior, source, region, Painting(label=label))])
        for label in ("dark", "light")
    )
    assert light > dark + 100


def test_a_scan_finer_than_the_prior() -> None:
    """Nothing of the source's fine detail shines through, and the rest keeps its own."""
    prior = Exact(replace(CT, frame=(16, 32)))
    source = volume_of(prior, prior.draw(1, (64, 64), 2)[0])
    source = source.with_data(source.data + 200.0 * (-1.0) ** np.add.outer(np.arange(64), np.arange(64)))
    region = box_mask(source, (21, 17, 22, 25))
    made, inside = paint(prior, source, region, Painting(n=1))[0], region.data != 0
    assert np.array_equal(made.data[~inside], source.data[~inside])
    row = made.data[0, 30, 20:40]
    assert np.abs(np.diff(row, 2)).mean() < 0.3 * np.abs(np.diff(source.data[0, 30, 20:40], 2)).mean()


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_volume(ndim: int) -> None:
    angle = 0.3
    affine = np.array(
        [
            [math.cos(angle), -math.sin(angle), 0, 5],
            [math.sin(angle), math.cos(angle), 0, -8],
            [0, 0, 2.5, 9],
            [0, 0, 0, 1],
        ]
    )
    prior = tiny(ndim, axes="PL" if ndim == 2 else "PLS", spacing_mm=(2.0,) * ndim)
    source = Volume(
        np.random.default_rng(1).uniform(0, 200, (1, 24, 20, 6)).astype(np.float32), affine, modality="MR"
    )
    data = np.zeros((1, 24, 20, 6), np.float32)
    data[0, 5:12, 6:15, 2:4] = 1
    made = paint(prior, source, Volume(data, affine, "label"), Painting(n=1), settings=Settings(n_steps=4))[0]
    assert (
        np.array_equal(made.data[data == 0], source.data[data == 0])
        and (made.data[data != 0] != source.data[data != 0]).mean() > 0.99
    )
    assert np.isfinite(made.data).all() and made.affine is not None and np.array_equal(made.affine, affine)


def test_wrong_input_is_named() -> None:
    prior = Exact()
    source = scan(prior)
    with pytest.raises(BadOption, match="at least 1"):
        Painting(n=0)
    with pytest.raises(BadOption, match="nothing of the scan"):
        paint(prior, source, source.with_data(np.zeros_like(source.data)), Painting())
    with pytest.raises(BadOption, match="all of the scan"):
        paint(prior, source, source.with_data(np.ones_like(source.data)), Painting())
    with pytest.raises(ShapeMismatch, match="mask"):
        paint(prior, source, Volume(np.ones((1, 4, 4), np.float32)), Painting())
    with pytest.raises(BadOption, match="box: wanted a box within 20 x 16"):
        box_mask(source, (10, 10, 11, 2))

"""Augment: the scan's own grid, label and unit; how far it goes; what it says of itself."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medprior.data.volume import Volume
from medprior.errors import BadOption, WrongKind
from medprior.jobs.augment import augment, level_of
from tests.unit.jobs.exact import CT, Exact, tiny, volume_of

SIZE = (24, 20)


def source(prior: Exact | None = None, seed: int = 1) -> Volume:
    prior = prior or Exact()
    return volume_of(prior, prior.draw(1, SIZE, seed)[0])


def test_the_number_i_of_a_seed_is_the_same_however_many_are_asked_for() -> None:
    """Bytes; another seed and another number are other images; the scan is left alone."""
    prior, scan = tiny(modality="CT", unit="HU"), source()
    before = scan.data.copy()
    four, two = augment(prior, scan, n=4, seed=3), augment(prior, scan, n=2, seed=3)
    assert [v.data.tobytes() for v in four[:2]] == [v.data.tobytes() for v in two]
    different = {v.data.tobytes() for v in [*four, *augment(prior, scan, n=2, seed=4)]}
    assert len(different) == 6
    assert np.array_equal(scan.data, before) and scan.provenance.history == ("read",)


def test_variations_are_marked_and_say_how_they_were_made() -> None:
    affine = np.diag([-0.7, 0.9, 3.0, 1.0])
    scan = replace(source(), affine=affine)
    steps: list[tuple[int, int]] = []
    made = augment(
        Exact(),
        scan,
        n=2,
        seed=9,
        strength=0.4,
        label="light",
        on_step=lambda done, total: steps.append((done, total)),
    )
    for n, v in enumerate(made):
        assert v.provenance.synthetic and not scan.provenance.synthetic
        assert v.provenance.history[0] == "read"
        for fact in ("exact", "strength 0.4", "label light", "seed 9", f"number {n}"):
            assert fact in v.provenance.history[1]
        assert (v.unit, v.modality, v.shape) == ("HU", "CT", SIZE)
        assert v.affine is not None and np.array_equal(v.affine, affine)
        assert v.data.dtype == np.float32
    assert steps == [(1, 2), (2, 2)]


def test_strength_goes_from_the_source_to_the_prior() -> None:
    """Known for a Gaussian: what is kept of a frequency of variance p is sqrt(p / (p + sigma^2)), and the
    variance is the prior's at any strength.
    """
    prior = Exact()
    x = prior.draw(1, SIZE, 7)
    scan, power = volume_of(prior, x[0]), prior.spectra(SIZE)
    for strength in (0.1, 0.4, 0.8):
        made = augment(prior, scan, n=60, strength=strength)
        images = torch.stack([torch.from_numpy(v.data) for v in made]) / 1000
        sigma = level_of(strength)
        kept = (power / (power + sigma**2)).sqrt()
        error = images.mean(0) - prior.mean - torch.fft.ifft2(torch.fft.fft2(x[0] - prior.mean) * kept).real
        assert float(images.var(0).mean()) == pytest.approx(float((power * (1 - kept**2)).mean()), rel=0.1)
        assert float(error.square().mean()) < 2 * float(images.var(0).mean()) / 60


def test_the_label_is_where_the_variation_goes() -> None:
    prior = Exact()
    means = {
        label: np.mean([v.data.mean() for v in augment(prior, source(), n=6, strength=0.9, label=label)])
        for label in (None, "dark", "light")
    }
    assert means["dark"] + 200 < means[None] < means["light"] - 200  # type: ignore[operator]
    bold = np.mean(
        [v.data.mean() for v in augment(prior, source(), n=6, strength=0.9, label="light", guidance=2.0)]
    )
    none = np.mean(
        [v.data.mean() for v in augment(prior, source(), n=6, strength=0.9, label="light", guidance=0.0)]
    )
    assert bold > means["light"] + 200
    assert none == pytest.approx(means[None], abs=1.0)


def test_detail_finer_than_the_frame_is_kept() -> None:
    """A checkerboard of single pixels cannot be seen by the prior, and is there still, whatever the
    strength.
    """
    prior = Exact(replace(CT, frame=(16, 32)))
    scan = volume_of(prior, prior.draw(1, (64, 64), 2)[0])
    checkered = 50.0 * (-1.0) ** np.add.outer(np.arange(64), np.arange(64))
    plain, fine = (
        augment(prior, v, n=1, strength=0.5)[0] for v in (scan, scan.with_data(scan.data + checkered))
    )
    assert np.allclose(fine.data - plain.data, checkered, atol=1.0)


def test_a_film_of_four_megapixels() -> None:
    film = Volume(
        np.random.default_rng(0).uniform(0, 4000, (1, 2000, 2001)).astype(np.float32), None, modality="DX"
    )
    made = augment(tiny(modality="DX"), film, n=1)[0]
    assert made.data.shape == film.data.shape and np.isfinite(made.data).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_volume(ndim: int) -> None:
    """Slice by slice or as a whole; in patient space, oblique, finer than the prior."""
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
    scan = Volume(
        np.random.default_rng(1).uniform(0, 200, (1, 31, 26, 9)).astype(np.float32), affine, modality="MR"
    )
    made = augment(prior, scan, n=1, label="ill")[0]
    assert made.shape == scan.shape and np.array_equal(made.affine, affine)  # type: ignore[arg-type]
    assert np.isfinite(made.data).all() and not np.array_equal(made.data, scan.data)


@pytest.mark.parametrize("strength", [0.0, 1.0, -0.3, 1.5, math.nan, math.inf])
def test_strength_lies_between_0_and_1(strength: float) -> None:
    with pytest.raises(BadOption, match="strength"):
        augment(Exact(), source(), strength=strength)


def test_wrong_input_is_named() -> None:
    with pytest.raises(BadOption, match="at least 1"):
        augment(Exact(), source(), n=0)
    with pytest.raises(BadOption, match="did you mean 'light'"):
        augment(Exact(), source(), label="lihgt")
    with pytest.raises(BadOption, match="guidance"):
        augment(Exact(), source(), label="light", guidance=-1.0)
    with pytest.raises(WrongKind, match="MR"):
        augment(Exact(), replace(source(), modality="MR"))
    assert augment(Exact(), replace(source(), modality="MR"), n=1, allow_other=True)[0].modality == "MR"

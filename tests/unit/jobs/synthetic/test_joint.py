"""Joint synthesis against closed forms: what is given stays, what is drawn follows it, slices hang
together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from medprior.data.volume import Provenance, Volume
from medprior.errors import BadOption
from medprior.jobs.synthetic.joint import synthesize_joint
from medprior.jobs.synthetic.synthesize import synthesize
from medprior.prior import Card, Condition
from medprior.prior.denoiser import broadcast_level
from medprior.prior.error_table import ErrorTable
from medprior.prior.rings import BINS
from tests.unit.jobs.exact import Exact, filtered, tiny

PAIR = Card(
    "pair",
    "CT",
    unit="HU",
    scaling="fixed",
    low=-1000.0,
    high=1000.0,
    channels=("a", "b"),
    frame=(16, 64),
    sigma_data=0.5,
)
SIZE = (20, 24)


class Pair(Exact):
    """Two channels of one spectrum, correlated alike at every frequency; everything in closed form."""

    def __init__(self, correlation: float, **options: float) -> None:
        super().__init__(PAIR, mean=-0.3, **options)  # type: ignore[arg-type]
        self.correlation = correlation

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
        power, variance = (
            self.spectra(tuple(x.shape[2:])),
            broadcast_level(sigma.expand(len(x)).to(x) ** 2, x)[:, :1],
        )
        z = x - self.mean
        both, apart = z[:, :1] + z[:, 1:], z[:, :1] - z[:, 1:]
        gains = [power * (1 + s * self.correlation) for s in (1, -1)]
        both, apart = (
            filtered(part, gain / (gain + variance)) for part, gain in zip((both, apart), gains, strict=True)
        )
        return self.mean + torch.cat([both + apart, both - apart], dim=1) / 2

    def spectrum(self, sigma: Tensor, size: tuple[int, ...]) -> Tensor:
        power, variance = self.spectra(size), broadcast_level(sigma.float() ** 2, torch.empty(1, *size))
        return (
            sum(
                p * variance / (p + variance)
                for p in (power * (1 + self.correlation), power * (1 - self.correlation))
            )
            / 2
        )  # type: ignore[return-value]


def known(prior: Exact, seed: int = 0, size: tuple[int, ...] = SIZE) -> Volume:
    return Volume((prior.draw(1, size, seed)[0].numpy() * 1000).astype(np.float32), None, "HU", "CT")


def test_what_is_drawn_follows_what_is_given() -> None:
    """Of two channels with a correlation of 0.8: the mean of the draws keeps most of it (the rule is an
    approximation, which falls short by a fifth at most), the draws are as wide as they should be within a
    quarter, and a prior without correlation follows nothing."""
    slope = {}
    for correlation in (0.8, 0.0):
        prior = Pair(correlation)
        given = known(prior)
        made = (
            torch.stack(
                [torch.from_numpy(one["a"].data) for one in synthesize_joint(prior, n=96, given={"b": given})]
            )
            / 1000
            - prior.mean
        )
        y = torch.from_numpy(given.data) / 1000 - prior.mean
        slope[correlation] = float((made.mean(0) * y).sum() / y.square().sum())
        wide = float(made.var(0).mean() / (prior.spectra(SIZE).mean() * (1 - correlation**2)))
        assert wide == pytest.approx(1.1, abs=0.2), correlation
    assert 0.8 * 0.8 < slope[0.8] < 0.8 * 1.05 and abs(slope[0.0]) < 0.1


def test_nothing_given_draws_pairs_that_belong_together() -> None:
    made = synthesize_joint(Pair(0.8), n=60, size=SIZE)
    a, b = (torch.stack([torch.from_numpy(one[name].data) for one in made]).flatten() for name in "ab")
    assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) == pytest.approx(0.8, abs=0.06)


def test_coarse_to_fine_with_something_given() -> None:
    """Beyond twice the smallest frame, at odd sizes: it still follows, and no pixel is shifted."""
    prior = Pair(0.9, power=6.0)
    given = known(prior, size=(45, 70))
    steps: list[tuple[int, int]] = []
    made = synthesize_joint(prior, n=8, given={"b": given}, on_step=lambda *at: steps.append(at))
    mean = np.mean([one["a"].data[0] for one in made], axis=0)

    def with_shift(rows: int) -> float:
        return float(np.corrcoef(np.roll(mean, rows, 0)[4:-4].ravel(), given.data[0][4:-4].ravel())[0, 1])

    assert with_shift(0) > 0.75 and with_shift(0) > max(with_shift(1), with_shift(-1))
    assert made[0]["a"].shape == (45, 70) and steps[-1] == (100, 100)


def test_no_rung_is_coarser_than_what_was_learned() -> None:
    """Small images are learned at one fineness: at half of it the prior has never seen anything, and what it
    then draws ignores what is given.
    """
    seen: set[tuple[int, ...]] = set()

    class Listening(Pair):
        def __call__(self, x: Tensor, sigma: Tensor, condition: Condition | None = None) -> Tensor:
            seen.add(tuple(x.shape[2:]))
            return super().__call__(x, sigma, condition)

    table = ErrorTable(40, (0.1, 1.0), (0.01, 0.1), ((1.0,) * BINS,) * 2)
    prior = Listening(0.8)
    for tables, wanted in (((), {(10, 16), (20, 32), (40, 64)}), ((table,), {(40, 64)})):
        seen.clear()
        prior.card = replace(PAIR, errors=tables)
        synthesize_joint(prior, n=1, given={"b": known(prior, size=(40, 64))}, n_steps=1)
        assert seen == wanted


def brain(n_slices: int = 6) -> Volume:
    rng, affine = (
        np.random.default_rng(0),
        np.array([[0, 2.0, 0, 0], [-2.0, 0, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]]),
    )
    return Volume(
        rng.choice([0, 1, 3], size=(1, 20, 26, n_slices)).astype(np.float32),
        affine,
        "label",
        provenance=Provenance(format="nifti"),
    )


def mri(**options: object) -> Exact:
    card = {
        "channels": ("T1", "mask:1", "mask:3"),
        "labels": (),
        "numbers": ("height", "age"),
        "ranges": ((-1.0, 1.0), (20.0, 80.0)),
        "axes": "PL",
    }
    return tiny(
        **{**card, "spacing_mm": (2.0, 2.0), "data": {"shape": [20, 24], "through_mm": 3.0}, **options}
    )  # type: ignore[return-value, arg-type]


def test_a_given_label_map_keeps_its_grid_and_marks_the_rest() -> None:
    mask = brain()
    for made in synthesize_joint(mri(), n=2, given={"mask": mask}, numbers={"age": 60}, n_steps=2):
        one = made["T1"]
        assert list(made) == ["T1"] and one.shape == mask.shape and np.array_equal(one.affine, mask.affine)  # type: ignore[arg-type]
        assert (
            one.provenance.synthetic
            and one.provenance.sources == ()
            and (one.unit, one.modality) == ("a.u.", "MR")
        )
        assert "given mask" in one.provenance.history[0] and "not for diagnosis" in one.provenance.history[1]


def test_slices_are_told_their_height_and_the_age() -> None:
    heard: list = []

    class Listening(type(mri())):  # type: ignore[misc]
        def _out(self, x, sigma, condition):
            heard.append(condition.numbers)  # type: ignore[union-attr]
            return super()._out(x, sigma, condition)

    prior = mri()
    prior.__class__ = Listening
    synthesize_joint(
        prior, n=1, given={"mask": brain(4)}, numbers={"age": 65}, number_guidance=2.0, n_steps=1
    )
    told = torch.tensor([[-0.75, 0.5], [-0.25, 0.5], [0.25, 0.5], [0.75, 0.5]])
    assert heard and all(torch.allclose(n, told) for n in heard[::2])
    # the other side of guidance knows the heights alone
    assert all(torch.allclose(n[:, 0], told[:, 0]) and bool(n[:, 1].isnan().all()) for n in heard[1::2])


@pytest.mark.parametrize("firmly", [1.0, 3.0])
def test_slices_of_a_volume_follow_label_and_age_together(firmly: float) -> None:
    """A label is exaggerated alone, unless the age is to be, too; heights are the slices' own on every
    side.
    """
    heard: list = []

    class Listening(type(mri())):  # type: ignore[misc]
        def _out(self, x, sigma, condition):
            heard.append((condition.label, condition.numbers))  # type: ignore[union-attr]
            return super()._out(x, sigma, condition)

    prior = mri(labels=("ill", "well"))
    prior.__class__ = Listening
    synthesize_joint(
        prior,
        n=1,
        slices=4,
        label="well",
        numbers={"age": 65},
        n_steps=2,
        guidance=2.0,
        number_guidance=firmly,
    )
    both = [(True, True), (False, True)]
    wanted = both if firmly == 1 else [*both, (True, False), (False, False)]
    assert heard and len(heard) % len(wanted) == 0
    for at, (label, numbers) in enumerate(heard):
        labelled, aged = wanted[at % len(wanted)]
        assert label.tolist() == [1] * 4 if labelled else label is None
        assert numbers[:, 1].tolist() == [0.5] * 4 if aged else bool(numbers[:, 1].isnan().all())
        assert torch.allclose(numbers[:, 0], torch.tensor([-0.75, -0.25, 0.25, 0.75]))


def test_a_label_map_that_is_drawn_has_whole_numbers() -> None:
    made = synthesize_joint(mri(), n=2, n_steps=3)[0]
    assert (
        list(made) == ["T1", "mask"]
        and made["mask"].unit == "label"
        and set(np.unique(made["mask"].data)) <= {0.0, 1.0, 3.0}
    )


def test_neighbours_are_alike_and_each_slice_is_a_draw_as_any_other() -> None:
    """Noise correlated by r gives neighbours of a Gaussian prior that differ by 1 - r of what strangers do,
    and leaves brightness and spread as they are.
    """
    prior, size = Exact(), (16, 20)
    variance = float(prior.spectra(size).mean())
    for alike in (0.0, 0.9):
        made = [
            one["image"].data[0] / 1000
            for one in synthesize_joint(prior, n=12, size=size, slices=10, alike=alike)
        ]
        apart = float(np.mean([np.square(np.diff(one, axis=2)).mean() for one in made]))
        assert made[0].shape == (16, 20, 10) and apart == pytest.approx(2 * (1 - alike) * variance, rel=0.2)
        assert float(np.mean(made)) == pytest.approx(prior.mean, abs=0.15) and float(
            np.var(made)
        ) == pytest.approx(variance, rel=0.25)


def test_same_seed_same_bytes_and_another_stream_other_ones() -> None:
    prior = mri()
    one, again, other = (
        synthesize_joint(prior, n=1, given={"mask": brain(3)}, n_steps=1, stream=s)[0]["T1"].data.tobytes()
        for s in ("", "", "ill")
    )
    assert one == again != other


def test_a_prior_of_volumes() -> None:
    prior = tiny(
        3,
        channels=("image", "mask:1"),
        labels=(),
        numbers=(),
        axes="RAS",
        spacing_mm=(2.0, 2.0, 3.0),
        data={"shape": [18, 16, 17]},
    )
    mask = brain(16)
    made = synthesize_joint(
        prior, n=1, given={"mask": mask.with_data((mask.data > 1).astype(np.float32))}, n_steps=1
    )[0]["image"]
    assert made.shape == mask.shape and np.array_equal(made.affine, mask.affine)  # type: ignore[arg-type]
    assert synthesize_joint(prior, n=1, n_steps=1)[0]["mask"].shape == (18, 16, 17)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "wanted n >= 1"),
        ({"given": {"mask": brain(3)}, "size": (20, 20)}, "a size of its own"),
        ({"given": {"T1": brain(3), "mask": brain(3)}}, "nothing is left to draw"),
        ({"given": {"T2": brain(3)}}, "not on the card"),
        ({"size": (8, 20)}, "at least 16"),
        ({"slices": 1}, "wanted at least 2"),
        ({"alike": 1.0}, "below 1"),
        ({"numbers": {"age": [60.0, 61.0]}, "n": 3}, "one for each of 3"),
        ({"label": "ill"}, "is not on the card"),
    ],
)
def test_wrong_options_are_named(options: dict, words: str) -> None:
    with pytest.raises(BadOption, match=words):
        synthesize_joint(mri(), **{"n": 1, **options})
    with pytest.raises(BadOption, match="draws T1, mask together"):
        synthesize(mri(), n=1)

"""The copy audit must find copies in disguise, and must not find any where there are none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from medprior.errors import BadOption
from medprior.evidence.synthetic.copies import ALPHA, CopyIndex, Nearness, copy_audit
from medprior.evidence.synthetic.likeness import Details, as_pictures
from medprior.evidence.synthetic.moves import Move, apply_move, warped


def patients(n: int, seed: int, size: int = 64) -> list[Tensor]:
    """Random pictures of one law: a common anatomy, and what is a patient's own, both broad and fine as
    anatomy is (amplitude falls with the frequency).
    """

    def field(count: int, seed: int) -> Tensor:
        noise = torch.randn((count, 1, size, size), generator=torch.Generator().manual_seed(seed))
        frequency = (torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size) ** 2).sqrt()
        x = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency.clamp_min(1.5 / size) ** 1.5)
        return x / x.std()

    return list((0.2 * field(1, 99) + 0.2 * field(n, seed)).clamp(-1, 1))


@pytest.fixture(scope="module")
def index() -> CopyIndex:
    return CopyIndex.learn(patients(40, 1), patients(30, 2))


@pytest.fixture(scope="module")
def honest(index: CopyIndex) -> Nearness:
    """Of 40 new patients."""
    return index.nearest(patients(40, 3))


def moved(images: list[Tensor], **how) -> list[Tensor]:
    return list(apply_move(torch.stack(images), Move.of(len(images), **how)))


def hidden(copies: Nearness, own: Nearness) -> Nearness:
    """Copies in the place of as many of a set's own images."""
    n = len(copies.score)
    return Nearness(
        torch.cat([copies.score, own.score[n:]]),
        torch.cat([copies.rho, own.rho[n:]]),
        torch.cat([copies.at, own.at[n:]]),
    )


def test_new_patients_are_no_copies(index: CopyIndex, honest: Nearness):
    at = copy_audit(index, honest)
    assert at.passed and at.passed_unfiltered and not at.unlike and at.copies.n == 40
    assert (at.train, at.held) == (40, 30)


@pytest.mark.parametrize(
    "how",
    [
        {"flip": True},
        {"turn": 15.0},
        {"shift": (0.08, 0.0)},
        {"crop": 0.2},
        {"gamma": 2.0},
        {"flip": True, "turn": -7.0, "crop": 0.13, "gamma": 0.7},
    ],
    ids=str,
)
def test_copies_in_disguise_turn_the_verdict_of_the_set_that_they_hide_in(
    index: CopyIndex, honest: Nearness, how
):
    """A fifth of 40 images."""
    found = hidden(index.nearest(moved(patients(40, 1)[:8], **how)), honest)
    beyond = int((found.score > index.limit).sum())
    assert found.at[:8].tolist() == list(range(8)) and index.chance(beyond, 40) <= ALPHA


def test_what_is_hardest_to_see_is_seen_in_real_films(real_data: Path):
    """Mixtures of two patients, shifts along both axes by parts of a pixel, warps: one film a patient."""
    folder = real_data / "chest_xray_nih" / "train"
    paths = {path.name[:8]: path for path in sorted(folder.glob("*/*.png"))}
    greys = [np.array(Image.open(path).convert("L"), np.float32) for path in list(paths.values())[:290]]
    films = as_pictures([torch.from_numpy(grey)[None] / 127.5 - 1 for grey in greys])
    known, held, codes = films[:260], films[260:290], torch.arange(260)
    details = Details.learn(known)
    limit = Nearness.of(details.likeness(held), codes).score.max()
    hidden = {
        "mixed": (known[:10] + known[20:30]) / 2,
        "shifted": apply_move(known[:10], Move.of(10, shift=(0.08, -0.05))),
        "warped": warped(known[:10], 0.04, torch.Generator().manual_seed(0)),
    }
    found = {name: Nearness.of(details.likeness(x), codes) for name, x in hidden.items()}
    shares = {name: float((at.score > limit).float().mean()) for name, at in found.items()}
    assert min(shares.values()) >= 0.5, shares


def test_sizes_may_be_as_unequal_as_they_are(index: CopyIndex, honest: Nearness):
    """Eight exact copies among 40 images, with fewer held-out scans than training scans: a comparison with as
    many training scans as are held out passed a hundred of them.
    """
    usual = Nearness(index.usual.score[:20], index.usual.rho[:20], index.usual.at[:20])
    small = replace(index, usual=usual, patients=20)
    found = hidden(index.nearest(patients(40, 1)[:8]), honest)
    assert not copy_audit(small, found).passed


@pytest.mark.parametrize(("n", "held"), [(30, 19), (100, 56), (80, 250), (400, 19)])
def test_an_honest_set_is_called_copied_in_one_case_of_twenty_at_most(n: int, held: int):
    """4000 worlds of exchangeable scores; the critical count is the least that keeps this rate."""
    rng = np.random.default_rng(0)
    nothing = torch.empty(0)
    details = Details(nothing, nothing, nothing, 0)
    at = CopyIndex(nothing, details, nothing, Nearness(nothing, nothing, nothing), held, 0)
    scores = rng.normal(size=(4000, n + held))
    beyond = (scores[:, :n] > scores[:, n:].max(1)[:, None]).sum(1)
    chances = np.array([at.chance(k, n) for k in range(n + 1)])
    assert (chances[beyond] <= ALPHA).mean() <= 0.06
    assert at.chance(at.least(n), n) <= ALPHA < at.chance(at.least(n) - 1, n)


def test_the_power_for_a_share_of_copies_is_that_of_simulated_mixtures(index: CopyIndex):
    rng = np.random.default_rng(1)
    own = Nearness(torch.from_numpy(rng.normal(0, 1, 80)), torch.zeros(80), torch.zeros(80))
    copies = Nearness(torch.from_numpy(rng.normal(2.5, 1, 50)), torch.zeros(50), torch.zeros(50))
    usual = Nearness(torch.tensor([2.2, 1.0]), torch.zeros(2), torch.zeros(2))
    at = CopyIndex(index.train, index.details, index.codes, usual, 40, 0)
    for share in (0.05, 0.1, 0.2):
        k, hits = round(80 * share), 0
        for _ in range(800):
            mine = rng.choice(own.score.numpy(), 80 - k, replace=False)
            beyond = int((np.r_[mine, rng.choice(copies.score.numpy(), k)] > at.limit).sum())
            hits += at.chance(beyond, 80) <= ALPHA
        assert at.turned(own, copies, share) == pytest.approx(hits / 800, abs=0.05)


def test_a_generator_may_not_draw_a_scan_over_again(index: CopyIndex, honest: Nearness):
    """One of 40: the chance of that is no proof, the picture itself is. A hard filter takes it out."""
    few = copy_audit(index, hidden(index.nearest(patients(40, 1)[:1]), honest))
    assert few.again == 1 and not few.passed_unfiltered and few.passed


def test_patients_count_and_not_their_scans():
    """Held-out slices of few patients are refused; the next patient is no other slice of the same."""
    with pytest.raises(BadOption, match="of 19 patients, got 10 and 5: 14 are missing"):
        CopyIndex.learn(patients(10, 1), patients(20, 2), patients=[*range(10), *(n % 5 for n in range(20))])
    twice = [scan for scan in patients(20, 1) for _ in range(2)]
    whose = [*(n // 2 for n in range(40)), *range(100, 119)]
    named, unnamed = (
        copy_audit(at, Nearness(torch.zeros(20), torch.zeros(20), torch.zeros(20)))
        for at in (CopyIndex.learn(twice, patients(19, 2), patients=who) for who in (whose, None))
    )
    assert unnamed.unlike and not named.unlike and (named.train, unnamed.train) == (20, 40)


def test_no_held_out_scan_passes_the_hard_limit(index: CopyIndex):
    assert not bool(index.too_close(patients(30, 2)).any())


def test_plain_images_are_no_copies(index: CopyIndex):
    """Smooth images lie near to everybody; what counts is the lead of one patient."""
    plain = [F.avg_pool2d(x[None], 9, stride=1, padding=4)[0] for x in patients(25, 5)]
    assert copy_audit(index, index.nearest(plain)).passed


def test_features_do_not_see_contrast_and_tell_patients_apart():
    known = as_pictures(patients(30, 1))
    details = Details.learn(known)
    own = details.likeness(apply_move(known[:5], Move.of(5, gamma=1.5))).diag()
    others = details.knowing(as_pictures(patients(30, 6))).likeness(known[:5])
    assert others.shape == (5, 30) and float(own.min()) > float(others.max()) + 0.1


def test_volumes_are_compared_by_their_middle_planes():
    rng = torch.Generator().manual_seed(0)
    volumes = [
        F.interpolate(torch.randn((1, 1, 8, 8, 8), generator=rng), scale_factor=3)[0] for _ in range(32)
    ]
    index = CopyIndex.learn(volumes[:12], volumes[12:])
    assert index.nearest(volumes[:3]).at.tolist() == [0, 1, 2] and index.train.shape == (12, 3, 64, 64)


def test_too_few_scans_or_images_are_refused(index: CopyIndex):
    with pytest.raises(BadOption, match="at least 8 training scans"):
        CopyIndex.learn(patients(5, 1), patients(30, 2))
    with pytest.raises(BadOption, match="at least 20 synthetic images"):
        copy_audit(index, index.nearest(patients(3, 3)))

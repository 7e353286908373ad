"""The copy audit must find copies, and must not find any where there are none."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medprior.errors import BadOption
from medprior.evidence.synthetic.copies import WAYS, CopyIndex, copy_probability, nearer_share, way_audit
from medprior.evidence.synthetic.likeness import (
    aligned_correlation,
    as_pictures,
    embedding_correlation,
    learn_embedding,
)
from medprior.evidence.synthetic.moves import Move, apply_move


def patients(n: int, seed: int, size: int = 28) -> list[Tensor]:
    """Smooth random pictures, all of one law: a common anatomy and what is a patient's own."""
    rng = torch.Generator().manual_seed(seed)
    common = F.interpolate(
        torch.randn((1, 1, 4, 4), generator=torch.Generator().manual_seed(99)), (size, size), mode="bicubic"
    )
    own = F.interpolate(torch.randn((n, 1, 7, 7), generator=rng), (size, size), mode="bicubic")
    return list((0.3 * common + 0.4 * own).clamp(-1, 1))


@pytest.fixture(scope="module")
def index() -> CopyIndex:
    return CopyIndex.learn(patients(60, 1), patients(60, 2), steps=60)


def test_new_patients_are_as_near_to_training_as_to_others(index: CopyIndex):
    for way in way_audit(index, patients(80, 3)):
        assert way.nearer.low <= 0.5 <= way.nearer.high, way
        assert way.copies.value <= way.allowed and way.passed


def test_moved_training_scans_are_found_and_refused(index: CopyIndex):
    some = as_pictures(patients(60, 1))
    copies = list(apply_move(some, Move.of(60, flip=True, turn=5.0, gamma=1.3)))
    pixels, embedding = way_audit(index, copies)
    assert pixels.copies.value > 0.9 and pixels.nearer.low > 0.9 and not pixels.passed
    assert pixels.memorised.value > 0.8
    assert embedding.nearer.low > 0.5
    assert float(index.too_close(copies).float().mean()) > 0.9


@pytest.mark.parametrize("each", [1, 4])
def test_the_interval_of_what_is_nearer_holds_a_half_where_all_are_of_one_law(each: int):
    """New sets each time, so that it must tell of which scans the sets happen to hold: many images near few
    scans made a narrower one wrong.

    each: slices of one patient, alike."""
    rng = torch.Generator().manual_seed(0)

    def drawn(n: int) -> Tensor:
        own = torch.randn((n // each, 6), generator=rng).repeat_interleave(each, 0)
        return F.normalize(own + 0.3 * torch.randn((n, 6), generator=rng), dim=1)

    found = []
    for _ in range(100):
        s, t, h = (
            drawn(600),
            drawn(240),
            drawn(80),
            # the larger set gives as many patients as the smaller: 240 slices of 60 vary more than 80 of 20
        )
        at = nearer_share(
            s @ t.T, s @ h.T, [f"t{n // each}" for n in range(240)], [f"h{n // each}" for n in range(80)], rng
        )
        found.append((at.value, at.low, at.high))
    value, low, high = np.array(found).T
    assert 0.88 <= ((low <= 0.5) & (high >= 0.5)).mean()
    assert (high - low).mean() < 2 * 1.96 * 1.4 * value.std(), "no wider than it must be"
    assert abs(value.mean() - 0.5) < 0.02


def test_too_few_patients_say_nothing_of_what_is_nearer():
    rng = torch.Generator().manual_seed(0)
    near, far = torch.rand((50, 12), generator=rng), torch.rand((50, 30), generator=rng)
    for patients_of_training in (1, 3):
        at = nearer_share(
            near, far, [str(n % patients_of_training) for n in range(12)], [f"h{n}" for n in range(30)], rng
        )
        assert (at.low, at.high, at.n) == (0.0, 1.0, patients_of_training) and 0 < at.value < 1


def test_pairs_that_may_not_count_leave_room_for_others():
    """Of forty slices all but a few are of one's own patient: strangers are aligned all the same, as finely
    as where they are alone.
    """
    pictures = as_pictures(patients(44, 5))
    mine = torch.tensor([[False] * 40 + [True] * 4])
    found = aligned_correlation(pictures[:1], pictures, candidates=4, asked=mine)
    assert torch.equal(found[0, :40], torch.full((40,), -1.0))
    assert torch.allclose(found[0, 40:], aligned_correlation(pictures[:1], pictures[40:])[0])


def test_copies_are_nearer_to_training_whatever_the_sets_hold():
    rng = torch.Generator().manual_seed(1)
    s, t, h = (F.normalize(torch.randn((n, 6), generator=rng), dim=1) for n in (200, 100, 100))
    copies = F.normalize(t[:60] + 0.01 * torch.randn((60, 6), generator=rng), dim=1)
    own, others = [f"t{n}" for n in range(100)], [f"h{n}" for n in range(100)]
    mixed = torch.cat([s[:140], copies])
    at = nearer_share(mixed @ t.T, mixed @ h.T, own, others, rng)
    assert at.low > 0.5 and at.value == pytest.approx(0.65, abs=0.08)


def test_held_out_scans_of_another_kind_are_told_from_copying():
    """Where every held-out scan is darker at one side than training scans are, real scans lie nearer to
    training, too: the audit says so.
    """
    shade = torch.linspace(-0.9, 0.9, 28)
    other = [(x + shade).clamp(-1, 1) for x in patients(60, 2)]
    pixels, embedding = way_audit(CopyIndex.learn(patients(60, 1), other, steps=60), patients(80, 3))
    assert pixels.nearer.low > 0.5 and pixels.unlike
    assert pixels.reference is not None and pixels.reference.low > 0.5
    assert embedding.reference is None and not embedding.unlike


def test_copies_do_not_pass_as_held_out_scans_of_another_kind():
    """The reference asks real scans alone: copies in the set cannot move it."""
    index = CopyIndex.learn(patients(60, 11), patients(60, 12), steps=5)
    pixels = way_audit(index, patients(60, 11))[0]
    assert pixels.nearer.value > 0.9 and not pixels.passed
    assert not pixels.unlike and pixels.reference == way_audit(index, patients(60, 13))[0].reference


def test_training_scans_are_not_held_against_other_scans_of_their_own_patient():
    """Two scans of each patient, hardly different: without patients half of them find their twin, with them
    none does.
    """
    rng = torch.Generator().manual_seed(7)
    twice = [x + 0.02 * torch.randn(x.shape, generator=rng) for x in patients(40, 11) for _ in range(2)]
    index = CopyIndex.learn(twice, patients(40, 12), steps=5)
    unnamed = way_audit(index, patients(40, 13))[0]
    named = way_audit(index, patients(40, 13), patients=[n // 2 for n in range(80)] + list(range(100, 140)))[
        0
    ]
    assert unnamed.reference is not None and named.reference is not None and not named.unlike
    assert unnamed.reference.value > named.reference.value + 0.15


def test_a_share_of_copies_among_new_images_is_that_share(index: CopyIndex):
    mixed = patients(60, 4) + patients(60, 1)[:20]
    pixels, _ = way_audit(index, mixed)
    assert abs(pixels.copies.value - 0.25) < 0.06


def test_a_generator_may_not_draw_a_scan_over_again(index: CopyIndex):
    """Three copies of 60 lie within what 5 % of so few held-out scans can be; without a filter nothing would
    take them out.
    """
    few = way_audit(index, patients(57, 4) + patients(60, 1)[:3])[0]
    assert few.passed and few.again == 3 and few.beyond >= 3 and not few.passed_unfiltered
    none = way_audit(index, patients(60, 4))[0]
    assert none.passed_unfiltered and none.again == 0


def test_how_many_lie_beyond_by_chance():
    """The nearest of 20 held-out scans is passed by each new scan with a chance of 1 in 21."""
    assert copy_probability(0, 100, 20) == 1.0
    assert copy_probability(1, 1, 20) == pytest.approx(1 / 21)
    rng = np.random.default_rng(0)
    held, new = rng.random((20000, 20)).max(1), rng.random((20000, 50))
    counts = (new > held[:, None]).sum(1)
    for k in (1, 5, 10):
        assert copy_probability(k, 50, 20) == pytest.approx(float((counts >= k).mean()), abs=0.01)


def test_slices_of_few_patients_allow_no_more_copies_than_the_patients_show(index: CopyIndex):
    whose = [*range(60), *(1000 + n // 3 for n in range(60))]
    few, many = way_audit(index, patients(60, 4), patients=whose)[0], way_audit(index, patients(60, 4))[0]
    assert few.allowed > many.allowed, "20 patients say less than 60 of what is usual"


def test_no_held_out_scan_passes_the_hard_limit(index: CopyIndex):
    assert not bool(index.too_close(patients(60, 2)).any())
    assert torch.allclose(index.limit, index.usual.rho.amax(0))


def test_the_nearest_scan_is_named(index: CopyIndex):
    found = index.nearest(patients(60, 1)[7:9])
    assert found.at[:, WAYS.index("pixels")].tolist() == [7, 8]
    assert found.at[:, WAYS.index("embedding")].tolist() == [7, 8]
    assert found.rho.min() > 0.99


def test_plainer_images_raise_the_placebo_as_much_as_the_copies(index: CopyIndex):
    plain = [0.2 * image + 0.8 * torch.stack(patients(60, 1)).mean(0) for image in patients(60, 5)]
    pixels, _ = way_audit(index, plain)
    assert (
        pixels.copies.value > 0.5 and pixels.placebo > 0.5 and pixels.nearer.low <= 0.5 <= pixels.nearer.high
    )


def test_images_near_one_patient_say_one_thing(index: CopyIndex):
    same = patients(60, 1)[3]
    rng = torch.Generator().manual_seed(0)
    pixels, _ = way_audit(index, [same + 0.01 * torch.randn(same.shape, generator=rng) for _ in range(40)])
    assert pixels.copies.value == 1.0 and pixels.copies.low < 0.1  # one patient, not forty trials
    assert pixels.memorised.value == pytest.approx(1 / 60)


def test_fewer_held_out_scans_than_training_scans_are_compared_in_equal_numbers():
    small = CopyIndex.learn(patients(60, 1), patients(20, 2), steps=5)
    pixels, _ = way_audit(small, patients(100, 3))
    assert 0.3 < pixels.nearer.value < 0.7


def test_the_embedding_is_that_of_its_seed_and_knows_moved_pictures():
    known = as_pictures(patients(40, 1))
    a, b = learn_embedding(known, steps=40), learn_embedding(known, steps=40)
    assert torch.equal(a(known), b(known))
    back = embedding_correlation(a(apply_move(known, Move.of(40, turn=4.0))), a(known))
    assert float((back.argmax(1) == torch.arange(40)).float().mean()) > 0.8


def test_alignment_sees_through_a_crop():
    known = as_pictures(patients(40, 1))
    found = aligned_correlation(apply_move(known, Move.of(40, crop=0.1, flip=True)), known)
    assert found.argmax(1).tolist() == list(range(40)) and found.amax(1).min() > 0.97


def test_volumes_are_compared_by_their_middle_planes():
    volumes = [torch.rand((1, 16, 16, 16), generator=torch.Generator().manual_seed(n)) for n in range(30)]
    index = CopyIndex.learn(volumes[:10], volumes[10:], steps=5)
    assert index.nearest(volumes[:3]).at[:, 0].tolist() == [0, 1, 2]


def test_too_few_scans_or_images_are_refused(index: CopyIndex):
    with pytest.raises(BadOption, match="at least 8 training and 19 held-out scans, got 60 and 5"):
        CopyIndex.learn(patients(60, 1), patients(5, 2))
    with pytest.raises(BadOption, match="at least 20 synthetic images, got 3"):
        way_audit(index, patients(3, 3))

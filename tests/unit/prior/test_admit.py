"""The one door: what goes in unchanged comes out unchanged, at its millimetre, whatever the orientation,
spacing and size.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medprior.data.volume import Provenance, Volume
from medprior.errors import ShapeMismatch, WrongKind
from medprior.prior import Card
from medprior.prior.admit import admit, release, release_map, scale_of

AXIAL = Card(
    "axial",
    "MR",
    scaling="foreground",
    quantiles=(0.0, 0.99),
    axes="PL",
    spacing_mm=(2.0, 2.0),
    numbers=("height",),
)
SOLID = Card("solid", "MR", scaling="range", axes="PLS", spacing_mm=(2.0, 2.0, 2.0), ndim=3)
FILM = Card("film", "DX", scaling="range", frame=(16, 32))

TURNS = {
    "RAS": np.diag([1.0, 1, 1]),
    "LPS": np.diag([-1.0, -1, 1]),
    "PLS": np.array([[0.0, -1, 0], [-1, 0, 0], [0, 0, 1]]),
    "SAL": np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]),
    "ASR": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
}


def rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q


def affine_of(turn: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    made = np.eye(4)
    made[:3, :3] = turn @ np.diag(spacing)
    made[:3, 3] = (-31.7, 12.25, 101.3)
    return made


def scan(shape: tuple[int, ...], affine: np.ndarray | None, **other) -> Volume:
    """Quiet noise with one bright voxel off the centre; the other fields are set so that any loss of them
    shows.
    """
    data = np.random.default_rng(len(shape)).uniform(50, 100, (1, *shape)).astype(np.float32)
    data[(0, *(n // 3 for n in shape))] = 1000.0
    provenance = Provenance(history=("read",), format="nifti", warnings=("odd",))
    return Volume(data, affine, **{"modality": "MR", "provenance": provenance, **other})


def brightest_mm(volume: Volume) -> np.ndarray:
    at = np.unravel_index(np.argmax(volume.data[0]), volume.shape)
    assert volume.affine is not None
    return (volume.affine @ np.array([*at, *[0] * (3 - len(at)), 1.0]))[:3]


CASES = [
    (name, turn, spacing)
    for name, turn in TURNS.items()
    for spacing in ((2.0, 2.0, 2.0), (0.9, 1.3, 4.0), (3.1, 5.0, 2.5))
]
HALF = 0.5**0.5
DIAGONAL = np.array([[HALF, -HALF, 0], [HALF, HALF, 0], [0, 0, 1]])
CASES += [(f"diagonal {n}", turn @ DIAGONAL, (1.7, 2.3, 3.0)) for n, turn in enumerate(TURNS.values())]
CASES += [(f"oblique {seed}", rotation(seed), (1.7, 2.3, 3.0)) for seed in range(6)]


@pytest.mark.parametrize("card", [AXIAL, SOLID], ids=["2-D prior", "3-D prior"])
@pytest.mark.parametrize("name, turn, spacing", CASES, ids=[f"{n} {s}" for n, _, s in CASES])
def test_unchanged_images_come_back_exactly(
    card: Card, name: str, turn: np.ndarray, spacing: tuple[float, float, float]
) -> None:
    """Bytes, affine, unit and origin, finer and coarser than the prior's voxels, odd sides, oblique axes."""
    source = scan((17, 23, 9), affine_of(turn, spacing))
    before = source.data.copy()
    admitted = admit(card, source)
    back = release(admitted, admitted.images.clone(), sentence="nothing done")
    assert back.data.tobytes() == before.tobytes() == source.data.tobytes()
    assert back.affine is not None and source.affine is not None
    assert back.affine.tobytes() == source.affine.tobytes()
    assert (back.unit, back.modality, back.provenance.format) == ("a.u.", "MR", "nifti")
    assert back.provenance.history == ("read", "nothing done") and back.provenance.synthetic


@pytest.mark.parametrize("name, turn, spacing", CASES, ids=[f"{n} {s}" for n, _, s in CASES])
@pytest.mark.parametrize("card", [AXIAL, SOLID], ids=["2-D prior", "3-D prior"])
def test_a_map_keeps_its_millimetre(
    card: Card, name: str, turn: np.ndarray, spacing: tuple[float, float, float]
) -> None:
    """The admitted image itself, given back as a map: its summit lies within one of the prior's voxels of the
    scan's own.
    """
    source = scan((19, 24, 13), affine_of(turn, spacing))
    admitted = admit(card, source)
    back = release_map(admitted, admitted.images, sentence="a map")
    assert back.shape == source.shape
    assert (
        np.linalg.norm(brightest_mm(back) - brightest_mm(source)) <= np.hypot(2.0, 2.0) + max(spacing) * 0.51
    )


@pytest.mark.parametrize("turn", TURNS.values(), ids=list(TURNS))
def test_slices_are_laid_front_up_and_right_on_the_left(turn: np.ndarray) -> None:
    """The prior's i points to the back and j to the patient's left, for every storage order: judged by
    millimetres, not by axis codes.
    """
    affine = affine_of(turn, (2.0, 2.0, 2.0))
    source = scan((20, 24, 12), affine)
    at = brightest_mm(source)
    images = admit(AXIAL, source).images[:, 0]
    k, i, j = np.unravel_index(int(images.argmax()), images.shape)
    corners = np.array(
        [
            (affine @ np.array([*(np.array(c) * (np.array(source.shape) - 1)), 1.0]))[:3]
            for c in np.ndindex(2, 2, 2)
        ]
    )
    low, high = corners.min(0), corners.max(0)
    assert (high[1] - at[1], at[0] * -1 + high[0], at[2] - low[2]) == pytest.approx(
        (2.0 * i, 2.0 * j, 2.0 * k), abs=1e-6
    )


@pytest.mark.parametrize("turn", TURNS.values(), ids=list(TURNS))
def test_a_single_image_is_turned_in_its_plane_and_back(turn: np.ndarray) -> None:
    """An axial image in any of its storage orders; one of another plane is refused."""
    source = scan((15, 22), affine_of(turn, (1.0, 1.5, 3.0)))
    if abs(turn[2, 2]) == 1:
        admitted = admit(AXIAL, source)
        back = release(admitted, admitted.images, sentence="nothing done")
        assert back.data.tobytes() == source.data.tobytes()
        assert back.affine is not None and np.array_equal(back.affine, source.affine)  # type: ignore[arg-type]
    else:
        with pytest.raises(WrongKind, match="plane"):
            admit(AXIAL, source)


@pytest.mark.parametrize("shape", [(31, 47), (33, 32), (101, 122), (5, 90), (7, 7), (1, 1), (200, 3)])
def test_films_of_any_size_come_back_exactly(shape: tuple[int, int]) -> None:
    data = np.random.default_rng(0).uniform(0, 4095, (1, *shape)).astype(np.float32)
    data[0, 0, 0] = -5.0
    source = Volume(
        np.concatenate([data, data + 1], 2) if shape == (1, 1) else data,
        None,
        modality="CR",
        spacing_mm=(0.14, 0.14),
    )
    admitted = admit(FILM, source)
    assert max(admitted.images.shape[2:]) <= 32 * 1.1
    assert release(admitted, admitted.images, sentence="nothing").data.tobytes() == source.data.tobytes()


def test_a_change_is_added_where_it_was_made() -> None:
    """Half a network unit in one corner of the prior's grid is a quarter of the range in that corner of the
    film, and nothing elsewhere.
    """
    source = Volume(
        np.random.default_rng(0).uniform(0, 100, (1, 64, 96)).astype(np.float32), None, modality="DX"
    )
    admitted = admit(FILM, source)
    images = admitted.images.clone()
    images[..., :10, :10] += 0.5
    apart = release(admitted, images, sentence="changed").data - source.data
    assert np.allclose(apart[0, 5:20, 5:20], 0.25 * (admitted.high - admitted.low), atol=1e-3)
    assert np.abs(apart[0, 40:, 40:]).max() == 0


def test_a_coarse_scan_gets_the_mean_of_a_fine_change() -> None:
    """Two of the prior's voxels in one of the scan's: what cancels out between them must not reach the
    scan.
    """
    source = scan((16, 16, 4), affine_of(TURNS["PLS"], (8.0, 8.0, 4.0)))
    admitted = admit(AXIAL, source)
    assert admitted.images.shape[2:] == (64, 64)
    checkered = torch.where((torch.arange(64)[:, None] + torch.arange(64)) % 2 == 0, 0.5, -0.5)
    spikes = torch.zeros(64, 64)
    spikes[::4, ::4] = 0.8
    half = (admitted.high - admitted.low) / 2
    apart = release(admitted, admitted.images + checkered, sentence="changed").data - source.data
    assert np.abs(apart).max() < 1e-3
    apart = release(admitted, admitted.images + spikes, sentence="changed").data - source.data
    assert np.allclose(apart, 0.05 * half, rtol=1e-3)


@pytest.mark.parametrize("turn", TURNS.values(), ids=list(TURNS))
@pytest.mark.parametrize("card", [AXIAL, SOLID], ids=["2-D prior", "3-D prior"])
@pytest.mark.parametrize("depth", [9, 1])
def test_a_whole_map_is_released_as_its_slices_are(card: Card, turn: np.ndarray, depth: int) -> None:
    """(i, j, k) of a volume, as ``whole`` has it, on either kind of prior, also of a volume of one slice
    along any axis.
    """
    for shape in ((17, 23, depth), (depth, 17, 23), (17, depth, 23)):
        admitted = admit(card, scan(shape, affine_of(turn, (2.0, 2.0, 2.0))))
        whole = admitted.whole
        assert admitted.stack == (card is AXIAL) and whole.ndim == 4 and len(whole) == 1
        if card is AXIAL:
            assert all(torch.equal(whole[..., k], one) for k, one in enumerate(admitted.images))
        else:
            assert torch.equal(whole, admitted.images[0])
        one, two = (release_map(admitted, values, sentence="a map") for values in (whole[0], admitted.images))
        assert one.data.tobytes() == two.data.tobytes() and one.shape == shape
        assert one.unit == "a.u." and one.provenance.synthetic and one.provenance.history[-1] == "a map"


def test_a_whole_map_of_an_image_is_the_image() -> None:
    """Also of one that lies turned in its plane, or is finer than the prior's frame."""
    film = Volume(
        np.random.default_rng(0).uniform(0, 100, (1, 61, 47)).astype(np.float32), None, modality="DX"
    )
    for admitted in (
        admit(FILM, film),
        admit(AXIAL, scan((15, 22), affine_of(TURNS["LPS"], (1.0, 1.5, 3.0)))),
    ):
        assert not admitted.stack and torch.equal(admitted.whole, admitted.images[0])
        one, two = (
            release_map(admitted, values, sentence="a map") for values in (admitted.whole[0], admitted.images)
        )
        assert one.data.tobytes() == two.data.tobytes() and one.shape == admitted.source.shape


def test_enlarged_images_are_smooth() -> None:
    """A scan coarser than the prior's voxels is interpolated, not laid out in blocks."""
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32)[:, None, None], (20, 20, 3))[None]
    images = admit(AXIAL, Volume(ramp, affine_of(TURNS["PLS"], (6.0, 6.0, 2.0)), modality="MR")).images
    steps = images[0, 0, 3:-3, 30].diff()
    assert float(steps.max()) < 1.2 * float(steps.min())


def test_network_units_are_what_the_card_says() -> None:
    fixed = Card("ct", "CT", unit="HU", scaling="fixed", low=-1024.0, high=1024.0)
    air_and_water = Volume(np.array([[[-1024.0, 0.0], [1024.0, 2048.0]]], np.float32), None, "HU", "CT")
    assert torch.equal(admit(fixed, air_and_water).images, torch.tensor([[[[-1.0, 0.0], [1.0, 2.0]]]]))
    data = (
        np.concatenate([np.zeros(9000), np.linspace(100, 200, 1000)]).reshape(1, 100, 100).astype(np.float32)
    )
    assert scale_of(AXIAL, Volume(data.astype(np.float32))) == (0.0, pytest.approx(199.0, abs=0.1))
    low, high = scale_of(
        replace(FILM, quantiles=(0.25, 0.75)), Volume(np.arange(5, dtype=np.float32).reshape(1, 1, 5))
    )
    assert (low, high) == (1.0, 3.0)


def test_heights_run_from_the_feet_to_the_head() -> None:
    for turn in (TURNS["RAS"], TURNS["RAS"] @ np.diag([1, 1, -1])):
        admitted = admit(AXIAL, scan((12, 12, 4), affine_of(turn, (2.0, 2.0, 2.0))))
        assert torch.equal(admitted.condition.numbers, torch.tensor([[-0.75], [-0.25], [0.25], [0.75]]))  # type: ignore[arg-type]
    image = admit(AXIAL, scan((12, 12), affine_of(TURNS["RAS"], (2.0, 2.0, 2.0))))
    assert image.condition.numbers is not None and image.condition.numbers.isnan().all()


GOOD = scan((12, 12, 4), affine_of(TURNS["RAS"], (2.0, 2.0, 2.0)))
HOLED = GOOD.with_data(np.where(GOOD.data > 900, np.nan, GOOD.data))
REFUSED = {
    "modality": (AXIAL, replace(GOOD, modality="CT"), "MR"),
    "unit": (replace(AXIAL, scaling="fixed", unit="HU"), GOOD, "HU"),
    "channels": (AXIAL, replace(GOOD, data=np.repeat(GOOD.data, 2, 0)), "channels"),
    "NaN": (AXIAL, HOLED, "1 values"),
    "constant": (AXIAL, GOOD.with_data(np.full_like(GOOD.data, 7.0)), "constant"),
    "zero": (SOLID, GOOD.with_data(np.zeros_like(GOOD.data)), "constant"),
    "no geometry": (AXIAL, replace(GOOD, affine=None), "geometry"),
    "no geometry, 3-D prior": (SOLID, replace(GOOD, affine=None), "geometry"),
    "image for a 3-D prior": (SOLID, scan((12, 12), affine_of(TURNS["RAS"], (2.0, 2.0, 2.0))), "3-D"),
    "image without geometry for a 3-D prior": (
        replace(SOLID, axes="", spacing_mm=None),
        scan((12, 12), None),
        "3-D",
    ),
    "voxels of a metre": (
        AXIAL,
        scan((300, 300, 2), affine_of(TURNS["RAS"], (1000.0, 1000.0, 2.0))),
        "voxel",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_prior_was_not_made_for_is_refused(case: str) -> None:
    card, volume, says = REFUSED[case]
    with pytest.raises(WrongKind, match=says):
        admit(card, volume)


def test_an_override_lets_another_kind_pass_but_not_another_number_of_channels() -> None:
    assert admit(AXIAL, replace(GOOD, modality="CT"), allow_other=True).images.isfinite().all()
    with pytest.raises(WrongKind, match="channels"):
        admit(AXIAL, replace(GOOD, data=np.repeat(GOOD.data, 2, 0)), allow_other=True)


def test_another_shape_is_not_released() -> None:
    admitted = admit(AXIAL, GOOD)
    with pytest.raises(ShapeMismatch, match="release"):
        release(admitted, admitted.images[:2], sentence="short")


def test_what_was_synthetic_stays_so() -> None:
    """An honest copy of a synthetic scan is synthetic still."""
    made = admit(AXIAL, GOOD.noted("made", synthetic=True))
    assert release(made, made.images, sentence="kept", synthetic=False).provenance.synthetic
    real = admit(AXIAL, GOOD)
    assert not release(real, real.images, sentence="kept", synthetic=False).provenance.synthetic


def test_values_that_cannot_be_hounsfield_units_are_refused() -> None:
    """Without its intercept nothing in a CT is lighter than water, wherever it is padded; with it, there is
    fat at least.
    """
    body = np.random.default_rng(0).normal(-60, 60, (1, 32, 32)).astype(np.float32)
    card = Card("ct", "CT", unit="HU", scaling="fixed", low=-1024.0, high=1024.0, axes="", spacing_mm=None)
    assert admit(card, Volume(body, unit="HU", modality="CT")).low == -1024
    padded = body + 1024
    padded[:, :4] = -2000
    for stored in (body + 1024, padded):
        with pytest.raises(WrongKind, match="intercept"):
            admit(card, Volume(stored, unit="HU", modality="CT"))
        assert (
            "lighter than water"
            in admit(card, Volume(stored, unit="HU", modality="CT"), allow_other=True).other
        )
    brain = np.zeros((1, 32, 32), np.float32)
    brain[:, 8:24, 8:24] = 35
    for cut_out in (brain, np.random.default_rng(1).normal(55, 15, (1, 32, 32)).astype(np.float32)):
        assert admit(card, Volume(cut_out, unit="HU", modality="CT")).other == "", (
            "an organ alone holds no fat"
        )

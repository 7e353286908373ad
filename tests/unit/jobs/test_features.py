"""The transformer: in a pipeline and a grid search, of arrays, paths and volumes, standardised by the scans
of ``fit`` alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import medprior
from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.io.write import write
from medprior.jobs.features import Features
from tests.unit.jobs.exact import tiny
from tests.unit.runs.conftest import save_tiny, scene

DIMENSIONS = 2 * 3 * (8 + 16 + 8)


def scenes(n: int, first: int = 0) -> np.ndarray:
    return np.concatenate([scene(first + k) for k in range(n)])


def test_it_is_the_public_name() -> None:
    assert medprior.Features is Features


def test_standardised_by_the_scans_of_fit() -> None:
    fitted = Features(tiny())
    found = fitted.fit_transform(scenes(12))
    assert found.shape == (12, DIMENSIONS) == (12, len(fitted.get_feature_names_out()))
    assert np.allclose(found.mean(0), 0, atol=1e-4) and np.allclose(
        found.std(0)[found.std(0) > 0], 1, atol=1e-3
    )
    assert np.allclose(fitted.transform(scenes(12))[3:5], fitted.transform(scenes(2, 3)), atol=1e-4)
    raw = Features(tiny(), standardise=False).fit_transform(scenes(12))
    assert np.allclose((raw - fitted.mean_) / fitted.scale_, found, atol=1e-3)


def test_in_a_pipeline_and_a_grid_search(tmp_path: Path) -> None:
    """A stripe in half of the scenes is found; the search tries noise levels by name."""
    prior, images, labels = save_tiny(tmp_path / "p"), scenes(24), np.arange(24) % 2
    images[labels == 1, ::4] = 255
    pipeline = make_pipeline(Features(str(prior)), LogisticRegression(C=0.1))
    search = GridSearchCV(pipeline, {"features__sigmas": [(0.1,), (0.1, 0.8)]}, cv=3)
    search.fit(images, labels)
    assert search.best_score_ > 0.9
    assert search.best_estimator_["features"].get_params()["prior"] == str(prior)


def test_paths_volumes_and_arrays_give_the_same(tmp_path: Path) -> None:
    prior = tiny()
    image = scenes(1)[0].round()
    path = write(Volume(image[None], unit="a.u."), tmp_path / "a.png", kind="converted")
    found = Features(prior, standardise=False).fit_transform([image, image[None], Volume(image[None]), path])
    assert np.allclose(found, found[:1], atol=1e-5)


@pytest.mark.parametrize(
    ("ndim", "shape", "wanted"),
    [(2, (16, 12), (16, 12)), (2, (1, 16, 12, 4), (4, 16, 12)), (3, (10, 8, 6), (10, 8, 6))],
)
def test_a_vector_at_each_pixel(ndim: int, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Of an image, of each slice, of a volume."""
    scan = np.random.default_rng(0).normal(size=shape)
    fitted = Features(tiny(ndim), pooled=False)
    (found,) = fitted.fit_transform([scan])
    assert found.shape == (DIMENSIONS // 2, *wanted)
    assert np.allclose(found.reshape(len(found), -1).mean(1), 0, atol=1e-3)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(BadOption, match="before fit"):
        Features(tiny()).transform(scenes(1))
    with pytest.raises(BadOption, match="got one text"):
        Features(tiny()).fit("scan.png")
    with pytest.raises(BadOption, match="wanted scans, got none"):
        Features(tiny(), pooled=False).fit([])

"""``medprior.Features``: what a prior knows of scans, as a transformer of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import BadOption, optional
from ..learning.features import SIGMAS, FeatureSettings, pixel_features, volume_features
from .given import GivenPrior, GivenScan, load_scan, prior_of

__all__ = ["Features"]

_sklearn: Any = optional("sklearn.base", "labels", "medprior.Features")


class Features(_sklearn.TransformerMixin, _sklearn.BaseEstimator):
    """What a prior's network knows of scans, one vector a scan; for ``Pipeline`` and ``GridSearchCV``.

    prior: a prior, a bundled name or a folder. sigmas: noise levels, network units. pooled: one vector a
    scan; False: one at each pixel. standardise: to mean 0 and deviation 1 over the scans of ``fit``, which
    need no labels; features are never whitened. allow_other: take scans of another modality or unit. seed:
    of the noise.

    Sources: Baranchuk et al., ICLR 2022 (features of a denoiser); Rosnati et al., ML4H 2023 (several levels).
    """

    def __init__(
        self,
        prior: GivenPrior,
        *,
        sigmas: Sequence[float] = SIGMAS,
        pooled: bool = True,
        standardise: bool = True,
        allow_other: bool = False,
        seed: int = 0,
    ) -> None:
        self.prior = prior
        self.sigmas = sigmas
        self.pooled = pooled
        self.standardise = standardise
        self.allow_other = allow_other
        self.seed = seed

    def fit(self, scans: Iterable[GivenScan], y: object = None) -> Self:
        """Learn mean and deviation of each feature. scans: volumes, paths, or arrays (i, j), (i, j, k), or
        with channels first. y: not looked at.

        Raises what ``transform`` raises.
        """
        self.fit_transform(scans, y)
        return self

    def fit_transform(self, scans: Iterable[GivenScan], y: object = None, **_: object) -> Any:
        """``fit`` and ``transform``, the network asked once."""
        found = self._raw(scans)
        rows = found if self.pooled else np.concatenate([one.reshape(len(one), -1).T for one in found])
        self.mean_ = rows.mean(0)
        deviation = rows.std(0)
        self.scale_ = np.where(deviation > 1e-6, deviation, 1.0)
        if not self.standardise:
            self.mean_, self.scale_ = np.zeros_like(self.mean_), np.ones_like(self.scale_)
        self.n_features_out_ = len(self.mean_)
        return self._standard(found)

    def transform(self, scans: Iterable[GivenScan]) -> Any:
        """(n, d) float32; with ``pooled=False`` a list of (d, i, j), (d, slices, i, j) or (d, i, j, k) on the
        prior's grid (``Prior.admit``).

        Raises BadOption before ``fit`` and for no scans, WrongKind for scans that the prior was not made
        for, and what ``medprior.load`` and ``medprior.read`` raise.
        """
        if not hasattr(self, "mean_"):
            raise BadOption("Features: transform before fit", "fit it on scans; they need no labels")
        return self._standard(self._raw(scans))

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names by number."""
        return np.array([f"prior{n}" for n in range(self.n_features_out_)], dtype=object)

    def _raw(self, scans: Iterable[GivenScan]) -> Any:
        if isinstance(scans, str):
            raise BadOption("Features: wanted a sequence of scans, got one text", f"write [{scans!r}]")
        prior = prior_of(self.prior)
        how = FeatureSettings(tuple(map(float, self.sigmas)), self.seed, self.allow_other)
        volumes = (load_scan(scan, prior) for scan in scans)
        if self.pooled:
            return volume_features(prior, volumes, how).numpy()
        admitted = (prior.admit(volume, allow_other=self.allow_other) for volume in volumes)
        maps = [pixel_features(prior, one.images, one.condition, how) for one in admitted]
        if not maps:
            raise BadOption("features: wanted scans, got none")
        return [(one[0] if len(one) == 1 else one.movedim(0, 1)).numpy() for one in maps]

    def _standard(self, found: Any) -> Any:
        if self.pooled:
            return (found - self.mean_) / self.scale_
        shapes = [(-1, *[1] * (one.ndim - 1)) for one in found]
        return [
            (one - self.mean_.reshape(shape)) / self.scale_.reshape(shape)
            for one, shape in zip(found, shapes, strict=True)
        ]

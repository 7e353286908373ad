"""What a picture is like, in numbers that sets are compared on: a network that ImageNet taught, and
radiomics. Offline, and named in every result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
from torch import Tensor

from ...errors import MissingExtra, optional
from ..detectors.imagenet import ImageNetFeatures, features_available, pictures
from .moves import views

__all__ = ["Descriptor", "descriptors", "missing_descriptors"]

_SIDE = 64
"""Pixels on a side at which radiomics are computed: features of texture mean the same only at one size."""

_GREYS = 64
"""Grey levels of the textures."""

_GROUPS = ["*ALL_INTENSITY*", "*ALL_GLCM*", "*ALL_GLRLM*", "*ALL_GLSZM*", "*ALL_NGTDM*", "*ALL_GLDM*"]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """name: said beside every number. call: images (C, i, j[, k]) in network units -> (n, d) float32."""

    name: str
    call: Callable[[Sequence[Tensor]], Tensor]

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        return self.call(images)


def descriptors() -> tuple[Descriptor, ...]:
    """Those that are installed; ``missing_descriptors`` says which are not."""
    found = []
    if not features_available():
        network = ImageNetFeatures.pretrained()
        found.append(Descriptor("EfficientNet-Lite0", lambda images: _by_network(network, images)))
    if not _no_radiomics():
        found.append(Descriptor("radiomics", _radiomics))
    return tuple(found)


def missing_descriptors() -> tuple[str, ...]:
    """One sentence for each descriptor that is not installed."""
    return tuple(reason for reason in (features_available(), _no_radiomics()) if reason)


def _no_radiomics() -> str:
    try:
        optional("nyxus", "radiomics", "the distance on radiomic features")
    except MissingExtra as missing:
        return str(missing)
    return ""


def _by_network(network: ImageNetFeatures, images: Sequence[Tensor]) -> Tensor:
    """(n, 1280). A volume's three middle planes are its three colours."""
    side = max(max(image.shape[1:]) for image in images)
    parts = [
        torch.stack([views(image, side) for image in images[a : a + 16]]) for a in range(0, len(images), 16)
    ]
    return torch.cat([network.summary(pictures(part)) for part in parts])


def _radiomics(images: Sequence[Tensor]) -> Tensor:
    """(n, 304) features of the Image Biomarker Standardisation Initiative (first order and textures) of the
    first channel, of a volume the middle plane.
    """
    nyxus = import_module("nyxus")
    shown = torch.stack([views(image, _SIDE)[0] for image in images])
    greys = ((shown.clamp(-1, 1) + 1) / 2 * 255).round().numpy().astype(
        np.uint32
    ) + 1  # 0 would be outside of the region
    extractor = nyxus.Nyxus(_GROUPS, coarse_gray_depth=_GREYS)
    names = [str(n) for n in range(len(greys))]  # without names it goes on with those of its last call
    table = extractor.featurize(greys, np.ones_like(greys), intensity_names=names, label_names=names)
    numbers = (
        table.select_dtypes("number")
        .drop(columns=["ROI_label", "t_index"], errors="ignore")
        .to_numpy(np.float64)
    )
    return torch.from_numpy(np.nan_to_num(numbers, posinf=0.0, neginf=0.0).astype(np.float32))

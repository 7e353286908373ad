"""A large scan is explained at a coarser size: findings that turn an answer are larger than voxels, and an
evaluation of the prior costs a quarter of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

__all__ = ["Coarse"]


@dataclass(frozen=True, slots=True)
class Coarse:
    """whole: (1, C, i, j[, k]) the scan. size: (i, j[, k]) at which it is worked on. scan: of that size."""

    whole: Tensor
    size: tuple[int, ...]

    @property
    def scan(self) -> Tensor:
        return self._resized(self.whole)

    def lifted(self, images: Tensor) -> Tensor:
        """(B, C, *size) -> (B, C, i, j[, k]): the scan with their change in it, with all its fine detail."""
        if self.size == tuple(self.whole.shape[2:]):
            return images
        mode = "bilinear" if images.ndim == 4 else "trilinear"
        change = F.interpolate(images - self.scan, self.whole.shape[2:], mode=mode, align_corners=False)
        return self.whole + change

    def shrunk(self, mask: Tensor) -> Tensor:
        """(i, j[, k]) bool -> (*size): what is mostly inside of it; of a small mask all that it meets."""
        share = self._resized(mask.float()[None, None])[0, 0]
        return share >= 0.5 if bool((share >= 0.5).any()) else share > 0

    def grown(self, mask: Tensor) -> Tensor:
        """(*size) bool -> (i, j[, k])."""
        return F.interpolate(mask.float()[None, None], self.whole.shape[2:])[0, 0] > 0.5

    def _resized(self, x: Tensor) -> Tensor:
        return x if self.size == tuple(x.shape[2:]) else F.interpolate(x, self.size, mode="area")

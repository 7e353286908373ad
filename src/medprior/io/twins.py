"""Images that are the same, or nearly: exact by a hash of their pixels, near by the correlation of small thumbnails."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..data.volume import Volume

__all__ = ["SIDE", "groups", "near_pairs", "pixel_hash", "thumbnail", "unpacked"]

SIDE = 16
"""Pixels along each side of a thumbnail; measured on 400 radiographs of 400 patients: no false pair at 0.99, one at 0.97."""

_BLOCK = 2048


def pixel_hash(volume: Volume) -> str:
    """SHA-256 of shape and values: equal for equal pixels whatever the file format; signed zeros count as zero."""
    digest = hashlib.sha256(repr(volume.data.shape).encode())
    for channel in volume.data:
        digest.update(np.ascontiguousarray(channel + np.float32(0)).data)
    return digest.hexdigest()


def thumbnail(volume: Volume) -> str:
    """The first channel, area-averaged to 16 x 16 (of a volume: its three central planes), mean 0, as base64 of signed bytes."""
    image = volume.data[0]
    planes = [image] if image.ndim == 2 else [image.take(n // 2, axis) for axis, n in enumerate(image.shape)]
    small = np.stack([_averaged(_averaged(p.astype(np.float64), 0), 1) for p in planes])
    small -= small.mean()
    peak = np.abs(small).max()
    return base64.b64encode(np.rint(small * (127 / peak if peak > 0 else 0)).astype(np.int8).tobytes()).decode()


def _averaged(image: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Area average to SIDE pixels along one axis, also where that is not a whole number of pixels."""
    image = np.moveaxis(image, axis, 0)
    n = image.shape[0]
    summed = np.concatenate([np.zeros_like(image[:1]), np.cumsum(image, axis=0)])
    edges = np.linspace(0, n, SIDE + 1)
    low = np.minimum(edges.astype(int), n - 1)
    share = (edges - low)[:, None]
    at_edges = summed[low] + (summed[low + 1] - summed[low]) * share
    return np.moveaxis(np.diff(at_edges, axis=0) * (SIDE / n), 0, axis)


def unpacked(text: str) -> NDArray[np.float32]:
    """A thumbnail as a vector of length 1 (all zero for a constant image)."""
    values = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.int8).astype(np.float32)
    return values / max(float(np.linalg.norm(values)), 1e-12)


def near_pairs(thumbnails: Sequence[str], threshold: float = 0.99) -> list[tuple[int, int]]:
    """Pairs (a, b), a < b, of positions whose thumbnails correlate above ``threshold``; images are compared with images, volumes with volumes.

    Takes n^2 x 256 multiplications, in blocks, so memory stays small.
    """
    pairs = []
    vectors = [unpacked(text) for text in thumbnails]
    for length in sorted({v.size for v in vectors}):
        places = np.array([n for n, v in enumerate(vectors) if v.size == length])
        table = np.stack([vectors[n] for n in places])
        for start in range(0, len(places), _BLOCK):
            close = table[start : start + _BLOCK] @ table[start:].T > threshold
            for row, column in np.argwhere(close):
                if column > row:
                    pairs.append((int(places[start + row]), int(places[start + column])))
    return sorted(pairs)


def groups(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """For each of ``count`` positions, the smallest position that it is linked to, directly or through others."""
    root = list(range(count))

    def find(n: int) -> int:
        while root[n] != n:
            root[n] = root[root[n]]
            n = root[n]
        return n

    for a, b in links:
        a, b = sorted((find(a), find(b)))
        root[b] = a
    return [find(n) for n in range(count)]

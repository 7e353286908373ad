"""Plain detectors beside ours: fitted to healthy scans that they are not judged on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ....evidence.detectors.detectors import INTENSITIES, PlainResult, plain_detectors
from ....io.dataset.scan import Index, Item
from ....prior import Prior
from ....prior.admit import Admitted
from ...ask.requests import EvaluateDetect
from ...core.inputs import of_split
from ...core.progress import Event, OnEvent

__all__ = ["Beside"]

MOST = 400
"""Healthy scans that they are fitted to, evenly chosen."""
FEW = 4
"""Healthy scans below which nothing is fitted: the deviation would be that of the scans themselves."""


class Beside:
    """Of one item: {name: score and map} of each plain detector.

    They learn from the healthy scans of a stated train split, if that split is not judged. Else each half of
    the patients is judged by detectors that learned from the healthy scans of the other half.
    """

    def __init__(
        self,
        prior: Prior,
        index: Index,
        chosen: Sequence[Item],
        healthy: str,
        request: EvaluateDetect,
        on_event: OnEvent,
    ) -> None:
        self.prior, self.index, self.request = prior, index, request
        judged = {item.id for item in chosen}
        train = [
            i
            for i in of_split(index, "train", allow_synthetic=request.allow_synthetic)
            if i.label == healthy and i.given and i.id not in judged
        ]
        on_event(Event("stage", "fitting plain detectors to healthy scans"))
        if len(train) >= FEW and not any(item.split == "train" for item in chosen):
            self.half, self.fitted = {}, [self._fitted(train)]
        else:
            patients = sorted({item.owner for item in chosen})
            self.half = {patient: n % 2 for n, patient in enumerate(patients)}
            own = [
                [i for i in chosen if i.label == healthy and self.half[i.owner] == half] for half in (0, 1)
            ]
            self.fitted = [self._fitted(own[1]), self._fitted(own[0])] if min(map(len, own)) >= FEW else []

    def _fitted(self, items: Sequence[Item]) -> dict:
        keep = np.linspace(0, len(items) - 1, min(MOST, len(items))).round().astype(int)
        return plain_detectors(
            [self._scan(volume) for _, volume in self.index.volumes([items[i] for i in keep])],
            deep=self.request.baselines == "all",
        )

    def _scan(self, volume) -> Tensor:
        return self.prior.admit(volume, allow_other=self.request.allow_other).whole

    def __call__(self, item: Item, admitted: Admitted) -> dict[str, PlainResult]:
        """Intensity alone where too few healthy scans were there."""
        detectors = self.fitted[self.half.get(item.owner, 0)] if self.fitted else INTENSITIES
        return {name: detector(admitted.whole) for name, detector in detectors.items()}

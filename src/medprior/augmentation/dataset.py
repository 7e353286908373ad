"""Augmentation in other people's training code: a torch Dataset around theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from ..errors import BadOption
from .frame import Frame
from .policy import Policy
from .record import Record
from .vary import apply_record, draw_record

__all__ = ["Augmented"]


class Augmented(Dataset):
    """dataset[n] with its image augmented and its masks moved along; labels and all else pass untouched.
    Works in any DataLoader.

    dataset: its items are tuples, lists or mappings of tensors, or a tensor alone. image, masks: places (0,
    1, ...) or keys of the image (C, i, j[, k]) and of what lies on its grid. spacing, codes: as in ``Frame``,
    the same for all items. What is drawn depends on (seed, epoch, index) and on nothing else, not on workers,
    ranks or order. Call ``set_epoch`` before each epoch, as with torch's DistributedSampler: without it every
    epoch sees the same augmentations. Workers that stay alive between epochs see it, too. Raises BadOption
    for an item without the place, and what ``draw_record`` and ``apply_record`` raise.
    """

    def __init__(
        self,
        dataset: Any,
        policy: Policy,
        *,
        seed: int = 0,
        image: int | str = 0,
        masks: Sequence[int | str] = (),
        spacing: tuple[float, ...] = (),
        codes: str = "",
    ) -> None:
        self.dataset, self.policy, self.seed = dataset, policy, seed
        self.image, self.masks = image, tuple(masks)
        self.spacing, self.codes = spacing, codes
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next items belong to, also for workers that are already running."""
        if epoch < 0:
            raise BadOption(f"epoch: wanted a whole number >= 0, got {epoch}")
        self._epoch.fill_(epoch)

    def record(self, index: int) -> Record:
        """What item ``index`` gets in this epoch, for a log or a replay."""
        return self._drawn(self._image(self.dataset[index]), index)

    def __getitem__(self, index: int) -> Any:
        item = self.dataset[index]
        image = self._image(item)
        record = self._drawn(image, index)
        if isinstance(item, torch.Tensor):
            return apply_record(record, image)[0]
        made, masks = apply_record(
            record, image, [torch.as_tensor(self._at(item, place)) for place in self.masks]
        )
        new = dict(zip((self.image, *self.masks), (made, *masks), strict=True))
        if isinstance(item, dict):
            return {**item, **new}
        parts = [new.get(n, part) for n, part in enumerate(item)]
        if isinstance(item, list):
            return parts
        return (
            tuple(parts) if type(item) is tuple else type(item)(*parts)
        )  # a named tuple takes its parts one by one

    def _drawn(self, image: torch.Tensor, index: int) -> Record:
        index = index + len(self) if index < 0 else index
        frame = Frame(
            tuple(image.shape[1:]), self.spacing, self.codes, self.policy.unit, self.policy.modality
        )
        return draw_record(self.policy, frame, self.seed, int(self._epoch), int(index))

    def _image(self, item: Any) -> torch.Tensor:
        return item if isinstance(item, torch.Tensor) else torch.as_tensor(self._at(item, self.image))

    def _at(self, item: Any, place: int | str) -> Any:
        try:
            return item[place]
        except (KeyError, IndexError, TypeError) as error:
            raise BadOption(
                f"Augmented: an item of the data set has no {place!r}",
                "say where the image and its masks are: image=..., masks=(...)",
            ) from error

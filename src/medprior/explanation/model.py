"""The model that is explained: a person's own, as any function from images to scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BadOption, ShapeMismatch, did_you_mean
from ..prior.admit import Admitted

__all__ = ["Model", "ModelInput", "ScanAnswers"]


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What the model wants. size: voxels of each axis; None: any. channels: copies of a grey image; None: as
    the scan has. range: the model's values at the darkest and the brightest that the prior knows (CT: of the
    card's HU, else of this scan). None: (value - mean) / std in the scan's own unit.

    Raises BadOption for a size or number of channels below 1, a range that does not rise, std <= 0.
    """

    size: tuple[int, ...] | None = None
    channels: int | None = None
    range: tuple[float, float] | None = None
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if self.size is not None and (len(self.size) not in (2, 3) or min(self.size) < 1):
            raise BadOption(f"model, size: wanted 2 or 3 whole numbers of at least 1, got {self.size}")
        if self.channels is not None and self.channels < 1:
            raise BadOption(f"model, channels: wanted at least 1, got {self.channels}")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise BadOption(f"model, range: wanted two numbers, low < high, got {self.range}")
        if not self.std > 0:
            raise BadOption(f"model, std: wanted a number above 0, got {self.std}")

    def made(self, images: Tensor, low: float, high: float) -> Tensor:
        """(B, C, i, j[, k]) network units -> what the model is given. low, high: physical values at -1, 1."""
        unit = (images + 1) / 2
        if self.range is not None:
            x = self.range[0] + unit * (self.range[1] - self.range[0])
        else:
            x = (low + unit * (high - low) - self.mean) / self.std
        if self.size is not None and tuple(x.shape[2:]) != self.size:
            if len(self.size) != x.ndim - 2:
                raise ShapeMismatch("model, size", f"{x.ndim - 2} axes, as the scan has", self.size)
            mode = "bilinear" if x.ndim == 4 else "trilinear"
            x = F.interpolate(x, self.size, mode=mode, align_corners=False, antialias=x.ndim == 4)
        if self.channels is not None and self.channels != x.shape[1]:
            if x.shape[1] != 1:
                raise ShapeMismatch("model, channels", f"{x.shape[1]}, as the scan has", self.channels)
            x = x.expand(-1, self.channels, *[-1] * (x.ndim - 2))
        return x


@dataclass(frozen=True, slots=True)
class Model:
    """scores: (B, C, i, j[, k]) float32 -> (B, classes), or (B,) or (B, 1) for the second of two classes.

    outputs: what the scores are. Logits of one class go through a sigmoid, of several through a softmax.
    gradients: whether the scores can be differentiated. batch: images a call at most.
    """

    scores: Callable[[Tensor], Tensor]
    classes: tuple[str, ...]
    input: ModelInput = ModelInput()
    outputs: Literal["probabilities", "logits"] = "probabilities"
    gradients: bool = False
    batch: int = 256

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise BadOption(f"model, classes: wanted at least two different names, got {self.classes}")
        if self.outputs not in ("probabilities", "logits"):
            raise BadOption(f"model, outputs: wanted probabilities or logits, got {self.outputs!r}")

    def index(self, name: str) -> int:
        """Raises BadOption for a class that the model does not have."""
        if name not in self.classes:
            raise BadOption(f"label: the model has no class {name!r}", did_you_mean(name, list(self.classes)))
        return self.classes.index(name)

    def on(self, admitted: Admitted) -> ScanAnswers:
        """The model's answers to images in the network units of an admitted scan."""
        return ScanAnswers(self, admitted.low, admitted.high)


@dataclass(frozen=True, slots=True)
class ScanAnswers:
    """(B, C, i, j[, k]) in network units -> (B, classes) probabilities; low, high: physical values at -1, 1.

    Raises ShapeMismatch for scores of another shape, BadOption for NaN or for logits called probabilities.
    """

    model: Model
    low: float
    high: float

    def __call__(self, images: Tensor) -> Tensor:
        given = self.model.input.made(images, self.low, self.high)
        return torch.cat([self._checked(part) for part in given.split(self.model.batch)])

    def _checked(self, given: Tensor) -> Tensor:
        found = self.model.scores(given)
        if not isinstance(found, Tensor):
            found = torch.as_tensor(found)
        found = found.float().reshape(len(given), -1) if found.ndim <= 2 else found
        n = len(self.model.classes)
        if found.ndim != 2 or found.shape[1] not in ({n, 1} if n == 2 else {n}):
            raise ShapeMismatch("model, scores", f"({len(given)}, {n})", tuple(found.shape))
        if not found.isfinite().all():
            raise BadOption("model: its scores are not finite", "check the range of values that it wants")
        return _probabilities(found, self.model.outputs)


def _probabilities(found: Tensor, outputs: str) -> Tensor:
    if outputs == "logits":
        if found.shape[1] > 1:
            return found.softmax(1)
        found = found.sigmoid()
    elif float(found.detach().min()) < -1e-4 or float(found.detach().max()) > 1 + 1e-4:
        raise BadOption(
            f"model: wanted probabilities in 0..1, got {float(found.min()):.3g} to {float(found.max()):.3g}",
            "its scores are logits: say so (outputs: logits)",
        )
    return torch.cat([1 - found, found], 1) if found.shape[1] == 1 else found

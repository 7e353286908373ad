"""A head as a folder: weights.safetensors, card.json, trust.json, the prior that it stands on, and
manifest.json with their checksums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadOption, Corrupt, FileProblem
from ..io.disk.files import (
    SMALL,
    check_manifest,
    load_weights,
    read_json,
    save_weights,
    write_folder,
    write_json,
)
from ..prior import Prior
from ..prior.promises import Estimate
from ..training.folder import load, save
from .features import FeatureSettings
from .heads import LinearHead, Temperature

__all__ = ["Head", "HeadCard", "HeadPromises", "load_head", "prior_digest", "save_head"]

SCHEMA = 1
INSIDE = "prior"
"""The prior's own folder in that of the head."""


@dataclass(frozen=True, slots=True)
class HeadCard:
    """Facts about a head. classes: in order. several: labels may come together, so each has its own
    probability.

    prior, prior_sha256: name and ``prior_digest``. method: how it was learned. labels: labelled scans of each
    class. patients: of these scans. unlabelled: scans used without label. temperature, offset: of
    ``Temperature``. calibrated: whether probabilities may be called that. level: of the prediction sets;
    reach: a class is in the set where 1 - probability is at most this, None where labels are too few.
    """

    classes: tuple[str, ...]
    prior: str
    prior_sha256: str
    kind: str = "classifier"
    several: bool = False
    method: str = "labels alone"
    sigmas: tuple[float, ...] = ()
    seed: int = 0
    labels: tuple[int, ...] = ()
    patients: int = 0
    unlabelled: int = 0
    temperature: float = 1.0
    offset: tuple[float, ...] = ()
    calibrated: bool = False
    level: float = 0.9
    reach: float | None = None
    limits: tuple[str, ...] = ("research use only, not for diagnosis",)
    schema: int = SCHEMA

    @classmethod
    def from_json(cls, stored: Any) -> HeadCard:
        """Raises BadOption for a card of another schema, and for keys or values that no head can have."""
        known = {f.name for f in fields(cls)}
        if not isinstance(stored, dict) or not set(stored) <= known:
            raise BadOption("card: is not that of a head", "copy the whole folder again, or learn again")
        if stored.get("schema", SCHEMA) != SCHEMA:
            raise BadOption(f"card: schema {stored['schema']} is newer than {SCHEMA}", "update medprior")
        try:
            values: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
            card = cls(**values)
        except TypeError as error:
            raise BadOption(f"card: a value is missing ({error})", "copy the whole folder again") from error
        if len(card.classes) < 1 + (not card.several) or card.kind not in ("classifier", "segmenter"):
            raise BadOption("card: names no classes, or a kind that is not known", "copy the folder again")
        return card


@dataclass(frozen=True, slots=True)
class HeadPromises:
    """trust.json: what was measured on patients that the head had not learned from.

    estimates: by name. reliability: (mean probability, share that was right, scans) of each bin. compared:
    the mean AUROC of every method that was tried. notes: one sentence each.
    """

    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    reliability: tuple[tuple[float, float, int], ...] = ()
    compared: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, stored: Any) -> HeadPromises:
        """Raises BadOption where it is no record of promises."""
        try:
            return cls(
                {name: Estimate(**at) for name, at in stored["estimates"].items()},
                tuple((float(p), float(share), int(n)) for p, share, n in stored["reliability"]),
                {str(name): float(value) for name, value in stored["compared"].items()},
                tuple(map(str, stored["notes"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadOption(f"promises: cannot be read ({error})", "copy the whole folder again") from error


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What was learned from labels on top of a prior. tensors: weights of its network; of a classifier
    ``weight`` (K, d) and ``bias`` (K,).
    """

    card: HeadCard
    prior: Prior
    tensors: Mapping[str, Tensor]
    promises: HeadPromises = field(default_factory=HeadPromises)

    def features_for(self, *, allow_other: bool = False) -> FeatureSettings:
        """The settings of the features that it reads."""
        return FeatureSettings(self.card.sigmas, self.card.seed, allow_other)

    @property
    def digest(self) -> str:
        """SHA-256 of its weights and its card."""
        text = repr((self.card, [(name, t.tolist()) for name, t in sorted(self.tensors.items())]))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def linear(self) -> LinearHead:
        weight, bias = (self.tensors[name].double().numpy() for name in ("weight", "bias"))
        return LinearHead(weight, bias, self.card.several)

    @property
    def temperature(self) -> Temperature:
        return Temperature(self.card.temperature, self.card.offset)

    def __repr__(self) -> str:
        return f"Head on prior {self.card.prior}: {', '.join(self.card.classes)} ({self.card.method})"


def prior_digest(prior: Prior) -> str:
    """SHA-256 of the network's weights by name, as float32: the same wherever the prior lies."""
    digest = hashlib.sha256()
    for name, tensor in sorted(prior.net.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy()).tobytes())
    return digest.hexdigest()


def save_head(head: Head, folder: str | Path) -> None:
    """Writes a head's folder whole or not at all. Raises BadOption for a folder that holds something else."""
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "card.json").is_file():
        raise BadOption(f"folder: {folder} holds files that are no head", "choose another folder")

    def fill(temporary: Path) -> None:
        save_weights(temporary / "weights.safetensors", head.tensors, {"schema": str(SCHEMA)})
        write_json(temporary / "card.json", asdict(head.card))
        write_json(temporary / "trust.json", asdict(head.promises))
        save(head.prior, temporary / INSIDE)

    write_folder(folder, fill)


def load_head(name: str | Path, prior: Prior | None = None) -> Head:
    """A head by its folder or that of its run, checksums verified. prior: the one that it should stand on.

    Raises FileProblem (not there), Corrupt (a byte changed), BadOption (a head of another prior).
    """
    wanted = ("card.json", f"{INSIDE}/card.json")
    folder = next(
        (f for f in (Path(name) / "head", Path(name)) if all((f / one).is_file() for one in wanted)), None
    )
    if folder is None:
        raise FileProblem(
            Path(name), "is neither the folder of a head nor that of its run", "make one with medprior learn"
        )
    check_manifest(folder)
    card = HeadCard.from_json(read_json(folder / "card.json", SMALL))
    own = load(folder / INSIDE)
    if prior_digest(own) != card.prior_sha256 or (prior and prior_digest(prior) != card.prior_sha256):
        raise BadOption(
            f"head: was learned on another prior than this one ({card.prior!r}, {card.prior_sha256[:8]})",
            "use the prior that it was learned on, or learn a head on this one",
        )
    tensors = load_weights(folder / "weights.safetensors")
    if card.kind == "classifier" and tuple(tensors.get("bias", torch.zeros(0)).shape) != (len(card.classes),):
        raise Corrupt(folder / "weights.safetensors", "does not fit its card", "copy the whole folder again")
    return Head(card, own, tensors, HeadPromises.from_json(read_json(folder / "trust.json", SMALL)))

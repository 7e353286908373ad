"""The evidence of a synthetic set: fidelity, variety and copies, with the controls that a privacy number
needs.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.seeds import generator, seed_for
from ...errors import BadOption
from ...evidence.intervals import Estimate, clopper_pearson
from ...evidence.synthetic.copies import CopyIndex, Nearness, WayAudit, way_audit
from ...evidence.synthetic.descriptors import descriptors
from ...evidence.synthetic.fidelity import Fidelity, fidelity, gaussian_images
from ...evidence.synthetic.likeness import SIDE
from ...evidence.synthetic.membership import Leak, membership_leaks, membership_scores
from ...evidence.synthetic.moves import Move, apply_move
from ...io.dataset.scan import Index, Item
from ...prior import Condition, Prior
from ...prior.prior import untrained_prior
from ...training.loop import TrainingSettings, train
from ...training.patches import Images
from ...training.presets import PRESETS
from ..fitting.training_set import LARGEST, admitted
from .synthesize import Drawing, draw_images

__all__ = [
    "FOUND",
    "LEAST",
    "PASSED_OFF",
    "Control",
    "FilteredDraws",
    "KnownScans",
    "SetEvidence",
    "control_of",
    "copy_control",
    "hard_filter",
    "known_scans",
    "leakage",
    "over_fitted_twin",
    "set_evidence",
]

LEAST = 24
"""Images below which shares and distances are not measured."""

FOUND = {"twin": 0.95, "passed off": 0.8}
"""What each control must find (reliability: a privacy number whose control fails is not valid)."""

PASSED_OFF = {
    "mirrored": {"flip": True},
    "turned by 5 degrees": {"turn": 5.0},
    "cropped by 10 %": {"crop": 0.1},
    "gamma 1.5": {"gamma": 1.5},
}
"""Ways in which a training image may be passed off as new."""

_TWIN_NAME = "over-fitted twin"
_TWIN_OF, _TWIN_STEPS, _TWIN_N = 16, 2500, 64
"""Images that the over-fitted twin learns by heart, its steps, and how many it is asked for."""

_ROUNDS = 5
"""Draws until the hard filter has let enough through."""

_MEMBERS = 1000
"""Most scans of each side in the membership attacks."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownScans:
    """Scans that a prior learned from and scans that it did not, as the network sees them: (C, i, j[, k])
    each, slices of a volume one by one.

    labels: names, "" = none. patients: opaque, of the training images and then of the held-out ones.
    conditions: as ``labels``, for the network.
    """

    train: tuple[Tensor, ...]
    held: tuple[Tensor, ...]
    labels: tuple[tuple[str, ...], tuple[str, ...]]
    conditions: tuple[tuple[Condition, ...], tuple[Condition, ...]]
    patients: tuple[str, ...]

    def of(self, label: str | None) -> KnownScans:
        """Only the scans with that label; all where it is None."""
        if label is None:
            return self
        keep = [[n for n, name in enumerate(names) if name == label] for names in self.labels]
        m = len(self.train)
        return KnownScans(
            tuple(self.train[n] for n in keep[0]),
            tuple(self.held[n] for n in keep[1]),
            tuple(tuple(names[n] for n in at) for names, at in zip(self.labels, keep, strict=True)),  # pyright: ignore[reportArgumentType]
            tuple(tuple(given[n] for n in at) for given, at in zip(self.conditions, keep, strict=True)),  # pyright: ignore[reportArgumentType]
            tuple([self.patients[n] for n in keep[0]] + [self.patients[m + n] for n in keep[1]]),
        )


def known_scans(
    prior: Prior,
    train: Sequence[Item],
    held: Sequence[Item],
    index: Index,
    on_step: Callable[[int, int], None] | None = None,
) -> KnownScans:
    """train: the scans behind the prior; held: of other patients and the same source. Raises BadOption where
    a patient is on both sides.
    """
    both = {item.patient for item in train if item.patient} & {item.patient for item in held if item.patient}
    if both:
        raise BadOption(
            f"audit: {len(both)} patients have scans among the training scans and among the held-out ones",
            "split by patient",
        )
    sides, done = [], 0
    coarse = replace(
        prior.card, frame=(64, LARGEST[prior.card.ndim])
    )  # as they were when it learned from them
    for items in (train, held):
        images: list[Tensor] = []
        names: list[str] = []
        given: list[Condition] = []
        whose: list[str] = []
        for item in items:
            found, labels, numbers = admitted(coarse, index, [item])
            images += found
            names += [item.label] * len(found)
            whose += [item.owner] * len(found)
            given += [_condition(prior, label, known) for label, known in zip(labels, numbers, strict=True)]
            done += 1
            if on_step:
                on_step(done, len(train) + len(held))
        sides.append((images, names, given, whose))
    (a, b) = sides
    return KnownScans(
        tuple(a[0]), tuple(b[0]), (tuple(a[1]), tuple(b[1])), (tuple(a[2]), tuple(b[2])), (*a[3], *b[3])
    )


def _condition(prior: Prior, label: int, numbers: Tensor) -> Condition:
    return Condition(
        torch.tensor([label]) if prior.card.labels else None, numbers[None] if prior.card.numbers else None
    )


@dataclass(frozen=True, slots=True)
class SetEvidence:
    """fidelity, baseline: one a descriptor, of the set and of the plainest generator (a Gaussian of the
    training pixels). copies: one a way of being alike.
    """

    fidelity: tuple[Fidelity, ...]
    baseline: tuple[Fidelity, ...]
    copies: tuple[WayAudit, ...]
    nearest: Nearness
    beyond: int

    @property
    def passed(self) -> bool:
        """As a set that went through the hard filter."""
        return all(way.passed for way in self.copies)

    @property
    def passed_unfiltered(self) -> bool:
        """Whether it passes as the output of a generator without a copy filter."""
        return all(way.passed_unfiltered for way in self.copies)


def set_evidence(
    made: Sequence[Tensor], known: KnownScans, index: CopyIndex, *, label: str | None = None, seed: int = 0
) -> SetEvidence:
    """made: images in network units, none taken out. label: what was asked for; fidelity is then against
    scans of that label, copies against all.

    Raises BadOption for fewer than 24 images made.
    """
    if len(made) < LEAST:
        raise BadOption(f"evidence: wanted at least {LEAST} images, got {len(made)}", "ask for more with --n")
    nearest = index.nearest(made)
    alike = known.of(label)
    found: list[Fidelity] = []
    plain: list[Fidelity] = []
    if min(len(alike.train), len(alike.held)) >= LEAST:
        baseline = gaussian_images(_one_shape(alike.train), len(made))
        whose = alike.patients[len(alike.train) :]
        for descriptor in descriptors():
            of_train, of_held = descriptor(alike.train), descriptor(alike.held)
            for images, into in ((made, found), (baseline, plain)):
                into.append(
                    fidelity(
                        descriptor.name, descriptor(images), of_train, of_held, patients=whose, seed=seed
                    )
                )
    copies = way_audit(index, made, patients=known.patients, found=nearest)
    return SetEvidence(
        tuple(found), tuple(plain), copies, replace(nearest, every=()), int(index.beyond(nearest).sum())
    )


def _one_shape(images: Sequence[Tensor]) -> list[Tensor]:
    """Those of the most frequent shape; where it is that of few, all of them, stretched to it."""
    shape, count = Counter(tuple(image.shape) for image in images).most_common(1)[0]
    if count >= LEAST:
        return [image for image in images if tuple(image.shape) == shape]
    return [F.interpolate(image[None], size=shape[1:], mode="area")[0] for image in images]


@dataclass(frozen=True, slots=True, eq=False)
class FilteredDraws:
    """kept: by row of what was asked for, an image (C, i, j[, k]). No image is closer to a training scan than
    every held-out scan is.

    all: as drawn, the refused ones too. refused: how many.
    """

    kept: dict[int, Tensor]
    all: tuple[Tensor, ...]
    refused: int


def hard_filter(
    draw: Callable[[Sequence[int], int], Tensor], n: int, index: CopyIndex, *, seed: int = 0
) -> FilteredDraws:
    """An image that passes the hard filter for each of n rows; none where even five rounds do not give it.

    draw: (rows that are wanted, seed) -> images in network units, in their order.
    """
    kept: dict[int, Tensor] = {}
    every: list[Tensor] = []
    for again in range(_ROUNDS):
        missing = [row for row in range(n) if row not in kept]
        if not missing:
            break
        x = list(draw(missing, seed if not again else seed_for(seed, "again", again)))
        every += x
        kept |= {
            row: image
            for row, image, close in zip(missing, x, index.too_close(x).tolist(), strict=True)
            if not close
        }
    return FilteredDraws(kept, tuple(every), len(every) - len(kept))


@dataclass(frozen=True, slots=True)
class Control:
    """found: share that the audit calls a copy in either way; by_way: in each of WAYS. wanted: what it must
    find to be believed.
    """

    name: str
    found: Estimate
    by_way: tuple[float, ...]
    wanted: float

    @property
    def passed(self) -> bool:
        return self.found.value >= self.wanted


def _control(name: str, index: CopyIndex, images: Sequence[Tensor], wanted: float) -> Control:
    above = index.nearest(images).rho > index.tau
    return Control(
        name,
        clopper_pearson(int(above.any(1).sum()), len(above)),
        tuple(above.double().mean(0).tolist()),
        wanted,
    )


def control_of(prior: Prior) -> list[Control]:
    """The over-fitted twin's, from the audit of the prior that it keeps; none where there was no
    audit.
    """
    audit = prior.promises.synthesize
    return [
        Control(one.name, one.found, one.by_way, one.wanted)
        for one in (audit.controls if audit else ())
        if one.name == _TWIN_NAME
    ]


def copy_control(index: CopyIndex, *, n: int = 200, seed: int = 0) -> tuple[Control, ...]:
    """Training images, each moved a little and called new: the audit must find them."""
    some = index.train[torch.randperm(len(index.train), generator=generator(seed, "passed off"))[:n]]
    return tuple(
        _control(name, index, list(apply_move(some, Move.of(len(some), **how))), FOUND["passed off"])
        for name, how in PASSED_OFF.items()
    )


def over_fitted_twin(
    prior: Prior, index: CopyIndex, *, seed: int = 0, on_step: Callable[[int, int], None] | None = None
) -> Control:
    """A prior that memorised 16 of the training pictures: it draws copies, and the audit must say so."""
    pictures = index.train[torch.randperm(len(index.train), generator=generator(seed, "twin"))[:_TWIN_OF]]
    chosen = PRESETS["small"]
    card = replace(
        prior.card,
        channels=tuple(f"channel_{n}" for n in range(pictures.shape[1])),
        labels=(),
        numbers=(),
        ndim=2,
        axes="",
        spacing_mm=None,
        frame=(SIDE, SIDE),
        widths=chosen.widths,
        blocks=chosen.blocks,
        doubt=False,
        errors=(),
        sigma_data=round(float(pictures.std()), 4),
        data={"shape": [SIDE, SIDE]},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = untrained_prior(card)
    settings = TrainingSettings(
        steps=_TWIN_STEPS, batch=16, rate=chosen.rate, seed=seed, save_every=_TWIN_STEPS // 10
    )
    with tempfile.TemporaryDirectory(prefix="medprior-") as beside:
        told = (lambda progress, _: on_step(progress.step, progress.steps)) if on_step else None
        made = train(
            twin, Images(tuple(pictures), patches=((SIDE, 1.0),)), settings, Path(beside), on_progress=told
        )
    made.net.eval().requires_grad_(False)
    return _control(_TWIN_NAME, index, list(draw_images(made, _TWIN_N, Drawing(seed=seed))[0]), FOUND["twin"])


def leakage(
    prior: Prior, known: KnownScans, *, seed: int = 0, on_step: Callable[[int, int], None] | None = None
) -> tuple[Leak, ...]:
    """Membership attacks on the prior's weights with up to 1000 training and 1000 held-out images."""
    m = len(known.train)
    rng = generator(seed, "members")
    picked = [torch.randperm(n, generator=rng)[:_MEMBERS].tolist() for n in (m, len(known.held))]
    total, done = sum(map(len, picked)), 0
    found = []
    for side, (images, given) in enumerate(zip((known.train, known.held), known.conditions, strict=True)):
        at = picked[side]
        found.append(
            membership_scores(
                prior,
                [images[n] for n in at],
                [given[n] for n in at],
                seed=seed,
                on_step=(lambda n, _, d=done: on_step(d + n, total)) if on_step else None,
            )
        )
        done += len(at)
    whose = [known.patients[n] for n in picked[0]] + [known.patients[m + n] for n in picked[1]]
    return membership_leaks(found[0], found[1], whose=whose)

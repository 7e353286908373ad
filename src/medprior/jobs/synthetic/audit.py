"""The evidence of a synthetic set: fidelity, variety and copies, with the controls that a privacy number
needs.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.seeds import generator, seed_for
from ...errors import BadOption
from ...evidence.intervals import Estimate, clopper_pearson
from ...evidence.synthetic.copies import CopyAudit, CopyIndex, Nearness, copy_audit
from ...evidence.synthetic.descriptors import descriptors
from ...evidence.synthetic.fidelity import Fidelity, fidelity, gaussian_images
from ...evidence.synthetic.membership import Leak, membership_leaks, membership_scores
from ...evidence.synthetic.moves import Move, apply_move, warped
from ...io.dataset.scan import Index, Item
from ...prior import Condition, Prior
from ...prior.prior import untrained_prior
from ...training.loop import TrainingSettings, train
from ...training.patches import Images
from ...training.presets import PRESETS
from ..fitting.training_set import LARGEST, admitted
from .synthesize import Drawing, draw_images

__all__ = [
    "LEAST",
    "MATTERS",
    "SHARES",
    "Control",
    "FilteredDraws",
    "KnownScans",
    "SetEvidence",
    "control_of",
    "copy_controls",
    "disguises",
    "hard_filter",
    "known_scans",
    "leakage",
    "over_fitted_twin",
    "set_evidence",
    "valid_audit",
]

LEAST = 24
"""Images below which shares and distances are not measured."""

FOUND = 0.9
"""How often a control must turn the verdict."""

TWIN_FOUND = 0.95
"""Share of the over-fitted twin's images that must look like copies (reliability: a privacy number whose
control fails is not valid)."""

SHARES = (0.1, 0.2)
"""Shares of copies among a set's own images that are tried as controls."""

MATTERS = 0.2
"""Share of copies above which a kind of disguise counts as not asked for."""

_STEPS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)

_OUTSIDE = ("turned by 25 degrees", "cropped by 35 %", "blurred, with noise")
"""Disguises that the search does not try out."""

_TWIN_NAME = "over-fitted twin"
_TWIN_OF, _TWIN_STEPS, _TWIN_N, _TWIN_SIDE = 16, 2500, 64, 32
"""Images that the over-fitted twin learns by heart, its steps, how many it draws, and pixels a side."""

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
    training pixels). nearest: of each image.
    """

    fidelity: tuple[Fidelity, ...]
    baseline: tuple[Fidelity, ...]
    copies: CopyAudit
    nearest: Nearness


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
    return SetEvidence(tuple(found), tuple(plain), copy_audit(index, nearest), nearest)


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
    """Copies that were hidden. found: share of them that lies nearer to training than every held-out scan (of
    the twin: than 95 %). wanted: least value of what decides.

    turned: how often the verdict turns where 10 % and 20 % of the set's own images are such copies. smallest:
    share of copies that turns it in 9 of 10 cases, None where none does. outside: not among the moves that
    the search tries.
    """

    name: str
    found: Estimate
    wanted: float
    turned: tuple[float, ...] = ()
    smallest: float | None = None
    outside: bool = False

    @property
    def passed(self) -> bool:
        return (self.turned[-1] if self.turned else self.found.value) >= self.wanted

    @property
    def asked(self) -> bool:
        """Whether a share of such copies that matters would be found."""
        return self.smallest is not None and self.smallest <= MATTERS


def valid_audit(controls: Sequence[Control]) -> str:
    """Why an audit with these controls proves nothing; "" where it does. The memorising twin must be found,
    and mirrored copies, which are the plainest.
    """
    missed = [one.name for one in controls if not one.turned and not one.passed]
    if missed:
        return f"the audit misses images of an {missed[0]}"
    mixed = [one for one in controls if one.turned]
    if mixed and not mixed[0].asked:
        return (
            f"with so few images and held-out patients {MATTERS:.0%} of copies that are {mixed[0].name} "
            "would not be seen"
        )
    return ""


def control_of(prior: Prior) -> list[Control]:
    """The over-fitted twin's, from the audit of the prior that it keeps; none where there was no
    audit.
    """
    audit = prior.promises.synthesize
    return [
        Control(one.name, one.found, one.wanted)
        for one in (audit.controls if audit else ())
        if one.name == _TWIN_NAME
    ]


def disguises(pictures: Tensor, others: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
    """Ways in which pictures (n, C, i, j) may be passed off as new. others: of other patients, to mix
    with.
    """
    n = len(pictures)
    sign = 1 - 2.0 * torch.randint(2, (n,), generator=rng)

    def moved(images: Tensor = pictures, **how: Any) -> Tensor:
        move = Move.of(n, **{name: value for name, value in how.items() if name != "turn"})
        return apply_move(images, replace(move, turn=how.get("turn", 0.0) * sign))

    noise = 0.15 * torch.randn(pictures.shape, generator=rng)
    return {
        "mirrored": moved(flip=True),
        "shifted by 8 %": moved(shift=(0.08, 0.0)),
        "turned by 15 degrees": moved(turn=15.0),
        "cropped by 20 %": moved(crop=0.2),
        "warped by 4 %": warped(pictures, 0.04, rng),
        "of gamma 2.5": moved(gamma=2.5),
        "mixed of two": (pictures + others) / 2,
        "mirrored, turned, cropped and of another gamma": moved(flip=True, turn=11.0, crop=0.15, gamma=1.8),
        _OUTSIDE[0]: moved(turn=25.0),
        _OUTSIDE[1]: moved(crop=0.35),
        _OUTSIDE[2]: F.avg_pool2d(F.pad(pictures + noise, [2] * 4, mode="replicate"), 5, stride=1),
    }


def copy_controls(index: CopyIndex, own: Nearness, *, n: int = 40, seed: int = 0) -> tuple[Control, ...]:
    """Training pictures in disguise among the set's own images: the verdict must turn. own: of the images as
    they were drawn; n: pictures of each kind.
    """
    rng = generator(seed, "passed off")
    order = torch.randperm(len(index.train), generator=rng)
    some = order[:n]
    others = torch.stack(
        [next(at for at in order.flip(0) if index.codes[at] != index.codes[one]) for one in some]
    )
    found = []
    for name, images in disguises(index.train[some], index.train[others], rng).items():
        near = index.nearest(list(images))
        hits = int((near.score > index.limit).sum())
        turned = tuple(index.turned(own, near, share) for share in SHARES)
        smallest = next((share for share in _STEPS if index.turned(own, near, share) >= FOUND), None)
        found.append(
            Control(name, clopper_pearson(hits, len(some)), FOUND, turned, smallest, name in _OUTSIDE)
        )
    return tuple(found)


def over_fitted_twin(
    prior: Prior, index: CopyIndex, *, seed: int = 0, on_step: Callable[[int, int], None] | None = None
) -> Control:
    """A prior that memorised 16 of the training pictures: it draws copies, and the audit must say so."""
    some = torch.randperm(len(index.train), generator=generator(seed, "twin"))[:_TWIN_OF]
    pictures = F.interpolate(index.train[some], size=(_TWIN_SIDE, _TWIN_SIDE), mode="area")
    chosen = PRESETS["small"]
    card = replace(
        prior.card,
        channels=tuple(f"channel_{n}" for n in range(pictures.shape[1])),
        labels=(),
        numbers=(),
        ndim=2,
        axes="",
        spacing_mm=None,
        frame=(_TWIN_SIDE, _TWIN_SIDE),
        widths=chosen.widths,
        blocks=chosen.blocks,
        doubt=False,
        errors=(),
        sigma_data=round(float(pictures.std()), 4),
        data={"shape": [_TWIN_SIDE, _TWIN_SIDE]},
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
            twin,
            Images(tuple(pictures), patches=((_TWIN_SIDE, 1.0),)),
            settings,
            Path(beside),
            on_progress=told,
        )
    made.net.eval().requires_grad_(False)
    near = index.nearest(list(draw_images(made, _TWIN_N, Drawing(seed=seed))[0]))
    alike = int((near.score > index.tau).sum())
    return Control(_TWIN_NAME, clopper_pearson(alike, len(near.score)), TWIN_FOUND)


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

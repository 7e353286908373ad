"""Explain: scan + a person's own model -> what would have to be different for another answer, which places
the answer depends on, and whether each explanation passes its check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from PIL import Image
from torch import Tensor

from ..data.views import as_html, row_of, views_of
from ..data.volume import Volume
from ..errors import BadOption
from ..explanation.attribution import (
    Infill,
    MapTest,
    Occluded,
    importance,
    map_evaluations,
    map_tests,
    occluded,
)
from ..explanation.believable import Likeness, learn_likeness
from ..explanation.coarse import Coarse
from ..explanation.counterfactual import Counterfactuals, Problem, at_distance, smallest
from ..explanation.latent import Search
from ..explanation.model import Model, ModelInput, ScanAnswers
from ..learning.head_folder import Head
from ..learning.head_model import head_scores, shuffled_head
from ..prior import Condition, Denoiser, Prior
from ..prior.admit import Admitted, admit, region_of, release, release_in, release_map
from .given import GivenPrior, GivenScan, load_scan, prior_of
from .reconstruct import windowed
from .stacks import by_slice
from .synthetic.synthesize import finenesses

__all__ = [
    "Counterfactual",
    "Explained",
    "Explaining",
    "ImportanceMap",
    "explain",
    "head_as_model",
    "likeness_of",
    "network_images",
    "working_size",
]

_SHARE = 0.25
"""Of the scan's area that a found region has."""

_SMALLEST = 48
"""Voxels along a side below which a scan is not worked on at half its size."""

OnStep = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explaining:
    """What is explained. label: the answer that the counterfactual shall have; default: the next likely one.

    region: where the scan may change: "whole", "found" (where the answer depends on it) or a mask on the
    scan's grid. search: how hard it is looked for. maps: also make and test maps of importance. full_size:
    work on all voxels of a large scan; default: at a size that the prior has learned from, of 48 voxels a
    side at least. The change is then enlarged, and the fine detail of the scan stays.
    """

    label: str | None = None
    region: Volume | str = "whole"
    search: Search = field(default_factory=Search)
    maps: bool = True
    full_size: bool = False
    seed: int = 0
    allow_other: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.region, str) and self.region not in ("whole", "found"):
            raise BadOption(f"region: wanted whole, found or a mask, got {self.region!r}")


_USUAL = Explaining()


@dataclass(frozen=True, slots=True, repr=False)
class Counterfactual:
    """A scan that the model answers otherwise. image: on the scan's grid and unit, marked synthetic.
    difference: image - scan, in the scan's unit. probability: of the target class, read from the image as it
    is written. change: mean |difference|, as a share of the scan's range. outside: share of the change that
    lies outside of the region; 0 where there is none. p_value: share of real scans that look at least as
    unusual; None where no real scans were given.
    """

    image: Volume
    difference: Volume
    probability: float
    turned: bool
    change: float
    outside: float
    p_value: float | None


@dataclass(frozen=True, slots=True, repr=False)
class ImportanceMap:
    """Where the answer depends on the scan. values: on the scan's grid, without a unit. test: its check."""

    name: str
    values: Volume
    test: MapTest


@dataclass(frozen=True, slots=True, repr=False)
class Explained:
    """Why a model answers as it does.

    answer: probability of each class. given: the class that the model gives. target: the class that the
    counterfactuals shall have. found: three of four turn the answer. counterfactuals: one of each fresh
    search, the median change first. p_value: of the scan itself. region: where it could change; None:
    everywhere. distance: noise of the scan as a measurement, network units.
    """

    answer: dict[str, float]
    given: str
    target: str
    found: bool
    counterfactuals: tuple[Counterfactual, ...]
    maps: tuple[ImportanceMap, ...]
    p_value: float | None
    region: Volume | None
    distance: float

    def __repr__(self) -> str:
        """One line: "Explained: pneumonia (0.93); normal in 4 of 4 counterfactuals"."""
        turned = sum(one.turned for one in self.counterfactuals)
        return (
            f"Explained: {self.given} ({self.answer[self.given]:.2f}); {self.target} in {turned} of "
            f"{len(self.counterfactuals)} counterfactuals"
        )

    def show(self) -> Image.Image:
        """The counterfactual of median change and its difference, side by side."""
        shown = self.counterfactuals[0]
        return row_of([views_of(shown.image), views_of(shown.difference)])

    def _repr_html_(self) -> str:
        return as_html(self.show(), f"{self!r}. Left: counterfactual; right: its difference to the scan")


def network_images(what: Explaining, shape: tuple[int, ...]) -> int:
    """Images of a shape (i, j[, k]) through the network where the first distance is enough, at most; a volume
    counts as one.
    """
    if not what.maps:
        return what.search.evaluations
    once = replace(what.search, repeats=1)
    return what.search.evaluations + once.evaluations + map_evaluations(shape, n_maps=2)


def working_size(prior: Prior, admitted: Admitted, what: Explaining) -> tuple[int, ...]:
    """(i, j[, k]) at which a scan is explained. The slices of a 2-D prior stay as many as they are."""
    size = tuple(admitted.whole.shape[1:])
    if what.full_size:
        return size
    halved = len(size) - admitted.stack
    for _ in range(finenesses(prior) - 1):
        if min(size[:halved]) < 2 * _SMALLEST:
            break
        size = (*(-(-n // 2) for n in size[:halved]), *size[halved:])
    return size


def explain(
    prior: GivenPrior,
    scan: GivenScan,
    model: Model | Head,
    what: Explaining = _USUAL,
    *,
    shuffled: Model | None = None,
    real: Sequence[Volume] | Likeness = (),
    on_step: OnStep | None = None,
) -> Explained:
    """Counterfactuals and tested maps of importance of a model's answer to a scan.

    model: a function of yours, or a head of ``medprior.learn`` on the same prior. shuffled: the model with
    the numbers of its weights in random order; a map that looks the same with it says nothing of the model.
    Without it that check is left out; of a head it is made here.
    real: real scans that the prior has not learned from, 19 at least: they say whether an image is in
    distribution; or what ``likeness_of`` learned from them. Raises BadOption (a class that the model lacks or
    gives already, no region, scores that are no probabilities), ShapeMismatch (scores, size, channels),
    WrongKind, Diverged.
    """
    prior = prior_of(prior)
    model, shuffled = _models(model, shuffled, prior, what.seed)
    admitted = admit(prior.card, load_scan(scan, prior), allow_other=what.allow_other)
    coarse = Coarse(admitted.whole[None], working_size(prior, admitted, what))
    job = _Job(prior, admitted, model, what, coarse)
    answer = job.answers(job.scan)[0]
    given = int(answer.argmax())
    target = _target(model, answer, what.label)
    likeness = real if isinstance(real, Likeness) else None
    if likeness is None and real:
        likeness = likeness_of(prior, admitted.source, real, allow_other=what.allow_other)  # type: ignore[arg-type]
    step = on_step or (lambda done, total: None)
    total = 4 if what.maps else 2
    windows = occluded(job.scan, job.infill) if what.maps or what.region == "found" else None
    step(1, total)
    region = _region(job, None if windows is None else windows.importance(job.likelihood(given)))
    free = None if region is None else coarse.shrunk(region)
    found = smallest(job.problem(target, free), what.search, what.seed)
    step(2, total)
    lifted = _lifted(job, found, target, region)
    shown = _counterfactuals(job, lifted, region, likeness)
    maps = ()
    if what.maps and windows is not None:
        other = None if shuffled is None else replace(job, model=shuffled)
        maps = _maps(job, other, given, target, windows, found)
    step(total, total)
    return Explained(
        {name: float(p) for name, p in zip(model.classes, answer, strict=True)},
        model.classes[given],
        model.classes[target],
        lifted.enough,
        shown,
        maps,
        None if likeness is None else float(likeness.p_values(coarse.whole, job.condition)[0]),
        None if region is None else _mask_volume(job, region),
        found.distance,
    )


def head_as_model(head: Head, prior: Prior, *, gradients: bool = False) -> Model:
    """A head as a model of images in network units. Raises what ``head_scores`` raises."""
    scores, image = head_scores(head, prior, gradients=gradients), ModelInput(range=(-1.0, 1.0))
    return Model(scores, head.card.classes, image, "logits", gradients)


def _models(
    model: Model | Head, shuffled: Model | None, prior: Prior, seed: int
) -> tuple[Model, Model | None]:
    """The model, and the same with shuffled weights where that can be had."""
    if isinstance(model, Head):
        return head_as_model(model, prior), shuffled or head_as_model(shuffled_head(model, seed), prior)
    if not isinstance(model, Model):
        raise BadOption(
            f"model: wanted a Model, got a {type(model).__name__}",
            'wrap your function: medprior.Model(function, classes=("normal", "pneumonia"))',
        )
    return model, shuffled


@dataclass(frozen=True, slots=True)
class _Job:
    """One scan before one model. coarse: the scan at the size that is worked on."""

    prior: Prior
    admitted: Admitted
    model: Model
    what: Explaining
    coarse: Coarse

    @property
    def scan(self) -> Tensor:
        """(1, C, *size) of the size that is worked on."""
        return self.coarse.scan

    @property
    def full(self) -> ScanAnswers:
        """The model's answers to images of the scan's size."""
        return self.model.on(self.admitted)

    def answers(self, images: Tensor) -> Tensor:
        """(B, C, *size) -> (B, classes): what the model says of the scan with this change in it."""
        return self.full(self.coarse.lifted(images))

    @property
    def denoiser(self) -> Denoiser:
        return _denoiser(self.prior, self.admitted)

    @property
    def condition(self) -> Condition | None:
        return _condition(self.admitted)

    def problem(self, target: int, region: Tensor | None) -> Problem:
        return Problem(
            self.denoiser,
            self.scan,
            self.likelihood(target),
            region,
            self.condition,
            gradients=self.model.gradients,
        )

    def likelihood(self, target: int) -> Callable[[Tensor], Tensor]:
        return lambda images: self.answers(images)[:, target]

    @property
    def infill(self) -> Infill:
        return Infill(self.denoiser, self.scan, self.what.seed)


def _target(model: Model, answer: Tensor, label: str | None) -> int:
    """The class asked for, else the next likely one. Raises BadOption where the model gives it already."""
    order = answer.argsort(descending=True).tolist()
    target = order[1] if label is None else model.index(label)
    if target == order[0]:
        raise BadOption(
            f"label: the model already answers {label!r} ({float(answer[target]):.2f})",
            f"ask for another one: {', '.join(name for name in model.classes if name != label)}",
        )
    return target


def likeness_of(prior: Prior, scan: Volume, real: Sequence[Volume], *, allow_other: bool = False) -> Likeness:
    """What real scans of the size of a scan look like to a prior. Raises Uncalibrated under 19 of them."""
    admitted = admit(prior.card, scan, allow_other=allow_other)
    images = [admit(prior.card, one, allow_other=allow_other).whole for one in real]
    same = [one for one in images if one.shape == admitted.whole.shape]
    known = torch.stack(same) if same else admitted.whole[None][:0]
    return learn_likeness(_denoiser(prior, admitted), known, _condition(admitted))


def _denoiser(prior: Prior, admitted: Admitted) -> Denoiser:
    """Of the whole scan; a volume by a 2-D prior slice by slice."""
    one = windowed(prior)
    return by_slice(one, admitted.condition.numbers) if admitted.stack else one


def _condition(admitted: Admitted) -> Condition | None:
    return None if admitted.stack else admitted.condition


def _region(job: _Job, occluded: Tensor | None) -> Tensor | None:
    """(i, j[, k]) bool on the prior's grid, in the scan's size; None: everywhere. Raises BadOption for
    nothing, ShapeMismatch.
    """
    region = job.what.region
    if isinstance(region, Volume):
        drawn = region_of(job.prior.card, job.admitted, region)
        drawn = drawn[:, 0].movedim(0, -1) if job.admitted.stack else drawn[0, 0]
        if not drawn.any():
            raise BadOption(
                "region: it holds nothing of the scan", "wanted a mask that is not 0 inside of it"
            )
        return drawn
    if region == "whole" or occluded is None:
        return None
    level = occluded.flatten().quantile(1 - _SHARE)
    return job.coarse.grown(occluded > level)


def _lifted(job: _Job, found: Counterfactuals, target: int, region: Tensor | None) -> Counterfactuals:
    """In the scan's own size, the scan to the last bit outside of the region, and what the model says."""
    images = job.coarse.lifted(found.images)
    if region is not None:
        images = torch.where(region, images, job.coarse.whole)
    with torch.no_grad():
        probabilities = job.full(images)[:, target]
    return replace(found, images=images, probabilities=probabilities, turned=probabilities >= 0.5)


def _counterfactuals(
    job: _Job, found: Counterfactuals, region: Tensor | None, likeness: Likeness | None
) -> tuple[Counterfactual, ...]:
    """In the scan's unit, the median change first. What the model says is read from the image as written."""
    p_values = None if likeness is None else likeness.p_values(found.images, job.condition)
    made = []
    for n, image in enumerate(found.images):
        volume = _released(job, image, region)
        difference = replace(volume, data=volume.data - job.admitted.source.data).noted(
            "difference between a counterfactual by medprior and the scan", synthetic=True
        )
        change = (image - job.coarse.whole[0]).abs()
        inside = change if region is None else change * region
        made.append(
            Counterfactual(
                volume,
                difference,
                float(found.probabilities[n]),
                bool(found.turned[n]),
                float(change.mean()) / 2,
                float(1 - inside.sum() / change.sum().clamp_min(1e-12)),
                None if p_values is None else float(p_values[n]),
            )
        )
    order = sorted(range(len(made)), key=lambda n: (not made[n].turned, made[n].change))
    middle = max(0, (sum(one.turned for one in made) - 1) // 2)
    return tuple(made[n] for n in (order[middle], *order[:middle], *order[middle + 1 :]))


def _released(job: _Job, image: Tensor, region: Tensor | None) -> Volume:
    images = image.movedim(-1, 0) if job.admitted.stack else image[None]
    sentence = (
        f"counterfactual by medprior: prior {job.prior.card.name}, what a model would answer otherwise to"
    )
    if isinstance(job.what.region, Volume):
        return release_in(job.admitted, images, job.what.region, sentence=sentence)
    if region is not None:
        return release_in(job.admitted, images, _mask_volume(job, region), sentence=sentence)
    return release(job.admitted, images, sentence=sentence)


def _mask_volume(job: _Job, region: Tensor) -> Volume:
    at = release_map(job.admitted, region.float(), sentence="where a counterfactual may change the scan")
    return replace(at, data=(at.data > 0.5).astype("float32"), unit="label")


def _maps(
    job: _Job, other: _Job | None, given: int, target: int, windows: Occluded, found: Counterfactuals
) -> tuple[ImportanceMap, ...]:
    """Occlusion, the counterfactuals' change, and integrated gradients where the model has gradients, each of
    the model and of the one with shuffled weights.
    """
    turned = found.images[found.turned] if found.turned.any() else found.images
    made = [_values(job, given, windows, turned)]
    if other is not None:
        once = replace(job.what.search, repeats=1)
        again = at_distance(other.problem(target, None), found.distance, once, job.what.seed)
        made.append(_values(other, given, windows, again.images))
    shuffled = made[1] if len(made) > 1 else {}
    tests = map_tests(made[0], job.infill, job.likelihood(given), shuffled=shuffled)
    return tuple(
        ImportanceMap(
            name,
            release_map(job.admitted, values, sentence=f"importance for a model's answer: {name}"),
            tests[name],
        )
        for name, values in made[0].items()
    )


def _values(job: _Job, given: int, windows: Occluded, turned: Tensor) -> dict[str, Tensor]:
    """(i, j[, k]) of each map, by name."""
    values = {
        "occlusion": windows.importance(job.likelihood(given)),
        "change": (turned - job.scan).abs().sum(1).mean(0),
    }
    if job.model.gradients:

        def scores(images: Tensor) -> Tensor:
            return job.answers(images)[:, given].clamp_min(1e-6).log()

        values["gradients"] = importance(job.scan, scores, turned[:1])
    return values

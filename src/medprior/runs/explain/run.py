"""Explain as a run: the job, the files that it writes and the numbers of its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from ...data.volume import Volume
from ...errors import Unsupported
from ...explanation.latent import Search
from ...explanation.model import Model
from ...io.dataset.scan import Item
from ...io.read import read
from ...jobs.explain import Explained, Explaining, explain, network_images, working_size
from ...jobs.inpaint import box_mask
from ...learning.features import FeatureSettings, volume_features
from ...learning.similar import Neighbour, nearest_cases
from ...prior import Prior
from ...prior.admit import Admitted
from ..ask.requests import Explain
from ..core.cost import announce
from ..core.outputs import Outcome, Output, ScanResult, Summary
from ..core.progress import Event, OnEvent
from .model import LoadedModel, load_model
from .page import explain_section
from .real_scans import real_scans

__all__ = ["run_explain"]


def run_explain(request: Explain, prior: Prior, volume: Volume, on_event: OnEvent) -> Outcome:
    """The job, its outputs and its section."""
    loaded = load_model(request.model, prior)
    what = Explaining(
        label=request.label,
        region=_region(request, volume),
        search=Search(particles=request.particles, repeats=request.n),
        seed=request.seed,
        full_size=request.full_size,
        allow_other=request.allow_other,
    )
    admitted = prior.admit(volume, allow_other=request.allow_other)
    size = working_size(prior, admitted, what)
    n_images = network_images(what, size)
    announce(prior, len(admitted.images), size[: prior.card.ndim], n_images, on_event)
    if request.real is not None:
        on_event(Event("stage", "reading real scans"))
    real = real_scans(request, prior)
    on_event(Event("stage", "looking for the smallest change that turns the answer", 0, 4))
    found = explain(
        prior,
        volume,
        loaded.differentiable(admitted) if request.gradients else loaded.model,
        what,
        shuffled=_shuffled(loaded.shuffled(request.seed), admitted, gradients=request.gradients),
        real=real.likeness(volume) or (),
        on_step=lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    section, preview = explain_section(volume, found, _similar(request, prior, volume, real.others(volume)))
    return Outcome(
        _metrics(found),
        [section],
        preview,
        explain_summary(found),
        _outputs(volume, found),
        answer=_answer(found),
    )


def _shuffled(loaded: LoadedModel, admitted: Admitted, *, gradients: bool) -> Model:
    """With gradients where they are wanted and can be trusted."""
    try:
        return loaded.differentiable(admitted) if gradients else loaded.model
    except Unsupported:
        return loaded.model


def _answer(found: Explained) -> ScanResult:
    """What the model says, and whether a change turns it: the smallest change comes first."""
    shown = found.counterfactuals[0]
    cells = {
        "answer": found.given,
        "probability": found.answer[found.given],
        "target": found.target,
        "turned": found.found,
        "change": shown.change,
        "p_believable": found.p_value,
    }
    return ScanResult(cells, (0.0 if found.found else 1.0, shown.change))


def _region(request: Explain, volume: Volume) -> Volume | str:
    if request.mask is not None:
        return read(request.mask, unit="label")
    return request.region if request.box is None else box_mask(volume, request.box)


def _similar(
    request: Explain, prior: Prior, volume: Volume, real: Sequence[tuple[Item, Volume]]
) -> list[tuple[Neighbour, Volume]]:
    """The nearest real scans of each label, as the prior sees them."""
    if not request.similar or len(real) < 2:
        return []
    how = FeatureSettings(allow_other=request.allow_other)
    seen = volume_features(prior, [volume, *(case for _, case in real)], how)
    labels = [item.label for item, _ in real]
    return [(one, real[one.at][1]) for one in nearest_cases(seen[0], seen[1:], labels, request.similar)]


def _outputs(volume: Volume, found: Explained) -> list[Output]:
    shown = found.counterfactuals[0]
    outputs = [
        Output(f"counterfactual_{n + 1}", one.image, "counterfactual", like=volume)
        for n, one in enumerate(found.counterfactuals)
    ]
    largest = float(np.abs(shown.difference.data).max()) or 1.0
    outputs.append(Output("difference", shown.difference, "map", like=volume, window=(-largest, largest)))
    outputs += [
        Output(f"importance_{one.name}", one.values, "map", like=volume, window=_window(one.values))
        for one in found.maps
        if one.test.passes
    ]
    return outputs


def _window(values: Volume) -> tuple[float, float]:
    high = float(values.data.max())
    return min(0.0, float(values.data.min())), high if high > 0 else 1.0


def _metrics(found: Explained) -> dict[str, object]:
    return {
        "answer": found.answer,
        "given": found.given,
        "target": found.target,
        "found": found.found,
        "p_value": found.p_value,
        "distance": found.distance,
        "counterfactuals": [
            {
                "probability": one.probability,
                "turned": one.turned,
                "change": one.change,
                "outside": one.outside,
                "p_value": one.p_value,
            }
            for one in found.counterfactuals
        ],
        "maps": {one.name: asdict(one.test) | {"why_not": one.test.why_not} for one in found.maps},
    }


def explain_summary(found: Explained) -> Summary:
    """The answer, and what would have to be different, in plain sentences."""
    answer = f"The model answers {found.given} ({found.answer[found.given]:.2f})."
    turned = [one for one in found.counterfactuals if one.turned]
    if not found.found:
        text = (
            f"No believable change was found that turns the answer to {found.target}: {len(turned)} of "
            f"{len(found.counterfactuals)} searches found one."
        )
    else:
        change = found.counterfactuals[0].change
        text = (
            f"A change of {100 * change:.1f} % of the range turns it to {found.target}, in {len(turned)} of "
            f"{len(found.counterfactuals)} searches."
        )
    passed = [one.name for one in found.maps if one.test.passes]
    maps = f"Maps that pass their check: {', '.join(passed) or 'none'}." if found.maps else ""
    result = f"{found.given}, {found.target} in {len(turned)} of {len(found.counterfactuals)}"
    return Summary(tuple(filter(None, (answer, text, maps))), result)

"""The page of explain: the answer, the pair under a slider, the maps with their checks, the limits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ...data.views import grey, number, sides, upright, widest_slice, window_for
from ...data.volume import Volume
from ...jobs.explain import Explained, ImportanceMap
from ...learning.similar import Neighbour
from ..page.blocks import Block, Compare, Grid, Picture, Section, Table
from ..page.pictures import overlaid

__all__ = ["explain_section"]

_SHOWN = 0.9
"""Quantile of a map above which it is coloured."""


def explain_section(
    volume: Volume, found: Explained, similar: Sequence[tuple[Neighbour, Volume]] = ()
) -> tuple[Section, list[tuple[str, Image.Image]]]:
    """The section, and (title, picture) of the preview. similar: real scans to be laid beside it."""
    at = _slice(found)
    scan, other, layer = _pair(volume, found, at)
    blocks: list[Block] = [_answers(found), Compare(scan, other, layer), _searches(found)]
    if found.maps:
        blocks += [Grid([_map_picture(volume, one, at) for one in found.maps]), _checks(found)]
    if similar:
        blocks.append(Grid([_case(one, case) for one, case in similar]))
    section = Section(
        "Explain: what would have to be different",
        "The prior drew scans that stay near this one and that the model answers otherwise. The region that "
        "changes shows what the model goes by.",
        blocks,
        verdict=_verdict(found),
        caveats=_limits(found),
    )
    return section, [("scan", _plain(scan)), ("counterfactual (synthetic)", _plain(other))]


def _plain(picture: Picture) -> Image.Image:
    return picture.image  # type: ignore[return-value]


def _slice(found: Explained) -> int | None:
    """The axial slice of a volume with the largest change; None for an image."""
    difference = found.counterfactuals[0].difference
    widest = widest_slice(difference.with_data(np.abs(difference.data)), "axial")
    return None if widest is None else widest[0]


def _pair(volume: Volume, found: Explained, at: int | None) -> tuple[Picture, Picture, Picture]:
    shown, window, edges = found.counterfactuals[0], window_for(volume), sides(volume)
    base = grey(upright(volume, at=at), window)
    change = np.abs(upright(shown.difference, at=at))
    level = float(np.quantile(change, _SHOWN))
    high = max(float(change.max()), level + 1e-12)
    return (
        Picture(base, "Scan", f"The model answers {found.given}.", window=window, edges=edges),
        Picture(
            grey(upright(shown.image, at=at), window),
            "Counterfactual",
            f"The model answers {found.target} ({shown.probability:.2f}).",
            synthetic=True,
            window=window,
            edges=edges,
        ),
        Picture(
            base,
            "What changed",
            "Coloured: the tenth of the scan that changed most, in the scan's unit.",
            legend=(number(level), number(high), "overlay"),
            layer=overlaid(change, level, high),
            window=window,
            edges=edges,
        ),
    )


def _answers(found: Explained) -> Table:
    rows = [["class", "probability"]]
    rows += [[name, f"{p:.3f}"] for name, p in sorted(found.answer.items(), key=lambda one: -one[1])]
    return Table(rows, "As the model gives them. They are not calibrated by medprior.", open=True)


def _searches(found: Explained) -> Table:
    rows = [["search", f"probability of {found.target}", "turned", "change, % of the range", "p, real scans"]]
    rows += [
        [
            str(n + 1),
            f"{one.probability:.2f}",
            "yes" if one.turned else "no",
            f"{100 * one.change:.2f}",
            "not measured" if one.p_value is None else f"{one.p_value:.2g}",
        ]
        for n, one in enumerate(found.counterfactuals)
    ]
    note = (
        "Each row is a fresh search; the first is shown above. p: share of real scans whose denoising errors "
        "are at least as unusual. A small p means that the prior does not believe the image."
    )
    return Table(rows, note, open=True)


def _map_picture(volume: Volume, one: ImportanceMap, at: int | None) -> Picture:
    window, values = window_for(volume), upright(one.values, at=at)
    base = grey(upright(volume, at=at), window)
    level, high = float(np.quantile(values, _SHOWN)), float(values.max())
    layer = overlaid(values, level, max(high, level + 1e-12))
    passes = one.test.passes
    return Picture(
        base,
        f"Importance: {one.name}",
        "Passes its check." if passes else f"Greyed. It does not pass: {one.test.why_not}.",
        legend=(number(level), number(high), "overlay") if passes else None,
        layer=layer if passes else layer.convert("LA").convert("RGBA"),
        window=window,
        edges=sides(volume),
    )


def _case(one: Neighbour, case: Volume) -> Picture:
    window = window_for(case)
    return Picture(
        grey(upright(case), window),
        f"Similar case: {one.label or 'no label'}",
        f"A real scan. Likeness of the prior's features {one.alike:.2f}, 1 for the same scan.",
        window=window,
        edges=sides(case),
    )


def _checks(found: Explained) -> Table:
    rows = [["map", "deletion", "deletion of random places", "insertion", "alike with shuffled weights"]]
    rows += [
        [
            one.name,
            f"{one.test.deletion:.3f}",
            f"{np.mean(one.test.random):.3f} ({min(one.test.random):.3f} to {max(one.test.random):.3f})",
            f"{one.test.insertion:.3f}",
            "not measured" if one.test.alike is None else f"{one.test.alike:.2f}",
        ]
        for one in found.maps
    ]
    note = (
        f"Mean probability of {found.given} while the prior draws the most important 5, 10, 20 and 40 % anew "
        "(deletion), or all but these (insertion). A map passes if its deletion is lower than that of "
        f"{len(found.maps[0].test.random)} random maps, and if shuffled weights give another map."
    )
    return Table(rows, note, open=True)


def _verdict(found: Explained) -> str:
    answer = f"The model answers {found.given} ({found.answer[found.given]:.2f})."
    if found.p_value is not None:
        usual = "is in distribution" if found.p_value > 0.05 else "is unlike the real scans"
        answer += f" The scan {usual} (p = {found.p_value:.2g})."
    turned = sum(one.turned for one in found.counterfactuals)
    if not found.found:
        return (
            f"{answer} No believable change turns it to {found.target}: {turned} of "
            f"{len(found.counterfactuals)} searches found one."
        )
    return (
        f"{answer} A change of {100 * found.counterfactuals[0].change:.1f} % of the range turns it to "
        f"{found.target}, in {turned} of {len(found.counterfactuals)} fresh searches."
    )


def _limits(found: Explained) -> tuple[str, ...]:
    lines = [
        "This explains the model, not the patient. It does the same for a wrong answer.",
        "A change that turns one model need not convince another: medprior evaluate explain measures how "
        "often a second model agrees.",
    ]
    if found.p_value is None:
        lines.append(
            "Whether the images are in distribution was not measured: give real scans (--real FOLDER)."
        )
    return tuple(lines)

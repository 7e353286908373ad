"""The section of reconstruct: the known image or the measured data, every method beside ours, errors on one
scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...data.views import Window, grey, number, plane_of, sides, upright, window_for
from ...data.volume import Volume
from ...prior import Prior
from ...sampling import Draws
from ..page.blocks import Grid, Picture, Section, Table
from ..page.pictures import coloured
from .scanner_files import Acquired
from .simulate import Case
from .trust import spread_caption

__all__ = ["Judgement", "measured_section", "simulated_section"]

_TITLES = {
    "denoise": "less noise",
    "superres": "finer pixels",
    "inpaint": "missing pixels",
    "mri": "MRI from a part of k-space",
    "ct": "CT from few views",
}

Preview = list[tuple[str, Image.Image]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every method's image (1, C, i, j[, k]), plain ones first and ours last; its figures; the name of
    ours; why the prior does not know such images, () where it does.
    """

    methods: Mapping[str, Tensor]
    scores: Mapping[str, Mapping[str, float]]
    ours: str
    warnings: tuple[str, ...] = ()

    @property
    def plain(self) -> list[str]:
        return [name for name in self.methods if name != self.ours]

    @property
    def best(self) -> str:
        """The plain method that is nearest to the known image; of a measurement the last, which fits the
        noise.
        """
        if any("psnr_db" not in self.scores[name] for name in self.plain):
            return self.plain[-1]
        return max(self.plain, key=lambda name: self.scores[name]["psnr_db"])

    @property
    def order(self) -> list[str]:
        """As the page shows them: where the prior does not know such images, the best plain method first."""
        names = list(self.methods)
        return sorted(names, key=lambda name: name != self.best) if self.warnings else names

    @property
    def warning(self) -> str:
        """What stands before every other verdict."""
        first = self.best[:1].upper() + self.best[1:]
        return f"{self.warnings[0]} {first} stands first: no prior is in it." if self.warnings else ""


@dataclass(frozen=True, slots=True)
class _Frame:
    """How images on one grid are shown. half: half of the intensity range."""

    grid: Volume
    window: Window
    half: float

    @property
    def unit(self) -> str:
        return self.grid.unit or "no unit"

    @property
    def top(self) -> float:
        """Of the scale of every error and spread."""
        return 200.0 if self.grid.unit == "HU" else 0.4 * self.half

    def volume(self, x: Tensor) -> Volume:
        return self.grid.with_data(x[0].numpy())

    def grey(self, x: Tensor) -> Image.Image:
        return grey(upright(self.volume(x)), self.window)

    def scan(self, x: Tensor, title: str, caption: str, *, synthetic: bool = False) -> Picture:
        return Picture(
            self.grey(x), title, caption, synthetic=synthetic, window=self.window, edges=sides(self.grid)
        )

    def heat(self, x: Tensor, title: str, caption: str, colours: str = "inferno") -> Picture:
        image = coloured(upright(self.volume(x)), self.top, name=colours)
        legend = ("0", f"{number(self.top)} {self.unit}", colours)
        return Picture(image, title, caption, legend=legend, edges=sides(self.grid))


def simulated_section(
    prior: Prior, case: Case, draws: Draws, found: Judgement, task: str = ""
) -> tuple[Section, Preview]:
    """Of a measurement that was simulated from a known image, and the preview."""
    frame = _Frame(case.known, window_for(case.known), case.half)
    scans = _scans(case, frame, found)
    below = [_spread(frame, draws)] if len(draws) > 1 else []
    below += [
        frame.heat(
            (found.methods[name] - case.image).abs(),
            f"Error of {name}",
            "|result - known|, on the same scale for all.",
        )
        for name in (found.best, found.ours)
    ]
    section = Section(
        f"Reconstruct: {_TITLES.get(task, 'a simulated measurement')}",
        f"SIMULATED measurement: {case.sentence}. The prior and the measurement together give "
        f"{_many(draws)}.",
        [Grid(scans), Grid(below), *_reformats(case, frame, found), _known_table(frame, found)],
        verdict=f"{found.warning} {_verdict(found)}".strip(),
        caveats=(
            "The measurement was simulated from a known image with the same model that the reconstruction "
            "uses: a scanner is never that exact.",
            f"Detail that was not measured comes from the prior ({prior.card.name}).",
            *_kind_unknown(prior),
            *case.warnings,
        ),
    )
    images = {
        "known": case.image,
        found.best: found.methods[found.best],
        "medprior (synthetic in part)": found.methods[found.ours],
    }
    return section, [(title, frame.grey(x)) for title, x in images.items()]


def _scans(case: Case, frame: _Frame, found: Judgement) -> list[Picture]:
    """The known image, the raw measurement, and the image of every method."""
    known = frame.scan(case.image, "Known image", f"The truth behind the measurement; {frame.window}.")
    shown = [known]
    if case.shown is not None:
        raw = _raw(case.shown, known.image.size)
        shown.append(Picture(raw, "Simulated measurement", f"{case.shown_as}."))
    for name in found.order:
        x, at = found.methods[name], found.scores[name]
        said, title = f"PSNR {at['psnr_db']:.2f} dB, SSIM {at['ssim']:.3f}.", name[:1].upper() + name[1:]
        ours = name == found.ours
        shown.append(frame.scan(x, name if ours else title, said, synthetic=ours))
    return shown


def _raw(shown: NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    """What was measured, stretched to its own range."""
    low, high = float(shown.min()), float(shown.max())
    window = Window(low, high if high > low else low + 1, "range")
    return grey(shown, window).resize(size, Image.Resampling.NEAREST)


def _spread(frame: _Frame, draws: Draws) -> Picture:
    return frame.heat(draws.std()[None], "Spread of the draws", spread_caption(draws), "viridis")


def _known_table(frame: _Frame, found: Judgement) -> Table:
    values = [at["psnr_db"] for at in found.scores.values()]
    rows = [["method", "PSNR (dB)", "SSIM"]]
    rows += [[name, f"{at['psnr_db']:.2f}", f"{at['ssim']:.3f}"] for name, at in found.scores.items()]
    note = (
        f"Against the known image; PSNR for a range of {number(2 * frame.half)} ({frame.unit}). One image "
        "says little: bench/ has tables over many patients."
    )
    return Table(rows, note, best=1 + values.index(max(values)), open=True)


def _verdict(found: Judgement) -> str:
    """Which method is nearest to the known image, ours beside the best plain one."""
    ours, plain = (found.scores[name]["psnr_db"] for name in (found.ours, found.best))
    first, value, second, other = (
        (found.ours, ours, found.best, plain) if ours >= plain else (found.best, plain, found.ours, ours)
    )
    return (
        f"{first if ours >= plain else first[:1].upper() + first[1:]} is nearest to the known image here: "
        f"{value:.2f} dB; {second} has {other:.2f} dB.{_not_run(found)}"
    )


def _not_run(found: Judgement) -> str:
    """Which plain methods the verdict does not know of."""
    if any(name.startswith("total variation") for name in found.plain):
        return ""
    return " Total variation and wavelets were not run: --baselines all compares with them, too."


def _many(draws: Draws) -> str:
    n = len(draws)
    return f"{n} possible images; their mean is the result" if n > 1 else "one possible image"


def _reformats(case: Case, frame: _Frame, found: Judgement) -> list[Grid]:
    """A volume cut through its slices, where one that was reconstructed slice by slice would show steps;
    nothing of an image.
    """
    if case.known.ndim == 2:
        return []
    plane = "axial" if plane_of(case.known) == "coronal" else "coronal"
    first = found.plain[0]
    images = {"Known": case.image, first: found.methods[first], found.ours: found.methods[found.ours]}
    return [
        Grid(
            [
                Picture(
                    grey(_through(frame.volume(x), plane), frame.window),
                    f"{name}, through the slices",
                    f"{frame.window}.",
                    synthetic=name == found.ours,
                    window=frame.window,
                    edges=sides(case.known, plane=plane),
                )
                for name, x in images.items()
            ]
        )
    ]


def _through(volume: Volume, plane: str) -> NDArray[np.float32]:
    """(rows, columns): the middle of a volume in another plane than its slices', through the middle column
    where the planes are not known.
    """
    if volume.affine is not None:
        return upright(volume, plane=plane)
    spacing = volume.spacing_mm and (volume.spacing_mm[2], volume.spacing_mm[0])
    cut = volume.data[:, :, volume.shape[1] // 2].transpose(0, 2, 1)
    return upright(replace(volume, data=np.ascontiguousarray(cut), spacing_mm=spacing))


def measured_section(prior: Prior, case: Acquired, draws: Draws, found: Judgement) -> tuple[Section, Preview]:
    """Of what a scanner has measured, and the preview."""
    ours = case.grid.with_data(found.methods[found.ours][0].numpy())
    frame = _Frame(case.grid, window_for(ours), case.half)
    images = [
        frame.scan(
            found.methods[name], name[:1].upper() + name[1:], f"{frame.window}.", synthetic=name == found.ours
        )
        for name in found.order
    ]
    raw = _raw(case.shown, images[-1].image.size)
    shown = [Picture(raw, "Measured data", f"{case.shown_as}."), *images, *_judge(case)]
    if len(draws) > 1:
        shown.append(_spread(frame, draws))
    section = Section(
        "Reconstruct: measured data",
        f"MEASURED: {'; '.join(case.sentences)}. The prior and the measurement together give {_many(draws)}.",
        [Grid(shown), _measured_table(case, found)],
        verdict=found.warning,
        caveats=_caveats(prior, case),
    )
    first = found.order[0]
    return section, [
        ("measured data", raw),
        (first, frame.grey(found.methods[first])),
        ("medprior (synthetic in part)", frame.grey(found.methods[found.ours])),
    ]


def _judge(case: Acquired) -> list[Picture]:
    if case.reference is None:
        return []
    top = float(case.reference.max()) or 1.0
    window = Window(0.0, top, "range")
    image = grey(case.reference.numpy(), window)
    return [Picture(image, "What judges the result", f"{case.judge}, 0 to {number(top)}.", window=window)]


def _measured_table(case: Acquired, found: Judgement) -> Table:
    judged = any("psnr_db" in at for at in found.scores.values())
    rows = [["method", "misfit", *(("PSNR (dB)", "SSIM") if judged else ())]]
    rows += [
        [name, f"{m['misfit']:.2f}", *((f"{m['psnr_db']:.2f}", f"{m['ssim']:.3f}") if "psnr_db" in m else ())]
        for name, m in found.scores.items()
    ]
    note = (
        "Misfit to the data: noise alone gives 1. More says that the image or the model is wrong, much less "
        "that noise was fitted."
    )
    if judged:
        note += f" PSNR and SSIM against {case.judge}, to which each method is scaled."
    return Table(rows, note, open=True)


def _kind_unknown(prior: Prior) -> tuple[str, ...]:
    if prior.kind is not None:
        return ()
    return ("The prior does not say what its training images look like: whether it knows such is not known.",)


def _caveats(prior: Prior, case: Acquired) -> tuple[str, ...]:
    lines = list(case.warnings)
    if case.reference is None:
        lines.append(
            "No known image judges this: a smooth, plausible picture is not a proof. Look where the plain "
            "methods disagree with it."
        )
    lines += [
        f"Detail that was not measured comes from the prior ({prior.card.name}).",
        *_kind_unknown(prior),
    ]
    have, knows = case.grid.spacing_mm, prior.card.spacing_mm
    if have is None:
        lines.append(
            "The size of a pixel is not known, so it is not known either whether the prior has seen anatomy "
            "of this size."
        )
    elif knows is not None and max(h / k for h, k in zip(have, knows, strict=False)) < 0.8:
        lines.append(
            f"Pixels of {have[0]:.2g} mm are finer than the {knows[0]:g} mm that the prior has learned: its "
            "detail at this size is a guess."
        )
    if prior.card.axes:
        lines.append(
            "The file does not say where the patient's front is: the prior expects the image as shown by a "
            "radiologist; turn it with --turn and --mirror."
        )
    return tuple(lines)

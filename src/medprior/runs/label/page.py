"""What one call of ``label`` found, in words and as a page. The scans to label come first, then the labels
so far, how far readers agree, and whether to go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from PIL import Image

from ...data.views import grey, upright, window_for
from ...errors import MedpriorError, printable
from ...io.dataset.answers import UNSURE
from ...jobs.label import TRAIL, Agreement, Labelling, LabelState, Proposal
from ...learning.active import Advice
from ...learning.readers import Suspect
from ..page.blocks import Grid, Picture, Section, Table
from ..page.pictures import mosaic

__all__ = ["REVIEW", "Labelled", "label_lines", "label_sections", "label_sheet"]

REVIEW = "review.csv"
SHOWN, _SUSPECTS, _SIDE = 40, 12, 128

_BY = {
    "typical": (
        "Typical scans: each stands for many that look alike, and none of these has a label (TypiClust). "
        "Label the whole batch; its order means nothing."
    ),
    "uncertain": (
        "Scans where a classifier on the labels so far is unsure and that differ from each other (Badge). "
        "Label the whole batch; its order means nothing."
    ),
    "random": "Scans drawn at random.",
    "none": "No scan is left to label.",
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """All that one call of ``label`` found. taken: new answers. doing: what is to be done now, in
    sentences.
    """

    state: LabelState
    batch: Proposal
    advice: Advice
    agreement: Agreement
    suspects: tuple[tuple[str, Suspect], ...]
    taken: int
    doing: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """label -> how many scans."""
        return dict(sorted(Counter(label for label in self.state.labels.values() if label).items()))

    @property
    def readers(self) -> list[tuple[str, int, int, float | None]]:
        """(name, answers, of these unsure, median seconds) of each reader."""
        found = []
        for name in self.state.readings.readers:
            own = [a for key, a in self.state.readings.current.items() if key[0] == name.casefold()]
            seconds = [a.seconds for a in own if a.seconds is not None]
            unsure = sum(a.label == UNSURE for a in own)
            found.append((name, len(own), unsure, median(seconds) if seconds else None))
        return found

    @property
    def answers(self) -> int:
        """How many answers count."""
        return len(self.state.readings.current)


def agreement_words(agreement: Agreement) -> str:
    """The agreement of readers, in a sentence."""
    if agreement.alpha is None:
        return agreement.reason
    at = agreement.alpha
    return (
        f"Krippendorff's alpha is {at.value:.2f} (95 % interval {at.low:.2f} to {at.high:.2f}), from "
        f"{agreement.scans} scans of {at.n} patients. 1 is full agreement, 0 is chance."
    )


def label_lines(found: Labelled) -> list[str]:
    """What a terminal says."""
    counts = ", ".join(f"{printable(name)} {n}" for name, n in found.counts.items()) or "none"
    unsure = sum(unsure for _, _, unsure, _ in found.readers)
    disputed, readings = len(found.state.readings.disputed()), found.state.readings
    lines = [
        f"answers   {found.taken} new, {found.answers} in all; {unsure} cannot tell",
        f"labels    {counts}; {found.state.open_} scans have no answer",
        f"agreement {agreement_words(found.agreement)}",
        f"review    {disputed} disputed, {len(found.suspects)} look wrong (see {REVIEW})",
        f"advice    {found.advice.reason}",
    ]
    if found.state.missing:
        lines.append(
            f"warning   {len(found.state.missing)} answered scans are not in the folder; answers are kept"
        )
    if readings.damaged:
        lines.append(f"warning   {len(readings.damaged)} lines of {TRAIL} cannot be read; the rest counts")
    return [*lines, *found.doing]


def label_sections(session: Labelling, found: Labelled) -> list[Section]:
    """The page: the next scans first."""
    scans, more = found.batch.scans[:SHOWN], len(found.batch.scans) - SHOWN
    pictures = [
        Picture(image, f"{n}", f"{one.why}.")
        for n, one in enumerate(scans, 1)
        if (image := _tile(session, one.scan)) is not None
    ]
    text = _BY[found.batch.by] + (
        f" The first {SHOWN} are shown; queue.csv has {more} more." if more > 0 else ""
    )
    return [
        Section(
            "Scans to label",
            f"{text} The numbers are those of the rows in queue.csv.",
            [Grid(pictures)] if pictures else [],
            " ".join(found.doing),
        ),
        Section("Go on or stop", _curve_words(found), verdict=found.advice.reason, caveats=_limits(found)),
        Section("Labels so far", blocks=_tables(found), verdict=_counts_words(found)),
        Section("Do the readers agree?", verdict=agreement_words(found.agreement)),
        _review(session, found),
    ]


def _curve_words(found: Labelled) -> str:
    if found.advice.gain is None:
        return ""
    return (
        "The gain is that of the learning curve of these labels, carried on in the logarithm of their "
        "number. Its 90 % interval comes from drawing the patients again."
    )


def _limits(found: Labelled) -> tuple[str, ...]:
    if found.batch.area is None and found.advice.gain is None:
        return ()
    return (
        "The area is measured on scans that were chosen, not drawn at random. It steers the choice, and is "
        "no estimate for new patients: keep a test set of randomly drawn patients for that.",
    )


def _counts_words(found: Labelled) -> str:
    total = sum(found.counts.values())
    return f"{total} scans have a label; {found.state.open_} scans have no answer yet."


def _tables(found: Labelled) -> list[Table]:
    tables = []
    if found.counts:
        rows = [["label", "scans"], *([printable(name), str(n)] for name, n in found.counts.items())]
        tables.append(Table(rows))
    if found.readers:
        head = ["reader", "answers", "cannot tell", "median seconds"]
        rows = [
            [printable(name), str(n), str(unsure), "" if seconds is None else f"{seconds:.3g}"]
            for name, n, unsure, seconds in found.readers
        ]
        tables.append(Table([head, *rows]))
    return tables


def _review(session: Labelling, found: Labelled) -> Section:
    disputed, wrong = len(found.state.readings.disputed()), len(found.suspects)
    pictures = [
        Picture(
            image,
            f"{printable(one.label)}?",
            f"Labelled {printable(one.label)}; a classifier that has not seen this patient gives that "
            f"{one.probability:.0%} and says {printable(one.instead)}.",
        )
        for scan, one in found.suspects[:_SUSPECTS]
        if (image := _tile(session, scan)) is not None
    ]
    words = (
        f"{disputed} scans have labels that differ, {wrong} labels look wrong. {REVIEW} names them."
        if disputed or wrong
        else "No label looks wrong, and no scan has two labels by different readers."
    )
    text = (
        "A label looks wrong where classifiers trained on other patients contradict it (confident learning). "
        "Look at these again; some are rare cases and right."
    )
    return Section("Labels to look at again", text, [Grid(pictures)] if pictures else [], words)


def label_sheet(session: Labelling, scans: Sequence[str]) -> Image.Image | None:
    """Small pictures of scans side by side; None where none can be shown."""
    tiles = [tile for scan in scans[:SHOWN] if (tile := _tile(session, scan)) is not None]
    return mosaic(tiles, min(8, len(tiles))) if tiles else None


def _tile(session: Labelling, scan: str) -> Image.Image | None:
    """A scan in its own window on a square; None where it is gone since it was looked at."""
    try:
        volume = session.index.load(session.names[scan])
    except MedpriorError:
        return None
    picture = grey(upright(volume), window_for(volume))
    factor = _SIDE / max(picture.size)
    picture = picture.resize([max(1, round(n * factor)) for n in picture.size], Image.Resampling.BICUBIC)
    tile = Image.new("L", (_SIDE, _SIDE))
    tile.paste(picture, ((_SIDE - picture.width) // 2, (_SIDE - picture.height) // 2))
    return tile

"""One self-contained page: no request leaves it, no script is needed to read it."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from ...data.views import Window
from ...io.disk.stamp import RESEARCH_ONLY
from .charts import Chart, svg
from .pictures import OPACITY, Drawn, data_uri, scale_bar

__all__ = ["Block", "Charts", "Compare", "Fold", "Grid", "Page", "Picture", "Section", "Table", "page_bytes"]

LONG = 8
"""Rows of a table above which it folds."""

MANY = 4
"""Sections from which on a page has a table of contents."""


@dataclass(frozen=True, slots=True)
class Picture:
    """image, title, and a caption that says what it shows in a sentence or two. synthetic: a generative model
    decided some of it, and the picture says so.

    legend: (low, high, colour map) of a colour scale that stands below it. layer: RGBA of the same size, laid
    over the image with a slider for its opacity. window: what black and white are; the enlarged picture then
    has sliders for level and width. edges: letters of the patient's sides at its left and right edge.
    """

    image: Image.Image | Drawn
    title: str
    caption: str = ""
    synthetic: bool = False
    legend: tuple[str, str, str] | None = None
    wide: bool = False
    layer: Image.Image | Drawn | None = None
    window: Window | None = None
    edges: tuple[str, str] = ("", "")

    @property
    def uri(self) -> str:
        return data_uri(self.image)

    @property
    def over(self) -> str:
        return data_uri(self.layer) if self.layer is not None else ""

    @property
    def bar(self) -> str:
        return data_uri(scale_bar(self.legend[2])) if self.legend else ""


@dataclass(frozen=True, slots=True)
class Grid:
    """Pictures side by side."""

    pictures: Sequence[Picture]
    kind: str = "grid"

    @property
    def columns(self) -> int:
        """Of a wide page, so that no picture stands alone in the last row."""
        n = sum(not picture.wide for picture in self.pictures)
        return min((4, 3, 5), key=lambda c: (n % c == 1, c == 5, -n % c)) if n > 3 else max(1, n)


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts side by side, at most two in a row."""

    charts: Sequence[Chart]
    kind: str = "charts"


@dataclass(frozen=True, slots=True)
class Compare:
    """Two pictures of one size under one slider; printed or without script they stand side by side. beside: a
    third picture, at the right of the two.
    """

    left: Picture
    right: Picture
    beside: Picture | None = None
    kind: str = "compare"


@dataclass(frozen=True, slots=True)
class Table:
    """rows of text; the first is the head; ``best`` marks a row by its number; words: the cells are words,
    not numbers. A table of more than ``LONG`` rows folds unless ``open``.
    """

    rows: Sequence[Sequence[str]]
    note: str = ""
    best: int | None = None
    words: bool = False
    open: bool = False
    kind: str = "table"

    @property
    def long(self) -> bool:
        return len(self.rows) - 1 > LONG and not self.open

    @staticmethod
    def leads(cell: str) -> bool:
        """Whether a cell is the page of one of many scans, and so a link to it."""
        return re.fullmatch(r"scans/\d+/report\.html", cell) is not None


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that a reader opens who wants to know more."""

    title: str
    blocks: Sequence[Grid | Charts | Compare | Table]
    kind: str = "fold"


Block = Grid | Charts | Compare | Table | Fold


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, the verdict in one plain sentence, a sentence or two, then blocks. caveats: the limits, what
    a reader must not conclude.
    """

    heading: str
    text: str = ""
    blocks: Sequence[Block] = ()
    verdict: str = ""
    caveats: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """facts: (name, value) pairs for the foot: seed, hashes, versions, timings."""

    title: str
    lead: str
    sections: Sequence[Section]
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)


def page_bytes(page: Page) -> bytes:
    """The page as UTF-8. Text is escaped: it may come from a file of a stranger. So is what is no text, as
    the name of a file may be. The page's own script is the only one that a browser runs.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("medprior.runs.page", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = (loader.get_source(environment, name)[0] for name in ("report.css", "report.js"))
    context = {
        "page": page,
        "notice": RESEARCH_ONLY,
        "style": style,
        "script": script,
        "script_hash": b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "opacity": OPACITY,
        "many": MANY,
        "drawn": svg,
    }
    return environment.get_template("report.html").render(context).encode(errors="backslashreplace")

"""One self-contained page: no request leaves it, no script is needed to read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ...io.disk.stamp import RESEARCH_ONLY
from .pictures import Drawn, data_uri, scale_bar

__all__ = ["Block", "Compare", "Grid", "Page", "Picture", "Section", "Table", "page_bytes"]


@dataclass(frozen=True, slots=True)
class Picture:
    """image, title, and a caption that says what it shows. synthetic: a generative model decided some of it,
    and the picture says so.

    legend: (low, high, colour map) of a colour scale that stands below it.
    """

    image: Image.Image | Drawn
    title: str
    caption: str = ""
    synthetic: bool = False
    legend: tuple[str, str, str] | None = None
    wide: bool = False

    @property
    def uri(self) -> str:
        return data_uri(self.image)

    @property
    def bar(self) -> str:
        return data_uri(scale_bar(self.legend[2])) if self.legend else ""

    @property
    def mark(self) -> str:
        return f"{'synthetic, ' if self.synthetic else ''}{RESEARCH_ONLY}"


@dataclass(frozen=True, slots=True)
class Grid:
    """Pictures side by side."""

    pictures: Sequence[Picture]
    kind: str = "grid"


@dataclass(frozen=True, slots=True)
class Compare:
    """Two pictures of one size under one slider; printed or without script they stand side by side."""

    left: Picture
    right: Picture
    kind: str = "compare"


@dataclass(frozen=True, slots=True)
class Table:
    """rows of text; the first is the head; ``best`` marks a row by its number; words: the cells are words,
    not numbers.
    """

    rows: Sequence[Sequence[str]]
    note: str = ""
    best: int | None = None
    words: bool = False
    kind: str = "table"


Block = Grid | Compare | Table


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, a sentence or two, then blocks. verdict: one plain sentence that stands out. caveats: what a
    reader must not conclude.
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
    """The page as UTF-8. Text is escaped: it may come from a file of a stranger."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("medprior.runs.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    context: dict[str, Any] = {"page": page, "notice": RESEARCH_ONLY}
    return environment.get_template("report.html").render(context).encode("utf-8")

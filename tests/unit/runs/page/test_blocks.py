"""The page: one file, no request, text only as text, the notice on top and below each picture."""

from __future__ import annotations

import re

from PIL import Image

from medprior.runs.page.blocks import Compare, Grid, Page, Picture, Section, Table, page_bytes

HOSTILE = "<img src=x onerror=\"document.title='PWNED'\">{{ 7 * 7 }}"


def page() -> str:
    picture = Picture(
        Image.new("L", (4, 4)), HOSTILE, HOSTILE, synthetic=True, legend=("0", HOSTILE, "inferno")
    )
    section = Section(
        HOSTILE,
        HOSTILE,
        [Grid([picture]), Compare(picture, picture), Table([[HOSTILE], [HOSTILE]], HOSTILE, 1)],
        HOSTILE,
        (HOSTILE,),
    )
    return page_bytes(Page(HOSTILE, HOSTILE, [section], [(HOSTILE, HOSTILE)])).decode()


def test_text_of_strangers_is_only_text() -> None:
    found = page()
    assert "<img src=x" not in found and "49" not in re.sub('base64,[^"]*', "", found)
    assert "&lt;img src=x" in found


def test_nothing_is_requested_from_anywhere() -> None:
    found = page()
    sources = re.findall(
        r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", re.sub(r"&[a-z#0-9]+;", "", found)
    )
    assert sources and all(source.startswith("data:image/png;base64,") or source == "x" for source in sources)
    assert "default-src 'none'" in found and "<script" not in found and "@import" not in found


def test_the_notice_stands_on_top_and_below_each_picture() -> None:
    found = page()
    assert found.index("Research use only, not for diagnosis") < found.index("<main>")
    assert found.count("synthetic, research use only, not for diagnosis") == 2

"""What a blind reading is drawn from, and that its pictures tell nothing."""

from __future__ import annotations

from io import BytesIO
from itertools import count

import numpy as np
import pytest
from PIL import Image

from medprior.data.volume import Volume
from medprior.errors import BadOption
from medprior.runs.reading.plan import ReadingSettings, Source, draw_reading


def sources(count: int, side: int) -> list[Source]:
    made = [Volume(np.random.default_rng(k).random((1, side, side + 4), np.float32)) for k in range(count)]
    return [(f"{side}-{k}", lambda volume=volume: volume) for k, volume in enumerate(made)]


@pytest.mark.parametrize("kind, questions", [("choice", 3), ("rating", 5)])
def test_a_seed_gives_the_order_and_all_pictures_one_size(kind: str, questions: int) -> None:
    def drawn(seed: int):
        ids = (f"{n:016x}" for n in count())
        return draw_reading(sources(3, 40), sources(4, 24), ReadingSettings(kind, 5, seed), ids)

    reading, pictures = drawn(3)
    assert len(reading.items) == questions and reading.items == drawn(3)[0].items != drawn(4)[0].items
    assert {Image.open(BytesIO(png)).size for _, png in pictures} == {(24, 24)}
    assert {item.synthetic for item in reading.items} == ({1, 2} if kind == "choice" else {0, 1})


def test_both_kinds_of_pictures_are_needed() -> None:
    with pytest.raises(BadOption, match="real scans and synthetic"):
        draw_reading(sources(1, 8), [], ReadingSettings("choice", 1, 0), iter(["a"]))

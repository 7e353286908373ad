"""Charts: numbers in their place, the same bytes each time, and no picture of a stranger."""

from __future__ import annotations

import re

import numpy as np
import pytest

from medprior.runs.page.charts import NEUTRAL, Chart, Series, chart_image, loss_chart, svg


def chart(*series: Series, **changes) -> Chart:
    return Chart("title", "caption", "across", "up", series, **changes)


def points(made: str, style: str) -> list[tuple[float, float]]:
    (found,) = re.findall(rf'<polyline class="{style}" points="([^"]+)"', made)
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found.split())]


def test_a_line_runs_from_corner_to_corner_of_a_square_chart() -> None:
    made = svg(chart(Series("line", [0.0, 0.5, 1.0], [0.0, 0.5, 1.0]), square=True))
    (x0, y0), (x1, y1), (x2, y2) = points(made, "c0")
    assert x0 < x1 < x2 and y0 > y1 > y2, "up is smaller in pixels"
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1) and y1 == pytest.approx((y0 + y2) / 2, abs=0.1)


def test_bars_stand_on_zero_and_are_as_high_as_their_number() -> None:
    made = svg(chart(Series("bars", [0.0, 1.0, 2.0, 3.0], [2, 0, 4])))
    boxes = re.findall(
        r'<rect class="c0" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/>', made
    )
    (x0, y0, w0, h0), (x1, y1, _, h1) = [[float(v) for v in box] for box in boxes]
    assert len(boxes) == 2, "a bar of height 0 is not drawn"
    assert h1 == pytest.approx(2 * h0, abs=0.2) and y0 + h0 == pytest.approx(y1 + h1, abs=0.2)
    assert x1 == pytest.approx(x0 + 2 * w0, abs=0.2)


def test_whiskers_reach_from_low_to_high() -> None:
    whiskers = Series("whiskers", [1.0], [0.0], low=[-1.0], high=[3.0])
    made = svg(chart(whiskers, Series("level", y=[0.0], colour=NEUTRAL)))
    (_, low), (_, high) = points(made, "c0")
    middle = float(re.findall(r'<circle class="c0" cx="[\d.]+" cy="([\d.]+)"', made)[0])
    assert low - middle == pytest.approx((middle - high) / 3, abs=0.2) and low > middle > high


def test_logarithms_put_powers_at_equal_steps() -> None:
    xs = [x for x, _ in points(svg(chart(Series("line", [0.1, 1.0, 10.0], [1, 2, 3]), log_x=True)), "c0")]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)


def test_the_same_numbers_give_the_same_bytes_and_strange_names_are_text() -> None:
    one = chart(Series("line", [0.0, 1.0], [0.0, 1.0], "<script>&"), ticks=[(0.0, "<b>"), (1.0, "b")])
    assert svg(one) == svg(one) and chart_image(one).tobytes() == chart_image(one).tobytes()
    assert "<script>" not in svg(one) and "<b>" not in svg(one) and "&lt;script&gt;&amp;" in svg(one)


@pytest.mark.parametrize("values", [[3.0], [2.0, 2.0], [0.0, 0.0], [-1e-9, 1e9]])
def test_any_range_of_numbers_can_be_drawn(values: list[float]) -> None:
    made = svg(chart(Series("points", list(range(len(values))), values)))
    assert "nan" not in made and "inf" not in made and made.count("<circle") == len(values)


def test_a_loss_curve_has_a_second_line_where_something_was_held_out() -> None:
    assert len(loss_chart([[1, 0.5], [2, 0.4]]).series) == 1
    training, validation = loss_chart([[0, 0.6], [1, 0.5, 0.7], [2, 0.4, 0.6]]).series
    assert training.y == [0.6, 0.5, 0.4] and (validation.x, validation.y) == ([1, 2], [0.7, 0.6])


def test_a_bitmap_shows_what_the_page_shows() -> None:
    image = np.asarray(chart_image(chart(Series("bars", [0.0, 1.0], [1], "healthy"))))
    assert image.shape[2] == 3 and (image == (0x17, 0x65, 0x7D)).all(-1).mean() > 0.3


def test_counts_have_whole_numbers_on_their_axis() -> None:
    made = svg(chart(Series("bars", [0.0, 1.0, 2.0], [12, 3])))
    numbers = [float(text) for text in re.findall(r'text-anchor="end">([^<]+)<', made)]
    assert len(numbers) > 2 and all(n == int(n) for n in numbers)

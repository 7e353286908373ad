"""A blind reading: pictures that tell nothing, an order drawn by a seed, answers that are final."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from medprior.data.volume import Volume
from medprior.io.write import write
from medprior.web.office import Office

from ..io.served.test_scans import png
from .conftest import Browser


def begun(browser: Browser, office: Office, kind: str, n: int = 20) -> str:
    """A reading of 3 real scans and 4 synthetic images of other sizes."""
    studies = [browser.hand_in(f"Mustermann{k}.png", png(k))["studies"][0]["id"] for k in range(3)]
    run = office.folder / "synthesize-1"
    (run / "outputs").mkdir(parents=True)
    (run / "run.json").write_text('{"complete": true, "job": "synthesize", "finished": "2026"}')
    for k in range(4):
        image = np.random.default_rng(9 + k).uniform(0, 255, (1, 40, 30)).astype(np.float32)
        write(Volume(image), run / "outputs" / f"image_{k}.png", kind="synthesized")
    (name,) = [one["id"] for one in browser("GET", "/api/runs").json]
    planned = {"kind": kind, "studies": studies, "runs": [name], "n": n, "seed": 3}
    return browser.post("/api/readings", planned).json["id"]


def test_pictures_are_alike_and_their_names_tell_nothing(browser: Browser, office: Office) -> None:
    name = begun(browser, office, "rating")
    reading, seen = office.readings.get(name), []
    for item in reading.items:
        content = browser("GET", f"/api/readings/{name}/picture/{item.pictures[0]}").body
        image = Image.open(BytesIO(content))
        seen.append((image.size, image.mode, tuple(image.info)))
        assert b"Mustermann" not in content and b"synthetic" not in content
    assert len(seen) == 7 and len(set(seen)) == 1
    shown = browser("GET", f"/api/readings/{name}?reader=Ann").body
    assert (
        b"Mustermann" not in shown
        and b"image_" not in shown
        and b"synthetic" not in shown.lower().replace(b"real or synthetic?", b"")
    )


def test_a_choice_is_counted_with_its_exact_interval_once_all_is_answered(
    browser: Browser, office: Office
) -> None:
    name = begun(browser, office, "choice")
    reading = office.readings.get(name)
    assert len(reading.items) == 3 and {item.synthetic for item in reading.items} <= {1, 2}
    for n, item in enumerate(reading.items):
        assert browser("GET", f"/api/readings/{name}/results").json == []
        wrong = n == 2
        value = 3 - item.synthetic if wrong else item.synthetic
        given = {"reader": "=Ann", "number": n, "answer": value, "seconds": 1.5}
        assert browser.post(f"/api/readings/{name}/answers", given).status == 204
        assert browser.post(f"/api/readings/{name}/answers", given).status == 422  # an answer is final
    (result,) = browser("GET", f"/api/readings/{name}/results").json
    assert (result["right"], result["answers"]) == (2, 3)
    assert (
        round(result["low"], 3) == 0.094 and round(result["high"], 3) == 0.992
    )  # Clopper and Pearson, 2 of 3
    assert browser("GET", f"/api/readings/{name}?reader=%3DAnn").json["number"] is None
    table = browser("GET", browser("POST", f"/api/readings/{name}/export").json["address"]).body.decode()
    assert "Mustermann" in table and "'=Ann" in table and table.count("\r\n") == 4


def test_the_order_is_that_of_the_seed_and_a_rating_has_six_steps(browser: Browser, office: Office) -> None:
    name = begun(browser, office, "rating", n=5)
    reading = office.readings.get(name)
    truths = [item.synthetic for item in reading.items]
    assert len(truths) == 5 and set(truths) == {0, 1}
    for answer in (0, 7):
        given = {"reader": "Ann", "number": 0, "answer": answer, "seconds": 1}
        assert browser.post(f"/api/readings/{name}/answers", given).status == 422
    assert browser("GET", "/api/readings").json[0]["questions"] == 5


def test_a_reading_needs_both_kinds(browser: Browser) -> None:
    answer = browser.post("/api/readings", {"studies": [], "runs": []})
    assert answer.status == 422 and "real scans and synthetic" in answer.json["error"]

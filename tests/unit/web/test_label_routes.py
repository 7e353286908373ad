"""Labelling on the page is a session of ``medprior label``: proposals, answers, undo, several readers."""

from __future__ import annotations

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.io.write import write
from medprior.runs.core.progress import silent
from medprior.runs.verbs import VERBS, perform
from medprior.web.office import Office

from ..io.served.test_scans import zipped
from ..runs.conftest import save_tiny, scene
from .conftest import Browser

pytest.importorskip("skactiveml", reason="the extra 'labels' is not installed")


@pytest.fixture
def room(browser: Browser, office: Office) -> str:
    """A run of label on 8 pictures, as its job on the page leaves it."""
    pictures = {}
    for k in range(8):
        path = office.folder / f"{k}.png"
        write(Volume(np.asarray(scene(k), np.float32)), path, kind="converted")
        pictures[f"p{k}/1.png"] = path.read_bytes()
        path.unlink()
    (study,) = browser.hand_in("set.zip", zipped(pictures), as_set="eight")["studies"]
    save_tiny(office.folder / "tiny")
    (prior,) = [name for name, _ in office.runs.priors()]
    values = {
        "folder": study["id"],
        "prior": prior,
        "n": 3,
        "classes": ["sick", "well"],
        "folders": "patients",
        "split": "all",
    }
    job = office.queue.get(browser.post("/api/jobs", {"verb": "label", "values": values}).json["id"])
    assert job is not None
    perform(VERBS["label"][1], VERBS["label"][0].model_validate_json(job.asked), silent)
    return next(one["id"] for one in browser("GET", "/api/runs").json if one["job"] == "label")


def test_a_batch_is_labelled_undone_and_reported(browser: Browser, room: str) -> None:
    now = browser("GET", f"/api/labels/{room}?reader=Ann").json
    assert (now["batch"], now["mine"], now["open"], now["classes"]) == (3, 0, 8, ["sick", "well"])
    seen = browser("GET", f"/api/labels/{room}/seen/{now['number']}").json
    assert seen["planes"][0]["rows"] == 32
    first = now["number"]
    given = {"number": int(first), "label": "sick", "reader": "Ann", "seconds": 2.0}
    now = browser.post(f"/api/labels/{room}/answers", given).json
    assert (now["mine"], now["place"], now["open"]) == (1, 2, 7) and now["number"] != first
    now = browser.post(f"/api/labels/{room}/undo", {"reader": "Ann"}).json
    assert (now["mine"], now["open"], now["newest"]) == (0, 8, None) and now["number"] == first
    for label in ("sick", "well", "?"):
        now = browser.post(
            f"/api/labels/{room}/answers", given | {"number": int(now["number"]), "label": label}
        ).json
    assert (now["mine"], now["place"], now["open"]) == (3, 1, 5)  # the next batch
    report = browser("GET", f"/api/labels/{room}/report").json
    assert report["labels"] == {"sick": 1, "well": 1} and report["readers"] == ["Ann"] and report["advice"]
    now = browser.post(f"/api/labels/{room}/undo", {"reader": "Ann"}).json  # out of a batch that is past
    assert now["why"] == "taken back"


def test_a_reader_sees_no_answer_of_another(browser: Browser, room: str) -> None:
    ann = browser("GET", f"/api/labels/{room}?reader=Ann").json
    given = {"number": int(ann["number"]), "label": "sick", "reader": "Ann", "seconds": 1.0}
    browser.post(f"/api/labels/{room}/answers", given)
    bob = browser("GET", f"/api/labels/{room}?reader=Bob").json
    assert bob["mine"] == 0 and bob["newest"] is None and bob["number"] != ann["number"]
    assert browser.post(f"/api/labels/{room}/undo", {"reader": "Bob"}).status == 422
    assert browser.post(f"/api/labels/{room}/answers", given | {"number": 99}).status == 404


def test_a_run_of_the_command_line_is_named_with_what_to_do(browser: Browser, office: Office) -> None:
    run = office.folder / "label-1"
    run.mkdir()
    (run / "run.json").write_text('{"complete": true, "job": "label", "finished": "2026"}')
    (name,) = [one["id"] for one in browser("GET", "/api/runs").json]
    answer = browser("GET", f"/api/labels/{name}?reader=Ann")
    assert answer.status == 422 and "start it here" in answer.json["error"]

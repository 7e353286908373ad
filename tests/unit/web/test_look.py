"""A run on a page of its own: what a model answers, what its report says, and its form once more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medprior.data.volume import Volume
from medprior.io.served.queue import Job
from medprior.io.write import write
from medprior.runs.page.blocks import Charts, Fold, Section, Table
from medprior.runs.page.charts import Chart, Series
from medprior.runs.page.store import write_report
from medprior.web.office import Office

from ..io.served.test_scans import png, zipped
from ..runs.conftest import scene
from .conftest import Browser

HOSTILE = "<script>document.title='PWNED'</script>"


def run_of(office: Office, name: str, metrics: dict[str, object], sections: list[Section]) -> str:
    """The id of a run that is as the command line leaves it."""
    folder = office.folder / name
    record = {"complete": True, "job": name.split("-")[0], "finished": "2026", "metrics": metrics}
    folder.mkdir(parents=True)
    more = {"id": "0" * 64, "seconds": {"job": 1.0}, "peak_mib": 1.0, "versions": {"medprior": "0"}}
    write_report(folder, name, "", sections, {**record, **more, "finished": "2026-01-01T00:00:00+00:00"})
    return next(key for key, run in office.runs.all() if run.path == folder)


@pytest.mark.parametrize(
    "metrics, who, given, kept",
    [
        ({"answer": {"well": 0.2, "ill": 0.8}, "given": "ill"}, "The model answers", "ill", []),
        (
            {"probabilities": {"well": 0.6, "ill": 0.4}, "label": "well", "set": ["well", "ill"]},
            "The head says",
            "well",
            ["well", "ill"],
        ),
    ],
)
def test_the_answer_comes_first_and_the_likeliest_class_before_the_others(
    browser: Browser, office: Office, metrics: dict[str, object], who: str, given: str, kept: list[str]
) -> None:
    name = run_of(office, "explain-1", metrics, [])
    answer = browser("GET", f"/api/runs/{name}").json["answer"]
    assert (answer["who"], answer["given"], answer["kept"]) == (who, given, kept)
    assert answer["classes"][0][0] == given and answer["classes"][0][1] > answer["classes"][1][1]


def test_a_run_without_an_answer_has_none(browser: Browser, office: Office) -> None:
    assert browser("GET", f"/api/runs/{run_of(office, 'scan-1', {}, [])}").json["answer"] is None


def test_what_a_report_says_comes_as_data_and_its_charts_are_drawn(browser: Browser, office: Office) -> None:
    chart = Chart(HOSTILE, HOSTILE, "x", "y", (Series("line", (0.0, 1.0), (0.0, 1.0), HOSTILE),))
    said = Section(
        "Head", "text", [Table([["a"], ["b"]]), Fold("more", [Charts([chart])])], "verdict", ("limit",)
    )
    name = run_of(office, "learn-1", {}, [said])
    (section,) = browser("GET", f"/api/runs/{name}/sections").json
    assert (section["heading"], section["verdict"], section["caveats"]) == ("Head", "verdict", ["limit"])
    assert section["blocks"][0]["rows"] == [["a"], ["b"]]
    (drawn,) = section["blocks"][1]["blocks"][0]["charts"]
    assert drawn["svg"].startswith("<svg") and "<script" not in drawn["svg"]


def test_the_form_of_a_job_comes_back_in_names_of_the_page(browser: Browser, office: Office) -> None:
    (study,) = browser.hand_in("scan.png", png())["studies"]
    filled = {"input": study["id"], "prior": "chest-xray", "n_twins": 3, "allow_other": True}
    job = browser.post("/api/jobs", {"verb": "detect", "values": filled}).json
    queued = office.queue.get(job["id"])
    assert queued is not None
    assert office.form_of(queued) == {
        name: str(value).replace("True", "true") for name, value in filled.items()
    }
    stranger = Job("x", "detect", (), asked='{"input": "/etc/passwd", "prior": "chest-xray"}')
    assert office.form_of(stranger) == {"prior": "chest-xray"}


def test_the_nearest_scan_of_a_set_lies_beside_a_synthetic_image(
    browser: Browser, office: Office, tmp_path: Path
) -> None:
    pictures = {}
    for k in range(4):
        write(Volume(scene(k)), tmp_path / f"{k}.png", kind="converted")
        pictures[f"p{k}/1.png"] = (tmp_path / f"{k}.png").read_bytes()
    (study,) = browser.hand_in("set.zip", zipped(pictures), as_set="four")["studies"]
    image = np.asarray(0.5 * scene(2), np.float32)
    write(Volume(image), office.folder / "synthesize-1/outputs/image_1.png", kind="synthesized")
    (office.folder / "synthesize-1/run.json").write_text('{"complete": true, "job": "synthesize"}')
    (name,) = [one["id"] for one in browser("GET", "/api/runs").json]
    found = browser("GET", f"/api/runs/{name}/nearest/image_1?of={study['id']}").json
    assert found["name"] == "p2/1.png" and found["alike"] > 0.99
    picture = browser("GET", f"/api/runs/{name}/nearest/image_1/picture?of={study['id']}")
    assert picture.body.startswith(b"\x89PNG")
    assert browser("GET", f"/api/runs/{name}/nearest/image_1?of=../x").status == 404


def test_a_plane_is_drawn_once_however_many_look(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    from medprior.web import look

    drawn, count = look.drawn, []
    monkeypatch.setattr(look, "drawn", lambda *a, **k: count.append(1) or drawn(*a, **k))
    (study,) = browser.hand_in("scan.png", png())["studies"]
    address = f"/api/studies/{study['id']}/plane/scan?plane=as+stored&at=0&low=0&high="
    assert browser("GET", address + "255").body == browser("GET", address + "255").body
    assert len(count) == 1 and browser("GET", address + "200").status == 200 and len(count) == 2

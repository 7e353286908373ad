"""The routes, as a browser uses them."""

from __future__ import annotations

from pathlib import Path

from medprior.web.office import Office
from medprior.web.site import STATIC, import_map_hash

from ..io.served.test_scans import png, zipped
from .conftest import Browser


def test_a_scan_is_handed_in_looked_at_and_sent_to_a_job(browser: Browser, office: Office) -> None:
    (study,) = browser.hand_in("scan.png", png())["studies"]
    assert browser("GET", "/api/studies").json[0]["name"] == "scan.png"
    page = browser("GET", f"/api/studies/{study['id']}/seen/scan").json
    assert page["planes"][0]["rows"] == 20
    picture = browser("GET", f"/api/studies/{study['id']}/plane/scan?plane=as+stored&at=0&low=0&high=255")
    assert picture.status == 200 and picture.body.startswith(b"\x89PNG")
    assert browser("GET", f"/api/studies/{study['id']}/volume/scan").body[344:348] == b"n+1\0"
    filled = {"verb": "detect", "values": {"input": study["id"], "prior": "chest-xray"}}
    command = browser.post("/api/command", filled).json["command"]
    assert command.startswith("medprior detect runs/.serve/scans/")
    job = browser.post("/api/jobs", filled).json
    assert job["state"] == "waiting" and job["scan"] == study["id"]
    waiting = office.queue.get(job["id"])
    assert waiting and browser("GET", f"/api/jobs/{job['id']}").json["command"].startswith(
        "medprior detect runs/"
    )
    assert browser("POST", f"/api/jobs/{job['id']}/cancel").status == 204
    assert browser("GET", "/api/jobs").json[0]["state"] == "cancelled"
    assert browser("POST", f"/api/jobs/{job['id']}/again").json["state"] == "waiting"
    assert browser("DELETE", f"/api/studies/{study['id']}").status == 204
    assert browser("GET", f"/api/studies/{study['id']}").status == 404


def test_no_request_carries_a_path_of_the_server(browser: Browser) -> None:
    for value in ("/etc/passwd", "../../x", "runs", "0" * 16):
        for filled in ({"input": value, "prior": "chest-xray"}, {"input": "x", "prior": value}):
            answer = browser.post("/api/command", {"verb": "detect", "values": filled})
            assert answer.status == 404 and "not here" in answer.json["error"]


def test_a_wrong_form_is_an_error_in_one_line(browser: Browser) -> None:
    answer = browser.post("/api/jobs", {"verb": "nothing", "values": {}})
    assert answer.status == 422 and "not known" in answer.json["error"]


def test_a_bad_name_and_a_hostile_archive_are_refused_in_words(browser: Browser) -> None:
    upload = browser("POST", "/api/uploads").json["upload"]
    assert browser("POST", f"/api/uploads/{upload}/files?name=..%2Fx", b"1").status == 422
    assert browser("POST", "/api/uploads/none/files?name=x", b"1").status == 422
    (one,) = browser.hand_in("out.zip", zipped({"../../out.png": png()}))["refused"]
    assert "leave the folder" in one["reason"]


def test_a_data_set_of_this_machine_is_named_not_its_path(
    tmp_path: Path, browser: Browser, office: Office
) -> None:
    office.sets = {"lungs": tmp_path}
    assert browser("GET", "/api/sets").json == ["lungs"]
    filled = {"verb": "scan", "values": {"folder": "lungs"}}
    assert browser.post("/api/command", filled).json["command"].startswith("medprior scan ")


def test_a_file_of_a_run_is_fetched_once_by_its_ticket(browser: Browser, office: Office) -> None:
    run = office.folder / "detect-1"
    run.mkdir()
    (run / "run.json").write_text('{"complete": true, "job": "detect", "finished": "2026"}')
    (run / "report.html").write_text("<p>report")
    (name,) = [one["id"] for one in browser("GET", "/api/runs").json]
    address = browser.post(f"/api/runs/{name}/ticket", {"file": "report.html"}).json["address"]
    answer = browser("GET", address, authorization=None)
    assert answer.body == b"<p>report" and "sandbox" in answer.headers["content-security-policy"]
    assert browser("GET", address, authorization=None).status == 404
    assert browser.post(f"/api/runs/{name}/ticket", {"file": "../../x"}).status == 404


def test_the_page_is_small_and_names_no_other_place() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file() and path.name != "LICENSE"]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    ours = [path for path in files if "vendor" not in path.parts]
    named = [
        path.name for path in ours if "://" in path.read_text().replace("http://www.w3.org/2000/svg", "")
    ]
    assert set(named) <= {"app.js"}  # the placeholder of an address of this machine


def test_the_vendored_modules_carry_their_licences() -> None:
    assert {path.name for path in (STATIC / "vendor").iterdir()} == {"niivue", "preact"}
    assert all((path / "LICENSE").is_file() for path in (STATIC / "vendor").iterdir())


def test_only_the_import_map_may_stand_in_the_page() -> None:
    one, other = (import_map_hash(b'<script type="importmap">%s</script>' % text) for text in (b"{}", b"{} "))
    assert one != other and one.startswith("'sha256-")
    assert (STATIC / "index.html").read_text().count("<script") == 2


def test_the_priors_show_what_was_measured(browser: Browser) -> None:
    found = {one["id"]: one for one in browser("GET", "/api/priors").json}
    assert {"chest-xray", "brain-t1", "chest-ct"} <= set(found)
    assert any("measured" in line for line in found["chest-xray"]["lines"])

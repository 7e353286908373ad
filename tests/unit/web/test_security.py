"""Only who has the token, from the page itself, under the right name, gets an answer."""

from __future__ import annotations

import time

import pytest
from fastapi.routing import APIRoute

from medprior.web import ask, hand_in, label_routes, look, reading
from medprior.web.security import policy

from .conftest import Browser

ROUTES = sorted(
    {
        (method, "/api" + route.path)
        for part in (ask, hand_in, look, reading, label_routes)
        for route in part.routes.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
)


@pytest.mark.parametrize("method, path", ROUTES)
def test_no_route_answers_without_the_token_under_another_name_or_to_another_page(
    browser: Browser, method: str, path: str
) -> None:
    for given in (None, "", "Bearer wrong", "Basic secret", "Bearer secrets"):
        assert browser(method, path, authorization=given).status == 401
    assert browser(method, path, host="evil.example").status == 421
    assert browser(method, path, host="127.0.0.1:9999").status == 421
    if method != "GET":
        assert browser(method, path, origin="http://evil.example").status == 403
        assert browser(method, path, origin="null").status == 403
        assert browser(method, path, sec_fetch_site="cross-site").status == 403


def test_there_are_routes() -> None:
    assert len(ROUTES) >= 32 and {"readings", "labels"} <= {path.split("/")[2] for _, path in ROUTES}


def test_health_and_the_page_need_no_token_but_the_right_name(browser: Browser) -> None:
    assert browser("GET", "/health", authorization=None).json == {"ok": True}
    assert b"medprior" in browser("GET", "/", authorization=None).body
    assert browser("GET", "/health", host="evil.example").status == 421


def test_every_answer_has_the_headers_of_a_closed_page(browser: Browser) -> None:
    for path in ("/", "/js/app.js", "/api/studies", "/nothing", "/api/nothing"):
        headers = browser("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
    assert browser("GET", "/api/studies").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("length", ["10000000000", "-1", "1e3", "x"])
def test_a_body_that_claims_too_much_is_refused_before_a_byte_is_read(browser: Browser, length: str) -> None:
    for path in ("/api/jobs", "/api/uploads/x/files?name=a"):
        assert browser("POST", path, content_length=length).status == 413


@pytest.mark.parametrize("path", ["readings", "readings/x/answers", "labels/x/answers", "labels/x/undo"])
def test_a_body_of_a_reader_is_small(browser: Browser, path: str) -> None:
    started = time.monotonic()
    assert browser("POST", f"/api/{path}", content_length=str(2**20 + 1)).status == 413
    assert browser("POST", f"/api/{path}", b"x" * (2**20 + 1), content_length="10").status in (400, 413)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "name", ["../x", "..%2F..%2Fetc", "....//x", "a" * 16, "0" * 16, "%00", "/etc/passwd"]
)
def test_a_name_of_a_reader_leads_nowhere(browser: Browser, name: str) -> None:
    """Neither a reading nor a session of labels is found by a path, and nothing of the disk is told."""
    answer = {"reader": "Ann", "number": 0, "answer": 1, "seconds": 1, "label": "x"}
    asked = [browser("GET", f"/api/{part}/{name}?reader=Ann") for part in ("readings", "labels")]
    asked += [browser("GET", f"/api/readings/{name}/picture/{name}")]
    asked += [browser.post(f"/api/{part}/{name}/answers", answer) for part in ("readings", "labels")]
    asked += [browser.post(f"/api/{name}/{part}", answer) for part in ("readings", "labels")]
    for one in asked:
        assert one.status in (404, 405, 422) and b"/tmp" not in one.body


def test_the_policy_names_no_other_place() -> None:
    assert "http" not in policy() and "*" not in policy()


def test_the_page_of_a_traversal_is_not_found(browser: Browser) -> None:
    for path in ("/../pyproject.toml", "/js/../../site.py", "//etc/passwd", "/%2e%2e/site.py"):
        assert browser("GET", path).status == 404

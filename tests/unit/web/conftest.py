"""A server without a socket: requests go through the guard and the routes as from a browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra 'web' is not installed")

from medprior.web.office import Office
from medprior.web.security import Guard
from medprior.web.site import guarded, site

TOKEN = "secret"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Ask = Callable[..., Answer]


@dataclass
class Browser:
    """Asks an application. Headers of one's own replace those of an honest browser; None leaves one out."""

    app: Guard

    def __call__(self, method: str, address: str, body: bytes = b"", **headers: str | None) -> Answer:
        path, _, query = address.partition("?")
        own: dict[str, str | None] = {"host": "127.0.0.1:8765", "authorization": f"Bearer {TOKEN}"}
        own |= {} if method == "GET" else {"content_length": str(len(body))}
        sent = [
            (k.replace("_", "-").encode(), v.encode()) for k, v in (own | headers).items() if v is not None
        ]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": sent,
            "scheme": "http",
            "server": ("127.0.0.1", 8765),
            "client": ("127.0.0.1", 1),
        }
        return asyncio.run(self._answer(scope, body))

    async def _answer(self, scope: dict[str, Any], body: bytes) -> Answer:
        told: list[Any] = []
        pieces = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            for piece in pieces:
                return piece
            return await asyncio.Event().wait()  # the browser stays until it has its answer

        async def send(message: Any) -> None:
            told.append(message)

        await self.app(scope, receive, send)
        start = told[0]
        headers = {k.decode().lower(): v.decode() for k, v in start["headers"]}
        return Answer(start["status"], headers, b"".join(m.get("body", b"") for m in told[1:]))

    def post(self, address: str, value: object) -> Answer:
        return self("POST", address, json.dumps(value).encode(), content_type="application/json")

    def hand_in(self, name: str, content: bytes, as_set: str = "") -> Any:
        upload = self("POST", "/api/uploads").json["upload"]
        self("POST", f"/api/uploads/{upload}/files?name={name}", content)
        return self.post(f"/api/uploads/{upload}/end", {"as_set": as_set}).json


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.chdir(tmp_path)
    made = Office(Path("runs"), {}, 50_000_000)
    yield made
    made.foreman.stop()


@pytest.fixture
def browser(office: Office) -> Browser:
    hosts = frozenset({"127.0.0.1:8765", "localhost:8765"})
    return Browser(guarded(site(office), hosts=hosts, token=TOKEN, largest=office.largest))

"""Who may speak to the server, and what a browser may do with its answers."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from ..errors import TooLarge

__all__ = ["Guard", "policy"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SMALL_BODY = 2**20
"""Bytes of a request that is no upload."""
_SAFE = ("GET", "HEAD")


def policy(*scripts: str) -> str:
    """The Content-Security-Policy of the page. scripts: sources beside its own, e.g. the hash of an import
    map.
    """
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(["'self'", *scripts]),
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self' data: blob:",
        "worker-src": "'self' blob:",
        "font-src": "'self' data:",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


@dataclass(frozen=True, slots=True)
class Guard:
    """One middleware before every route. hosts: names with port under which the server is reached. token:
    what the header ``Authorization: Bearer`` must hold for /api. largest: bytes of an upload. scheme: of its
    own address. headers: of every answer that sets none of its own.
    """

    app: App
    hosts: frozenset[str]
    token: str
    largest: int
    scheme: str
    headers: Mapping[str, str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        asked = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        answer = self._safe_send(send)
        if refused := self._refused(scope["method"], scope["path"], asked):
            await _say(answer, *refused)
            return
        await self.app(scope, _counted(receive, self._most(scope["path"])), answer)

    def _most(self, path: str) -> int:
        """Bytes of a body."""
        return self.largest if path.endswith("/files") else SMALL_BODY

    def _refused(self, method: str, path: str, asked: Mapping[str, str]) -> tuple[int, str] | None:
        """(status, reason) of a request that goes no further."""
        if asked.get("host", "") not in self.hosts:
            return 421, "this server is not reached under that name"
        if method not in _SAFE:
            origin, site = asked.get("origin"), asked.get("sec-fetch-site", "same-origin")
            own = {f"{self.scheme}://{host}" for host in self.hosts}
            if (origin is not None and origin not in own) or site not in ("same-origin", "none"):
                return 403, "another page sent this"
        if path.startswith("/api/"):
            given = asked.get("authorization", "")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {self.token}".encode()):
                return 401, "the token is missing or old: open the address that medprior serve has printed"
        length, most = asked.get("content-length", "0"), self._most(path)
        if not length.isdecimal() or int(length) > most:
            return 413, f"more than {most:,} bytes"
        return None

    def _safe_send(self, send: Send) -> Send:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name.decode("latin-1").lower() for name, _ in message.get("headers", [])}
                more = [
                    (name.encode(), value.encode())
                    for name, value in self.headers.items()
                    if name.lower() not in said
                ]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        return answer


def _counted(receive: Receive, most: int) -> Receive:
    """A body without a stated length ends where it becomes too long."""
    left = most

    async def next_piece() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLarge("request", f"more than {most:,} bytes")
        return message

    return next_piece


async def _say(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    close = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*close, (b"connection", b"close")]}
    )
    await send({"type": "http.response.body", "body": body})

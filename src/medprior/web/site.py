"""The application: the page, its routes behind the guard, and errors in one line."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from ..errors import FileProblem, MedpriorError, TooLarge
from ..io.served.pages import page_files
from . import ask, hand_in, look, reading
from .label_routes import routes as label_routes
from .office import Office
from .security import Guard, policy

__all__ = ["guarded", "site"]

STATIC = Path(__file__).with_name("static")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_REPORT = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
_REPORT += "sandbox allow-scripts allow-downloads"
"""A report is one file with its own styles and script; here it can reach nothing of the page."""


def site(office: Office, sides: Sequence[Any] = ()) -> FastAPI:
    """The routes over what a server holds; the guard stands before them (``guarded``). sides: other ways in,
    each with ``routes`` and the name of its ``page``.
    """
    app = FastAPI(title="medprior", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.office = office
    for routes in (hand_in.routes, reading.routes, label_routes, ask.routes, look.routes):
        app.include_router(routes, prefix="/api")
    for side in sides:
        app.include_router(side.routes)
    app.state.pages = [side.page for side in sides]
    files = page_files(STATIC)

    @app.get("/health")
    async def health() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/ticket/{key}")
    def fetched(key: str) -> FileResponse:
        path, name = office.redeem(key)
        report = name == "report.html"
        return FileResponse(
            path,
            media_type="text/html" if report else "application/octet-stream",
            filename=name,
            content_disposition_type="inline" if report else "attachment",
            headers={"Content-Security-Policy": _REPORT} if report else None,
        )

    @app.get("/{name:path}")
    async def page(name: str) -> Response:
        name = name or "index.html"
        if name not in files:
            raise HTTPException(404)
        kind = _TYPES.get(Path(name).suffix, "text/plain; charset=utf-8")
        return Response(files[name], media_type=kind, headers={"Cache-Control": "no-cache"})

    @app.exception_handler(MedpriorError)
    async def refused(_: Request, error: MedpriorError) -> JSONResponse:
        status = 413 if isinstance(error, TooLarge) else 404 if _gone(error) else 422
        return JSONResponse({"error": " ".join(str(error).split())}, status)

    return app


def _gone(error: MedpriorError) -> bool:
    return type(error) is FileProblem and "not here" in error.reason


def guarded(app: FastAPI, *, hosts: frozenset[str], token: str, largest: int, scheme: str = "http") -> Guard:
    """The application as it is served."""
    headers = {
        "Content-Security-Policy": policy(import_map_hash(page_files(STATIC)["index.html"])),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return Guard(app, hosts, token, largest, scheme, headers)


def import_map_hash(page: bytes) -> str:
    """The source by which the policy lets the page's import map pass, and no other inline script."""
    found = re.search(rb'<script type="importmap">(.*?)</script>', page, re.DOTALL)
    digest = hashlib.sha256(found[1] if found else b"").digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"

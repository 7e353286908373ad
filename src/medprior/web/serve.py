"""``medprior serve``: one process, one port, one folder; the address is printed, and nothing leaves this
machine.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from ..errors import BadOption, optional
from ..io.served.queue import JobQueue
from ..runs.ask.serve import Serve

__all__ = ["Attach", "SideDoor", "run_serve"]

_WARM = 4.0
"""Seconds after which torch is loaded, which the first picture does without and the first form needs."""
_LOCAL = ("127.0.0.1", "::1", "localhost")


class SideDoor(Protocol):
    """Another way in that shares the queue. routes: a FastAPI router. page: its name on the page."""

    @property
    def page(self) -> str: ...

    @property
    def routes(self) -> Any: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


Attach = Callable[[Path, JobQueue, Callable[..., Any]], SideDoor]
"""Makes one from the folder of runs, the queue, and what puts a job into it."""


def run_serve(request: Serve, say: Callable[[str], None] = print, attach: Attach | None = None) -> None:
    """Serve until interrupted. say: gets the address. attach: makes another way in.

    Raises BadOption for an address beyond this machine without TLS or a proxy, or a port that is taken;
    MissingExtra.
    """
    optional("fastapi", "web", "medprior serve")
    uvicorn = optional("uvicorn", "web", "medprior serve")
    from .office import Office  # these need what was just looked for
    from .site import guarded, site

    tls = request.certificate is not None and request.key is not None
    _refuse_open(request, tls)
    door = _door(request.host, request.port)
    port = door.getsockname()[1]
    token = secrets.token_urlsafe(32)
    scheme = "https" if tls or request.behind_proxy else "http"
    names = {request.host, *_LOCAL[:1], *_LOCAL[2:]} if request.host in _LOCAL else {request.host}
    hosts = frozenset({f"{name}:{port}" for name in names} | set(request.name))
    office = Office(
        request.folder,
        {path.name: path.absolute() for path in request.data},
        request.largest * 10**9,
        request.workers,
    )
    sides = [] if attach is None else [attach(office.folder, office.queue, office.ask)]
    app = guarded(site(office, sides), hosts=hosts, token=token, largest=office.largest, scheme=scheme)
    options = {
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": 15,
        "h11_max_incomplete_event_size": 32 * 1024,
        "ws": "none",
        "http": "h11",
        "ssl_certfile": request.certificate,
        "ssl_keyfile": request.key,
    }
    for side in sides:
        side.start()
    office.foreman.start()
    warm = threading.Timer(_WARM, import_module, ["medprior.runs.info"])
    warm.daemon = True
    warm.start()
    shown = request.name[0] if request.name else f"{request.host}:{port}"
    say(f"{scheme}://{shown}/#token={token}")
    try:
        uvicorn.Server(uvicorn.Config(app, **options)).run(sockets=[door])
    finally:
        warm.cancel()
        for side in sides:
            side.stop()
        office.foreman.stop()


def _refuse_open(request: Serve, tls: bool) -> None:
    if request.host not in _LOCAL and not (tls or request.behind_proxy):
        raise BadOption(
            f"host: {request.host} can be reached from other machines",
            "give --certificate and --key, or --behind-proxy where a proxy encrypts",
        )
    if (request.certificate is None) != (request.key is None):
        raise BadOption("certificate, key: wanted both of them", "give the two files of one certificate")
    if request.behind_proxy and not request.name:
        raise BadOption(
            "behind-proxy: wanted --name, what browsers call the proxy", "e.g. --name scans.example"
        )


def _door(host: str, port: int) -> socket.socket:
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, port))
        door.listen(128)
    except OSError as error:
        door.close()
        raise BadOption(
            f"port: {host}:{port} cannot be used ({error.strerror})",
            "choose another --port, or 0 for a free one",
        ) from error
    return door

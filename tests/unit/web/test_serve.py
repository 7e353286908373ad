"""Where the server listens, and what it refuses to do."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from medprior.errors import BadOption
from medprior.runs.ask.serve import Serve
from medprior.web.serve import run_serve


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_an_address_beyond_this_machine_needs_tls(host: str, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="other machines"):
        run_serve(Serve(folder=tmp_path, host=host))


def test_half_a_certificate_and_a_nameless_proxy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="wanted both"):
        run_serve(Serve(folder=tmp_path, certificate=tmp_path / "c.pem"))
    with pytest.raises(BadOption, match="wanted --name"):
        run_serve(Serve(folder=tmp_path, behind_proxy=True))


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadOption, match=f"{port} cannot be used"):
            run_serve(Serve(folder=tmp_path, port=port))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """(port, token) of a server as it is started by hand."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "medprior", "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path_factory.mktemp("serve"), env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        address, _, token = server.stdout.readline().split()[-1].partition("/#token=")
        yield int(address.rpartition(":")[2]), token
        server.terminate()


def told(port: int, *pieces: bytes) -> tuple[bytes, float]:
    """(the first line of the answer, seconds) to raw bytes."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        answer = b""
        try:
            for piece in pieces:
                line.sendall(piece)
            answer = line.recv(4096)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server has closed its ears
    return answer.partition(b"\r\n")[0], time.monotonic() - started


def head(port: int, token: str, method: str, path: str, *more: str) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {token}",
        *more,
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def asked(port: int, token: str, method: str, path: str, body: bytes = b"") -> bytes:
    """The body of an answer."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    line.request(method, path, body, sent)
    answer = line.getresponse().read()
    line.close()
    return answer


def bomb() -> bytes:
    """A small zip archive of 1 GB of zeros."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("scan.dcm", "w", force_zip64=True) as member,
    ):
        for _ in range(100):
            member.write(bytes(10_000_000))
    return out.getvalue()


def watched(port: int, slowest: list[float]) -> None:
    """How long /health takes, over half a second."""
    ends = time.monotonic() + 0.5
    while time.monotonic() < ends:
        _, seconds = told(port, f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        slowest[0] = max(slowest[0], seconds)


def test_what_claims_too_much_is_refused_at_once_and_health_still_answers(served: tuple[int, str]) -> None:
    port, token = served
    claim = head(port, token, "POST", "/api/uploads/x/files?name=a", "Content-Length: 100000000000")
    endless = head(port, token, "POST", "/api/jobs", "Transfer-Encoding: chunked")
    chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
    cases = {
        b"413": [claim],
        b"400": [endless, chunk, chunk],
        b"421": [b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n"],
        b"401": [head(port, "wrong", "GET", "/api/studies")],
        b"403": [head(port, token, "POST", "/api/demo", "Origin: http://evil.example", "Content-Length: 0")],
    }
    for status, pieces in cases.items():
        answer, seconds = told(port, *pieces)
        assert answer.split(b" ")[1:2] in ([status], []) and (answer or status == b"400"), (status, answer)
        assert seconds < 1.0
        answer, seconds = told(port, f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert b"200" in answer and seconds < 0.5
    upload = json.loads(asked(port, token, "POST", "/api/uploads"))["upload"]
    asked(port, token, "POST", f"/api/uploads/{upload}/files?name=bomb.zip", bomb())
    health = threading.Thread(target=watched, args=(port, slowest := [0.0]))
    health.start()
    started = time.monotonic()
    refused = json.loads(asked(port, token, "POST", f"/api/uploads/{upload}/end", b"{}"))["refused"]
    assert time.monotonic() - started < 1.0 and len(refused) == 1 and "promises" in refused[0]["reason"]
    health.join()
    assert slowest[0] < 0.25
    many = "".join(f"X-{n}: {'x' * 1000}\r\n" for n in range(1000))
    answer, _ = told(port, f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{many}\r\n".encode())
    assert b"200" not in answer

"""The promise: data never leaves the building. No test and no module of medprior opens a socket beyond this
machine.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_socket import SocketConnectBlockedError

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = ("192.0.2.1", 80)  # TEST-NET-1 (RFC 5737): an address that belongs to nobody

# An audit hook sees every socket call of the interpreter, UDP and name look-ups too, and cannot be taken off
# again.
WATCH = """
import sys
def watch(event, arguments):
    sends = ("socket.connect", "socket.sendto", "socket.sendmsg")
    if event in (*sends, "socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments[1] if event in sends else arguments
        host = address[0] if isinstance(address, tuple) else ""
        if host not in ("", None, "127.0.0.1", "::1", "localhost"):
            raise PermissionError(f"{event} {address}")
sys.addaudithook(watch)
"""


def child(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WATCH + code],
        capture_output=True,
        text=True,
        cwd=ROOT / "src",
        timeout=240,
        check=False,
    )


def test_a_test_that_calls_out_fails() -> None:
    with (
        socket.socket() as outside,
        pytest.warns(UserWarning, match="192.0.2.1"),
        pytest.raises(SocketConnectBlockedError),
    ):
        outside.connect(ELSEWHERE)


def test_loopback_is_allowed() -> None:
    """The web face and the PACS are tested on this machine alone."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert client.getpeername() == server.getsockname()


@pytest.mark.parametrize(
    "call", ["socket.socket().connect(('192.0.2.1', 80))", "socket.getaddrinfo('example.org', 80)"]
)
def test_the_watch_sees_a_call(call: str) -> None:
    done = child(f"import socket; {call}")
    assert "PermissionError" in done.stderr


@pytest.mark.slow
def test_no_module_calls_out_when_imported() -> None:
    """Ours, and every library that ours bring along: no update check, no telemetry, no hub."""
    done = child("""
import importlib, pkgutil, medprior
modules = pkgutil.walk_packages(medprior.__path__, "medprior.")
names = [m.name for m in modules if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names) > 10)
""")
    assert done.stdout.strip() == "True", done.stderr


def test_libraries_are_told_that_they_are_offline() -> None:
    """Whoever starts the command line, and the process that decodes files."""
    code = (
        "import os; os.environ.pop('HF_HUB_OFFLINE', None)\n"
        "from medprior.cli import main; main(['--version'])\n"
        "from medprior.io.disk import decoder\n"
        "print(os.environ['HF_HUB_OFFLINE'], decoder._ENVIRONMENT['HF_HUB_OFFLINE'])"
    )
    done = child(code)
    assert done.stdout.splitlines()[-1:] == ["1 1"], done.stderr

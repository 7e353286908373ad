"""Where the server listens, and what it refuses to do."""

from __future__ import annotations

import socket
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

"""What may be asked of the server of the page."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from .request import advanced, option

__all__ = ["Serve"]


class Serve(BaseModel):
    """Open the page in a browser on this machine: look at scans, run jobs, read blindly. Nothing leaves the
    machine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    folder: Path = Field(
        default=Path("runs"), description="Folder of runs. What the page adds is kept in its .serve."
    )
    port: int = option(8765, "Port. 0 takes a free one.", ge=0, le=65535)
    data: tuple[Path, ...] = option(
        (), "Folder of a data set on this machine that the page may use. Once for each folder."
    )
    workers: int = option(1, "How many jobs run at a time.", ge=1, le=64)
    pacs: Path | None = option(
        None, "pacs.toml: also be a DICOM node, which takes studies and sends results back (docs/pacs.md)."
    )
    largest: int = advanced(20, "Most gigabytes of one upload.", ge=1, le=10_000)
    host: str = advanced("127.0.0.1", "Address to listen on. Another one than this machine's needs TLS.")
    certificate: Path | None = advanced(None, "TLS certificate (PEM), for another address.")
    key: Path | None = advanced(None, "Key of the certificate (PEM).")
    behind_proxy: bool = advanced(False, "A proxy on this machine encrypts. Needs --name.")
    name: tuple[str, ...] = advanced((), "Name under which browsers reach the server, as HOST or HOST:PORT.")

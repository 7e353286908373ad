"""What may be asked of the server of the page, and of the node for a training set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .request import advanced, option

__all__ = ["Fetch", "Serve"]


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


class Fetch(BaseModel):
    """Bring a training set from a PACS, without the identity of patients."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    query: tuple[str, ...] = Field(
        description="KEY=VALUE that series must match, e.g. Modality=CR. Once for each key.", kw_only=True
    )
    out: Path = Field(description="New folder for the scans without identity.", kw_only=True)
    pacs: Path = option(Path("pacs.toml"), "pacs.toml.")
    peer: str = option("", "AE title of the peer. Default: the only one.")
    how: Literal["auto", "get", "move", "web"] = option("auto", "C-GET, C-MOVE to this machine, or DICOMweb.")
    most: int = option(1000, "Most series.", ge=1)
    key: Path | None = option(None, "Secret key of new names, as for medprior deidentify.")
    allow_burned_in: bool = advanced(False, "Also take pixels that may carry text. Look at them first.")

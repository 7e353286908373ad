"""What a run starts from: the prior, a scan or a data set, each with the SHA-256 that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...data.acquisitions import KSpace, Sinogram
from ...data.plain import JsonObject
from ...data.volume import Volume
from ...errors import BadOption, FileProblem, Unsupported
from ...io.arrays import measured_in, read_kspace, read_sinogram
from ...io.dataset.advice import advice
from ...io.dataset.cache import cached_scan
from ...io.dataset.layout import PLAIN, Layout
from ...io.dataset.listing import list_files
from ...io.dataset.scan import Index, Item
from ...io.dataset.tables import TABLE
from ...io.disk.files import digest_of_files, sha256
from ...io.read import kind_of, read
from ...nets import Featured
from ...prior import Prior
from ...prior.joint import MASK
from ...training.folder import load, locate
from ..ask.requests import HasScan, Reconstruct, Synthesize
from .progress import Event, OnEvent

__all__ = [
    "LoadedPrior",
    "about",
    "check_measured",
    "device_named",
    "elsewhere",
    "given_of",
    "indexed",
    "is_data_set",
    "known_prior",
    "of_split",
    "scan_hash",
    "scan_of",
]


@dataclass(frozen=True, slots=True)
class LoadedPrior:
    """A prior ready to work, the SHA-256 of its weights, and that of its promises ("" without any): a
    calibration changes what a run prints.
    """

    prior: Prior
    sha256: str
    trust_sha256: str = ""

    @property
    def named(self) -> dict[str, str]:
        """As a record names it."""
        return {"name": self.prior.card.name, "sha256": self.sha256}

    @property
    def hashes(self) -> dict[str, str]:
        """As the identity of a run names it."""
        return {"prior_sha256": self.sha256, "trust_sha256": self.trust_sha256}


def device_named(name: str) -> str:
    """ "auto" -> "cuda" where there is one, else "cpu". Raises BadOption for a GPU that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise BadOption(
            "device: no CUDA device is available to torch",
            "use --device cpu, or install a CUDA build of torch",
        )
    return name


class _Elsewhere(Featured):
    """A network on another device than its inputs: all else of a job stays on the CPU, where its random
    numbers are drawn.
    """

    def __init__(self, net: nn.Module, device: str) -> None:
        super().__init__()
        self.net, self.device = net.to(device), device

    def forward(self, *inputs: Tensor | None) -> Tensor:
        return self.net(*(None if x is None else x.to(self.device, non_blocking=True) for x in inputs)).cpu()

    def features(
        self,
        x: Tensor,
        noise: Tensor,
        label: Tensor | None = None,
        numbers: Tensor | None = None,
        *,
        upward: bool = False,
    ) -> list[Tensor]:
        if not isinstance(self.net, Featured):
            raise NotImplementedError
        there = (
            None if part is None else part.to(self.device, non_blocking=True) for part in (label, numbers)
        )
        found = self.net.features(x.to(self.device), noise.to(self.device), *there, upward=upward)
        return [level.cpu() for level in found]


def elsewhere(prior: Prior, device: str) -> Prior:
    """The prior with its network on another device than its inputs."""
    if device == "cpu":
        return prior
    there = _Elsewhere(prior.net, device)
    return Prior(there, prior.path, prior.card, prior.promises, prior.healthy, prior.kind)


def known_prior(name: str, device: str = "cpu") -> LoadedPrior:
    """Load a prior with its checksums verified. Raises what ``training.folder.load`` raises."""
    folder = locate(name)
    prior = elsewhere(load(folder), device)
    promises = folder / "trust.json"
    return LoadedPrior(
        prior, sha256(folder / "weights.safetensors"), sha256(promises) if promises.is_file() else ""
    )


def scan_of(request: HasScan) -> Volume | KSpace | Sinogram:
    """Read the request's input; measured k-space and sinograms are for reconstruction alone.

    Raises a FileProblem, or BadOption for a choice that does not fit the file.
    """
    what = measured_in(request.input, kind_of(request.input))
    if not what:
        return read(
            request.input,
            series=request.series,
            volume=request.volume,
            keep_slices=request.keep_slices,
            resample=request.resample,
            index=request.index,
            unit=request.unit,
            modality=request.modality,
        )
    if not isinstance(request, Reconstruct):
        raise Unsupported(
            request.input,
            "holds a measurement (k-space or a sinogram), not an image",
            "make an image of it first: medprior reconstruct",
        )
    check_measured(request)
    if what == "kspace":
        return read_kspace(request.input, index=request.index)
    if request.index is not None:
        raise BadOption(f"index: {request.input.name} holds one sinogram, got {request.index}")
    return read_sinogram(request.input)


def check_measured(request: Reconstruct) -> None:
    """Raises BadOption for options that a measured file cannot have."""
    names = ("task", "series", "volume", "keep_slices", "unit", "modality", "slice")
    said = [name for name in names if getattr(request, name) is not None]
    said += [name for name in ("whole", "resample") if getattr(request, name)]
    if said:
        raise BadOption(
            f"{', '.join(said)}: no option for a measured file",
            "it says itself what was measured; --index chooses one of several slices",
        )


def given_of(request: Synthesize) -> dict[str, Volume]:
    """The known channels of a joint synthesis by name; a mask is read as a label map. Raises a
    FileProblem.
    """
    return {name: _channel(path, name) for path, name in zip(request.given, request.as_, strict=True)}


def _channel(path: Path, name: str) -> Volume:
    if name == MASK and kind_of(path) != "dicom":
        return read(path, unit="label")
    return read(path)


def scan_hash(volume: Volume | KSpace | Sinogram) -> str:
    """SHA-256 of the file a volume was read from; of several files, that of their digests in order of
    position.
    """
    return digest_of_files(volume.provenance.sources)


def about(volume: Volume | KSpace | Sinogram, digest: str) -> JsonObject:
    """What a record says of an input: never its name."""
    if isinstance(volume, Volume):
        own = {
            "modality": volume.modality,
            "unit": volume.unit,
            "spacing_mm": None if volume.spacing_mm is None else list(volume.spacing_mm),
        }
    else:
        own = {"measured": "k-space" if isinstance(volume, KSpace) else "sinogram"}
    return {
        "sha256": digest,
        "format": volume.provenance.format,
        **own,
        "shape": list(volume.data.shape),
        "synthetic": volume.provenance.synthetic,
        "warnings": list(volume.provenance.warnings),
    }


@contextmanager
def indexed(
    folder: Path, unit: str | None, modality: str | None, on_event: OnEvent, layout: Layout = PLAIN
) -> Iterator[Index]:
    """The index of a folder. unit, modality: what the numbers mean where the files cannot say. layout: where
    labels and patients are read from. Raises what ``scan`` raises.
    """
    on_event(Event("stage", "reading every scan once"))
    index = cached_scan(
        folder,
        unit=unit,
        modality=modality,
        layout=layout,
        on_progress=lambda done, total: on_event(Event("step", done=done, total=total)),
    )
    for note in advice(index):
        on_event(Event("note", note))
    yield index


def is_data_set(path: Path) -> bool:
    """Whether a path is a folder of many scans: with a scans.csv, or with files of another kind than DICOM,
    whose folder may be one scan.
    """
    if not path.is_dir():
        return False
    if (path / TABLE).is_file():
        return True
    for entry in list_files(path, Layout(folders="labels")).files:
        try:
            return kind_of(entry.path) not in ("dicom", "zip")
        except FileProblem:
            continue
    return False


def of_split(index: Index, split: str, *, allow_synthetic: bool) -> tuple[Item, ...]:
    """The usable scans of a split, none where it is empty. Raises what else ``Index.usable`` raises."""
    return (
        index.usable(split, allow_synthetic=allow_synthetic)
        if any(item.split == split and not item.leaks for item in index.items)
        else ()
    )

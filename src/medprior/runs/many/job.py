"""What a job on many scans is made of: its request, what else makes the run this one, and how one scan is
done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ...data.plain import JsonObject
from ...data.volume import Volume
from ...errors import BadOption, Unsupported
from ...io.dataset.worklist import ListedScan, ReadScan, is_index
from ..ask.many import HasMany
from ..ask.requests import Detect, Explain, Predict, Reconstruct
from ..core.inputs import is_data_set
from ..core.outputs import Outcome

__all__ = ["ManyJob", "ManyRequest", "holds_many", "image_only", "of_one"]


ManyRequest: TypeAlias = Detect | Explain | Reconstruct | Predict
"""A request whose input may be a folder of scans."""


@dataclass(frozen=True, slots=True)
class ManyJob:
    """facts: what else than the request and the list of scans makes the run this one, most often SHA-256s.
    prior: name and sha256, for records. do: one scan. record: run.json of the page of one scan, as if it had
    been alone.
    """

    request: ManyRequest
    facts: JsonObject
    prior: Mapping[str, str]
    device: str
    do: Callable[[ManyRequest, ReadScan], Outcome]
    record: Callable[[ManyRequest, ReadScan, Outcome, float], JsonObject]

    @property
    def source(self) -> Path:
        """The folder of the scans, or its index."""
        return self.request.input

    @property
    def folder(self) -> Path:
        return self.source.parent if is_index(self.source) else self.source


_OF_MANY = ("shard", "workers", "cluster", "jobs", "pages", "keep")


def holds_many(request: ManyRequest) -> bool:
    """Whether the input is a folder of several scans; the DICOM files of one series are one scan.

    Raises BadOption for options that only many scans, or only one, can have.
    """
    fields = HasMany.model_fields
    of_many = {name for name in _OF_MANY if getattr(request, name) != fields[name].default}
    alone = (request.series, request.index, request.volume) != (None, None, None)
    many = not alone and (
        is_index(request.input)
        or (
            request.input.is_dir()
            and (bool(of_many) or is_data_set(request.input) or _several_series(request.input))
        )
    )
    if not many and of_many:
        raise BadOption(f"{', '.join(sorted(of_many))}: no option for one scan", "give a folder of scans")
    if many and request.keep_slices is not None:
        raise BadOption("keep_slices: no option for a folder of scans", "give one scan")
    return many


def _several_series(folder: Path) -> bool:
    from ...io.dicom.read.tree import index_series

    return len({one.uid for one in index_series(folder).series if not one.localizer}) > 1


def of_one(request: ManyRequest, folder: Path, scan: ListedScan) -> ManyRequest:
    """The request for one scan of the folder, as if a person had given it alone."""
    usual = {name: field.default for name, field in HasMany.model_fields.items()}
    index = int(scan.part) if scan.kind == "hdf5" and scan.part else None
    own = {"input": folder / scan.path, "out": None, "index": index}
    return request.model_copy(update={**usual, **own})


def image_only(request: ManyRequest, scan: ReadScan) -> Volume:
    """Raises Unsupported for what was measured: only reconstruction makes an image of it."""
    if not isinstance(scan, Volume):
        raise Unsupported(
            request.input,
            "holds a measurement (k-space or a sinogram), not an image",
            "make an image of it first: medprior reconstruct",
        )
    return scan

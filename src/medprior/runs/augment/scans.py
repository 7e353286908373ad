"""The scans of a data set that is to be augmented: whether an input is one, its index, and its images one
after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from ...data.volume import Volume
from ...errors import FileProblem, cause
from ...io.dataset.scan import Index, Item
from ..ask.requests import AugmentSet, HasScan
from ..core.inputs import indexed, is_data_set
from ..core.progress import OnEvent

__all__ = ["chosen_scans", "loaded", "refuse_data_set"]


def refuse_data_set(request: HasScan) -> None:
    """A folder of DICOM alone is one scan. Raises FileProblem for a folder with a scans.csv or with files of
    another kind.
    """
    folder = request.input
    if is_data_set(folder):
        raise FileProblem(folder, "this is a data set: medprior augment-set FOLDER")


@contextmanager
def chosen_scans(request: AugmentSet, on_event: OnEvent) -> Iterator[tuple[Index, tuple[Item, ...]]]:
    """(index, the scans to vary). Nothing is written into the data folder. Raises what ``scan`` and
    ``Index.usable`` raise; bad files are for the report.
    """
    with indexed(request.folder, request.unit, request.modality, on_event, request.layout) as index:
        split = None if request.split == "all" else request.split
        yield index, index.usable(split, allow_synthetic=request.allow_synthetic, most_bad=1.0)


def loaded(index: Index, items: Sequence[Item]) -> Iterator[tuple[int, Volume | str]]:
    """(place in ``items``, the scan, or why it cannot be read): a stack of images is read once for all its
    neighbours.
    """
    for _, run in groupby(enumerate(items), key=lambda pair: (pair[1].path, pair[1].kind)):
        together, done = list(run), 0
        try:
            for (n, _), (_, volume) in zip(
                together, index.volumes([item for _, item in together]), strict=True
            ):
                done += 1
                yield n, volume
        except Exception:  # whatever is wrong with one file costs that file alone
            for n, item in together[done:]:
                yield n, _alone(index, item)


def _alone(index: Index, item: Item) -> Volume | str:
    try:
        return index.load(item)
    except Exception as error:
        return cause(error)

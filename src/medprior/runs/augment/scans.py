"""The scans of a data set that is to be augmented: whether an input is one, its index, and its images one
after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from ...data.volume import Volume
from ...errors import BadOption, FileProblem
from ...io.dataset.listing import list_files
from ...io.dataset.scan import Index, Item
from ...io.read import kind_of
from ..ask.requests import DATA_SET_ONLY, Augment
from ..core.inputs import indexed
from ..core.progress import OnEvent
from .makers import cause

__all__ = ["chosen_scans", "is_data_set", "loaded"]

TABLE = "scans.csv"


def is_data_set(request: Augment) -> bool:
    """A folder with a scans.csv, with files other than DICOM, or with an option that only a data set has,
    even at its default (--split train). A folder of DICOM alone is one scan.

    Raises BadOption for such an option with one scan, and for options of one scan with a data set.
    """
    only = [
        name for name in DATA_SET_ONLY if getattr(request, name) != type(request).model_fields[name].default
    ]
    said = [name for name in DATA_SET_ONLY if name in request.model_fields_set]
    folder = request.input.is_dir()
    if only and not folder:
        raise BadOption(
            f"{', '.join(only)}: no option for one scan",
            "give the folder of a data set: its sub-folders are labels, or a scans.csv says more",
        )
    if not folder or not (only or said or (request.input / TABLE).is_file() or _pictures(request)):
        return False
    single = [
        name
        for name in ("series", "index", "label", "mask", "paint", "box")
        if getattr(request, name) is not None
    ]
    if single:
        raise BadOption(
            f"{', '.join(single)}: no option for a data set",
            "labels and masks are those of its folders or its scans.csv",
        )
    return True


def _pictures(request: Augment) -> bool:
    """Whether anything in it is known to be no DICOM: the first file that says what it is tells."""
    for entry in list_files(request.input, request.layout).files:
        try:
            return kind_of(entry.path) not in ("dicom", "zip")
        except FileProblem:
            continue
    return False


@contextmanager
def chosen_scans(request: Augment, on_event: OnEvent) -> Iterator[tuple[Index, tuple[Item, ...]]]:
    """(index, the scans to vary). Nothing is written into the data folder. Raises what ``scan`` and
    ``Index.usable`` raise; bad files are for the report.
    """
    with indexed(request.input, request.unit, request.modality, on_event, request.layout) as index:
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

"""The scans behind a prior, brought back for an audit: a data set's train split, and its other splits as what
was never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import BadOption
from ...evidence.synthetic.copies import LEAST_HELD
from ...io.dataset.index import digest_of
from ...io.dataset.layout import Layout
from ...io.dataset.scan import Index, Item
from ...jobs.synthetic.audit import KnownScans, known_scans
from ...prior import Prior
from ..core.inputs import indexed, of_split
from ..core.progress import Event, OnEvent

__all__ = ["scans_behind", "scans_of_folder"]


def scans_behind(
    prior: Prior, train: Sequence[Item], held: Sequence[Item], index: Index, on_event: OnEvent
) -> tuple[KnownScans, str]:
    """The scans as the prior sees them, and "" where its card names them; else why it is unknown whether it
    learned from these.

    Raises BadOption if its card names other scans, since every prior is free of copies of foreign scans. Also
    if fewer than 19 patients are held out.
    """
    owners = len({item.owner for item in held})
    if owners < LEAST_HELD:
        raise BadOption(
            f"data: {owners} patients are held out, and {LEAST_HELD} must be to know how alike two of them "
            "are",
            "put scans of more patients, from which the prior has not learned, into val",
        )
    stated = prior.card.data.get("sha256")
    if stated is not None and stated != digest_of(train):
        wanted = prior.card.data.get("scans")
        raise BadOption(
            f"data: the {len(train)} scans of the train split are not the {wanted} that the prior learned "
            "from",
            "name the folder that it was trained on, unchanged; of an adapted prior that of its new scans, "
            "split as they were then",
        )
    on_event(Event("stage", "reading the scans behind the prior", 0, len(train) + len(held)))
    found = known_scans(
        prior, train, held, index, on_step=lambda done, total: on_event(Event("step", done=done, total=total))
    )
    if stated is None:
        return (
            found,
            "the prior's card does not say which scans it learned from; that they are these is the caller's "
            "word",
        )
    return found, ""


def scans_of_folder(prior: Prior, folder: Path, layout: Layout, on_event: OnEvent) -> tuple[KnownScans, str]:
    """Those of a data set's folder: train, and val (where there is none, test). Raises what ``scan`` and
    ``scans_behind`` raise.
    """
    unit = prior.card.unit if prior.card.unit != "a.u." else None
    with indexed(folder, unit, prior.card.modality or None, on_event, layout) as index:
        train = of_split(index, "train", allow_synthetic=False)
        held = of_split(index, "val", allow_synthetic=False) or of_split(index, "test", allow_synthetic=False)
        return scans_behind(prior, train, held, index, on_event)

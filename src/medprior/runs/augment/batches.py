"""The work on a data set that is augmented: rounds of batches, each made, looked at, written, and noted in
the state at once.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...data.plain import JsonObject
from ...data.views import grey, upright, window_for
from ...data.volume import Volume
from ...errors import FileProblem, MedpriorError, Unsupported, cause
from ...io.dataset.index import patients_of
from ...io.dataset.scan import Index, Item
from ...io.disk.files import write_file
from ..ask.requests import AugmentSet
from ..core.inputs import LoadedPrior
from ..core.outputs import Output, file_name, write_output
from ..core.progress import Event, OnEvent
from .gates import UNLIKE, Gates, Seen
from .makers import ByPrior, ByTransforms, FromNoise, Made, Maker
from .scans import loaded
from .state import Line, Refused, State, Written
from .tickets import ROUNDS, Ticket, batches, lacking, planned, spread

__all__ = ["Work"]

FEWEST_FAILED = 64
"""Scans after which a run is given up if nothing could be made of any of them."""

FEWEST_COPIES = 32
"""Images after which nothing is drawn again if every one of them was a near copy: another draw at that
strength is one, too.
"""


class Work:
    """One run: rounds of batches, each with its line in the state."""

    def __init__(
        self,
        request: AugmentSet,
        known: LoadedPrior | None,
        stated: Mapping[str, Any],
        index: Index,
        items: Sequence[Item],
        state: State,
        gates: Gates,
        on_event: OnEvent,
    ) -> None:
        self.request, self.known, self.index, self.items, self.state, self.gates, self.on_event = (
            request,
            known,
            index,
            items,
            state,
            gates,
            on_event,
        )
        self.patients = patients_of(items)
        self.folders = _folders(items)
        self.maker = self._maker(stated)
        self.asked: Counter[tuple[int | None, str]] = Counter()

    def _maker(self, stated: Mapping[str, Any]) -> Maker:
        if self.known is None:
            return ByTransforms(self.request, stated, self.index, self.items)
        if self.request.fill_by == "synthesis":
            return FromNoise(self.request, self.known.prior)
        return ByPrior(self.request, self.known.prior, self.items)

    def all(self) -> None:
        """Every round; with --fill what was refused too often is asked of the label's other scans.

        A round is planned from those before it alone: after a kill lines of later rounds lie there too, and
        the plan must be the one it was.
        """
        tickets = planned(self.request, self.items)
        if not self.state.lines:
            self.announce(tickets)
        for turn in range(ROUNDS):
            self.round(turn, tickets)
            if self.request.fill is None:
                return
            have = Counter(row.label for row in self.rows(turn))
            lack = {
                label: n - have[label]
                for label, n in lacking(self.request, self.items).items()
                if n > have[label]
            }
            bad = self.failed(turn)
            usable = [item if at not in bad else _not_varied(item) for at, item in enumerate(self.items)]
            tickets = spread(self.request, usable, lack, self.asked, turn=turn + 1)
            if not tickets or self.only_copies(turn):
                return

    def announce(self, tickets: Sequence[Ticket]) -> None:
        """What the first round will take; what the gates refuse is drawn again on top of it."""
        if not tickets:
            return
        source, first = tickets[0].source, None
        if source is not None:
            _, first = next(loaded(self.index, [self.items[source]]))
        with suppress(MedpriorError):  # a first scan that is no good is named in its turn
            self.maker.announce(tickets, first if isinstance(first, Volume) else None, self.on_event)

    def round(self, turn: int, tickets: Sequence[Ticket]) -> None:
        together = batches(tickets, self.items)
        self.asked.update((ticket.source, ticket.label) for ticket in tickets)
        self.on_event(
            Event(
                "stage",
                "varying the scans" if turn == 0 else "once more, for what was refused",
                0,
                len(tickets),
            )
        )
        done, warned = 0, False
        for n, batch in enumerate(together):
            key = f"{turn}/{n}"
            if key not in self.state:
                self.state.keep(key, self.batch(batch))
                self.give_up()
            done += len(batch)
            if self.only_copies() and not warned:
                warned = True
                text = (
                    "every variation so far is a near copy of its source, and nothing is drawn again: "
                    "take a larger --strength, or --keep-copies"
                )
                self.on_event(Event("warning", text))
            self.on_event(Event("step", done=done, total=len(tickets)))

    def batch(self, tickets: Sequence[Ticket]) -> Line:
        """Make, look, write what passes, and draw the rest again."""
        sources = sorted({ticket.source for ticket in tickets if ticket.source is not None})
        read = {sources[n]: volume for n, volume in loaded(self.index, [self.items[at] for at in sources])}
        failed = {str(at): why for at, why in read.items() if isinstance(why, str)}
        volumes = {at: volume for at, volume in read.items() if isinstance(volume, Volume)}
        line = Line(failed=failed)
        waiting = [ticket for ticket in tickets if ticket.source is None or ticket.source in volumes]
        for attempt in range(1 if self.only_copies() else self.request.tries):
            if not waiting:
                break
            waiting = self.attempt(waiting, volumes, attempt, line)
        line.rows.sort(key=lambda row: row.path)
        return line

    def attempt(
        self, tickets: Sequence[Ticket], volumes: Mapping[int, Volume], attempt: int, line: Line
    ) -> list[Ticket]:
        """Those that were refused."""
        found = self.maker.make(tickets, volumes, attempt)
        good = [(ticket, made) for ticket, made in zip(tickets, found, strict=True) if isinstance(made, Made)]
        for ticket, made in zip(tickets, found, strict=True):
            if isinstance(made, str):
                line.failed[_key(ticket)] = made
        again = []
        line.drawn += len(good)
        for (ticket, made), seen in zip(
            good, self.gates.look([t for t, _ in good], [m.image for _, m in good]), strict=True
        ):
            line.copies += seen.copy
            if seen.refused:
                line.refused.append(self.refusal(ticket, made, seen, attempt, line))
                if seen.unlike:
                    line.failed[_key(ticket)] = UNLIKE  # another draw of it would be as unlike
                else:
                    again.append(ticket)
            elif (row := self.written(ticket, made, seen, attempt, line)) is not None:
                line.rows.append(row)
        return again

    def written(self, ticket: Ticket, made: Made, seen: Seen, attempt: int, line: Line) -> Written | None:
        """The row of an image, or None where its format cannot hold it; what the disk refuses stops the run,
        and it goes on from there.
        """
        try:
            return self.write(ticket, made, seen, attempt)
        except FileProblem as error:
            if not isinstance(error, Unsupported):
                raise
            line.failed[_key(ticket)] = cause(error)
        except Exception as error:  # whatever a writer of one scan stumbles over costs that scan alone
            line.failed[_key(ticket)] = cause(error)
        return None

    def write(self, ticket: Ticket, made: Made, seen: Seen, attempt: int) -> Written:
        """One image with its marks, and its mask."""
        item = None if ticket.source is None else self.items[ticket.source]
        name, folder = self._name(ticket), self.folders[ticket.label]
        marks = {"prior_hash": self.known.sha256 if self.known else "", "seed": self.request.seed}
        fixed = "" if made.like is not None else ".png"
        kind = "augmented" if made.like is not None else "synthesized"
        path = write_output(
            Output(name, made.image, kind, like=made.like, suffix=fixed, window=made.window),
            self.state.outputs / folder,
            **marks,
        )
        mask = ""
        if (
            made.mask is not None and made.like_mask is not None
        ):  # never a DICOM Segmentation: it would tie a made-up image to the patient
            suffix = ".nii.gz" if made.like_mask.provenance.format == "dicom" else ""
            place = self.state.outputs / "masks" / folder
            mask = (
                write_output(
                    Output(name, made.mask, "mask", like=made.like_mask, suffix=suffix), place, **marks
                )
                .relative_to(self.state.outputs)
                .as_posix()
            )
        split = "train" if self.request.split == "all" else self.request.split
        return Written(
            **_said(ticket, seen),
            copy=seen.copy,
            path=path.relative_to(self.state.outputs).as_posix(),
            patient="" if item is None else f"p{self.patients[item.owner]:05d}",
            split=split if item is None else item.split,
            mask=mask,
            attempt=attempt,
            unlike=seen.unlike,
            record=made.record,
        )

    def refusal(self, ticket: Ticket, made: Made, seen: Seen, attempt: int, line: Line) -> Refused:
        """What was refused and why; a picture of the first few, by what is noted and not by what a killed
        batch has left. line: of its batch so far.
        """
        why = [
            name for name, yes in (("label", seen.lost), ("copy", seen.copy), ("kind", seen.unlike)) if yes
        ]
        name, picture = f"{'_'.join(why)}_{self.folders[ticket.label]}", ""
        if sum(one.picture.startswith(f"{name}_") for one in (*self.refused(), *line.refused)) < 2:
            picture = f"{name}_{ticket.source}_{ticket.nth}_{attempt}.png"
            buffer = io.BytesIO()
            grey(upright(made.image), window_for(made.like or made.image)).save(buffer, "PNG")
            write_file(self.state.examples / picture, buffer.getvalue())
        return Refused(**_said(ticket, seen), why=why, picture=picture)

    def _name(self, ticket: Ticket) -> str:
        if ticket.source is None:
            return f"new_{ticket.nth + 1:06d}"
        return f"{ticket.source + 1:0{len(str(len(self.items)))}d}_{ticket.nth + 1}"

    def lines(self, turn: int | None = None) -> list[Line]:
        """What the batches did, in order. turn: up to this round alone."""
        return [
            line
            for key, line in self.state.lines.items()
            if turn is None or int(key.partition("/")[0]) <= turn
        ]

    def rows(self, turn: int | None = None) -> list[Written]:
        """Every image that was written, in order."""
        return [row for line in self.lines(turn) for row in line.rows]

    def refused(self) -> list[Refused]:
        """Every image that was refused, in order."""
        return [one for line in self.lines() for one in line.refused]

    def failed(self, turn: int | None = None) -> dict[int | str, str]:
        """Scan, or label of images from noise -> why nothing, or not all, could be made of it."""
        return {
            int(at) if at.isdigit() else at: why
            for line in self.lines(turn)
            for at, why in line.failed.items()
        }

    def only_copies(self, turn: int | None = None) -> bool:
        """Every one of the first images was a near copy."""
        lines = self.lines(turn)
        if self.request.keep_copies or any(line.copies < line.drawn for line in lines):
            return False
        return sum(line.drawn for line in lines) >= FEWEST_COPIES

    def give_up(self) -> None:
        """Raises FileProblem where none of the first scans could be varied: then it is the request that is
        wrong, not they.
        """
        failed = self.failed() if not any(line.drawn for line in self.state.lines.values()) else {}
        if len(failed) >= min(len(self.items), FEWEST_FAILED):
            reason = next(iter(failed.values()))
            raise FileProblem(
                self.request.folder,
                f"none of its first {len(failed)} scans could be varied: {reason}",
                "see medprior scan, and --allow-other",
            )


def _said(ticket: Ticket, seen: Seen) -> JsonObject:
    """The fields of ``Tried``."""
    return {
        "label": ticket.label,
        "source": ticket.source,
        "probability": seen.probability,
        "p": seen.p,
        "rho": seen.rho,
        "nearest": seen.nearest,
    }


def _key(ticket: Ticket) -> str:
    """Whose failure it is: the place of a scan, or the label of an image from noise."""
    return f"new {ticket.label}" if ticket.source is None else str(ticket.source)


def _not_varied(item: Item) -> Item:
    """A scan that no more is asked of."""
    return replace(item, label="\0")


def _folders(items: Sequence[Item]) -> dict[str, str]:
    """label -> name of its folder, each its own; no name begins with a dash, which command lines take for an
    option and spreadsheets for a formula.
    """
    found: dict[str, str] = {}
    for label in sorted({item.label for item in items}):
        name = plain = (file_name(label).lstrip("-") or "label") if label else "no_label"
        n = 1
        while name in (*found.values(), "masks"):
            n += 1
            name = f"{plain}-{n}"
        found[label] = name
    return found

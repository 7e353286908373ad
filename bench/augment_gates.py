"""The two gates of an augmented data set: what they refuse, by strength, label and what the prior is told;
controls that they must refuse.

    python bench/augment_gates.py --prior P --data FOLDER [--most 100]

Real scans of FOLDER (sub-folders are splits and labels) teach and calibrate both gates as in ``medprior
augment-set FOLDER --prior P``. Of each label up to so many scans of the train split are varied once at each
strength, none is drawn again. told: the prior is told nothing, the scan's own label, or the other one.
Control "other label on the variation": told the own label, judged as if it carried the other one. Real scans
of the val split, never learned from, are judged by the same rule. label: share with p below alpha; copy:
nearer to a training scan than any held-out scan is; its source is one. Intervals: Clopper-Pearson.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from medprior.data.seeds import generator
from medprior.data.volume import Volume
from medprior.evidence.intervals import clopper_pearson
from medprior.io.dataset.scan import Item
from medprior.jobs.augment import VariationRequest, vary
from medprior.runs.ask.requests import AugmentSet
from medprior.runs.augment.gates import Gates, Seen, gates_for
from medprior.runs.augment.scans import chosen_scans, loaded
from medprior.runs.augment.tickets import BATCH, Ticket
from medprior.runs.core.inputs import known_prior, of_split
from medprior.runs.core.progress import silent

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prior", required=True)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--most", type=int, default=100)
    asked = parser.parse_args()
    prior = known_prior(asked.prior).prior
    request = AugmentSet(folder=asked.data, prior=asked.prior, judge="on")
    print(
        f"$ python bench/augment_gates.py --prior {prior.card.name} --data {asked.data.name} --most {asked.most}"
    )
    with chosen_scans(request, silent) as (index, items):
        gates = gates_for(request, index, items, silent)
        taken = few(items, asked.most)
        volumes = {
            at: v
            for at, v in zip(taken, (v for _, v in loaded(index, [items[n] for n in taken])), strict=True)
            if isinstance(v, Volume)
        }
        labels = sorted({items[n].label for n in taken})
        assert gates.judge is not None
        print(
            f"{len(items)} real scans, judge of {len(gates.judge.classifiers)} classifiers, balanced accuracy {gates.judge.accuracy:.3f} on scans not seen;"
        )
        print(f"{gates.held} held-out scans calibrate the copy gate; alpha {gates.alpha:g}")
        print(f"{'what is judged':44s} {'label':12s} {'n':>4s}  refused, label lost         near copy")
        others = of_split(index, "val", allow_synthetic=False)
        chosen = few(others, asked.most)
        real = [
            (others[n], v)
            for n, (_, v) in zip(chosen, loaded(index, [others[n] for n in chosen]), strict=True)
            if isinstance(v, Volume)
        ]
        told_of(
            labels,
            "real scans of the val split",
            [(i.label, one_seen(gates, i.label, n, v)) for n, (i, v) in enumerate(real)],
            copies=False,
        )
        for strength in STRENGTHS:
            for told in ("nothing", "own label", "other label"):
                if told != "nothing" and not set(labels) <= set(prior.card.labels):
                    continue
                found = []
                for first in range(0, len(taken), BATCH):
                    part = taken[first : first + BATCH]
                    tickets = [Ticket(n, items[n].label, 0) for n in part]
                    given = {
                        "nothing": lambda label: None,
                        "own label": lambda label: label,
                        "other label": lambda label: other(label, labels),
                    }[told]
                    wanted = [
                        VariationRequest(
                            prior.admit(volumes[n]), generator(0, "gates", n), "", given(items[n].label)
                        )
                        for n in part
                    ]
                    made = vary(prior, wanted, strength=strength)
                    found += [
                        (t.label, seen) for t, seen in zip(tickets, gates.look(tickets, made), strict=True)
                    ]
                    if told == "own label" and strength in (0.2, 0.6):
                        swapped = [Ticket(n, other(items[n].label, labels), 0) for n in part]
                        controls.setdefault(strength, []).extend(
                            (t.label, s) for t, s in zip(swapped, gates.look(swapped, made), strict=True)
                        )
                told_of(labels, f"strength {strength:g}, told {told}", found)
        for strength, found in controls.items():
            told_of(labels, f"control {strength:g}: other label on the variation", found, copies=False)


controls: dict[float, list[tuple[str, Seen]]] = {}


def few(items: tuple[Item, ...], most: int) -> list[int]:
    """Places of the first of each label."""
    found: dict[str, list[int]] = {}
    for n, item in enumerate(items):
        own = found.setdefault(item.label, [])
        if len(own) < most:
            own.append(n)
    return [n for own in found.values() for n in own]


def one_seen(gates: Gates, label: str, n: int, volume: Volume) -> Seen:
    """A scan without a source among those that the judge has learned from: any of the classifiers will do, in
    turn.
    """
    assert gates.judge is not None
    return gates.look(
        [Ticket(None, label, n)] * (n % len(gates.judge.classifiers) + 1),
        [volume] * (n % len(gates.judge.classifiers) + 1),
    )[-1]


def other(label: str, labels: list[str]) -> str:
    return labels[(labels.index(label) + 1) % len(labels)]


def told_of(labels: list[str], what: str, found: list[tuple[str, Seen]], *, copies: bool = True) -> None:
    for label in labels:
        own = [seen for of, seen in found if of == label]
        lost, near = (
            share(sum(flags), len(flags)) for flags in ([s.lost for s in own], [s.copy for s in own])
        )
        print(f"{what:44s} {label:12s} {len(own):4d}  {lost}   {near if copies else ''}", flush=True)


def share(k: int, n: int) -> str:
    at = clopper_pearson(k, n)
    return f"{at.value:.2f} ({at.low:.2f} to {at.high:.2f})"


if __name__ == "__main__":
    main()

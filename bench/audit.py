"""The copy audit of a bundled prior by patients, whom its data set states in file names alone.

    python bench/audit.py chest-xray --work .cache/audit [--n 50]

Draws images as ``medprior calibrate synthesize`` does (labels by turns, guidance 1.5), ten at a time, so that a
stopped run goes on; compares them with the train and val films of MEDPRIOR_DATA; trains the twin; and writes
what was found into trust.json. Fidelity and membership stay as they were measured before, with their date.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import torch
from pretrain import scans
from torch import Tensor

from medprior import Prior
from medprior.evidence.intervals import clopper_pearson
from medprior.evidence.synthetic.copies import STATISTIC, CopyIndex, copy_audit
from medprior.jobs.synthetic.audit import Control, copy_controls, over_fitted_twin, valid_audit
from medprior.jobs.synthetic.synthesize import DRAWING, Drawing, draw_images
from medprior.prior.admit import admit
from medprior.prior.promises import AuditControl, patients_named
from medprior.runs.synthesize.audit_page import copies_line, reach_lines
from medprior.training.folder import load, read_healthy, save_promises

FOLDER = Path("src/medprior/pretrained")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name")
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--work", type=Path, default=Path(".cache/audit"))
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    prior = load(FOLDER / chosen.name)
    made = drawn(prior, chosen.n, chosen.work / f"{chosen.name}.pt")
    sides = [known(prior, chosen.name, split) for split in ("train", "val")]
    images, whose = [side[0] for side in sides], [*sides[0][1], *sides[1][1]]
    index = CopyIndex.learn(*images, patients=whose)
    found = copy_audit(index, nearest := index.nearest(list(made)))
    print(found, flush=True)
    controls = list(copy_controls(index, nearest))
    for line in reach_lines(controls):
        print(line, flush=True)
    controls.append(twin(prior, index, chosen.work / f"{chosen.name}-twin.json"))
    audit = prior.promises.synthesize
    if audit is None:
        raise SystemExit(f"{chosen.name} was never audited: medprior calibrate synthesize")
    invalid = valid_audit(controls)
    passed, kept = not invalid and found.passed_unfiltered, dated(audit.said, audit.date)
    said = (
        copies_line(found),
        *reach_lines(controls),
        *([f"controls: NOT VALID, {invalid}"] if invalid else []),
        *kept,
        patients_named(len(whose), len(whose)),
    )
    copies = [{"way": "detail", "passed": found.passed, **asdict(found)}]
    more = {**audit.more, "copies": copies, "mix": {}, "valid": not invalid, "why": invalid}
    more.pop("beyond_limit", None)
    promises = replace(
        prior.promises,
        synthesize=replace(
            audit, n=len(made), statistic=STATISTIC, drawing=DRAWING, controls=tuple(map(_stored, controls)),
            passed=passed, said=said, date=str(date.today()), more=more, held=len(images[1]),
            patients=patients_named(len(whose), len(whose)).removeprefix("patients: "),
        ),
    )  # fmt: skip
    folder = FOLDER / chosen.name
    save_promises(folder, promises, folder, healthy=read_healthy(folder))
    print("\n".join(said), f"\npassed: {passed}", flush=True)


def dated(said: Sequence[str], date: str) -> list[str]:
    """Fidelity and membership, which were measured earlier."""
    kept = [line for line in said if line.startswith(("Fréchet", "membership"))]
    return [line if " measured on " in line else f"{line}; measured on {date}" for line in kept]


def _stored(one: Control) -> AuditControl:
    return AuditControl(
        one.passed,
        one.name,
        one.found,
        None,
        one.wanted,
        one.turned or None,
        one.smallest,
        one.outside or None,
    )


def drawn(prior: Prior, n: int, path: Path) -> Tensor:
    labels: tuple[str | None, ...] = tuple(prior.card.labels) or (None,)
    made: Tensor = torch.load(path, weights_only=True) if path.exists() else torch.empty(0)
    for batch in range(len(made) // 10, n // 10):
        how = Drawing(label=labels[batch % len(labels)], seed=100 + batch)
        made = torch.cat([made, draw_images(prior, 10, how)[0].half()])
        torch.save(made, path)
    return made[:n].float()


def known(prior: Prior, name: str, split: str) -> tuple[list[Tensor], list[str]]:
    images: list[Tensor] = []
    whose: list[str] = []
    for volume, _, patient in scans(name, split):
        found = list(admit(prior.card, volume).images)
        images, whose = images + found, whose + [patient] * len(found)
    return images, whose


def twin(prior: Prior, index: CopyIndex, path: Path) -> Control:
    """Kept, since it takes minutes."""
    if path.exists():
        stored = json.loads(path.read_text())
        return Control(stored["name"], clopper_pearson(stored["hits"], stored["n"]), stored["wanted"])
    found = over_fitted_twin(prior, index)
    hits = round(found.found.value * found.found.n)
    path.write_text(
        json.dumps({"name": found.name, "hits": hits, "n": found.found.n, "wanted": found.wanted})
    )
    return found


if __name__ == "__main__":
    main()

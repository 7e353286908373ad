"""What moving patches together with their places is worth where scans are few: the same training with and
without, by its held-out loss and by who can be told to have been learned from.

    python bench/moves.py FOLDER WORK --modality US --steps 4457      trains WORK/plain and WORK/moved (what is there already is taken), then prints both

Held-out loss: mean denoising error of at most 32 val scans at eight noise levels over what is expected there,
as training itself judges; lower is better. Kept: the step of the lowest, which is what the prior is.
Membership: AUC of the two attacks of ``medprior calibrate synthesize``, 0.5 where nothing leaks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from unittest import mock

from medprior import Prior, fit, load
from medprior.io.dataset.layout import PLAIN
from medprior.jobs.synthetic.audit import leakage
from medprior.runs.core.progress import silent
from medprior.runs.synthesize.training_scans import scans_of_folder
from medprior.training.patch_moves import PatchMoves

ARMS = ("plain", "moved")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--modality", required=True)
    parser.add_argument("--steps", type=int, required=True)
    chosen = parser.parse_args()
    for arm in ARMS:
        if not (chosen.work / arm / "prior" / "card.json").exists():
            trained(chosen.folder, chosen.work / arm, chosen.modality, chosen.steps, moves=arm == "moved")
    print(
        f"{'':<10}{'kept':<8}{'held-out loss':<16}{'at the end':<14}{'membership by loss':<26}by mid-frequency"
    )
    for arm in ARMS:
        print(line(arm, chosen.folder, chosen.work / arm), flush=True)


def trained(folder: Path, out: Path, modality: str, steps: int, *, moves: bool) -> Prior:
    def still(card: object) -> PatchMoves:
        return PatchMoves(share=0.0)

    if moves:
        return fit(folder, steps=steps, modality=modality, out=out)
    with mock.patch("medprior.jobs.fitting.fit.moves_of", still):
        return fit(folder, steps=steps, modality=modality, out=out)


def line(arm: str, folder: Path, out: Path) -> str:
    events = [json.loads(text) for text in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    held = {event["step"]: event["held_out"] for event in events if event.get("held_out") is not None}
    prior = load(out / "prior")
    scans, _ = scans_of_folder(prior, folder, PLAIN, silent)
    found = [
        f"{one.auc.value:.3f} ({one.auc.low:.3f} to {one.auc.high:.3f})" for one in leakage(prior, scans)
    ]
    kept = prior.card.training["steps"]
    return f"{arm:<10}{kept:<8}{held[kept]:<16.4f}{held[max(held)]:<14.4f}{found[0]:<26}{found[1]}"


if __name__ == "__main__":
    main()

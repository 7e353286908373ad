"""The card of a prior and what was measured of it, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from ..data.plain import JsonObject
from ..io.disk.files import SMALL, check_manifest, read_json, sha256
from ..prior.card import Card
from ..prior.promises import Estimate, Promises
from ..training.folder import bundled, locate, read_promises

__all__ = ["card_lines", "card_record"]


def card_record(name: str) -> JsonObject:
    """card, trust and SHA-256 of a prior whose checksums hold; for "" the bundled priors by name. Raises
    FileProblem, Corrupt.
    """
    if not name:
        return {"bundled": {key: read_json(folder / "card.json", SMALL) for key, folder in bundled().items()}}
    folder = locate(name)
    check_manifest(folder)
    card = Card.from_json(read_json(folder / "card.json", SMALL)).to_json()
    return {
        "card": card,
        "trust": read_promises(folder).to_json(),
        "sha256": sha256(folder / "weights.safetensors"),
    }


def card_lines(name: str) -> list[str]:
    """The same as lines of text; a card comes from strangers, so its control characters are escaped."""
    return list(_lines(name, card_record(name)))


def _lines(name: str, record: JsonObject) -> list[str]:
    if not name:
        found = [
            f"{key:12} {card['modality']}, {card['unit']}, labels: {', '.join(card['labels']) or 'none'}"
            for key, card in record["bundled"].items()
        ]
        return found or ["no prior ships with this installation; train your own: medprior train FOLDER"]
    card, data = record["card"], record["card"]["data"]
    rows = {
        "labels": ", ".join(card["labels"]) or "none",
        "axes": f"{card['axes'] or 'as stored'}; voxels {_spacing(card['spacing_mm'])}; sides "
        f"{card['frame'][0]} to {card['frame'][1]}",
        "learned": f"{data.get('n_images', 'unknown number of')} images of "
        f"{data.get('n_patients') or 'an unknown number of'} patients",
        "licence": data.get("licence") or "not stated",
        "weights": f"SHA-256 {record['sha256'][:16]}",
    }
    lines = [
        f"{card['name']}: {card['ndim']}-D prior for {card['modality'] or 'any modality'} in {card['unit']}, "
        f"preset {card['preset']}",
        *(f"  {key:10} {value}" for key, value in rows.items()),
        *(f"  limit      {line}" for line in card["limits"]),
    ]
    measured = _measured(Promises.from_json(record["trust"])) or [
        "nothing yet: no interval is calibrated, no p-value can be given"
    ]
    return [*lines, *(f"  measured   {line}" for line in measured), "  all of it  medprior info --json"]


def _measured(promises: Promises) -> list[str]:
    """One sentence for each promise."""
    lines = []
    for one in promises.reconstruct:
        at, how = one.calibration, "point estimate" if one.how.fast else f"{one.how.n} draws"
        level = f"{at.level:.0%} intervals, calibrated on {at.basis}" + (f"; {at.short}" if at.short else "")
        lines.append(f"reconstruct {one.title}, {how}: {level}")
    if detect := promises.detect:
        lines.append(f"detect: p-values from {detect.n_healthy} held-out healthy patients")
        lines.append(f"detect: {detect.recognised}")
        lines += [f"detect: {line}" for line in _tested(detect.estimates())]
    if audit := promises.synthesize:
        verdict = "passed" if audit.passed else "NOT passed"
        lines.append(f"synthesize: copy audit {verdict} on {audit.n} images")
    return lines


def _tested(measured: Mapping[str, Estimate]) -> list[str]:
    """What detection reached on labelled test patients, beside the best plain score."""
    lines = []
    if rate := measured.get("false_positive_rate"):
        lines.append(f"false positive rate {_span(rate)} on {rate.n} healthy test patients")
    areas = {key.removeprefix("auroc "): at for key, at in measured.items() if key.startswith("auroc ")}
    if (ours := areas.pop("ours", None)) and areas:
        name, best = max(areas.items(), key=lambda pair: pair[1].value)
        lines.append(f"AUROC {_span(ours)}; best plain score ({name}) {_span(best)}")
    return lines


def _span(at: Estimate) -> str:
    return f"{at.value:.3f} ({at.low:.3f} to {at.high:.3f})"


def _spacing(spacing: list[float] | None) -> str:
    return "of any size" if spacing is None else " x ".join(f"{s:g}" for s in spacing) + " mm"

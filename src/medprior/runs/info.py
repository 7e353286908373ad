"""The card of a prior and what was measured of it, for people and as JSON."""

from __future__ import annotations

from typing import Any

from ..errors import printable
from ..io.disk.files import check_manifest, read_json, sha256
from ..prior.card import Card
from ..training.folder import bundled, locate, read_trust

__all__ = ["card_lines", "card_record"]


def card_record(name: str) -> dict[str, Any]:
    """card, trust and SHA-256 of a prior whose checksums hold; for "" the bundled priors by name. Raises
    FileProblem, Corrupt.
    """
    if not name:
        return {"bundled": {key: read_json(folder / "card.json") for key, folder in bundled().items()}}
    folder = locate(name)
    check_manifest(folder)
    card = Card.from_json(read_json(folder / "card.json")).to_json()
    return {"card": card, "trust": read_trust(folder), "sha256": sha256(folder / "weights.safetensors")}


def card_lines(name: str) -> list[str]:
    """The same as lines of text; a card comes from strangers, so its control characters are escaped."""
    return [printable(line) for line in _lines(name, card_record(name))]


def _lines(name: str, record: dict[str, Any]) -> list[str]:
    if not name:
        found = [
            f"{key:12} {card['modality']}, {card['unit']}, labels: {', '.join(card['labels']) or 'none'}"
            for key, card in record["bundled"].items()
        ]
        return found or ["no prior ships with this installation; train your own: medprior train FOLDER"]
    card = record["card"]
    lines = [
        f"{card['name']}: {card['ndim']}-D prior for {card['modality'] or 'any modality'} in {card['unit']}, "
        f"preset {card['preset']}",
        f"  labels     {', '.join(card['labels']) or 'none'}",
        f"  axes       {card['axes'] or 'as stored'}; voxels {_spacing(card['spacing_mm'])}; sides "
        f"{card['frame'][0]} to {card['frame'][1]}",
        f"  weights    SHA-256 {record['sha256'][:16]}",
        *(
            f"  {key:10} {value}"
            for key, value in {**card["data"], **card["training"]}.items()
            if not isinstance(value, dict | list) or len(str(value)) < 160
        ),
        *(f"  limit      {line}" for line in card["limits"]),
    ]
    trust = record["trust"]
    if not trust:
        return [*lines, "  measured   nothing yet: no interval is calibrated, no p-value can be given"]
    return [*lines, *(f"  measured   {key}: {_short(value)}" for key, value in trust.items())]


def _spacing(spacing: list[float] | None) -> str:
    return "of any size" if spacing is None else " x ".join(f"{s:g}" for s in spacing) + " mm"


def _short(value: Any) -> str:
    """Numbers of one promise; lists only by their length."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(v)}" for key, v in value.items())
    if isinstance(value, list | tuple):
        return f"({len(value)} values)"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

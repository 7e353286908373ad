"""A prior as a folder: weights.safetensors, card.json, trust.json, kind.safetensors, for detection
healthy.safetensors, manifest.json with their checksums.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor

from ..errors import BadOption, Corrupt, FileProblem, did_you_mean, file_faults
from ..io.disk.files import (
    SMALL,
    check_manifest,
    load_weights,
    read_json,
    save_weights,
    weight_shapes,
    write_folder,
    write_json,
)
from ..prior import Card, Prior
from ..prior.image_kind import ImageKind
from ..prior.prior import untrained_prior
from ..prior.promises import Promises

__all__ = ["bundled", "load", "read_healthy", "read_promises", "save", "save_promises"]

BUNDLED = Path(__file__).parent.parent / "pretrained"
HEALTHY = "healthy.safetensors"
KIND = "kind.safetensors"
MAYBE = ("trust.json", HEALTHY, KIND)
"""Files that a prior may go without."""


def bundled() -> dict[str, Path]:
    """The priors that ship with the package, by name."""
    return {p.parent.name: p.parent for p in sorted(BUNDLED.glob("*/card.json"))}


def locate(name: str | Path) -> Path:
    """The folder of a prior: a bundled name, the prior's own folder, or the folder of a training run that
    holds it. Raises FileProblem with the nearest name.
    """
    if str(name) in bundled():
        return bundled()[str(name)]
    for folder in (Path(name) / "prior", Path(name)):
        if (folder / "card.json").is_file():
            return folder
    hint = did_you_mean(str(name), list(bundled())) if bundled() else "give the folder of a trained prior"
    why = "is neither a bundled prior nor a folder of a prior or of a training run: it has no card.json"
    raise FileProblem(Path(name), why, hint)


def load(name: str | Path, device: str = "cpu") -> Prior:
    """A prior by its bundled name, its folder or the folder of its training run, checksums verified.

    Raises FileProblem (not there), Corrupt (a byte changed, other shapes than the card's), BadOption (a card
    of another schema).
    """
    with file_faults(name):
        folder = locate(name)
        _vouched_for(folder)
    card = Card.from_json(read_json(folder / "card.json", SMALL))
    _fits(card, folder)
    prior = untrained_prior(card)
    weights = {key: tensor.float() for key, tensor in load_weights(folder / "weights.safetensors").items()}
    try:
        prior.net.load_state_dict(weights)
    except RuntimeError as error:
        raise Corrupt(
            folder / "weights.safetensors", f"does not fit its card ({str(error).splitlines()[-1].strip()})"
        ) from error
    prior.net.requires_grad_(False).eval().to(device)
    if card.ndim == 2:
        prior.net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    prior.promises = read_promises(folder)
    prior.healthy.update(read_healthy(folder))
    prior.kind = _kind(folder)
    return prior


def _fits(card: Card, folder: Path) -> None:
    """The card's network, built without memory, has the weights that the header of their file says. Raises
    Corrupt.
    """
    path = folder / "weights.safetensors"
    try:
        with torch.device("meta"):
            wanted = {key: tuple(w.shape) for key, w in untrained_prior(card).net.state_dict().items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise Corrupt(
            folder / "card.json", f"describes no network ({error})", "copy the folder again, or train again"
        ) from error
    found = weight_shapes(path)
    wrong = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if wrong:
        first = wrong[0]
        raise Corrupt(
            path, f"does not fit its card ({first}: wanted {wanted.get(first)}, got {found.get(first)})"
        )


def _kind(folder: Path) -> ImageKind | None:
    """kind.safetensors; None for a prior without it. Raises Corrupt."""
    path = folder / KIND
    try:
        return ImageKind.read(load_weights(path)) if path.is_file() else None
    except KeyError as error:
        raise Corrupt(path, f"lacks {error}", "copy the folder again, or train again") from error


def _vouched_for(folder: Path) -> None:
    """Every file of the prior has the checksum that its manifest names, and none is missing from it. Raises
    Corrupt.
    """
    check_manifest(folder)
    listed = read_json(folder / "manifest.json", SMALL)
    for name in ("card.json", "weights.safetensors", *MAYBE):
        if name not in listed and (name not in MAYBE or (folder / name).exists()):
            raise Corrupt(
                folder / name,
                "is not in the manifest, so its content is unchecked",
                "copy the whole folder again",
            )


def read_promises(name: str | Path) -> Promises:
    """What trust.json says was measured of a prior. Raises Corrupt where it cannot be read."""
    path = locate(name) / "trust.json"
    try:
        return Promises.from_json(read_json(path, SMALL) if path.is_file() else {})
    except BadOption as error:
        raise Corrupt(path, f"holds no promises that can be read ({error.args[0]})", error.remedy) from error


def read_healthy(name: str | Path) -> dict[str, Tensor]:
    """healthy.safetensors: what healthy scans look like to the prior; {} where it was shown none."""
    path = locate(name) / HEALTHY
    return load_weights(path) if path.is_file() else {}


def save(prior: Prior, folder: str | Path, *, promises: Promises | None = None, half: bool = False) -> None:
    """Writes a prior's folder whole or not at all; a prior that lay there is replaced.

    promises: to write, default those that the prior came with; ``Promises()`` for weights that have changed
    since they were measured: then what it knows of healthy scans goes, too. half: weights as float16, half
    the size; the rounding (1e-3 relative) is far below the network's error. Raises BadOption for weights that
    are not finite as written (float16 ends at 65504) and for a folder that holds something else, FileProblem
    when the disk refuses.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "card.json").is_file():
        raise BadOption(f"folder: {folder} holds files that are no prior", "choose another folder")
    weights = {k: w.half() if half else w.float() for k, w in prior.net.state_dict().items()}
    if any(not w.isfinite().all() for w in weights.values()):
        raise BadOption(
            "the weights hold NaN, infinity or too large a number and are not saved",
            "resume from the last checkpoint",
        )

    def fill(temporary: Path) -> None:
        save_weights(
            temporary / "weights.safetensors", weights, {"schema": str(prior.card.schema)}
        )  # one key: two are written in no fixed order
        write_json(temporary / "card.json", prior.card.to_json())
        write_json(temporary / "trust.json", (prior.promises if promises is None else promises).to_json())
        if prior.kind is not None:
            save_weights(temporary / KIND, prior.kind.tensors())
        if prior.healthy and promises != Promises():
            save_weights(temporary / HEALTHY, prior.healthy)

    write_folder(folder, fill)


def save_promises(
    source: str | Path, promises: Promises, folder: str | Path, *, healthy: dict[str, Tensor] | None = None
) -> None:
    """The prior of ``source`` with other promises, to ``folder`` (its own, or another), whole or not at all;
    weights and card stay as they are to the byte.

    healthy: what healthy scans look like to it; default what it knows already.
    Raises Corrupt where the source's checksums do not hold, FileProblem when the disk refuses.
    """
    source = locate(source)
    _vouched_for(source)

    def fill(temporary: Path) -> None:
        for name in (
            "weights.safetensors",
            "card.json",
            *([KIND] if (source / KIND).is_file() else []),
            *([HEALTHY] if healthy is None and (source / HEALTHY).is_file() else []),
        ):
            shutil.copyfile(source / name, temporary / name)
        write_json(temporary / "trust.json", promises.to_json())
        if healthy:
            save_weights(temporary / HEALTHY, healthy)

    write_folder(Path(folder), fill)

"""What was drawn for one image: plain numbers that JSON keeps, enough to make the same image again, bit for
bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..data.plain import JsonObject
from ..errors import BadOption
from .frame import Frame, Parameters
from .transforms import check_step

__all__ = ["Record"]

VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """steps: each a name and its parameters, in the order in which they happen. frame: of the image that they
    were drawn for.

    policy: its name; seed, item: what the draw came from; overrides: what the policy refuses and somebody
    allowed, with their reason. outside: what lies beyond the edge of the image ("edge" repeats it,
    "background" is air or the darkest value).
    """

    steps: tuple[Parameters, ...]
    frame: Frame
    policy: str
    seed: int
    item: tuple[int, ...] = ()
    outside: str = "edge"
    overrides: tuple[str, ...] = ()

    def as_dict(self) -> JsonObject:
        """For JSON."""
        return {
            "medprior_augmentation": VERSION,
            "policy": self.policy,
            "seed": self.seed,
            "item": list(self.item),
            "frame": self.frame.as_dict(),
            "outside": self.outside,
            "overrides": list(self.overrides),
            "steps": [dict(step) for step in self.steps],
        }

    @classmethod
    def from_dict(cls, stated: Mapping[str, Any]) -> Record:
        """Undo ``as_dict``; a record may come from a stranger, so each number is looked at. Raises BadOption
        for anything else.
        """
        if stated.get("medprior_augmentation") != VERSION:
            raise BadOption(
                f"record: wanted version {VERSION} of medprior_augmentation, got "
                f"{stated.get('medprior_augmentation')!r}"
            )
        try:
            frame, outside = Frame.from_dict(stated["frame"]), str(stated["outside"])
            if outside not in ("edge", "background"):
                raise BadOption(f"record: outside wanted edge or background, got {outside!r}")
            steps = tuple(check_step(step, frame) for step in stated["steps"])
            item, overrides = (
                tuple(int(n) for n in stated["item"]),
                tuple(str(o) for o in stated["overrides"]),
            )
            return cls(steps, frame, str(stated["policy"]), int(stated["seed"]), item, outside, overrides)
        except (KeyError, TypeError, ValueError) as error:
            raise BadOption(
                f"record: cannot be read ({type(error).__name__}: {error})", "give a record as it was written"
            ) from error

    def sentence(self) -> str:
        """One line for the history of a scan."""
        done = ", ".join(step["name"] for step in self.steps) or "nothing"
        return (
            f"augmented by medprior, no prior: policy {self.policy}, seed {self.seed}, item "
            f"{'/'.join(map(str, self.item)) or '0'}: {done}"
        )

"""Two short loops, the steps inside them, and the rules by which a measurement enters."""

from .draws import Draws, steadied
from .levels import karras_levels, log_levels
from .loops import anneal, flow, follow, restore, revisit, start
from .rules import RULES, matched_draw, moment_matching, proximal, seen
from .steps import STEPS, euler, heun, midpoint

__all__ = [
    "RULES",
    "STEPS",
    "Draws",
    "anneal",
    "euler",
    "flow",
    "follow",
    "heun",
    "karras_levels",
    "log_levels",
    "matched_draw",
    "midpoint",
    "moment_matching",
    "proximal",
    "restore",
    "revisit",
    "seen",
    "start",
    "steadied",
]

"""Two short loops, the steps inside them, and the rules by which a measurement enters."""

from .deviation import deviation_of, local_deviation
from .draws import Calibration, Draws, steadied
from .levels import karras_levels, log_levels
from .loops import anneal, flow, follow, restore, revisit, start
from .rules import RULES, matched_draw, moment_matching, proximal, seen
from .steps import STEPS, euler, heun, midpoint

__all__ = [
    "RULES",
    "STEPS",
    "Calibration",
    "Draws",
    "anneal",
    "deviation_of",
    "euler",
    "flow",
    "follow",
    "heun",
    "karras_levels",
    "local_deviation",
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

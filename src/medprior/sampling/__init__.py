"""Two short loops, the steps inside them, and the rules by which a measurement enters."""

from .catalogue import PASSES, RULES
from .deviation import deviation_of, local_deviation
from .draws import Calibration, Draws, steadied
from .levels import karras_levels, log_levels
from .loops import anneal, flow, flow_back, follow, multistep, restore, revisit, start
from .published import decoupled, posterior_sampling, pseudoinverse_guidance
from .rules import held, joined, matched_draw, moment_matching, proximal, seen
from .steps import STEPS, euler, heun, midpoint

__all__ = [
    "PASSES",
    "RULES",
    "STEPS",
    "Calibration",
    "Draws",
    "anneal",
    "decoupled",
    "deviation_of",
    "euler",
    "flow",
    "flow_back",
    "follow",
    "held",
    "heun",
    "joined",
    "karras_levels",
    "local_deviation",
    "log_levels",
    "matched_draw",
    "midpoint",
    "moment_matching",
    "multistep",
    "posterior_sampling",
    "proximal",
    "pseudoinverse_guidance",
    "restore",
    "revisit",
    "seen",
    "start",
    "steadied",
]

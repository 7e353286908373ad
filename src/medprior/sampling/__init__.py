"""Two short loops, the steps inside them, and the rules by which a measurement enters."""

from .draws import Draws
from .levels import karras_levels, log_levels
from .loops import anneal, flow, restore, revisit
from .rules import RULES, moment_matching, proximal
from .steps import STEPS, euler, heun, midpoint

__all__ = ["RULES", "STEPS", "Draws", "anneal", "euler", "flow", "heun", "karras_levels", "log_levels", "midpoint", "moment_matching", "proximal", "restore", "revisit"]

"""Two short loops, the steps inside them, and the rules by which a measurement enters."""

from .catalogue import PASSES, RULES
from .deviation import draw_deviation, local_deviation
from .draws import Draws, shrink_to
from .levels import karras_levels, log_levels
from .loops import anneal, flow, flow_back, initial_image, multistep, plug_and_play, sample, sdedit
from .published import decoupled, posterior_sampling, pseudoinverse_guidance
from .rules import (
    informed,
    known_channels,
    matched_draw,
    merge_views,
    moment_matching,
    posterior_mean,
    proximal,
)
from .steps import STEPS, euler, heun, midpoint

__all__ = [
    "PASSES",
    "RULES",
    "STEPS",
    "Draws",
    "anneal",
    "decoupled",
    "draw_deviation",
    "euler",
    "flow",
    "flow_back",
    "heun",
    "informed",
    "initial_image",
    "karras_levels",
    "known_channels",
    "local_deviation",
    "log_levels",
    "matched_draw",
    "merge_views",
    "midpoint",
    "moment_matching",
    "multistep",
    "plug_and_play",
    "posterior_mean",
    "posterior_sampling",
    "proximal",
    "pseudoinverse_guidance",
    "sample",
    "sdedit",
    "shrink_to",
]

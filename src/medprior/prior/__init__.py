"""The centre: one denoiser, its paths, and the functions that wrap a denoiser and give back a denoiser."""

from .card import Card
from .denoiser import Condition, Denoiser, Redraw, position_channels
from .paths import PATHS, Karras, Path, Straight, path_named
from .prior import Prior

__all__ = [
    "PATHS",
    "Card",
    "Condition",
    "Denoiser",
    "Karras",
    "Path",
    "Prior",
    "Redraw",
    "Straight",
    "path_named",
    "position_channels",
]

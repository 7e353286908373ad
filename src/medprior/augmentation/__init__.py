"""Classical augmentation: what may be done to a scan of a modality and a label, drawn apart from being
applied, so that each image can be made again.
"""

from .dataset import Augmented
from .frame import Frame
from .policy import Policy
from .record import Record
from .transforms import TRANSFORMS, Strength
from .vary import Varied, applied, draw, points_moved, replayed, varied

__all__ = [
    "TRANSFORMS",
    "Augmented",
    "Frame",
    "Policy",
    "Record",
    "Strength",
    "Varied",
    "applied",
    "draw",
    "points_moved",
    "replayed",
    "varied",
]

"""Classical augmentation: what may be done to a scan of a modality and a label, drawn apart from being
applied, so that each image can be made again.
"""

from .dataset import Augmented
from .frame import Frame
from .policy import Policy
from .record import Record
from .transforms import TRANSFORMS, Strength
from .vary import VariedVolume, apply_record, draw_record, move_points, replay, vary_volume

__all__ = [
    "TRANSFORMS",
    "Augmented",
    "Frame",
    "Policy",
    "Record",
    "Strength",
    "VariedVolume",
    "apply_record",
    "draw_record",
    "move_points",
    "replay",
    "vary_volume",
]

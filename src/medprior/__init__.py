"""medprior: one generative prior from your own scans; it reconstructs, augments, synthesizes and detects.
Research use only.

Importing this package only defines names. Each name loads its module when it is first used (PEP 562), so
``import medprior`` takes milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import operators
    from .augmentation import Augmented, Policy
    from .data.volume import Volume
    from .errors import MedpriorError
    from .explanation.latent import Search
    from .explanation.model import Model, ModelInput
    from .io.dataset.layout import Layout
    from .io.dataset.scan import scan
    from .io.dicom.deidentify_files import deidentify
    from .io.read import read, read_all
    from .io.write import write
    from .jobs.augment import augment
    from .jobs.detect import Found, detect
    from .jobs.explain import Explained, Explaining, explain
    from .jobs.features import Features
    from .jobs.fitting.adapt import Adapted, adapt
    from .jobs.fitting.fit import fit
    from .jobs.label import Labelling
    from .jobs.learn import learn, predict
    from .jobs.reconstruct import Settings, reconstruct
    from .jobs.synthetic.joint import synthesize_joint
    from .jobs.synthetic.synthesize import synthesize
    from .operators import ComplexGaussian, Gaussian, Measurement, Poisson, Rician, Unknown
    from .prior import Prior
    from .prior.adopt import adopt
    from .prior.gaussian import GaussianPrior
    from .runs.core.progress import progress_bar
    from .runs.verbs import calibrate, evaluate, label, on_folder, report
    from .sampling import Draws
    from .training.folder import load, save

_HOMES = {
    "Adapted": "jobs.fitting.adapt",
    "Augmented": "augmentation",
    "ComplexGaussian": "operators",
    "Draws": "sampling",
    "Explained": "jobs.explain",
    "Explaining": "jobs.explain",
    "Features": "jobs.features",
    "Found": "jobs.detect",
    "Gaussian": "operators",
    "GaussianPrior": "prior.gaussian",
    "Labelling": "jobs.label",
    "Layout": "io.dataset.layout",
    "Measurement": "operators",
    "MedpriorError": "errors",
    "Model": "explanation.model",
    "ModelInput": "explanation.model",
    "Poisson": "operators",
    "Policy": "augmentation",
    "Prior": "prior",
    "Rician": "operators",
    "Search": "explanation.latent",
    "Settings": "jobs.reconstruct",
    "Unknown": "operators",
    "Volume": "data.volume",
    "adapt": "jobs.fitting.adapt",
    "adopt": "prior.adopt",
    "augment": "jobs.augment",
    "deidentify": "io.dicom.deidentify_files",
    "calibrate": "runs.verbs",
    "detect": "jobs.detect",
    "evaluate": "runs.verbs",
    "explain": "jobs.explain",
    "fit": "jobs.fitting.fit",
    "label": "runs.verbs",
    "learn": "jobs.learn",
    "load": "training.folder",
    "on_folder": "runs.verbs",
    "operators": "operators",
    "predict": "jobs.learn",
    "progress_bar": "runs.core.progress",
    "read": "io.read",
    "read_all": "io.read",
    "reconstruct": "jobs.reconstruct",
    "report": "runs.verbs",
    "save": "training.folder",
    "scan": "io.dataset.scan",
    "synthesize": "jobs.synthetic.synthesize",
    "synthesize_joint": "jobs.synthetic.joint",
    "write": "io.write",
}

__all__ = [
    "Adapted",
    "Augmented",
    "ComplexGaussian",
    "Draws",
    "Explained",
    "Explaining",
    "Features",
    "Found",
    "Gaussian",
    "GaussianPrior",
    "Labelling",
    "Layout",
    "Measurement",
    "MedpriorError",
    "Model",
    "ModelInput",
    "Poisson",
    "Policy",
    "Prior",
    "Rician",
    "Search",
    "Settings",
    "Unknown",
    "Volume",
    "adapt",
    "adopt",
    "augment",
    "calibrate",
    "deidentify",
    "detect",
    "evaluate",
    "explain",
    "fit",
    "label",
    "learn",
    "load",
    "on_folder",
    "operators",
    "predict",
    "progress_bar",
    "read",
    "read_all",
    "reconstruct",
    "report",
    "save",
    "scan",
    "synthesize",
    "synthesize_joint",
    "write",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'medprior' has no attribute {name!r}; it has {', '.join(__all__)}")
    module = import_module(f".{_HOMES[name]}", __name__)
    value = module if _HOMES[name] == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

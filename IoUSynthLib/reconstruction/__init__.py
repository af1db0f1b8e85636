"""From a tracked 2D sweep to a volume with a validity mask.

Three steps: :func:`read_sweep` brings any source to one convention, :func:`estimate_fan` says which pixels are
ultrasound at all, and :func:`reconstruct` distributes them in space. NumPy and SimpleITK only.
"""

from .compounding import AXES, COMPOUNDING, DEFAULT_FILL_MM, DEFAULT_SPACING_MM, INTERPOLATION, reconstruct
from .readers import read_sweep
from .sweep import Sweep, estimate_fan

__all__ = [
    "AXES",
    "COMPOUNDING",
    "DEFAULT_FILL_MM",
    "DEFAULT_SPACING_MM",
    "INTERPOLATION",
    "Sweep",
    "estimate_fan",
    "read_sweep",
    "reconstruct",
]

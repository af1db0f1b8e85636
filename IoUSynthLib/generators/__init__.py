"""Networks that turn ultrasound into MRI, one file a family."""

from .registry import FAMILIES, REGIMES, build

__all__ = ["FAMILIES", "REGIMES", "build"]

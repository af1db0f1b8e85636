"""Networks that turn ultrasound into MRI, one file a family."""

from .registry import FAMILIES, REGIMES, build, build_refiner, get_family

__all__ = ["FAMILIES", "REGIMES", "build", "build_refiner", "get_family"]

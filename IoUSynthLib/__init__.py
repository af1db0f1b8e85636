"""IoUSynth: synthetic T2w and FLAIR MRI from tracked intraoperative brain ultrasound.

The names below are what a script needs first; each is imported when it is used, so that importing this package costs
next to nothing::

    >>> import IoUSynthLib as iousynth
    >>> volume = iousynth.read_volume("us.nrrd")  # doctest: +SKIP
    >>> result = iousynth.synthesize(volume)  # doctest: +SKIP
    >>> result.images["FLAIR"].same_grid(volume)  # doctest: +SKIP
    True

From a shell, start with ``python -m IoUSynthLib --help``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .constants import NOTICE

if TYPE_CHECKING:
    from .files.volumes import read_volume, write_volume
    from .models.bundle import load as load_model
    from .pipeline import SynthesisResult, synthesize
    from .registration.workflow import RegistrationResult, register
    from .volume import InputError, Volume

__version__ = "0.4.0"

#: Where each public name stands: module and, where it is another, its name there.
_PUBLIC = {
    "InputError": ("volume", "InputError"),
    "RegistrationResult": ("registration.workflow", "RegistrationResult"),
    "SynthesisResult": ("pipeline", "SynthesisResult"),
    "Volume": ("volume", "Volume"),
    "load_model": ("models.bundle", "load"),
    "read_volume": ("files.volumes", "read_volume"),
    "register": ("registration.workflow", "register"),
    "synthesize": ("pipeline", "synthesize"),
    "write_volume": ("files.volumes", "write_volume"),
}

__all__ = [
    "NOTICE",
    "InputError",
    "RegistrationResult",
    "SynthesisResult",
    "Volume",
    "__version__",
    "load_model",
    "read_volume",
    "register",
    "synthesize",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})

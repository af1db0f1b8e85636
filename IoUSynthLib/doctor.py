"""What is installed, what it can do, and whether the machine is ready for the operating room."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import __version__
from .bundle import DEFAULT_GENERATOR, DEFAULT_SEGMENTER, load
from .volume import InputError, Volume

#: Free space below this does not hold the arrays of a run.
_NEEDED_MIB = 1024


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    subject: str
    fine: bool
    text: str


def examine(device: str = "auto") -> list[Finding]:
    """Look at packages, providers, models and the temporary folder, and synthesize a small fan for time."""
    findings = [Finding("iousynth", True, f"{__version__}, Python {platform.python_version()}, {platform.platform()}")]
    findings += [_package(name) for name in ("numpy", "SimpleITK", "onnxruntime")]
    checks = {
        "providers": _providers,
        f"model {DEFAULT_GENERATOR}": lambda: _model(DEFAULT_GENERATOR),
        f"model {DEFAULT_SEGMENTER}": lambda: _model(DEFAULT_SEGMENTER),
        "temporary folder": _temporary_folder,
        "dry run": lambda: _dry_run(device),
    }
    findings += _outcomes(checks)
    return findings


def _outcomes(checks: dict[str, Callable[[], str]]) -> Iterator[Finding]:
    for subject, check in checks.items():
        try:
            yield Finding(subject, True, check())
        except InputError as error:
            yield Finding(subject, False, str(error))
        except Exception as error:  # a broken installation fails in any way; the doctor must name it and go on
            yield Finding(subject, False, f"{type(error).__name__}: {error}; install the packages again")


def _package(name: str) -> Finding:
    try:
        module = __import__(name)
    except ImportError as error:
        return Finding(name, False, f"cannot be imported ({error}); install it with: pip install {name}")
    version = getattr(module, "__version__", None) or importlib.metadata.version(name)
    return Finding(name, True, str(version))


def _providers() -> str:
    from .inference.session import available_providers

    return ", ".join(available_providers())


def _model(name: str) -> str:
    bundle = load(name)
    bundle.verify()
    return f"{bundle.version}, checksums match, {bundle.path}"


def _temporary_folder() -> str:
    with tempfile.TemporaryDirectory(prefix="iousynth-") as folder:
        free = shutil.disk_usage(folder).free // 2**20
    if free < _NEEDED_MIB:
        raise InputError(f"{tempfile.gettempdir()} has {free} MiB free; free at least {_NEEDED_MIB} MiB")
    return f"{tempfile.gettempdir()} can be written, {free} MiB free"


def _dry_run(device: str) -> str:
    from .pipeline import synthesize

    started = time.perf_counter()
    result = synthesize(_fan(), device=device)
    seconds = time.perf_counter() - started
    return (
        f"{seconds:.1f} s for a fan of {result.report['quality']['fan_ml']:.0f} ml on {result.report['device']['used']}"
    )


def _fan() -> Volume:
    """Return noise in a fan of 64x64x48 voxels of 0.8 mm."""
    import numpy as np

    rng = np.random.default_rng(0)
    _, y, x = np.mgrid[:48, :64, :64].astype(np.float32)
    fan = (np.hypot(x - 32, y) < 60) & (np.abs(np.arctan2(x - 32, y)) < 0.6)
    array = np.where(fan, 30.0 + 50.0 * rng.rayleigh(1.0, fan.shape), 0.0).astype(np.float32)
    array[[0, -1]] = 0.0
    return Volume(array, (0.8, 0.8, 0.8))

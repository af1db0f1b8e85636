"""What is installed, what it can do, and whether the machine is ready for the operating room."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import __version__
from .commands import BAD_INPUT
from .constants import DEVICES
from .files.volumes import read_volume
from .models.bundle import DEFAULT_GENERATOR, DEFAULT_SEGMENTER, load, origin
from .progress import Progress
from .volume import InputError

#: The modules that a run needs, and what pip installs for each.
REQUIREMENTS = {"numpy": "numpy>=1.26", "SimpleITK": "SimpleITK>=2.4", "onnxruntime": "onnxruntime>=1.20"}
#: The simulated ultrasound that comes with the extension.
SAMPLE = Path(__file__).resolve().parents[1] / "Resources" / "SampleData" / "IoUSynthSample_ious.nrrd"
#: Stages of the examination and the overall fraction at which each begins.
STAGES = {"examining": 0.0, "rehearsing": 0.05}

#: Free space below this does not hold the arrays of a run.
_NEEDED_MIB = 1024


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes
    ----------
    subject
        What was looked at.
    fine
        Whether it is as it must be.
    text
        What was found; cause and remedy where it is not fine.
    report
        Of a dry run that came to its end: that of :func:`pipeline.synthesize`.
    """

    subject: str
    fine: bool
    text: str
    report: dict[str, Any] | None = None


def missing_packages() -> list[str]:
    """Return what pip has to install before anything can run; nothing is imported."""
    importlib.invalidate_caches()  # something may have been installed a moment ago
    return [requirement for name, requirement in REQUIREMENTS.items() if importlib.util.find_spec(name) is None]


def examine(
    device: str = "auto", model: str | Path | None = None, progress: Progress | None = None
) -> Iterator[Finding]:
    """Look at packages, models, device and disk, and synthesize the sample case; give each finding as it is made.

    Parameters
    ----------
    device
        ``auto``, ``cpu`` or ``cuda``. A provider of ONNX Runtime that it asks for and that is not in use is not fine.
    model
        Name or folder of the generator that is to run; the default is :data:`bundle.DEFAULT_GENERATOR`.
    progress
        Called with the stage and the overall fraction in [0, 1]; may raise :class:`inference.Cancelled`.
    """
    report = progress or (lambda stage, fraction: None)
    generator = str(model or DEFAULT_GENERATOR)
    system = f"{platform.system()} {platform.machine()}"
    yield Finding("IoUSynth", True, f"{__version__}, Python {platform.python_version()}, {system}")
    packages = [_outcome(name, lambda name=name: (_package(name), None)) for name in REQUIREMENTS]
    yield from packages
    lacking = [finding.subject for finding in packages if not finding.fine]

    def with_packages(check: Callable[[], Any]) -> Any:
        if lacking:
            raise InputError(f"was not tried; put {', '.join(lacking)} right first")
        return check()

    checks: dict[str, Callable[[], str]] = {}
    # The segmenter needs the generator that it was trained with, whichever makes the images.
    for name in dict.fromkeys((generator, DEFAULT_GENERATOR, DEFAULT_SEGMENTER)):
        checks[f"model {Path(name).name}"] = lambda name=name: _model(name)
    checks |= {"device": lambda: with_packages(lambda: _device(generator, device)), "disk": _temporary_folder}
    for number, (subject, check) in enumerate(checks.items()):
        report("examining", STAGES["rehearsing"] * number / len(checks))
        yield _outcome(subject, lambda check=check: (check(), None))
    report("rehearsing", STAGES["rehearsing"])
    yield _outcome("dry run", lambda: with_packages(lambda: _dry_run(generator, device, report)))


def _outcome(subject: str, check: Callable[[], tuple[str, dict[str, Any] | None]]) -> Finding:
    from .inference import Cancelled

    try:
        return Finding(subject, True, *check())
    except Cancelled:
        raise
    except InputError as error:
        return Finding(subject, False, str(error))
    except Exception as error:  # a broken installation fails in any way; the doctor must name it and go on
        return Finding(subject, False, f"{type(error).__name__}: {error}; install the packages again")


def _package(name: str) -> str:
    if importlib.util.find_spec(name) is None:
        raise InputError(f"is not installed; press Install packages in the panel, or run: pip install {name}")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        remedy = f"install it again: pip install --force-reinstall --no-deps {name}"
        raise InputError(f"cannot be loaded ({error}); {remedy}") from error
    return str(getattr(module, "__version__", None) or importlib.metadata.version(name))


def _model(name: str) -> str:
    bundle = load(name)
    bundle.verify()
    return ", ".join(filter(None, (bundle.version, origin(bundle.path), "checksums match")))


def _device(generator: str, device: str) -> str:
    from .inference import open_session
    from .inference.session import available_providers, why_unused

    session = open_session(load(generator), device)
    if session.unused:
        raise InputError(
            f"{', '.join(session.unused)} was asked for and is not in use, so that models run on the "
            f"{session.device.upper()} ({why_unused()}); install what is missing, or choose the device cpu"
        )
    if session.runtime == "TorchScript":
        return f"models run on the {_unit(session.device)} (TorchScript, PyTorch {importlib.metadata.version('torch')})"
    cuda = "" if "CUDAExecutionProvider" in available_providers() else "; this ONNX Runtime has none for NVIDIA GPUs"
    return f"models run on the {_unit(session.device)} ({', '.join(session.providers)}{cuda})"


def _unit(device: str) -> str:
    return "GPU" if device == "cuda" else "CPU"


def _temporary_folder() -> str:
    with tempfile.TemporaryDirectory(prefix="iousynth-") as folder:
        free = shutil.disk_usage(folder).free // 2**20
    if free < _NEEDED_MIB:
        raise InputError(f"{tempfile.gettempdir()} has {free} MiB free; free at least {_NEEDED_MIB} MiB")
    return f"{free} MiB free for temporary files"


def _dry_run(generator: str, device: str, progress: Progress) -> tuple[str, dict[str, Any]]:
    from .pipeline import synthesize

    if not SAMPLE.is_file():
        raise InputError(f"{SAMPLE}: the sample case is missing; install the extension again")
    begin = STAGES["rehearsing"]

    def rehearsing(_: str, fraction: float) -> None:
        progress("rehearsing", begin + (1 - begin) * fraction)

    result = synthesize(read_volume(SAMPLE), generator, device, rehearsing)
    report = result.report
    return (
        f"the sample case took {report['seconds']['total']:.1f} s on the {_unit(report['device']['used'])} (a fan of "
        f"{report['quality']['fan_ml']:.0f} ml)",
        report,
    )


# The command ----------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Looks at packages, models, device and disk, and synthesizes the sample case for time. Exit code 0 when ready, "
        "2 when not."
    )
    parser.add_argument("--model", metavar="NAME|PATH", help=f"generator (default: {DEFAULT_GENERATOR})")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")


def run(options: argparse.Namespace) -> int:
    """Print a line for each finding and whether all is ready, and return the exit code: 2 when it is not."""
    problems = []
    for finding in examine(options.device, options.model):
        print(f"{'ok   ' if finding.fine else 'FAIL '} {finding.subject}: {finding.text}", flush=True)
        problems += [] if finding.fine else [finding]
    if problems:
        print(f"not ready: {'; '.join(f'{problem.subject}: {problem.text}' for problem in problems)}")
        return BAD_INPUT
    print("Ready. No network needed.")
    return 0

"""The command line: ``python -m IoUSynthLib``, installed as ``iousynth``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from . import __version__
from .commands import BAD_INPUT, complain
from .constants import NOTICE
from .files.paths import check_path
from .volume import InputError


class Command(NamedTuple):
    """A row of :data:`COMMANDS`: the module that has ``add_arguments`` and ``run``, a line of help, and which optional
    packages it needs (a key of :data:`_REMEDIES`)."""

    module: str
    help: str
    extra: str = ""


COMMANDS = {
    "synthesize": Command("outputs.command", "predict T2w and FLAIR, uncertainty, tumour and cavity"),
    "segment": Command("outputs.segment_command", "outline tumour and cavity, on synthetic MRI or the patient's own"),
    "translate": Command("outputs.translate_command", "make MRI of MRI of another contrast"),
    "reconstruct": Command("reconstruction.command", "make a volume of a tracked 2D sweep"),
    "register": Command("registration.command", "register a preoperative MRI to the ultrasound"),
    "curious": Command("registration.curious", "register a cohort with landmarks, as the challenge CuRIOUS scores it"),
    "capture-range": Command(
        "registration.capture_range", "register displaced MRI, by ultrasound and by synthetic MRI, and score both"
    ),
    "export-dicom": Command("outputs.dicom_command", "write synthetic images as DICOM series"),
    "models": Command("models.command", "list, describe, verify, install, remove, import or export models", "train"),
    "doctor": Command("doctor", "say what is installed, which device runs, and whether all is ready"),
    "evaluate": Command("evaluation.command", "score predictions against a cohort that knows the truth", "evaluate"),
    "downstream": Command(
        "evaluation.downstream_command", "write what nnU-Net needs to outline synthetic and acquired MRI", "evaluate"
    ),
    "report": Command("evaluation.report_command", "make one report of the scores of several methods", "evaluate"),
    "benchmark": Command(
        "evaluation.benchmark_command", "go from ReMIND's folder, or a cohort, to the report at once", "evaluate"
    ),
    "train": Command("training.command", "train a generator or a segmenter", "train"),
    "personalize": Command(
        "training.personal_command", "let the generator learn more on simulated sweeps of one patient's MRI", "train"
    ),
    "simulate": Command(
        "simulation.command", "make a cohort of simulated ultrasound, MRI and labels to train and test on", "train"
    ),
    "paint": Command("simulation.paint_command", "paint resection cavities into real ultrasound to train on", "train"),
    "cohort-table": Command("cohort.table_command", "list the DICOM series of ReMIND, to edit and prepare"),
    "prepare": Command("cohort.command", "make a cohort to train on of patients' ultrasound and MRI"),
}

#: How to install the packages of an extra.
_REMEDIES = {
    "train": 'install PyTorch (pytorch.org says how) and then the rest with pip install "iousynth[train]"',
    "evaluate": 'install it with pip install "iousynth[evaluate]"',
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and keeps the name of the command that it reads."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.set_defaults(command=self.prog.removeprefix("iousynth "))

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or 2 for bad input, with one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console or file that cannot hold every letter of a name
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser(arguments).parse_args(arguments)
    try:
        for path in (value for name, value in vars(options).items() if name != "inputs"):
            if isinstance(path, Path):
                check_path(path)
        return options.run(options)
    except InputError as error:
        return complain(error)
    except ModuleNotFoundError as error:
        remedy = _REMEDIES.get(COMMANDS[options.command.split()[0]].extra)
        if remedy is None or (error.name or "").startswith(__package__):
            raise
        return complain(f"{options.command}: the package {error.name} is not installed; {remedy}")
    except KeyboardInterrupt:
        print("interrupted; nothing of the unfinished case was written; the same command goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has had enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of these arguments; only the module of the command among them is imported."""
    parser = _Parser(prog="iousynth", description="Synthetic MRI from intraoperative brain ultrasound.", epilog=NOTICE)
    parser.add_argument("--version", action="version", version=f"iousynth {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.help)
        if name in arguments[:1]:
            room = importlib.import_module(f".{command.module}", __package__)
            room.add_arguments(added)
            added.set_defaults(run=room.run)
    return parser

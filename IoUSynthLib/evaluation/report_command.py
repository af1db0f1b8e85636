"""``iousynth report``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..outputs.case_files import staging_folder
from ..volume import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes report.html, one page with tables, figures and what they allow to say, and the same as Markdown, CSV, "
        "LaTeX and SVG, and prints what it says."
    )
    parser.epilog = (
        "An experiment that is named as presets are, such as resvit-2.5d-t2w, is known by family and regime. Grade and "
        "reoperation come from the cohort: iousynth prepare --clinical"
    )
    parser.add_argument(
        "scores", nargs="+", metavar="SCORES", type=named_folder,
        help="what evaluate wrote, a folder for each experiment: NAME=DIR, or DIR, which is named by its last part",
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for the report")
    parser.add_argument(
        "--real", type=Path, metavar="DIR",
        help="what evaluate wrote of outlines on the acquired MRI, which utility ratio and retention are taken from",
    )


def named_folder(text: str) -> tuple[str, Path]:
    """Name and folder of an experiment."""
    name, equals, folder = text.partition("=")
    if not equals or Path(text).is_dir():
        return Path(text).resolve().name, Path(text)
    if not name or not folder:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=DIR")
    return name, Path(folder)


def run(options: argparse.Namespace) -> int:
    """Write the report, print its sentences, and return the exit code 0.

    Raises
    ------
    InputError
        Results are missing, damaged or do not fit together; nothing is written then.
    """
    from .from_scores import read_scores
    from .report import write_report

    folders = dict(options.scores)
    if len(folders) < len(options.scores):
        names = [name for name, _ in options.scores]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice}: is the name of two experiments; name them, such as {twice}-2=DIR")
    results = read_scores(folders, real=options.real)
    with staging_folder(options.output) as staging:
        words = write_report(results, staging)
    print(words, end="")
    return 0

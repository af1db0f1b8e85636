"""``iousynth simulate``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..cases.case import PARAMETERS
from ..cases.index import INDEX
from ..cases.splits import SPLITS, split_heads
from ..commands import positive, seed
from ..volume import InputError

#: No head is split, so that nothing is validated on a head that was trained on.
_NO_SPLITS = (
    "all cases are for training, none for validation or test, because there are too few heads ({count}); to train on "
    "them, give five or more label maps of one source with --anatomy"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes a folder a case, dataset.json with heads and splits, and contact_sheet.png. Complete cases are kept, "
        "so that the same command goes on after an interruption."
    )
    parser.add_argument("-n", "--number", required=True, type=positive, metavar="N", help="number of cases")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the cohort")
    parser.add_argument(
        "--anatomy",
        type=Path,
        metavar="DIR",
        help="BrainWeb or SynthSeg label maps, or folders with real T1, T2 and FLAIR; to train, five or more of one "
        "source (default: the ICBM 152 head, for training only)",
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="default: 0")
    parser.add_argument(
        "--ce-t1", action="store_true", help="ceT1 of each case, too, for unified networks; nothing else changes by it"
    )
    parser.add_argument(
        "--preoperative", action="store_true",
        help="the MRI from before the operation (T2w, ceT1, FLAIR), too, for networks that read it beside ultrasound; "
        "nothing else changes by it",
    )  # fmt: skip
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")


def run(options: argparse.Namespace) -> int:
    """Simulate a cohort with its contact sheet, print what was written, and return the exit code 0.

    Raises
    ------
    InputError
        The anatomies cannot be read, there is no GPU, the folder cannot be written or holds other cases.
    """
    import torch

    from ..cases.contact_sheet import CONTACT_SHEET
    from .cohort import head_paths, simulate_cohort
    from .contact_sheet import sheet

    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: PyTorch finds no GPU; choose cpu")
    output, anatomy = options.output, options.anatomy
    with _bad_input(options):
        heads = ["icbm152"] if anatomy is None else list(head_paths(anatomy))
        check_begun(output, heads, seed=options.seed)
        if anatomy is None:
            print(f"simulate: {_NO_SPLITS.format(count=1)}", file=sys.stderr, flush=True)
        cases = simulate_cohort(
            options.number, output, anatomy=anatomy, seed=options.seed, workers=options.workers,
            progress=_print_progress(), device=options.device, with_agent=options.ce_t1,
            preoperative=options.preoperative,
        )  # fmt: skip
    sheet(with_agent=options.ce_t1).write([output / case["name"] for case in cases], output / CONTACT_SHEET)
    splits = [case["split"] for case in cases]
    counts = ", ".join(f"{splits.count(split)} for {split}" for split in SPLITS)
    text = f"wrote {len(cases)} simulated cases ({counts}), {INDEX} and {CONTACT_SHEET} in {output}"
    split = "validation" in split_heads(heads).values()
    print(text if split else f"{text}; {_NO_SPLITS.format(count=len(heads))}")
    return 0


@contextlib.contextmanager
def _bad_input(options: argparse.Namespace) -> Iterator[None]:
    """Turn what reading heads and writing cases raises into one line with cause and remedy."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"{error.filename or options.output}: {error.strerror or error}; put it right and repeat the command, "
            "which keeps the cases that are complete"
        ) from error
    except ValueError as error:
        raise InputError(str(error)) from error
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("sitk::ERROR: ")
        message = f"{options.anatomy}: holds an anatomy that cannot be read ({reason}); copy it again"
        raise InputError(message) from error


def check_begun(output: Path, heads: Sequence[str], *, seed: int, prefix: str = "case-") -> None:
    """Raise :class:`InputError` when the folder holds cases of another seed or other anatomies."""
    for path in sorted(output.glob(f"{prefix}*/{PARAMETERS}")):
        try:
            number, parameters = int(path.parent.name.removeprefix(prefix)), json.loads(path.read_text("utf-8"))
            found = parameters["seed"], parameters["head"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is damaged ({error!r}); remove its folder and repeat the command") from error
        if found != (seed * 1_000_000 + number, heads[number % len(heads)]):
            raise InputError(f"{path}: is of another seed or anatomy; choose another output folder")


def _print_progress() -> Callable[[int, int], None]:
    started = time.perf_counter()

    def progress(done: int, total: int) -> None:
        print(f"simulate: {done} of {total} cases, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)

    return progress

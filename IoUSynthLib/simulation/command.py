"""What ``iousynth simulate`` does: a cohort, its contact sheet, and errors that say what to do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..cases.case import PARAMETERS
from ..cases.index import INDEX
from ..cases.splits import SPLITS, split_heads
from ..volume import InputError
from .cohort import head_paths, simulate_cohort
from .contact_sheet import FILE, write_contact_sheet

#: No head is split, so that nothing is validated on a head that was trained on.
_NO_SPLITS = (
    "all cases are for training, none for validation or test, because there are too few heads ({count}); to train on "
    "them, give five or more label maps of one source with --anatomy"
)


def write_cohort(number: int, output: Path, anatomy: Path | None, seed: int, workers: int, device: str = "cpu") -> str:
    """Simulate a cohort with its contact sheet, and return a line that says what was written.

    Parameters
    ----------
    number, output, anatomy, seed, workers, device
        As of :func:`.cohort.simulate_cohort`.

    Raises
    ------
    InputError
        The anatomies cannot be read, there is no GPU, the folder cannot be written or holds other cases.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: PyTorch finds no GPU; choose cpu")
    try:
        heads = ["icbm152"] if anatomy is None else list(head_paths(anatomy))
        check_begun(output, heads, seed)
        if anatomy is None:
            print(f"simulate: {_NO_SPLITS.format(count=1)}", file=sys.stderr, flush=True)
        cases = simulate_cohort(number, output, anatomy, seed, workers, _print_progress(), device=device)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(f"simulate: the package {error.name} is missing; pip install 'iousynth[train]'") from error
    except OSError as error:
        raise InputError(
            f"{error.filename or output}: {error.strerror or error}; put it right and repeat the command, which keeps "
            "the cases that are complete"
        ) from error
    except ValueError as error:
        raise InputError(str(error)) from error
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("sitk::ERROR: ")
        raise InputError(f"{anatomy}: holds an anatomy that cannot be read ({reason}); copy it again") from error
    write_contact_sheet([output / case["name"] for case in cases], output / FILE)
    splits = [case["split"] for case in cases]
    counts = ", ".join(f"{splits.count(split)} for {split}" for split in SPLITS)
    text = f"wrote {len(cases)} simulated cases ({counts}), {INDEX} and {FILE} in {output}"
    if "validation" in split_heads(heads).values():
        return text
    return f"{text}; {_NO_SPLITS.format(count=len(heads))}"


def check_begun(output: Path, heads: Sequence[str], seed: int) -> None:
    """Raise :class:`InputError` when the folder holds cases of another seed or other anatomies."""
    for path in sorted(output.glob(f"case-*/{PARAMETERS}")):
        try:
            number, parameters = int(path.parent.name.removeprefix("case-")), json.loads(path.read_text("utf-8"))
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

"""Which heads and patients are trained on, chosen by, and tested on: never one in two splits."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from ..files.tables import read_csv
from ..volume import InputError

SPLITS = ("train", "validation", "test")
#: Share of the patients that are held out, and of the others that choose the checkpoint, as in the ioUS-to-MR benchmark
#: (arXiv 2606.00630, section 2.1; its published code holds out 15 % of the training patients for validation).
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.15

#: Patients that this project tests on, and nothing is trained on or chosen by: three of BraTS 2021, cases 2 and 24 of
#: RESECT, as their folders or files are named.
_ONLY_TESTED = re.compile(r"brats2021_0148[123]|(resect)?[-_ ]?case[-_ ]?0*(2|24)", re.IGNORECASE)

_REMEDY = "give JSON with train_subjects and test_subjects"


def is_only_tested(patient: str) -> bool:
    """Tell whether a patient of this name is for testing, whatever a split says.

    Examples
    --------
    >>> [name for name in ("Case2", "case24", "Case02", "Case12", "Case4", "BraTS2021_01482") if is_only_tested(name)]
    ['Case2', 'case24', 'Case02', 'BraTS2021_01482']
    """
    return _ONLY_TESTED.fullmatch(patient) is not None


def split_patients(
    patients: Collection[str], seed: int = 0, shares: tuple[float, float] = (TEST_SHARE, VALIDATION_SHARE)
) -> dict[str, str]:
    """Split of every patient: "train", "validation" or "test".

    The same patients and seed give the same splits, in whatever order they come. Two patients are one for training and
    one for validation; from three on, there is at least one of each. ``shares`` are that of the patients that is for
    testing, and that of the others for validation.

    Examples
    --------
    >>> from collections import Counter
    >>> splits = split_patients([f"patient{number}" for number in range(10)])
    >>> Counter(splits.values()).most_common()
    [('train', 7), ('test', 2), ('validation', 1)]
    """
    names = sorted(set(patients))
    count = len(names)
    test = min(count - 2, max(1, round(shares[0] * count))) if count > 2 else 0
    validation = min(count - test - 1, max(1, round(shares[1] * (count - test)))) if count > 1 else 0
    order = [names[index] for index in np.random.default_rng(seed).permutation(count)]
    kinds = ["test"] * test + ["validation"] * validation + ["train"] * (count - test - validation)
    return dict(sorted(zip(order, kinds, strict=True)))


def published_split(patients: Collection[str]) -> dict[str, str]:
    """Split of every patient by the rule of the ioUS-to-MR benchmark's program, with its seed.

    ``RandomState(42)`` shuffles the sorted names; the first 80 % (rounded down) are for training, the others for
    testing. With the 77 patients of the benchmark this gives its ``subject_split.json``. Of those for training, 15 %
    (rounded down, one at least) are for validation, as its ResViT draws them; see :func:`with_validation`.
    """
    names = sorted(set(patients))
    np.random.RandomState(42).shuffle(names)
    count = int(0.8 * len(names))
    return with_validation({name: "train" if number < count else "test" for number, name in enumerate(names)})


def with_validation(splits: dict[str, str]) -> dict[str, str]:
    """Take patients for validation from those for training: the first 15 % of them, sorted, as ``default_rng(42)``
    shuffles them."""
    train = sorted(name for name, split in splits.items() if split == "train")
    np.random.default_rng(42).shuffle(train)
    chosen = train[: max(1, int(VALIDATION_SHARE * len(train)))] if len(train) > 1 else []
    return dict(sorted({**splits, **dict.fromkeys(chosen, "validation")}.items()))


def read_split(path: Path) -> tuple[dict[str, str], list[str]]:
    """Read who is in which split.

    Parameters
    ----------
    path
        CSV with the columns patient and split, or JSON with lists ``train_subjects``, ``test_subjects`` and, if there
        are such, ``validation_subjects``, as the benchmark published its own. Where nobody is for validation, patients
        for training are taken; see :func:`with_validation`.

    Returns
    -------
    tuple of dict and list
        The split of each patient, and the patients that are in more than one, who are in none of the former.

    Raises
    ------
    InputError
        It cannot be read, or names another split.
    """
    pairs = set(_pairs_of_json(path) if path.suffix.lower() == ".json" else _pairs_of_csv(path))
    names = [name for name, _ in pairs]
    several = sorted({name for name in names if names.count(name) > 1})
    splits = {name: split for name, split in sorted(pairs) if name not in several}
    if "validation" not in splits.values():
        splits = with_validation(splits)
    return splits, several


def _pairs_of_json(path: Path) -> Iterable[tuple[str, str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(str(name), split) for split in SPLITS for name in content.get(f"{split}_subjects", [])]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
    if not pairs:
        raise InputError(f"{path}: names no patients; {_REMEDY}")
    return pairs


def _pairs_of_csv(path: Path) -> Iterable[tuple[str, str]]:
    rows = read_csv(path, ("patient", "split"))
    for number, row in enumerate(rows, start=2):
        if row["split"] not in SPLITS:
            found = row["split"] or "nothing"
            raise InputError(f"{path}: line {number}: {found} is no split; write {', '.join(SPLITS)}")
    return [(row["patient"], row["split"]) for row in rows]


def split_heads(names: Collection[str]) -> dict[str, str]:
    """Split of every head of the simulator: of each source the last three are for testing, the one before for
    validation.

    A source with fewer than five heads is for training only.

    Examples
    --------
    >>> split_heads([f"subject{number:02d}" for number in range(6)])["subject05"]
    'test'
    """
    splits = {}
    for source in sorted({_source(name) for name in names}):
        members = sorted(name for name in names if _source(name) == source)
        for index, name in enumerate(members):
            left = len(members) - index
            held_out = "test" if left <= 3 else "validation" if left == 4 else "train"
            splits[name] = held_out if len(members) >= 5 else "train"
    return splits


def _source(head: str) -> str:
    """Where a head is from, by its name: what stands before its number."""
    return head.rstrip("0123456789")

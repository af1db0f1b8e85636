"""Which heads and patients are trained on, chosen by, and tested on: never one in two splits."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

SPLITS = ("train", "validation", "test")
#: Share of the patients that are held out, and of the others that choose the checkpoint, as in the ioUS-to-MR benchmark
#: (arXiv 2606.00630, section 2.1; its published code holds out 15 % of the training patients for validation).
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.15


def split_patients(patients: Collection[str], seed: int = 0) -> dict[str, str]:
    """Split of every patient: "train", "validation" or "test".

    The same patients and seed give the same splits, in whatever order they come. Two patients are one for training and
    one for validation; from three on, there is at least one of each.

    Examples
    --------
    >>> from collections import Counter
    >>> splits = split_patients([f"patient{number}" for number in range(10)])
    >>> Counter(splits.values()).most_common()
    [('train', 7), ('test', 2), ('validation', 1)]
    """
    names = sorted(set(patients))
    count = len(names)
    test = max(1, round(TEST_SHARE * count)) if count > 2 else 0
    validation = max(1, round(VALIDATION_SHARE * (count - test))) if count > 1 else 0
    order = [names[index] for index in np.random.default_rng(seed).permutation(count)]
    kinds = ["test"] * test + ["validation"] * validation + ["train"] * (count - test - validation)
    return dict(sorted(zip(order, kinds, strict=True)))


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

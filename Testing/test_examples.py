"""The examples in the docstrings run, and give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def modules_with_examples() -> list[str]:
    paths = sorted((ROOT / "IoUSynthLib").rglob("*.py"))
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in paths
        if ">>> " in path.read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name):
    if name.startswith("IoUSynthLib.generators"):
        pytest.importorskip("torch")
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failed


def test_entry_points_have_examples():
    names = {test.name for name in modules_with_examples() for test in _found(name) if test.examples}
    assert len(names) >= 20, names


def _found(name):
    return doctest.DocTestFinder().find(importlib.import_module(name))

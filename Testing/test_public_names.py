"""What ``import IoUSynthLib`` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import IoUSynthLib

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", IoUSynthLib.__all__)
def test_every_public_name_is_there_and_listed(name):
    assert getattr(IoUSynthLib, name) is not None
    assert name in dir(IoUSynthLib)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module IoUSynthLib has no attribute synthesise"):
        IoUSynthLib.synthesise  # noqa: B018


def test_importing_the_package_imports_no_library():
    libraries = ("numpy", "SimpleITK", "onnxruntime", "torch")
    code = f"import sys, IoUSynthLib; print([name for name in {libraries} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

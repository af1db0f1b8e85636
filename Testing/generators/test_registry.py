"""Which families there are, and that finding this out costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from IoUSynthLib.generators import FAMILIES, REGIMES, build_refiner, get_family
from IoUSynthLib.generators.family import Family


def test_every_file_that_is_not_shared_is_a_family():
    pytest.importorskip("torch")
    assert {"cut", "cyclegan", "pix2pix", "resvit", "swin_pix2pix", "syndiff", "unet"} <= set(FAMILIES)
    for name in FAMILIES:
        family = get_family(name)
        assert isinstance(family, Family)
        assert set(family.regimes) <= set(REGIMES)
        assert set(family.recipes) <= {"slices", "volumes", "refiner"}


def test_listing_them_imports_no_torch():
    code = "import sys; from IoUSynthLib.generators import FAMILIES; assert len(FAMILIES) > 6; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "monai", "numpy"} & set(modules)


def test_only_a_family_with_a_refiner_has_one():
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match="the family unet has no refiner"):
        build_refiner("unet")

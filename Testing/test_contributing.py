"""The map of the code names files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("IoUSynthLib/generators", "IoUSynthLib/registration", "IoUSynth/IoUSynthPanel", "Testing/module")
PLACES = ("", "IoUSynth", "IoUSynthLib", "Testing", *ROOMS)
#: The family that the page adds as an example.
EXAMPLES = {"tiny.py"}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w./]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text()))))
def test_every_file_on_the_map_exists(name):
    assert name in EXAMPLES or any((ROOT / place / name).is_file() for place in PLACES)

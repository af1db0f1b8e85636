"""The generator that the contributors' page adds in one file is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).resolve().parents[2] / "Resources" / "Documentation" / "contributors.md"


def test_the_example_of_a_generator_in_one_file_works():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    network = names["build"]("2.5D", ("T2w", "FLAIR"))
    assert network(torch.zeros(2, 3, 16, 24)).shape == (2, 2, 16, 24)
    with pytest.raises(ValueError, match="not in 3D"):
        names["build"]("3D", ("T2w",))

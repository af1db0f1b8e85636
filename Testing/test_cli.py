"""The table of commands: help that is quick, one line for wrong options, and consoles that cannot show every letter."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from IoUSynthLib import cli

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("arguments", [(), *((name,) for name in cli.COMMANDS), ("models", "verify")], ids=" ".join)
def test_help_of_every_command(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: iousynth", *arguments]))


def test_help_imports_what_it_needs_and_no_more():
    """Nor does the help of a command import what only its work needs."""
    for arguments in ([], ["train"], ["synthesize"]):
        code = f"import sys; from IoUSynthLib.cli import main; main({[*arguments, '--help']})"
        code = f"try:\n {code}\nfinally:\n print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        imported = set(done.stdout.splitlines()[-1].split())
        assert imported.isdisjoint({"torch", "SimpleITK", "onnxruntime", "scipy", "skimage", "pydicom"})
        rooms = {name.split(".")[1] for name in imported if name.startswith("IoUSynthLib.")}
        assert arguments or rooms <= {"cli", "commands", "constants", "files", "volume"}


def test_wrong_options_are_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["synthesize", "a.nrrd", "-o", "out", "--device", "tpu"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_names_that_the_console_cannot_show(encoding, tiny_models, ultrasound_file, tmp_path, monkeypatch):
    """The files were written; what cannot be printed must not undo that."""
    path = shutil.copy(ultrasound_file, tmp_path / "Müller 患者.nrrd")
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    assert cli.main(["synthesize", str(path), "-o", str(tmp_path / "out")]) == 0
    console.seek(0)
    assert "ller \\u60a3\\u8005: wrote" in console.read()
    assert len(list((tmp_path / "out").iterdir())) == 6

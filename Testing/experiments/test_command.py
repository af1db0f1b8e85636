"""One entry point for all experiments."""

import importlib

import pytest

from IoUSynthLib.experiments.__main__ import EXPERIMENTS, main


def test_all_are_listed(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    listed = capsys.readouterr().out
    assert all(f"\n  {name}" in listed for name in EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_explains_itself(name, capsys):
    pytest.importorskip("torch")
    module = importlib.import_module(EXPERIMENTS[name][0], "IoUSynthLib.experiments")
    assert f"python -m IoUSynthLib.experiments {name} " in module.__doc__
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m IoUSynthLib.experiments {name} ")
    assert module.__doc__.splitlines()[0] in shown


def test_an_unknown_one_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["alchemy"])
    assert stop.value.code == 2
    assert "invalid choice: 'alchemy'" in capsys.readouterr().err


def test_bad_input_is_one_line(tmp_path, capsys):
    pytest.importorskip("torch")
    folders = ["--anatomy", str(tmp_path), "-o", str(tmp_path / "out")]
    assert main(["shipped-models", *folders, "--keep-generator"]) == 2
    assert capsys.readouterr().err == (
        "error: --keep-generator: says nothing without --initial; name the folder with the generator\n"
    )

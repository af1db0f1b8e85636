"""The workflow of GitHub Actions, as far as it can be checked here: `make test` on every system with every Python."""

from __future__ import annotations

import os
import re
import shlex
import subprocess

import pytest
from support.extension import ROOT

yaml = pytest.importorskip("yaml")

MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.fixture(scope="module")
def jobs() -> dict:
    return yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]


def commands(job: dict) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_every_system_and_every_python_that_is_promised(jobs):
    matrix = jobs["test"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["system"]} == {"ubuntu", "windows", "macos"}
    project = (ROOT / "pyproject.toml").read_text()
    least = re.search(r'requires-python = ">=3\.(\d+)"', project)[1]
    minors = [int(version.removeprefix("3.")) for version in matrix["python"]]  # texts: 3.10 as a number is 3.1
    assert minors == list(range(int(least), 14))
    named = re.search(r"Python 3\.(\d+) to 3\.(\d+)", MAKEFILE)
    assert (minors[0], minors[-1]) == tuple(map(int, named.groups()))


def test_every_target_is_one_of_the_makefile(jobs):
    targets = set(re.findall(r"^(\w[\w-]*):", MAKEFILE, re.MULTILINE))
    called = [words for job in jobs.values() for run in commands(job) if (words := shlex.split(run))[0] == "make"]
    assert {words[1] for words in called} == {"test", "workflow", "package"} <= targets
    variables = set(re.findall(r"^(\w+) \?=", MAKEFILE, re.MULTILINE))
    assert {word.partition("=")[0] for words in called for word in words[2:]} <= variables


def test_windows_gets_a_make_and_a_shell_first(jobs):
    assert all(job["defaults"]["run"]["shell"] == "bash" for job in jobs.values())
    for job in (jobs["test"], jobs["package"]):
        runs = [step for step in job["steps"] if "run" in step]
        assert "choco install make" in runs[0]["run"]
        assert "Windows" in runs[0]["if"]


def made(*arguments: str, **environment: str) -> str:
    """What make would run."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *arguments], cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_runs_the_programs_where_each_system_has_them(jobs):
    for run in [run for job in jobs.values() for run in commands(job) if run.startswith("make")]:
        arguments = shlex.split(run)[1:]
        there, windows = made(*arguments, OS=""), made(*arguments, OS="Windows_NT")
        assert ".venv/bin/python -m" in there
        assert ".venv/Scripts/python -m" in windows
        assert "/bin/python" not in windows
    shown = made("--eval=show: ; $(info path=$(PYTHONPATH))", "show", OS="Windows_NT")
    assert f"path={ROOT};{ROOT}/Testing" in shown

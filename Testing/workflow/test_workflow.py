"""The Snakemake workflow plans all experiments, goes on, and names what fails, with a program that only pretends.

Snakemake is looked for where SNAKEMAKE says, in the path, and where `make workflow` puts it. The long tests
run the workflow, one of them in toy size and for real.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from IoUSynthLib import cli
from IoUSynthLib.cases.case import Case, read_case, write_case
from IoUSynthLib.cases.index import write_index
from IoUSynthLib.volume import Volume

ROOT = Path(__file__).resolve().parents[2]
MADE = Path(sys.prefix) / "workflow" / "bin" / "snakemake"
SNAKEMAKE = os.environ.get("SNAKEMAKE") or shutil.which("snakemake") or (str(MADE) if MADE.exists() else None)
#: Minutes of one core that the toy run may take.
MOST_MINUTES = 5
needs_snakemake = pytest.mark.skipif(SNAKEMAKE is None, reason="Snakemake is not here")

#: In the place of Python: writes what the rules wait for, and a line about each call; fails at what FAIL names, and
#: does not end at what HANG names.
PRETENDER = """#!/usr/bin/env bash
set -eu
echo "$*" >> "$CALLS"
[ -z "${FAIL:-}" ] || case "$*" in *"$FAIL"*) echo broken >&2; exit 1;; esac
[ -z "${HANG:-}" ] || case "$*" in *"$HANG"*) sleep 600;; esac
out=""; previous=""
for word in "$@"; do [ "$previous" = -o ] && out="$word"; previous="$word"; done
mkdir -p "$out"
case "$3" in
    simulate) printf '%s' "$COHORT" > "$out/dataset.json";;
    train) touch "$out/checkpoint.pt";;
    evaluate) touch "$out/summary.json" "$out/scores.csv" "$out/table.md";;
    report) touch "$out/report.html";;
esac
"""
COHORT = {"cases": [{"name": "a", "split": "train"}, {"name": "b c", "split": "test"}]}
EXPERIMENTS = ["pix2pix-2d-t2w", "pix2pix-2d+3d-refine-t2w", "cut-2.5d-t2w-flair"]


def snakemake(*arguments: object, **environment: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [SNAKEMAKE, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=1700, check=False,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
    )  # fmt: skip


def kill_snakemake(*arguments: object, calls: Path, at: str, **environment: object) -> None:
    """Kill Snakemake and its jobs, as a power cut does, as soon as a job has begun and nothing else is running."""
    process = subprocess.Popen(
        [SNAKEMAKE, *map(str, arguments)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}}, start_new_session=True,
    )  # fmt: skip
    patience, seen = time.monotonic() + 300, ""
    while time.monotonic() < patience and process.poll() is None:
        now = calls.read_text() if calls.exists() else ""
        if at in now and now == seen:
            break
        seen = now
        time.sleep(2)
    assert process.poll() is None, "ended, and did not wait for the job that hangs"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def script():
    """Loads a script of the workflow."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, ROOT / "workflow" / "scripts" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_experiments_are_the_presets_of_the_benchmark():
    yaml = pytest.importorskip("yaml")
    pytest.importorskip("torch")
    from support.toy_presets import BENCHMARK

    config = yaml.safe_load((ROOT / "workflow" / "config.yaml").read_text())
    names = {
        f"{family}-{regime.lower()}-{targets}"
        for family, regimes in config["hours"].items() for regime in regimes for targets in config["targets"]
    }  # fmt: skip
    assert names == set(BENCHMARK)


def test_the_2d_run_is_the_first_stage_of_a_refinement():
    """Which takes it over: the same network, cases, rates and length, by either recipe."""
    pytest.importorskip("torch")
    from support.toy_presets import BENCHMARK

    refined = [name for name in BENCHMARK if "2d+3d-refine" in name]
    assert len(refined) == 12
    for name in refined:
        first, alone = BENCHMARK[name], BENCHMARK[name.replace("2d+3d-refine", "2d")]
        for one, other in ((first, alone), (first.published(), alone.published())):
            assert replace(one.first, name=other.last.name) == other.last


@needs_snakemake
def test_the_dry_run_plans_all_48_and_says_how_long_they_take(tmp_path):
    done = snakemake("-n", "-p", "--config", f"output={tmp_path}")
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-2000:]
    assert "48 experiments, 48 to train: about 181 GPU hours" in text
    stats = dict(line.split() for line in text.split("Job stats:")[1].splitlines() if len(line.split()) == 2)
    assert {name: stats[name] for name in ("cohort", "train", "predict", "score", "report")} == {
        "cohort": "1", "train": "48", "predict": "48", "score": "49", "report": "1",
    }
    assert f"IoUSynthLib report pix2pix-2d-t2w={tmp_path}/scores/pix2pix-2d-t2w " in text
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def pretended(tmp_path):
    """Runs the workflow on three experiments with the pretender, in a folder whose name has a space."""
    if sys.platform == "win32":
        pytest.skip("a shell script")
    program, folder = tmp_path / "python", tmp_path / "all of it"
    program.write_text(PRETENDER)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    config = {
        "output": str(folder), "python": str(program), "experiments": EXPERIMENTS, "device": "cpu", "workers": 0,
        "cohort": {"folder": str(tmp_path / "the cohort"), "command": "simulate -n 2"},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))

    def run(
        *targets: str, fail: str = "", kill_at: str = ""
    ) -> tuple[subprocess.CompletedProcess | None, list[str]]:
        calls = tmp_path / f"calls-{time.monotonic_ns()}"
        how = (*targets, "--nolock", "--cores", 2, "--configfile", tmp_path / "config.json")
        told = {"CALLS": calls, "FAIL": fail, "HANG": kill_at, "COHORT": json.dumps(COHORT)}
        done = kill_snakemake(*how, calls=calls, at=kill_at, **told) if kill_at else snakemake(*how, **told)
        return done, calls.read_text().splitlines() if calls.exists() else []

    return folder, run


@pytest.mark.long
@needs_snakemake
def test_a_failed_job_stops_nothing_else_and_is_named_and_the_rest_goes_on(pretended):
    folder, run = pretended
    done, calls = run(fail="train cut")
    text = done.stdout + done.stderr
    assert done.returncode == 1
    assert f"cut-2.5d-t2w-flair: did not end train; see {folder}/logs/cut-2.5d-t2w-flair/train.log" in text
    assert "2 of 3 experiments are scored." in text
    assert (folder / "logs/cut-2.5d-t2w-flair/train.log").read_text() == "broken\n"
    assert (folder / "scores/pix2pix-2d+3d-refine-t2w/table.md").exists()
    assert (folder / "runs/pix2pix-2d+3d-refine-t2w/slices/checkpoint.pt").exists(), "taken over from the 2D run"
    assert sum(f"synthesize {folder.parent}/the cohort/b c/ioUS.mha" in call for call in calls) == 2
    assert not any("/a/ioUS.mha" in call for call in calls), "test cases alone"
    scored = [call for call in calls if " evaluate " in call]
    timed = [call.split(" --timing ")[1].rsplit("/", 1)[1].split()[0] for call in scored if " --timing " in call]
    assert (sorted(timed), len(scored)) == (sorted(EXPERIMENTS[:2]), 3), "not of the acquired MRI, which no model made"

    done, calls = run("partial_report")
    assert done.returncode == 0, done.stderr[-2000:]
    (call,) = calls
    assert "cut" not in call
    assert f"--real {folder}/scores/acquired-mri" in call

    done, calls = run()
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "report" / "report.html").exists()
    assert sorted(call.split()[2] for call in calls if call.startswith("-m")) == [
        "evaluate", "models", "report", "synthesize", "train",
    ], "what was done is not done again"
    assert all("cut" in call for call in calls)


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no groups of processes")
@needs_snakemake
def test_killed_in_the_middle_the_same_command_goes_on(pretended):
    """The training that was cut off is begun again, nothing that had ended is."""
    folder, run = pretended
    _, before = run(kill_at="train cut")
    assert not (folder / "done/train/cut-2.5d-t2w-flair").exists()
    assert not (folder / "report").exists()
    done, after = run()
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "report" / "report.html").exists()
    (cut,) = set(before) & set(after)
    assert "train cut-2.5d-t2w-flair" in cut
    assert sum(" train " in call for call in [*before, *after]) == 4, "two of cut, one each of the others"


def test_cases_of_one_head_are_split_for_a_trial(script, tmp_path):
    pytest.importorskip("torch")
    names = [f"case-{number}" for number in range(6)]
    content = {"simulated": True, "seed": 3, "cases": [{"name": name, "head": "x", "split": "train"} for name in names]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    for _ in range(2):
        script("trial").split_cases(tmp_path)
        index = json.loads((tmp_path / "dataset.json").read_text())
        assert [case["split"] for case in index["cases"]] == [*["train"] * 3, "validation", *["test"] * 2]
        assert (index["simulated"], index["seed"]) == (True, 3)


def test_cases_of_a_trial_are_the_surroundings_of_their_lesions(script, tmp_path):
    pytest.importorskip("torch")
    z, y, x = np.indices((40, 70, 100))
    whole = Volume((x + 100 * y + 7000 * z).astype(np.int32), (0.8, 0.8, 0.8), (5, 6, 7))
    labels = np.zeros(whole.array.shape, np.uint8)
    labels[10:14, 30:34, 80:90] = 1
    images = dict.fromkeys(("ioUS", "T2w", "FLAIR"), whole)
    for folder in (tmp_path / "case-0000", tmp_path / "case-0001"):
        write_case(Case(images, whole.with_array(labels), whole.with_array(np.ones_like(labels)), {}), folder)
    for _ in range(2):
        script("trial").cut_cases(tmp_path)
        case = read_case(folder)
        assert case.images["T2w"].array.shape == (40, 64, 47)
        np.testing.assert_array_equal(case.images["T2w"].array, whole.array[:, :64, 53:])
        assert case.labels.origin == pytest.approx((5 + 53 * 0.8, 6, 7))
        assert case.labels.array.sum() == labels.sum()


def test_what_is_outlined_is_the_synthetic_mri_that_is_given(script, tiny_models, ultrasound):
    """The tiny segmenter calls a cavity where T2w is bright."""
    z, y, x = np.indices(ultrasound.array.shape)
    ball = np.hypot(np.hypot(x - 36, y - 40), z - 20) < 6
    bright = np.where(ultrasound.array > 0, np.where(ball, 1000.0, 200.0), 0).astype(np.float32)
    images = {"T2w": ultrasound.with_array(bright), "FLAIR": ultrasound.with_array(np.minimum(bright, 200))}
    labels = script("outline").outlined(ultrasound, images, "cpu")
    assert isinstance(labels, Volume)
    assert labels.same_grid(ultrasound)
    cavity = labels.array == 2
    assert 2 * (cavity & ball).sum() / (cavity.sum() + ball.sum()) > 0.7


def test_outlines_on_acquired_mri_are_scored_alone(script, tiny_models, ultrasound, tmp_path, monkeypatch):
    fan = (ultrasound.array > 0).astype(np.uint8)
    z, y, x = np.indices(fan.shape)
    ball = (np.hypot(np.hypot(x - 36, y - 40), z - 20) < 6) & (fan > 0)
    texture = np.random.default_rng(0).uniform(190, 210, fan.shape)
    mri = ultrasound.with_array(np.where(ball, 900, texture).astype(np.int16))
    images = {"ioUS": ultrasound, "T2w": mri, "FLAIR": mri}
    parameters = {"simulated": True, "head": "x", "lesion": {"kind": "cavity"}}
    labels, valid = (ultrasound.with_array(array) for array in ((2 * ball).astype(np.uint8), fan))
    write_case(Case(images, labels, valid, parameters), tmp_path / "cohort" / "case-0000")
    write_index(tmp_path / "cohort", [{"name": "case-0000", "head": "x", "split": "test"}], seed=0)
    monkeypatch.setattr(sys, "argv", ["outline.py", str(tmp_path / "cohort"), "-o", str(tmp_path / "out")])
    assert script("outline").main() == 0
    scores = ["--reference", str(tmp_path / "cohort"), "-o", str(tmp_path / "scores")]
    assert cli.main(["evaluate", str(tmp_path / "out"), *scores, "--baselines"]) == 0
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert "T2w" not in json.dumps(summary["summary"])
    assert any("cavity" in name for name in summary["summary"])


@pytest.mark.long
@pytest.mark.timeout(1800)  # for a machine that does other things, too
@needs_snakemake
def test_the_toy_run_ends_with_a_report_and_the_same_command_does_nothing_more(tmp_path):
    pytest.importorskip("onnxscript")
    how = ("--nolock", "--cores", 1, "--workflow-profile", "workflow/profiles/toy", "--config", f"output={tmp_path}",
           f"python={sys.executable}", f"cohort={{folder: {tmp_path}/cohort}}")  # fmt: skip
    began = cpu_seconds()
    done = snakemake(*how)
    assert done.returncode == 0, done.stderr[-3000:]
    assert cpu_seconds() - began < 60 * MOST_MINUTES
    for name in ("pix2pix-2d-t2w-flair", "cut-2.5d-t2w"):
        summary = json.loads((tmp_path / "scores" / name / "summary.json").read_text())
        assert (summary["simulated"], summary["cases"]) == (True, 2)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "simulated" in page
    assert "cut" in page
    assert 'id="footprint"' in page, "time and memory were measured"
    assert "Nothing to be done" in snakemake(*how).stderr


def cpu_seconds() -> float:
    """Of all processes that were begun here and have ended."""
    times = os.times()
    return times.children_user + times.children_system

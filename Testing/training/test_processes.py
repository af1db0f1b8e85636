"""Training as processes: killed ones go on to the same weights, and two of them learn as one with twice the batch."""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from IoUSynthLib.training.distributed import World
from IoUSynthLib.volume import InputError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).parent / "toy_run.py"
STEPS = 14
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def start(*arguments, launcher=()):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output


def weights(folder, rank=0):
    state = torch.load(folder / f"weights-{rank}.pt", weights_only=True)
    return {f"{part} {name}": value for part, tensors in state.items() for name, value in tensors.items()}


def kill_at(process, step):
    """Kill the process while it works on batch number ``step``."""
    for line in process.stdout:
        if line.strip() == f"batch {step}":
            os.kill(process.pid, signal.SIGKILL)
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start(folder, STEPS))
    return folder


def test_a_run_killed_twice_reaches_the_very_same_weights(whole, tmp_path):
    first, second = sorted(random.sample(range(1, STEPS), 2))
    for step in (first, second):
        kill_at(start(tmp_path, STEPS), step)
    finish(start(tmp_path, STEPS))
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(tmp_path)[name]), f"{name} after kills at {first} and {second}"
    curve = (tmp_path / "curve.csv").read_text()
    assert curve == (whole / "curve.csv").read_text(), f"after kills at {first} and {second}"
    assert [line.split(",")[0] for line in curve.splitlines()] == ["step", "3", "6", "9", "12", "14"]


def test_two_processes_hold_the_same_weights(whole, tmp_path):
    output = finish(start(tmp_path, 5, launcher=TORCHRUN))
    drawn = sorted(map(int, re.findall(r"batch (\d+)", output)))
    assert drawn == [*range(5), *range(2**32, 2**32 + 5)]
    first, second = weights(tmp_path, 0), weights(tmp_path, 1)
    assert len(first) > 20
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "checkpoint.pt", "curve.csv", "weights-0.pt", "weights-1.pt"
    ]


def test_two_processes_learn_as_one_with_twice_the_batch(tmp_path):
    runs = {"two": start(tmp_path / "two", 6, "plain", launcher=TORCHRUN), "one": start(tmp_path / "one", 6, "joined")}
    runs["half"] = start(tmp_path / "half", 6, "plain")
    for run in runs.values():
        finish(run)
    two, one, half = (weights(tmp_path / name) for name in ("two", "one", "half"))
    moved = [float((half[name] - one[name]).norm()) for name in one if name.startswith("network")]
    apart = [float((two[name] - one[name]).norm()) for name in one if name.startswith("network")]
    assert sum(apart) < 0.05 * sum(moved)


def test_torchrun_tells_who_takes_part(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert World.from_environment() == World(0, 1, 0)
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    world = World.from_environment()
    assert world == World(5, 8, 1)
    assert not world.is_first
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert world.device("cuda") == torch.device("cuda", 1)
    assert world.device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"process 1 of this node has no GPU of its own \(1 found\)"):
        world.device("cuda")

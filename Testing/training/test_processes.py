"""Training as processes: killed ones go on to the same weights, and two of them learn as one with twice the batch."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import toy_run
from support.worker import posix_only

from IoUSynthLib.training.distributed import World
from IoUSynthLib.volume import InputError

ROOT = Path(__file__).resolve().parents[2]
STEPS = 14
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def run_two(*arguments):
    """Run two processes by torchrun."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *TORCHRUN, toy_run.__file__, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def start_two(*arguments):
    """Two processes with the variables that torchrun would set."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    return [
        toy_run.start(*arguments, environment={**address, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]


def finish(*runs):
    """What they print, once they have ended."""
    outputs = [run.finish() for run in runs]
    assert [run.process.exitcode for run in runs] == [0] * len(runs)
    return outputs


def weights(folder, rank=0):
    state = torch.load(folder / f"weights-{rank}.pt", weights_only=True)
    return {f"{part} {name}": value for part, tensors in state.items() for name, value in tensors.items()}


def kill_at(run, step):
    """Kill the process while it works on batch number ``step``."""
    for line in run.stdout:
        if line.strip() == f"batch {step}":
            os.kill(run.process.pid, signal.SIGKILL)
            break
    run.finish()
    assert run.process.exitcode == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    finish(toy_run.start(folder, STEPS))
    return folder


@posix_only
def test_a_run_killed_twice_reaches_the_very_same_weights(whole, tmp_path):
    first, second = sorted(random.sample(range(1, STEPS), 2))
    for step in (first, second):
        kill_at(toy_run.start(tmp_path, STEPS), step)
    finish(toy_run.start(tmp_path, STEPS))
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(tmp_path)[name]), f"{name} after kills at {first} and {second}"
    curve = (tmp_path / "curve.csv").read_text()
    assert curve == (whole / "curve.csv").read_text(), f"after kills at {first} and {second}"
    assert [line.split(",")[0] for line in curve.splitlines()] == ["step", "3", "6", "9", "12", "14"]


def test_two_processes_hold_the_same_weights(whole, tmp_path):
    outputs = finish(*start_two(tmp_path, 5))
    drawn = [[int(number) for number in re.findall(r"batch (\d+)", output)] for output in outputs]
    assert drawn == [list(range(5)), list(range(2**32, 2**32 + 5))]
    first, second = weights(tmp_path, 0), weights(tmp_path, 1)
    assert len(first) > 20
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "checkpoint.pt", "curve.csv", "weights-0.pt", "weights-1.pt"
    ]


def test_two_processes_learn_as_one_with_twice_the_batch(tmp_path):
    run_two(tmp_path / "two", 6, "plain")
    finish(toy_run.start(tmp_path / "one", 6, "joined"), toy_run.start(tmp_path / "half", 6, "plain"))
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

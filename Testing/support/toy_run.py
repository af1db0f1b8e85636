"""A training of toy size with dropout, batch normalisation and an adversary, for tests that start it as a process.

``python toy_run.py FOLDER STEPS [plain|joined]`` prints the number of every batch before it is drawn and leaves the
process's last weights in ``FOLDER/weights-<rank>.pt``. "plain" leaves out what depends on how batches are divided;
"joined" does too, and one process draws what two would. :func:`start` does the same without importing PyTorch anew.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from IoUSynthLib.generators.recipe import Schedule
from IoUSynthLib.training.data import Batch, SliceBatches, TrainingVolume
from IoUSynthLib.training.discriminators import patch_discriminator
from IoUSynthLib.training.losses import generator_loss
from IoUSynthLib.training.objectives.adversarial import Adversarial
from IoUSynthLib.training.objectives.adversary import PatchAdversary
from IoUSynthLib.training.objectives.objective import Objective
from IoUSynthLib.training.trainer import BATCHES_OF_A_PROCESS, Trainer

EVERY = 3


class Announced(SliceBatches):
    """Says on stdout which batch it draws."""

    def draw(self, step: int) -> Batch:
        sys.stdout.write(f"batch {step}\n")  # in one piece, which print does not do
        sys.stdout.flush()
        return super().draw(step)


class Joined(SliceBatches):
    """Draws what two processes draw, in one batch."""

    def draw(self, step: int) -> Batch:
        parts = super().draw(step), super().draw(step + BATCHES_OF_A_PROCESS)
        return Batch(*(torch.cat([getattr(part, name) for part in parts]) for name in ("image", "target", "fan")))


def volume() -> TrainingVolume:
    """A cube of noise whose target is its smoothed self; all of it is inside the fan."""
    image = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 32)).astype(np.float16)
    target = (image + np.roll(image, 1, 1)) / 2
    fan = np.ones((32, 32, 32), bool)
    return TrainingVolume(image, np.concatenate([target, -target]), fan, np.argwhere(fan)[::50])


def network(plain: bool) -> torch.nn.Module:
    """3 channels in, two targets and the error out."""
    middle = [] if plain else [torch.nn.BatchNorm2d(8), torch.nn.Dropout2d(0.3)]
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), *middle, torch.nn.Tanh(), torch.nn.Conv2d(8, 3, 3, padding=1)
    )


def main(folder: Path, steps: int, mode: str = "") -> None:
    """Train and leave the weights."""
    torch.set_num_threads(1)
    torch.manual_seed(5)
    batches = (Joined if mode == "joined" else Announced)([volume()], 4, 32, seed=0, augment=False)
    schedule = Schedule(steps, warm_up=2, checkpoint_every=EVERY, validation_batches=3)
    validation = SliceBatches([volume()], 2, 32, seed=1, augment=False)
    objective = Objective(generator_loss)
    if not mode:
        adversary = PatchAdversary(patch_discriminator(5, width=4), condition=(0, 1, 2))
        objective = Adversarial(generator_loss, adversary)
    trainer = Trainer(
        network(bool(mode)), objective, train=batches, validation=validation, schedule=schedule, folder=folder
    )
    trainer.run(lambda line: None)
    state = {"network": trainer.network.state_dict(), "average": trainer.average.state_dict()}
    if not mode:
        state["discriminator"] = adversary.discriminator.state_dict()
    torch.save(state, folder / f"weights-{trainer.world.rank}.pt")


def start(folder: Path, steps: int, mode: str = "", *, environment: Mapping[str, str] | None = None) -> Started:
    """Start it as a process of its own, forked off one that has imported all this; ``environment`` is added to."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo", "monai.networks.nets"])
    reader, writer = context.Pipe(duplex=False)
    arguments = (writer, dict(environment or {}), folder, steps, mode)
    process = context.Process(target=_run_as_process, args=arguments)
    process.start()
    writer.close()
    with reader:
        return Started(process, os.fdopen(os.dup(reader.fileno())))


class Started:
    """A process, and what it prints."""

    def __init__(self, process: BaseProcess, stdout: TextIO) -> None:
        self.process, self.stdout = process, stdout

    def finish(self) -> str:
        """Wait for its end, and return what it has printed since the last line that was read."""
        with self.stdout:
            output = self.stdout.read()
        self.process.join()
        return output


def _run_as_process(stdout: Connection, environment: Mapping[str, str], *arguments: object) -> None:
    os.environ.update(environment)
    os.dup2(stdout.fileno(), 1)
    main(*arguments)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])

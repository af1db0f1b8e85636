"""The training loop: resumable, seeded, with an exponential moving average of the weights."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel

from .data import Batch, SliceBatches

Loss = Callable[[torch.Tensor, Batch], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn: ``steps`` batches, a one-cycle rate that peaks at ``rate``."""

    steps: int
    rate: float = 2e-3
    warm_up: int = 300
    average: float = 0.999
    checkpoint_every: int = 500
    validation_batches: int = 16


def is_finished(folder: Path, schedule: Schedule) -> bool:
    """Tell whether the folder's checkpoint is the last one of the schedule."""
    path = folder / "checkpoint.pt"
    return path.exists() and torch.load(path, map_location="cpu", weights_only=True)["step"] >= schedule.steps


def moving_average(decay: float) -> Callable[[list[torch.Tensor], list[torch.Tensor], torch.Tensor | int], None]:
    """Exponential moving average for :class:`AveragedModel` whose memory grows with the number of steps.

    A short run would else keep much of its random first weights: 0.999 to the power of 1000 is still 0.37.
    """

    @torch.no_grad()
    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], number: torch.Tensor | int) -> None:
        count = float(number)
        weight = 1 - min(decay, (1 + count) / (10 + count))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, weight)
            else:
                mean.copy_(value)

    return update


class Trainer:
    """Trains one network on slices and keeps ``checkpoint.pt`` and ``curve.csv`` in a folder.

    Training goes on from the folder's checkpoint when there is one, and arrives at the weights that an uninterrupted
    run of the same seed reaches on the same machine: a batch depends on its number alone.
    """

    def __init__(
        self, network: torch.nn.Module, loss: Loss, train: SliceBatches, validation: SliceBatches, schedule: Schedule,
        folder: Path, device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.network, multi_avg_fn=moving_average(schedule.average), use_buffers=True)
        self.loss, self.train_batches, self.validation_batches = loss, train, validation
        self.schedule, self.folder = schedule, folder
        self.optimizer = torch.optim.AdamW(self.network.parameters(), schedule.rate, weight_decay=1e-4)
        self.rates = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.step = 0

    def run(self, report: Callable[[str], None] = print) -> torch.nn.Module:
        """Train to the end and return the averaged network."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        started, totals = time.monotonic(), []
        while self.step < self.schedule.steps:
            totals.append(self._learn(self.train_batches.draw(self.step)))
            self.step += 1
            if self.step % self.schedule.checkpoint_every == 0 or self.step == self.schedule.steps:
                terms = self._validate()
                mean = sum(totals) / len(totals)
                self._save(terms, mean)
                speed = len(totals) / (time.monotonic() - started)
                report(
                    f"step {self.step}/{self.schedule.steps}  training {mean:.4f}  "
                    + "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
                    + f"  {speed:.1f} steps/s"
                )
                started, totals = time.monotonic(), []
        return self.average.module

    def _rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / self.schedule.warm_up)
        left = max(0.0, 1 - step / self.schedule.steps)
        return warm * min(1.0, left / 0.6) ** 1.5 + 1e-3

    def _forward(self, network: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        image = batch.image.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            output = network(image)
        on_device = Batch(image, batch.target.to(self.device), batch.fan.to(self.device))
        return self.loss(output.float(), on_device)

    def _learn(self, batch: Batch) -> float:
        self.network.train()
        total = sum(self._forward(self.network, batch).values())
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.rates.step()
        self.average.update_parameters(self.network)
        return float(total.detach())

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        self.average.eval()
        sums: dict[str, float] = {}
        for number in range(self.schedule.validation_batches):
            for name, value in self._forward(self.average, self.validation_batches.draw(number)).items():
                sums[name] = sums.get(name, 0.0) + float(value) / self.schedule.validation_batches
        return sums

    def _save(self, terms: dict[str, float], training: float) -> None:
        row = {"step": self.step, "training": training, **terms}
        path = self.folder / "curve.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        state = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimizer", "rates")}
        partial = self.folder / "checkpoint.partial"
        torch.save({"step": self.step, **state}, partial)
        os.replace(partial, self.folder / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.step = state["step"]
        for name in ("network", "average", "optimizer", "rates"):
            getattr(self, name).load_state_dict(state[name])

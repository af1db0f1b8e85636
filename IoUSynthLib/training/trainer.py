"""The training loop: resumable, seeded, on any number of processes, with a moving average of the weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import AveragedModel

from ..files.integrity import replace_file
from ..generators.recipe import Schedule
from ..outputs.drawing import save
from ..volume import InputError
from .curves import Board, Curve, ProgressBar
from .data import Batch, Batches
from .distributed import World, to_device
from .objectives.objective import Objective, Output

if TYPE_CHECKING:
    import numpy as np

    from .samples import Picture

#: Measures the averaged network on validation heads; lower is better.
Score = Callable[[torch.nn.Module], float]
#: Process r draws the batches from r times this number on, so that no two processes share one.
BATCHES_OF_A_PROCESS = 2**32
_STATE = ("network", "average", "optimizer", "scheduler")


def is_finished(folder: Path, schedule: Schedule) -> bool:
    """Return whether the folder's checkpoint is the last one of the schedule."""
    path = folder / "checkpoint.pt"
    return path.exists() and torch.load(path, map_location="cpu", weights_only=True)["step"] >= schedule.steps


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16; a processor that has to imitate it takes eight times as long."""
    if device.type != "cpu":
        return True
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


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
    """Trains one network on slices or patches and keeps what it learns in a folder.

    The folder holds ``checkpoint.pt`` (all that is needed to go on), ``best.pt`` (the averaged weights with the lowest
    score), ``curve.csv``, ``samples/step-<n>.png`` and ``tensorboard/``. Training goes on from the folder's checkpoint
    when there is one. On CPU it arrives at the very weights that an uninterrupted run of the same seed reaches on the
    same machine with as many processes and threads: a batch depends on its number and process alone, and the state of
    torch's generator is kept.

    Under torchrun, every process draws batches of its own, gradients are averaged, and the first process writes. All
    processes must see the same folder. The batch of a step grows with the number of processes; the learning rate does
    not.

    Parameters
    ----------
    network, objective, train, validation, schedule
        What learns, for what, from what, and how. Discriminators and the like are the objective's, and part of the
        checkpoint.
    folder
        Folder of the run.
    device
        "cpu" or "cuda"; under torchrun "cuda" is one GPU for each process.
    score
        Called with the averaged network that makes images, in evaluation mode, at every checkpoint, in the first
        process; the lowest value makes ``best.pt``. NaN is never the best.
    picture
        Draws the averaged network's output for the first validation batch.
    """

    def __init__(
        self, network: torch.nn.Module, objective: Objective, *, train: Batches, validation: Batches,
        schedule: Schedule, folder: Path, device: torch.device | str = "cpu", score: Score | None = None,
        picture: Picture | None = None,
    ) -> None:
        self.world = World.from_environment()
        self.device = self.world.device(device)
        self.network = to_device(network, self.device)
        self.parallel = self.network
        self.average = AveragedModel(self.network, multi_avg_fn=moving_average(schedule.average), use_buffers=True)
        self.objective, self.train_batches, self.validation_batches = objective, train, validation
        self.schedule, self.folder = schedule, folder
        self.score, self.picture = score, picture
        trained = (parameter for parameter in self.network.parameters() if parameter.requires_grad)
        self.trained = [*trained, *objective.parameters()]
        self.optimizer = getattr(torch.optim, schedule.optimizer)(
            self.trained, schedule.rate, betas=schedule.betas, weight_decay=schedule.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, schedule.factor)
        self.step = 0
        self.best = float("inf")

    def run(self, report: Callable[[str], None] = print) -> torch.nn.Module:
        """Train to the end and return the averaged network.

        Parameters
        ----------
        report
            Receives a line at every checkpoint, in the first process.

        Raises
        ------
        InputError
            The folder's checkpoint cannot be gone on from.
        FloatingPointError
            The loss is not finite; the last checkpoint, which is sound, stays.
        """
        with self.world.joined(self.device):
            self.parallel = self.world.parallel(self.network, self.device)
            self.objective.prepare(self.device, self.world, self.schedule.factor)
            self._resume()
            recorder = _Recorder(self, report) if self.world.is_first else None
            try:
                self._train(recorder)
            finally:
                if recorder is not None:
                    recorder.close()
                self.parallel = self.network  # what connects the processes must go before they part
        return self.average.module

    def _train(self, recorder: _Recorder | None) -> None:
        terms: list[dict[str, torch.Tensor]] = []
        while self.step < self.schedule.steps:
            terms.append(self._learn(self.train_batches.draw(self._batch_number())))
            self.step += 1
            if recorder is not None:
                recorder.progress.advance()
            if self.step % self.schedule.checkpoint_every == 0 or self.step == self.schedule.steps:
                self._checkpoint(self._means(terms), recorder)
                terms = []

    def _batch_number(self) -> int:
        return self.step + self.world.rank * BATCHES_OF_A_PROCESS

    def _on_device(self, batch: Batch) -> Batch:
        layout = torch.channels_last if batch.image.ndim == 4 else torch.contiguous_format
        image = batch.image.to(self.device, memory_format=layout)
        return Batch(image, batch.target.to(self.device), batch.fan.to(self.device))

    def _precision(self) -> torch.autocast:
        enabled = self.schedule.mixed and has_bfloat16(self.device)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _predict(self, batch: Batch) -> torch.Tensor:
        """What the averaged network makes of a batch on the device."""
        generator = self.objective.generator(self.average.module, batch.image).eval()
        with self._precision():
            return generator(batch.image).float()

    def _learn(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One step; returns the sum of the loss as "training", its terms, and the discriminators' losses."""
        self.network.train()
        batch = self._on_device(batch)
        with self._precision():
            output = _in_full_precision(self.objective.forward(self.parallel, batch))
        terms = self.objective.terms(output, batch)
        total = sum(terms.values())
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.world.average_gradients(self.objective.parameters())
        torch.nn.utils.clip_grad_norm_(self.trained, self.schedule.clip)
        self.optimizer.step()
        self.scheduler.step()
        self.world.average_buffers(self.network)
        self.average.update_parameters(self.network)
        terms |= self.objective.learn(output, batch)
        return {"training": total.detach(), **{name: value.detach() for name, value in terms.items()}}

    def _means(self, terms: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        """Means over steps and processes."""
        means = {name: float(torch.stack([term[name] for term in terms]).double().mean()) for name in terms[0]}
        means = {name: value / self.world.size for name, value in self.world.sum(means).items()}
        if not all(abs(value) < float("inf") for value in means.values()):
            raise FloatingPointError(
                f"the loss was not finite within the {len(terms)} steps before step {self.step}; "
                "lower the schedule's rate and repeat"
            )
        return means

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Means of the loss's terms for the averaged network; the processes share the batches."""
        self.average.eval()
        count = self.schedule.validation_batches
        sums: dict[str, float] = {}
        for number in range(self.world.rank, max(count, self.world.size), self.world.size):
            # A process without a batch of its own takes part with weight 0, so that all have the same terms.
            weight = (number < count) / count
            batch = self._on_device(self.validation_batches.draw(number))
            for name, value in self.objective.loss(self._predict(batch), batch).items():
                sums[name] = sums.get(name, 0.0) + weight * float(value)
        return self.world.sum(sums)

    def _checkpoint(self, training: dict[str, float], recorder: _Recorder | None) -> None:
        validation = self._validate()
        picture = self._draw() if recorder is not None else None
        score = self._measure() if recorder is not None and self.score is not None else None
        generators = self._generators()
        if recorder is None:
            return
        # The checkpoint comes last: what was written before a kill is written again, identically.
        row = {**training, **validation} if score is None else {**training, **validation, "score": score}
        recorder.record(self.step, row, picture)
        if score is not None and score < self.best:
            self.best = score
            best = {"step": self.step, "score": score, "average": self.average.state_dict()}
            _write(best, self.folder / "best.pt")
        _write(self._state(generators), self.folder / "checkpoint.pt")
        recorder.report(self.step, training["training"], row)

    @torch.no_grad()
    def _draw(self) -> np.ndarray | None:
        if self.picture is None:
            return None
        batch = self._on_device(self.validation_batches.draw(0))
        return self.picture(self._predict(batch), batch)

    def _measure(self) -> float:
        image = self.validation_batches.draw(0).image.to(self.device)
        with torch.no_grad():
            return float(self.score(self.objective.generator(self.average.module, image).eval()))

    def _generators(self) -> dict[str, torch.Tensor]:
        """State of torch's random number generators in every process, which dropout draws from."""
        generators = {"cpu": self.world.gather(torch.get_rng_state())}
        if self.device.type == "cuda":
            generators["cuda"] = self.world.gather(torch.cuda.get_rng_state(self.device))
        return generators

    def _state(self, generators: dict[str, torch.Tensor]) -> dict[str, Any]:
        state = {name: getattr(self, name).state_dict() for name in _STATE}
        state["objective"] = self.objective.state_dict()
        return {"step": self.step, "best": self.best, "generators": generators, **state}

    def _resume(self) -> None:
        """Take up the folder's checkpoint; without one, give every process random numbers of its own."""
        path = self.folder / "checkpoint.pt"
        if path.exists():
            try:
                self._load(torch.load(path, map_location="cpu", weights_only=True))
            except Exception as error:  # a damaged file fails in many ways
                raise InputError(
                    f"{path}: cannot be gone on from ({str(error).splitlines()[0]}); "
                    "it is damaged or of another network: choose another output folder, or remove this one"
                ) from error
        elif self.world.rank:
            torch.manual_seed(torch.initial_seed() + self.world.rank)
        steps = self.world.gather(torch.tensor(self.step)).tolist()
        if len(set(steps)) > 1:
            raise InputError(
                f"{path}: the processes see different checkpoints (of steps {', '.join(map(str, steps))}); "
                "choose an output folder on a file system that all nodes share"
            )

    def _load(self, state: dict[str, Any]) -> None:
        for name in _STATE:
            getattr(self, name).load_state_dict(state[name])
        self.objective.load_state_dict(state["objective"])
        self.step, self.best = state["step"], state["best"]
        for kind, states in state["generators"].items():
            own = states[self.world.rank % len(states)]
            if kind == "cpu":
                torch.set_rng_state(own)
            elif self.device.type == kind:
                torch.cuda.set_rng_state(own, self.device)


def _in_full_precision(output: Output) -> Output:
    return {name: value.float() if value.is_floating_point() else value for name, value in output.items()}


class _Recorder:
    """What the first process writes and reports."""

    def __init__(self, trainer: Trainer, report: Callable[[str], None]) -> None:
        self.folder, self.steps = trainer.folder, trainer.schedule.steps
        self.folder.mkdir(parents=True, exist_ok=True)
        self.curve = Curve(self.folder / "curve.csv", trainer.step)
        self.progress = ProgressBar(self.steps, trainer.step, report)
        self.board = Board(self.folder, trainer.step, self.progress.write)
        self._started, self._step = time.monotonic(), trainer.step

    def record(self, step: int, row: dict[str, float], picture: np.ndarray | None) -> None:
        """Write a row of the curve, and the picture."""
        self.curve.add({"step": step, **row})
        self.board.add(step, row, picture)
        if picture is not None:
            folder = self.folder / "samples"
            folder.mkdir(exist_ok=True)
            save(picture, folder / f"step-{step:06d}.png")

    def report(self, step: int, training: float, row: dict[str, float]) -> None:
        """Report a checkpoint and the speed since the last one."""
        speed = (step - self._step) / max(time.monotonic() - self._started, 1e-9)
        terms = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name != "training")
        self.progress.write(f"step {step}/{self.steps}  training {training:.4f}  {terms}  {speed:.1f} steps/s")
        self._started, self._step = time.monotonic(), step

    def close(self) -> None:
        """Finish the bar and TensorBoard's file."""
        self.progress.close()
        self.board.close()


def _write(state: dict[str, Any], path: Path) -> None:
    """Save so that the file is either the old or the complete one."""
    with replace_file(path) as partial, partial.open("wb") as file:
        torch.save(state, file)

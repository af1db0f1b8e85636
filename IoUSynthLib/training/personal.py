"""The evening before: the generator that ships goes on learning on simulated sweeps of one patient's MRI.

For research, before an operation. The patient's T1w, T2w and FLAIR become a head of the simulator
(:mod:`..simulation.patient`), whose sweeps show its own anatomy and, where it is segmented, its own tumour, before and
after resections that are drawn. The bundle names that MRI by checksum and is refused for a patient with another
(:func:`..synthesis.preoperative.check_patient`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..cases.case import is_complete, write_case
from ..cases.index import INDEX, write_index
from ..models.bundle import DEFAULT_GENERATOR, load
from ..models.write import Provenance
from ..outputs.case_files import read_acquired
from ..simulation.case import simulate_case
from ..simulation.command import check_begun
from ..simulation.patient import FILES, read_patient
from ..synthesis.preoperative import image_sha256
from ..volume import InputError
from .presets import PRESETS
from .release import export_run
from .run import train
from .run_folder import RUN

#: The preset whose network, losses and rates are taken.
PRESET = "ious2mr-2.5d-personal"
#: Sweeps to learn from, and those that the loss is told of; at least so many are made, whatever time that takes.
CASES, VALIDATION, _FEWEST = 12, 2, 4
#: Steps after which the weights are kept and the time is looked at.
_CHUNK = 50
#: Share of the time that simulating may take, where it is short.
_FOR_SIMULATING = 0.5
_CLOCK, _COHORT = "budget.json", "cohort"


@dataclass(frozen=True)
class Budget:
    """How long the work may take.

    Attributes
    ----------
    minutes
        Of wall clock, for simulating and learning, over all calls together.
    steps
        Batches to learn from instead; the same ones give the same weights on the same machine and threads.
    """

    minutes: float = 20.0
    steps: int | None = None


def mri_checksums(patient: Path) -> dict[str, str]:
    """SHA-256 of a patient's images (:func:`..synthesis.preoperative.image_sha256`), by contrast."""
    return {name: image_sha256(read_acquired(patient / file)) for name, file in FILES.items()}


def personalize(
    patient: Path,
    output: Path,
    run: Path,
    *,
    budget: Budget | None = None,
    cases: int = CASES,
    seed: int = 0,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> float:
    """Make a bundle that was personalised for a patient.

    Parameters
    ----------
    patient
        Folder with ``t1.nii.gz``, ``t2.nii.gz`` and ``flair.nii.gz``, on one grid and without the skull, and a
        segmentation of the tumour if there is one (:func:`..simulation.patient.read_patient`).
    output
        The bundle to make.
    run
        Folder for the simulated sweeps and the training; what an interrupted call has left there is gone on from.
    budget
        How long it may take; 20 minutes by default.
    cases
        Sweeps to learn from; fewer where the time is short.
    seed
        Of sweeps and training.
    device
        "cpu" or "cuda", for the training.
    report
        Receives a line for each sweep and checkpoint.

    Returns
    -------
    float
        Largest absolute difference of the exported network to torch.

    Raises
    ------
    InputError
        The patient's folder cannot be used, the output is there already, or the run was begun for another patient,
        seed or number of sweeps.
    """
    budget = budget or Budget()
    if output.exists():
        raise InputError(f"{output}: exists already; remove it or choose another folder")
    try:
        head, mri = read_patient(patient), mri_checksums(patient)
    except ValueError as error:
        raise InputError(str(error)) from error
    clock = _Clock.begin(run, {"mri": mri, "seed": seed, "cases": cases}, minutes=budget.minutes)
    cohort, generator = run / _COHORT, load(DEFAULT_GENERATOR)
    check_begun(cohort, [head.name], seed=seed)
    for number in range(0 if (cohort / INDEX).is_file() else VALIDATION + cases):
        if budget.steps is None and number >= VALIDATION + _FEWEST and clock.passed(_FOR_SIMULATING):
            report(f"half of the time is over: learns from {number - VALIDATION} simulated sweeps, not {cases}")
            break
        folder = cohort / f"case-{number:04d}"
        if not is_complete(folder):
            write_case(simulate_case(head, seed * 1_000_000 + number), folder)
        report(f"simulated sweep {number + 1} of {VALIDATION + cases}, {clock.tick():.0f} s")
    if not (cohort / INDEX).is_file():
        made = sorted(folder.name for folder in cohort.glob("case-*") if is_complete(folder))
        splits = ["validation"] * VALIDATION + ["train"] * (len(made) - VALIDATION)
        entries = [{"name": name, "head": head.name, "split": split} for name, split in zip(made, splits, strict=True)]
        write_index(cohort, entries, seed=seed)
    preset = PRESETS[PRESET]
    steps = _begun_steps(run) or _CHUNK
    while True:
        steps = steps if budget.steps is None else min(steps, budget.steps)
        recipe = replace(preset.last.recipe, steps=steps, checkpoint_every=_CHUNK)
        train(
            replace(preset, stages=(replace(preset.last, recipe=recipe),)), cohort, run, seed=seed, device=device,
            report=report, initial=generator, patient=mri,
        )  # fmt: skip
        report(f"{steps} steps, {clock.tick():.0f} s")
        if steps == budget.steps or (budget.steps is None and clock.passed(1.0)):
            break
        steps += _CHUNK
    return export_run(
        run, output, provenance=_provenance(), licence=(generator.path / "LICENSE").read_text(encoding="utf-8"),
        torchscript=False,
    )  # fmt: skip


def _begun_steps(run: Path) -> int:
    """The steps that an earlier call was about to have learned; 0 where there was none."""
    file = run / RUN
    return int(json.loads(file.read_text(encoding="utf-8"))["stages"][-1]["steps"]) if file.is_file() else 0


def _provenance() -> Provenance:
    use = "Research only, never for clinical decisions, and for one patient alone: its MRI is named by checksum."
    return Provenance(intended_use=use)


class _Clock:
    """Seconds that were spent on a run, over all calls, kept in its folder.

    Parameters
    ----------
    file
        Where they are kept.
    what
        What the run is of.
    spent
        By earlier calls.
    minutes
        That may be spent.
    """

    def __init__(self, file: Path, what: dict[str, object], spent: float, *, minutes: float) -> None:
        self.file, self.what, self.spent, self.minutes = file, what, spent, minutes
        self.last = time.monotonic()

    @classmethod
    def begin(cls, run: Path, what: dict[str, object], *, minutes: float) -> _Clock:
        """Take up the clock of a run, or begin one.

        Raises
        ------
        InputError
            The run was begun for something else, or cannot be written.
        """
        file, spent = run / _CLOCK, 0.0
        try:
            run.mkdir(parents=True, exist_ok=True)
            if file.is_file():
                known = json.loads(file.read_text(encoding="utf-8"))
                spent = float(known.pop("seconds"))
                if known != what:
                    raise InputError(
                        f"{run}: was begun for another patient, seed or number of sweeps; choose another output, or "
                        "remove it"
                    )
            clock = cls(file, what, spent, minutes=minutes)
            clock.tick()
        except OSError as error:
            raise InputError(f"{run}: cannot be written ({error.strerror}); choose another output") from error
        return clock

    def tick(self) -> float:
        """Count what has passed since the last time, keep it, and return the sum in seconds."""
        now = time.monotonic()
        self.spent, self.last = self.spent + now - self.last, now
        self.file.write_text(json.dumps({**self.what, "seconds": round(self.spent, 1)}) + "\n", encoding="utf-8")
        return self.spent

    def passed(self, share: float) -> bool:
        """Tell whether a share of the time was spent, up to the last tick."""
        return self.spent >= share * 60 * self.minutes

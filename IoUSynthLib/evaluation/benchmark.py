"""From ReMIND's folder to the report in one go: table, cohort, synthetic MRI of the test cases, scores, page.

Each room does its own part; here stands their order, what is kept of an earlier run, and what was left out on the way,
which stops nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from pathlib import Path

from .. import __version__
from ..cases.case import UNLABELLED, Case, read_case
from ..cases.index import INDEX, read_index
from ..cohort.command import Choices, prepare_cohort
from ..cohort.exclusions import READER
from ..cohort.remind import find_series
from ..cohort.table import read_table, write_table
from ..files.integrity import file_sha256
from ..models.bundle import load
from ..outputs.case import synthesize_file
from ..outputs.case_files import remove_stale, staging_folder
from ..pipeline import Options
from ..preprocessing import axial
from ..volume import InputError
from .from_files import evaluate_files
from .from_scores import read_scores
from .protocol import Protocol
from .report import write_report
from .results import write_results
from .timing import TIMING, read_timing, time_model, write_timing

TABLE, COHORT, PREDICTIONS, SCORES, REPORT = "table.csv", "cohort", "predictions", "scores", "report"
#: Stands among the models where the acquired MRI is outlined.
ACQUIRED = "acquired-mri"
_ULTRASOUND = "ioUS"
_MADE_OF = "made_of.txt"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a benchmark is made of.

    Attributes
    ----------
    models
        Names or folders of generators.
    choices
        How the cohort is prepared, if it is not yet.
    protocol
        How cases are scored.
    timing
        Whether time and memory of the models are measured.
    label_maps
        As in :func:`.cohort.remind.find_series`.
    device
        ``auto``, ``cpu`` or ``cuda``.
    """

    models: Sequence[str]
    choices: Choices = field(default_factory=Choices)
    protocol: Protocol = field(default_factory=Protocol)
    timing: bool = False
    label_maps: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class LeftOut:
    """Something that is not in the report.

    Attributes
    ----------
    what
        A series, study, prediction or experiment, by its kind and name.
    why
        Cause and remedy.
    wanted
        Whether somebody has decided so, so that nothing is wrong.
    """

    what: str
    why: str
    wanted: bool = False


def benchmark(
    source: Path, output: Path, plan: Plan, report: Callable[[str], None] = print
) -> tuple[str, list[LeftOut]]:
    """Do all of it, or what is left of it after an interruption.

    Parameters
    ----------
    source
        Folder of DICOM (:mod:`.cohort.remind`), or a cohort that is ready. It is only read.
    output
        Gets ``table.csv``, which is taken as it is where it lies there already, so that it can be edited; ``cohort``,
        ``predictions`` and ``scores``, a folder each experiment; and ``report``.
    plan
        What is done.
    report
        Receives lines about the progress.

    Returns
    -------
    tuple of str and list
        The sentences of the report, and what is not in it.

    Raises
    ------
    InputError
        A model cannot be used, no case can be prepared or is for testing, or not one experiment could be scored.
    """
    models = _named(plan.models)
    cohort, left_out = _cohort(source, output, plan)
    tested = read_index(cohort, "test")
    if not tested:
        raise InputError(f"{cohort}: no case is for testing; choose who is with --split FILE")
    for name, model in models.items() if plan.timing else ():
        _time(model, output / SCORES / name, plan.device)
    make = {name: partial(_synthesize, model=model, device=plan.device) for name, model in models.items()}
    if any(_is_outlined(folder) for folder in tested):
        make[ACQUIRED] = partial(_outline, device=plan.device)
    for name, make_case in make.items():
        left_out += _each_case(name, tested, output / PREDICTIONS / name, make=make_case, report=report)
    scored = {}
    for name in make:
        try:
            scored[name] = _score(
                output / PREDICTIONS / name, cohort, output / SCORES / name, protocol=plan.protocol, report=report
            )
        except InputError as error:
            left_out.append(LeftOut(f"experiment {name}", str(error)))
    real = scored.pop(ACQUIRED, None)
    if not scored:
        raise InputError(f"{output}: no experiment could be scored; {'; '.join(one.why for one in left_out[-3:])}")
    results = read_scores(scored, real=real)
    results = replace(results, left_out=[astuple(one)[:2] for one in left_out])
    with staging_folder(output / REPORT) as staging:
        return write_report(results, staging), left_out


def _named(models: Sequence[str]) -> dict[str, str]:
    """Models by name, each of which can be loaded."""
    named = {load(model).name: model for model in models}
    if len(named) < len(models) or ACQUIRED in named:
        raise InputError(f"{', '.join(models)}: two models have one name; rename the folder of one of them")
    return named


# The cohort -----------------------------------------------------------------------------------------------------------


def _cohort(source: Path, output: Path, plan: Plan) -> tuple[Path, list[LeftOut]]:
    """The cohort's folder, prepared where it is not yet, and what is not in it."""
    if (source / INDEX).is_file():
        return source, []
    table, cohort = output / TABLE, output / COHORT
    if not table.is_file():
        rows = find_series(source, label_maps=plan.label_maps)
        output.mkdir(parents=True, exist_ok=True)
        write_table(table, rows)
    left_out = [
        LeftOut(f"series {row.patient} {row.phase} {row.contrast} {row.path}".rstrip(), row.doubt)
        for row in read_table(table) if row.doubt
    ]  # fmt: skip
    _, excluded = prepare_cohort(source, cohort, replace(plan.choices, table=table))
    left_out += [
        LeftOut(f"study {row['study']}", f"{row['reason']}: {row['detail']}", row["reason"] == READER)
        for row in excluded
    ]
    return cohort, left_out


def _is_outlined(folder: Path) -> bool:
    return not (read_case(folder).labels.array == UNLABELLED).any()


# Predictions ----------------------------------------------------------------------------------------------------------


def _each_case(
    name: str, tested: Sequence[Path], output: Path, *, make: Callable[[Path, Path], None],
    report: Callable[[str], None],
) -> list[LeftOut]:
    """Make the images of each case; return those of which there are none."""
    left_out = []
    for number, folder in enumerate(tested, start=1):
        try:
            make(folder, output / folder.name)
        except InputError as error:
            left_out.append(LeftOut(f"prediction {name} {folder.name}", str(error)))
        report(f"{name}: {number} of {len(tested)}, {folder.name}")
    return left_out


def _synthesize(folder: Path, output: Path, *, model: str, device: str) -> None:
    """What ``iousynth synthesize`` makes of a case; a cohort on the MRI's grid knows the patient's axes."""
    case = read_case(folder)
    grid = axial(_acquired(case).popitem()[1]) if case.parameters.get("grid") == "mri" else None
    with staging_folder(output) as staging:
        written = synthesize_file(folder / f"{_ULTRASOUND}.mha", output, staging, options=Options(model, device, grid))
    if not written.earlier:
        remove_stale(output, _ULTRASOUND, written.files)


def _outline(folder: Path, output: Path, *, device: str) -> None:
    """What ``iousynth segment --mri`` makes of a case."""
    mri = _acquired(read_case(folder))
    with staging_folder(output) as staging:
        synthesize_file(
            folder / f"{_ULTRASOUND}.mha", output, staging, options=Options(device=device), mri=mri,
            kinds=("segmentation",),
        )  # fmt: skip


def _acquired(case: Case) -> dict:
    """The MRI of a case, by contrast, 0 where there is no data."""
    return {name: image for name, image in case.images.items() if name != _ULTRASOUND}


def _time(model: str, output: Path, device: str) -> None:
    """Measure a model before it is used, unless that was done."""
    if read_timing(output / TIMING).get("sha256") != load(model).sha256:
        with staging_folder(output) as staging:
            write_timing(staging / TIMING, time_model(model, device))


# Scores ---------------------------------------------------------------------------------------------------------------


def _score(
    predictions: Path, cohort: Path, output: Path, *, protocol: Protocol, report: Callable[[str], None]
) -> Path:
    """Score an experiment, unless that was done of the same predictions; return the folder."""
    reports = sorted(predictions.glob("*/*_report.json"))
    made_of = f"{file_sha256(cohort / INDEX, *reports)} {protocol} {__version__}\n"
    done = output / _MADE_OF
    if done.is_file() and done.read_text(encoding="utf-8") == made_of:
        return output
    with staging_folder(output) as staging:
        evaluation = evaluate_files(
            predictions, cohort, report, protocol=protocol, baselines=output.name != ACQUIRED
        )
        write_results(evaluation, staging)
        (staging / _MADE_OF).write_text(made_of, encoding="utf-8")
    return output

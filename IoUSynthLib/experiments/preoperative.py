"""What the patient's MRI brings a generator that reads it beside ultrasound, and what a wrong one costs.

On simulated test cases with MRI from before the operation (``iousynth simulate --preoperative``)::

    python -m IoUSynthLib.experiments preoperative --cohort COHORT --model BUNDLE -o FOLDER

Each case is made without MRI, with that which lies exactly, is off by 2, 4 or 8 mm or by a brain shift of up to 8 mm,
with one contrast alone, and with another patient's. Scores of a case stand in ``cases``, and a case that is there is
not made again. ``preoperative.md`` has two tables: what the network makes of the MRI, and what the product shows, which
leaves the MRI out where the images with and without it are too far apart.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..cases.case import (
    PREOPERATIVE,
    Case,
    case_grid,
    preoperative_mri,
    read_case,
    read_parameters,
    target_image,
)
from ..cases.index import read_index
from ..constants import LABELS, TARGETS
from ..evaluation.fidelity import voxel_errors
from ..evaluation.outlining import labels_on
from ..evaluation.phase import BEFORE, phase_of
from ..evaluation.scores import Row, Summary, summarize
from ..evaluation.surface import outline_scores
from ..files.integrity import replace_file
from ..inference import open_session
from ..models.bundle import DEFAULT_GENERATOR, DEFAULT_SEGMENTER, Bundle, load
from ..outputs.markdown import markdown_table
from ..registration.displacements import brain_shift, points_within, random_displacement
from ..registration.rigid import to_sitk
from ..simulation.tissues import TUMOUR
from ..synthesis.generate import generate
from ..synthesis.grid import NetworkGrid
from ..synthesis.preoperative import MOST_DISAGREEMENT, Preoperative, compare, on_grid
from ..synthesis.segmentation import decide, outline
from ..volume import InputError
from .reporting import Report, say

NONE = "no MRI"
#: The generator that cannot read any.
BASELINE = f"no MRI, {DEFAULT_GENERATOR}"
_OFF_MM = (2.0, 4.0, 8.0)
_SHIFT_MM = 8.0
#: How the scores of outlines begin.
_OUTLINED = ("Dice", "ghost outlined")
#: Share of the distance from fluid to tumour, in FLAIR in the networks' range, above which a voxel shows no fluid.
_FLUID, _NO_FLUID = -0.35, 0.0

_COLUMNS = {
    **{f"PSNR {name}": 2 for name in TARGETS},
    **{f"PSNR {name}, gain": 2 for name in TARGETS},
    "Dice of the tumour before resection": 2,
    "Dice of the tumour before resection, gain": 2,
    "Dice of the cavity": 2,
    "Dice of the cavity, gain": 2,
}
_MEDIANS = {"ghost outlined ml": 2, "ghost shown ml": 2, "disagreement": 3}


def conditions(case: Case, other: Case, optional: Sequence[str], seed: int) -> dict[str, Preoperative]:
    """MRI of a case as it may lie, by what is said of it.

    Parameters
    ----------
    case, other
        Whose MRI it is, and another patient.
    optional
        Contrasts that the generator reads.
    seed
        Of the displacements.
    """
    rng = np.random.default_rng(seed)
    images = preoperative_mri(case, optional)
    points = points_within(case.fan)
    found = {"exact": Preoperative(images)}
    for millimetres in _OFF_MM:
        matrix = random_displacement(points, millimetres, rng)
        found[f"off by {millimetres:g} mm"] = Preoperative(images, to_sitk(matrix))
    found[f"brain shift up to {_SHIFT_MM:g} mm"] = Preoperative(images, brain_shift(case.fan, _SHIFT_MM, rng))
    found |= {f"{name} alone": Preoperative({name: image}) for name, image in images.items()}
    foreign = {name: case.fan.with_array(image.array) for name, image in preoperative_mri(other, optional).items()}
    return found | {"another patient's": Preoperative(foreign)}


def measure_case(case: Case, other: Case, generator: Bundle, segmenter: Bundle, *, seed: int) -> dict[str, Row]:
    """Scores of a case by condition, those of the images with MRI; where there is none, without ``disagreement``."""
    grid, session, plain = case_grid(case), open_session(generator, "cpu"), load(DEFAULT_GENERATOR)

    def made(mri: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return generate(generator, grid, preoperative=mri, session=session).images

    alone = made({})
    baseline = generate(plain, grid, session=open_session(plain, "cpu")).images
    rows = {BASELINE: _scores(case, grid, baseline, segmenter), NONE: _scores(case, grid, alone, segmenter)}
    for name, mri in conditions(case, other, generator.optional, seed).items():
        seen, _ = on_grid(mri, grid)
        images = made(seen)
        scores = _scores(case, grid, images, segmenter)
        rows[name] = {**scores, "disagreement": compare(alone, images, grid).disagreement}
    return rows


def _scores(case: Case, grid: NetworkGrid, images: dict[str, np.ndarray], segmenter: Bundle) -> Row:
    fan, phase = case.fan.array > 0, phase_of(case.parameters)
    row: Row = {}
    for name in TARGETS:
        error = voxel_errors((images[name][fan] + 1) / 2, (target_image(case, name)[fan] + 1) / 2)
        row[f"PSNR {name}"] = error["PSNR"]
    outlined_on, probabilities = outline(segmenter, grid, dict(images))
    decision = decide(segmenter, outlined_on, probabilities, before_resection=phase == BEFORE)
    labels = labels_on(case, outlined_on, decision.probabilities)

    def dice(structure: str) -> float:
        found, true = (array == LABELS[structure] for array in (labels, np.where(fan, case.labels.array, 0)))
        return float(outline_scores(found & fan, true, case.labels.spacing[::-1])["Dice"])

    if phase == BEFORE:
        return row | {"Dice of the tumour before resection": dice("tumour")}
    return row | {"Dice of the cavity": dice("cavity"), **ghosts(case, images["FLAIR"], labels)}


def ghosts(case: Case, flair: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How much of the tumour that was taken out comes back where the cavity is, in ml.

    Parameters
    ----------
    case
        After a resection.
    flair
        Synthetic FLAIR, (z, y, x) in [-1, 1].
    labels
        What was outlined: 1 is tumour.

    Returns
    -------
    dict
        ``ghost outlined ml``, which is outlined as tumour, and ``ghost shown ml``, which is as bright as tissue in the
        FLAIR where the true one shows fluid.
    """
    removed = np.isin(case.images[f"{PREOPERATIVE}tissues"].array, TUMOUR)
    place = removed & (case.labels.array == LABELS["cavity"]) & (case.fan.array > 0)
    fluid = place & (target_image(case, "FLAIR") < _FLUID)
    millilitres = case.labels.voxel_volume_ml
    return {
        "ghost outlined ml": float((place & (labels == LABELS["tumour"])).sum() * millilitres),
        "ghost shown ml": float((fluid & (flair > _NO_FLUID)).sum() * millilitres),
    }


def measure(
    cohort: Path, output: Path, *, generator: Bundle, count: int | None = None, report: Report = say
) -> dict[str, dict[str, Row]]:
    """Measure test cases, or read what was measured of them, by case and condition.

    Raises
    ------
    InputError
        The generator reads no MRI beside ultrasound, the cohort has none, or scores of another model are there.
    """
    if not generator.optional:
        raise InputError(f"{generator.path}: reads no MRI beside ultrasound; choose another model")
    folders, segmenter, rows = read_index(cohort, "test"), load(DEFAULT_SEGMENTER), {}
    folders = folders[: count or len(folders)]
    known = [read_parameters(folder) for folder in folders]
    if not folders or not all("preoperative" in parameters for parameters in known):
        raise InputError(f"{cohort}: has no test cases with MRI from before the operation; simulate --preoperative")
    heads = [parameters["head"] for parameters in known]
    (output / "cases").mkdir(parents=True, exist_ok=True)
    for number, folder in enumerate(folders):
        file = output / "cases" / f"{folder.name}.json"
        if not file.is_file():
            foreign = _next_of_another_head(heads, number)
            found = measure_case(
                read_case(folder), read_case(folders[foreign]), generator, segmenter, seed=number
            )
            with replace_file(file) as partial:
                partial.write_text(json.dumps({"model": generator.sha256, "rows": found}, indent=1), encoding="utf-8")
            report(f"{folder.name}: {number + 1} of {len(folders)}")
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["model"] != generator.sha256:
            raise InputError(f"{file}: is of another model; choose another output folder")
        rows[folder.name] = content["rows"]
    return rows


def _next_of_another_head(heads: Sequence[str], number: int) -> int:
    others = [place for place in range(len(heads)) if heads[place] != heads[number]]
    if not others:
        raise InputError("the test cases are of one head, and another patient's MRI is needed; simulate more heads")
    return next((place for place in others if place > number), others[0])


def with_gains(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Scores of a case and, as ``..., gain``, how much higher each is than without MRI."""
    return {
        name: {**row, **{f"{metric}, gain": row[metric] - value for metric, value in rows[NONE].items()}}
        for name, row in rows.items()
    }  # fmt: skip


def as_shown(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Scores of a case as the product has it, with 1 as ``used`` where the MRI was.

    MRI that changes too much is left out, and outlines are of the images of the segmenter's own generator.
    """
    outlined = {name: value for name, value in rows[BASELINE].items() if name.startswith(_OUTLINED)}
    shown = {}
    for name, row in rows.items():
        used = row.get("disagreement", 0.0) <= MOST_DISAGREEMENT
        decided = {key: value for key, value in row.items() if key == "disagreement"}
        shown[name] = (row if used else rows[NONE]) | decided | outlined
        if decided:
            shown[name]["used"] = float(used)
    return shown


def table(rows: Mapping[str, Mapping[str, Row]]) -> str:
    """Means with 95 % Student-t intervals over cases, and medians with the middle 90 %, by condition."""
    lines = []
    for name in next(iter(rows.values())):
        chosen = [with_gains(case)[name] for case in rows.values()]
        found = summarize(chosen)
        cells = [_mean(found, column, digits) for column, digits in _COLUMNS.items()]
        cells += [_median(chosen, column, digits) for column, digits in _MEDIANS.items()]
        used = [row["used"] for row in chosen if "used" in row]
        lines.append([name, *cells, *([f"{sum(used):.0f} of {len(used)}" if used else "-"] if _decided(rows) else [])])
    return markdown_table(["MRI", *_COLUMNS, *_MEDIANS, *(["used"] if _decided(rows) else [])], lines)


def _decided(rows: Mapping[str, Mapping[str, Row]]) -> bool:
    return any("used" in row for case in rows.values() for row in case.values())


def _mean(found: Summary, column: str, digits: int) -> str:
    entry = found.get(column)
    if entry is None:
        return "-"
    interval = f" ({entry['low']:.{digits}f} to {entry['high']:.{digits}f})" if "low" in entry else ""
    return f"{entry['mean']:.{digits}f}{interval}"


def _median(rows: Sequence[Row], column: str, digits: int) -> str:
    values = [row[column] for row in rows if column in row]
    if not values:
        return "-"
    low, middle, high = np.percentile(values, (5, 50, 95))
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def describe(rows: Mapping[str, Mapping[str, Row]], model: str) -> str:
    """The report in Markdown."""
    after = sum("Dice of the cavity" in case[NONE] for case in rows.values())
    head = (
        f"{model} on {len(rows)} simulated test cases, {after} of them after a resection. PSNR in the fan, dB; Dice of "
        f"the segmenter {DEFAULT_SEGMENTER}, which knows whether the resection has begun, in the first table on these "
        f"images, in the second, as in the product, on those of {DEFAULT_GENERATOR}; mean "
        "and 95 % Student-t interval. Gain: more than without MRI, on the same cases. Ghost: of the tumour that was "
        "removed, what is outlined as tumour in the cavity, and what FLAIR shows as bright as tissue where there is "
        f"fluid; median and middle 90 %, as of the disagreement, above {MOST_DISAGREEMENT:g} of which the product "
        "leaves the MRI out."
    )
    tables: dict[str, Callable[[Mapping[str, Row]], Mapping[str, Row]]] = {
        "What the network makes of it": lambda case: case, "What is shown": as_shown,
    }  # fmt: skip
    parts = [f"## {title}\n\n{table({name: change(case) for name, case in rows.items()})}" for title, change in
             tables.items()]  # fmt: skip
    return "\n\n".join([head, *parts]) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    parser.add_argument("--cohort", type=Path, required=True, metavar="DIR", help="simulated with --preoperative")
    parser.add_argument("--model", required=True, metavar="NAME|PATH", help="generator that reads MRI, too")
    parser.add_argument("-n", "--cases", type=int, metavar="N", help="most test cases (default: all)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")


def run(options: argparse.Namespace) -> int:
    """Measure, and write the tables."""
    generator = load(options.model)
    rows = measure(options.cohort, options.output, generator=generator, count=options.cases)
    text = describe(rows, generator.title)
    (options.output / "preoperative.md").write_text(text, encoding="utf-8")
    print(text)
    return 0

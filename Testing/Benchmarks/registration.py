"""How well preoperative MRI is registered to simulated ultrasound of heads that no model was trained on.

    python Testing/Benchmarks/registration.py --anatomy DIR [--cases 24] [--parts rigid scale shift beyond]
        [--bins 0 0-4 4-8 8-12 12-16] [--methods synthetic register LC2 Mattes greedy] [-o CSV]

Every case is a head of the test split with a lesion before resection, simulated on a cube of 154 mm. Its ultrasound is
cropped to the fan and synthesized by the default generator; its MRI, on axes of its own at 1 mm, is displaced by a
known transform. Parts:

- ``rigid``: rotations up to 9 degrees; the median displacement of the landmarks is drawn in the bins 0-4, 4-8, 8-12 and
  12-16 mm, and is 0 in the bin "0". All methods.
- ``scale``: with singular values as measured in 100 ReMIND cases (percentiles 5 to 95: 1.005-1.104, 0.968-1.023,
  0.907-0.968), rigid against affine.
- ``shift``: a sinking of 7 mm at the craniotomy and a random field of 0.8 mm, rigid against deformable, and against the
  deformable steps of others from the place that our rigid step finds.
- ``beyond``: 24 to 40 mm, where the search cannot succeed: does the verdict say so?

Methods of others are in registration_rivals.py; those that are not installed are left out. TRE is over 100 landmarks in
tissue inside the mask; success is a mean TRE below 2 mm. All figures are of simulated data.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from registration_rivals import available, convex_adam, greedy_deformable, greedy_rigid, mattes

from IoUSynthLib.cases.case import Case
from IoUSynthLib.cases.splits import split_heads
from IoUSynthLib.pipeline import SynthesisResult, synthesize
from IoUSynthLib.preprocessing import crop_to_mask, resample_like
from IoUSynthLib.registration.displacements import RANGES_MM, SUCCESS_MM, random_direction, random_displacement
from IoUSynthLib.registration.level import Pair
from IoUSynthLib.registration.rigid import about, rotation_matrix, to_sitk
from IoUSynthLib.registration.search import Search
from IoUSynthLib.registration.workflow import RIM_MM, RegistrationResult, eroded, register
from IoUSynthLib.simulation.case import draw_lesion, draw_pose, simulate_case
from IoUSynthLib.simulation.cohort import head_paths, label_map_heads, load_head
from IoUSynthLib.volume import Volume

BINS = {"0": (0.0, 0.0), **RANGES_MM}
SHIFT_MM = 7.0
_SIZE = 192
_SEED = 9_000_000

Point = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Subject:
    """A simulated case as the registration meets it."""

    name: str
    case: Case
    ultrasound: Volume
    synthesis: SynthesisResult
    mask: Volume
    landmarks: np.ndarray  # (n, 3) LPS in today's brain


def make_subject(number: int, paths: dict[str, Path]) -> Subject:
    """Simulate and synthesize a case of the test heads, with a lesion that is still there."""
    splits = split_heads(list(paths))
    names = [name for name in label_map_heads(paths) if splits[name] == "test"]
    name = names[number % len(names)]
    head = load_head(paths[name])
    seed = next(seed for seed in range(_SEED + 100 * number, _SEED + 100 * number + 100) if _before(head, seed))
    case = simulate_case(head, seed, size=_SIZE)
    cropped, _ = crop_to_mask(case.images["ioUS"], case.fan.array > 0, 2)
    ultrasound = cropped.with_array(cropped.array.astype(np.float32))
    synthesis = synthesize(ultrasound, device="cpu")
    mask = eroded(synthesis.valid, RIM_MM)
    tissue = resample_like(as_float(case.images["T2w"]), ultrasound).array > 150  # CSF is 1000, air and gel are 50
    index = np.argwhere((mask.array > 0) & tissue)[:, ::-1]
    chosen = index[np.random.default_rng(seed).choice(len(index), 100, replace=False)]
    landmarks = chosen @ ultrasound.ijk_to_lps[:3, :3].T + ultrasound.ijk_to_lps[:3, 3]
    return Subject(name, case, ultrasound, synthesis, mask, landmarks)


def _before(head: object, seed: int) -> bool:
    """Whether a seed's case is before resection; draws as the simulator does."""
    rng = np.random.default_rng(seed)
    pose = draw_pose(head, rng)
    lesion = draw_lesion(rng, (float(rng.normal(0, 4)), pose.lesion_depth, float(rng.normal(0, 4))))
    return "cavity" not in lesion.kind


def as_float(volume: Volume) -> Volume:
    return volume.with_array(volume.array.astype(np.float32))


def displaced(subject: Subject, median: float, rng: np.random.Generator) -> np.ndarray:
    """4x4 matrix that displaces the landmarks by a median in mm."""
    return random_displacement(subject.landmarks, median, rng, mean=np.median)


def draw_scale(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """4x4 matrix with singular values as in ReMIND, about the middle of the points."""
    values = rng.triangular((1.005, 0.968, 0.907), (1.032, 1.000, 0.945), (1.104, 1.023, 0.968))
    turn = rotation_matrix(random_direction(rng) * rng.uniform(0, np.pi))
    stretch = turn @ np.diag(values) @ turn.T - np.eye(3)
    return about(points.mean(axis=0), np.concatenate([stretch.ravel(), np.zeros(3)]))


def draw_shift(subject: Subject, rng: np.random.Generator) -> Point:
    """How far tissue has sunk, as a function of where it is now: 7 mm at the craniotomy, and a smooth random field."""
    face = np.array(subject.case.parameters["face"])
    down = np.array(subject.case.parameters["axes"])[:, 1]
    reach = rng.uniform(18, 28)
    waves = [
        (random_direction(rng) * 2 * np.pi / rng.uniform(50, 80), rng.uniform(0, 2 * np.pi), random_direction(rng))
        for _ in range(8)
    ]

    def shift(points: np.ndarray) -> np.ndarray:
        near = np.exp(-((points - face) ** 2).sum(-1) / (2 * reach**2))
        field = sum(np.sin(points @ wave + phase)[..., None] * axis for wave, phase, axis in waves)
        return SHIFT_MM * near[..., None] * down + 0.8 * field / 2.0  # eight waves of unit length: rms 2

    return shift


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def preoperative(subject: Subject, matrix: np.ndarray, shift: Point | None = None) -> dict[str, Volume]:
    """The case's MRI before the shift, in a frame of its own: today's y lies at ``matrix (y - shift(y))``."""
    cube = subject.case.images["T2w"]
    centre = apply(cube.ijk_to_lps, (np.array(cube.size) - 1) / 2)
    side = 170
    grid = Volume(np.broadcast_to(np.float32(0), (side,) * 3), origin=tuple(apply(matrix, centre) - (side - 1) / 2))
    back = to_sitk(np.linalg.inv(matrix))
    transform = back if shift is None else sitk.CompositeTransform([_unshift(cube, shift), back])
    images = {name: as_float(subject.case.images[name]) for name in ("T2w", "FLAIR")}
    return {name: resample_like(image, grid, transform=transform) for name, image in images.items()}


def _unshift(cube: Volume, shift: Point, spacing: float = 3.0) -> sitk.DisplacementFieldTransform:
    """Where tissue that was at x before is now: the y with ``y - shift(y) = x``, by fixed point iteration."""
    extent = np.array(cube.size) * cube.spacing
    size = np.ceil(extent / spacing).astype(int) + 1
    axes = np.meshgrid(*(np.arange(length) * spacing for length in size), indexing="ij")
    before = np.stack(axes, axis=-1) @ cube.direction.T + cube.origin
    now = before
    for _ in range(30):
        now = before + shift(now)
    image = sitk.GetImageFromArray(np.ascontiguousarray((now - before).transpose(2, 1, 0, 3)), isVector=True)
    image.SetSpacing((spacing,) * 3)
    image.SetOrigin(cube.origin)
    image.SetDirection(cube.direction.ravel().tolist())
    return sitk.DisplacementFieldTransform(image)


def searched(fixed: Volume, moving: tuple[Volume, ...], mask: Volume, raw: bool) -> sitk.Transform:
    pair = Pair(fixed, moving, gradient=raw, positive=not raw)
    return to_sitk(Search([pair], mask).run().matrix)


def rigid_methods(subject: Subject, moving: dict[str, Volume]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every method by name, to be called and timed."""
    synthetic, mask, ultrasound = subject.synthesis.images, subject.mask, subject.ultrasound
    yield "identity", lambda: sitk.Transform()
    for name, image in moving.items():
        yield f"synthetic {name}", lambda n=name, m=image: searched(synthetic[n], (m,), mask, raw=False)
    yield "register: both, checked", lambda: register(moving, ultrasound, synthetic, fan=subject.synthesis.valid)
    yield "LC2 ioUS-both", lambda: searched(ultrasound, tuple(moving.values()), mask, raw=True)
    for name, image in moving.items():
        yield f"Mattes MI ioUS-{name}", lambda m=image: mattes(ultrasound, m, mask)
    if available("picsl_greedy"):
        yield "greedy NMI ioUS-T2w", lambda: greedy_rigid(ultrasound, moving["T2w"], mask, "NMI")
        yield "greedy WNCC synthetic T2w", lambda: greedy_rigid(synthetic["T2w"], moving["T2w"], mask)


def deformable_rivals(
    subject: Subject, image: Volume, matrix: np.ndarray
) -> Iterator[tuple[str, Callable[[], sitk.Transform]]]:
    """Deformable methods of others by name, all from the place that a rigid matrix gives the MRI."""
    back = np.linalg.inv(matrix)
    placed = replace(image, origin=tuple(apply(back, np.array(image.origin))), direction=back[:3, :3] @ image.direction)
    synthetic, ultrasound = subject.synthesis.images["T2w"], subject.ultrasound

    def after_rigid(method: Callable[..., sitk.Transform], fixed: Volume) -> Callable[[], sitk.Transform]:
        return lambda: sitk.CompositeTransform([to_sitk(matrix), method(fixed, placed, subject.mask)])

    if available("picsl_greedy"):
        yield "greedy synthetic T2w", after_rigid(greedy_deformable, synthetic)
    if available("convexAdam"):
        yield "convexAdam synthetic T2w", after_rigid(convex_adam, synthetic)
        yield "convexAdam ioUS-T2w", after_rigid(convex_adam, ultrasound)


class Rows:
    """Prints a row as it comes, and summarises them."""

    def __init__(self, path: Path | None) -> None:
        self.rows: list[dict[str, object]] = []
        self.path = path

    def run(
        self, part: str, bin_: str, subject: Subject, method: str, call: Callable[[], object], truth: Point
    ) -> object:
        """Time a method, measure where it sends the landmarks, and print the row; return what the method did."""
        started = time.perf_counter()
        outcome = call()
        seconds = time.perf_counter() - started
        seed = subject.case.parameters["seed"]
        row: dict[str, object] = {"part": part, "bin": bin_, "case": seed, "head": subject.name}
        transform = outcome
        if isinstance(outcome, RegistrationResult):
            transform = outcome.transform
            row |= {"verdict": outcome.consistency.name, "apart": outcome.consistency.distance_mm}
            row |= {f"{key} distinct": values["distinct"] for key, values in outcome.report["similarity"].items()}
            if outcome.deformation:
                row |= {"least jacobian": round(outcome.deformation.least_jacobian, 3)}
        mapped = np.array([transform.TransformPoint(point) for point in subject.landmarks.tolist()])
        errors = np.linalg.norm(mapped - truth(subject.landmarks), axis=1)
        row |= {"method": method, "TRE": round(float(errors.mean()), 3)}
        row |= {"TRE 95 %": round(float(np.percentile(errors, 95)), 3), "seconds": round(seconds, 2)}
        self.rows.append(row)
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if self.path:
            names = list(dict.fromkeys(key for row in self.rows for key in row))
            with self.path.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, names)
                writer.writeheader()
                writer.writerows(self.rows)
        return outcome

    def summarise(self) -> None:
        groups = defaultdict(list)
        for row in self.rows:
            groups[row["part"], row["method"], row["bin"]].append(row)
        print("\nsimulated: part, method, bin: TRE mean (sd), 95th percentile, success, median seconds, cases")
        for (part, method, bin_), rows in groups.items():
            errors = np.array([row["TRE"] for row in rows])
            seconds = np.median([row["seconds"] for row in rows])
            print(
                f"{part:6} {method:26} {bin_:6} {errors.mean():5.2f} ({errors.std():.2f})"
                f"  {np.percentile(errors, 95):5.2f}  {(errors < SUCCESS_MM).mean():4.0%}"
                f"  {seconds:5.1f} s  {len(rows)}"
            )
        judged = [row for row in self.rows if "verdict" in row and row["part"] in ("rigid", "beyond")]
        bad, good = [row for row in judged if row["TRE"] > 5], [row for row in judged if row["TRE"] < SUCCESS_MM]
        for name, rows in (("TRE above 5 mm", bad), ("TRE below 2 mm", good)):
            doubted = sum(row["verdict"] != "agrees" for row in rows)
            print(f"verdict, {name}: {doubted} of {len(rows)} doubtful or failed")


def run_case(subject: Subject, parts: list[str], bins: list[str], methods: list[str], rows: Rows) -> None:
    rng = np.random.default_rng(subject.case.parameters["seed"])
    synthesis, ultrasound = subject.synthesis, subject.ultrasound
    cavity = synthesis.segmentation.with_array(synthesis.segmentation.array == 2)

    def whole(moving: dict[str, Volume], **options: bool) -> Callable[[], RegistrationResult]:
        return lambda: register(moving, ultrasound, synthesis.images, fan=synthesis.valid, cavity=cavity, **options)

    for bin_, limits in BINS.items():
        matrix = displaced(subject, rng.uniform(*limits), rng)
        if "rigid" in parts and bin_ in bins:
            for method, call in rigid_methods(subject, preoperative(subject, matrix)):
                if not method.startswith(tuple(methods)):
                    continue
                rows.run("rigid", bin_, subject, method, call, lambda points, m=matrix: apply(m, points))
    if "scale" in parts:
        matrix = displaced(subject, 8.0, rng) @ draw_scale(subject.landmarks, rng)
        moving = preoperative(subject, matrix)
        for method, options in (("rigid", {}), ("affine", {"affine": True})):
            rows.run("scale", "8", subject, method, whole(moving, **options), lambda points: apply(matrix, points))
    if "shift" in parts:
        matrix, shift = displaced(subject, 4.0, rng), draw_shift(subject, rng)
        moving = preoperative(subject, matrix, shift)

        def before(points: np.ndarray) -> np.ndarray:
            return apply(matrix, points - shift(points))

        rigid = rows.run("shift", "4+7", subject, "rigid", whole(moving), before)
        rows.run("shift", "4+7", subject, "deformable", whole(moving, deformable=True), before)
        for method, call in deformable_rivals(subject, moving["T2w"], rigid.matrix):
            rows.run("shift", "4+7", subject, method, call, before)
    if "beyond" in parts:
        matrix = displaced(subject, rng.uniform(24, 40), rng)
        moving = preoperative(subject, matrix)
        rows.run("beyond", "24-40", subject, "register", whole(moving), lambda points: apply(matrix, points))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anatomy", type=Path, required=True, help="folder of label maps and real MRI")
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--parts", nargs="+", default=["rigid", "scale", "shift", "beyond"])
    parser.add_argument("--bins", nargs="+", choices=list(BINS), default=list(BINS))
    parser.add_argument("--methods", nargs="+", default=[""], help="how names of rigid methods begin; default: all")
    parser.add_argument("-o", "--output", type=Path, metavar="CSV")
    options = parser.parse_args()
    torch.set_num_threads(2)
    paths, rows = head_paths(options.anatomy), Rows(options.output)
    for number in range(options.first, options.first + options.cases):
        run_case(make_subject(number, paths), options.parts, options.bins, options.methods, rows)
    rows.summarise()


if __name__ == "__main__":
    main()

"""The whole registration: preoperative MRI and today's ultrasound in, transform, consistency check and report out."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..constants import NOTICE
from ..input_checks import check_input, check_ultrasound
from ..parallel import threads
from ..preprocessing import field_of_view, resample_like
from ..progress import PartProgress, Progress, StageProgress
from ..synthesis.report import versions
from ..volume import InputError, Volume
from . import landmarks as points
from .consistency import Consistency, assess_consistency
from .deformable import Deformation, register_deformable
from .displacements import SUCCESS_MM
from .level import Pair
from .rigid import bounded, mean_distance, rotation_degrees, to_sitk
from .search import SIGNIFICANT, JointSearch, Search, Solution
from .similarity import local_ncc, mind_distance

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Voxels nearer to the rim of the fan than this, in mm, are left out.
RIM_MM = 3.0
#: Fewer millilitres of the fan than this under the MRI are refused: a standard error needs several cubes of 10 mm.
LEAST_ML = 8.0
#: Landmarks within this of a line, root mean square in mm, do not tell the rotation about it.
_WIDE_MM = 1.0
#: Stages of the work and the overall fraction at which each begins.
STAGES = {"checking": 0.0, "searching": 0.05, "comparing": 0.6, "deforming": 0.75, "finishing": 0.95}
#: What a written transform does.
DIRECTION = (
    "maps LPS points of the ultrasound to LPS points of the preoperative MRI, as ITK resampling needs; loaded into "
    "3D Slicer and set as the MRI's parent transform, it moves the MRI onto the ultrasound"
)


@dataclass
class RegistrationResult:
    """What :func:`register` returns.

    Attributes
    ----------
    transform
        From LPS points of the ultrasound to LPS points of the MRI, displacement included.
    matrix
        Its rigid or affine part, 4x4.
    deformation
        Its displacement field, where one was asked for.
    consistency
        Whether it can be believed.
    resampled
        Every moving contrast on the ultrasound's grid.
    report
        All figures, warnings, and a summary in one line.
    """

    transform: sitk.Transform
    matrix: np.ndarray
    deformation: Deformation | None
    consistency: Consistency
    resampled: dict[str, Volume]
    report: dict[str, Any]


def register(
    moving: Mapping[str, Volume],
    ultrasound: Volume,
    synthetic: Mapping[str, Volume],
    *,
    fan: Volume | None = None,
    cavity: Volume | None = None,
    affine: bool = False,
    deformable: bool = False,
    landmarks: tuple[np.ndarray, np.ndarray] | None = None,
    initial: np.ndarray | None = None,
    progress: Progress | None = None,
) -> RegistrationResult:
    """Register preoperative MRI to the brain that the ultrasound shows.

    Synthetic MRI and raw ultrasound (LC2) search on their own; the places that either finds, and the start, are then
    compared by both measures together. Where the consistency check fails, the MRI is left where it was.

    Parameters
    ----------
    moving
        Preoperative MRI by contrast, all in one frame. ``T2w`` and ``FLAIR`` are compared with the synthetic image of
        the same name, and with the ultrasound. Where there are only others, the ultrasound alone decides, and the
        synthetic images, compared by correlation of either sign, are a second opinion.
    ultrasound
        The reconstructed 3D ultrasound. Nothing that is given is changed.
    synthetic
        Synthetic MRI by contrast, on the ultrasound's grid.
    fan
        Above 0 inside the ultrasound fan, on its grid; found here when None.
    cavity
        Above 0 in the resection cavity, on its grid: left out of the deformable step.
    affine
        Refine with scale and shear, at most 6 %.
    deformable
        Find a displacement field too, on synthetic MRI and ultrasound together. For research: it follows the synthetic
        image, errors included.
    landmarks
        (n, 3) LPS points of the MRI and of the ultrasound, for the TRE.
    initial
        4x4 matrix from ultrasound to MRI to start from; the identity by default.
    progress
        Called with the stage and the overall fraction in [0, 1]; may raise :class:`inference.Cancelled`.

    Raises
    ------
    InputError
        The images cannot be used or do not overlap, the MRI covers too little of the fan, the mask is empty, or the
        landmarks do not correspond.
    """
    stages = StageProgress(STAGES, progress)
    with stages.stage("checking"):
        ultrasound = check_ultrasound(ultrasound, "ultrasound")
        moving = {name: check_input(image, f"preoperative {name}") for name, image in moving.items()}
        mask, fan = _check(moving, ultrasound, synthetic, fan=fan, cavity=cavity)
        if landmarks is not None:
            points.check_pairs(*landmarks)
        opinions = (synthetic_pairs(moving, synthetic), [ultrasound_pair(moving, ultrasound)])
        searches = tuple(Search(pairs, mask, initial) for pairs in opinions)
        like = any(name in synthetic for name in moving)
        joint = JointSearch(searches if like else searches[1:])
    with stages.stage("searching") as part:
        _side_by_side(searches, part)
    with stages.stage("comparing"):
        solution = joint.settle([matrix for search in searches for _, matrix in search.optima])
        _check_covered(solution, joint)
        consistency = assess_consistency(solution, joint=joint, synthetic=searches[0], ultrasound=searches[1])
        failed = consistency.name == "failed"
        if affine and not failed:
            solution = joint.affine(solution.matrix)
        matrix = joint.initial if failed else solution.matrix
    deformation = None
    if deformable and not failed:
        with stages.stage("deforming") as part:
            both = [pair for pairs in opinions for pair in pairs]  # alone, each leads astray where it errs
            deformation = register_deformable(both, mask, fan, matrix=matrix, cavity=cavity, progress=part)
    with stages.stage("finishing"):
        transform = deformation.after_rigid(matrix) if deformation else to_sitk(matrix)
        resampled = {name: resample_like(image, ultrasound, transform=transform) for name, image in moving.items()}
    doubts = [warning for image in (*moving.values(), ultrasound) for warning in image.warnings]
    report = _report(
        joint, matrix, transform, consistency=consistency, deformation=deformation, landmarks=landmarks,
        seconds=stages.seconds, doubts=doubts,
    )
    stages.report("finishing", 1.0)
    return RegistrationResult(transform, matrix, deformation, consistency, resampled, report)


def register_by_lc2(
    moving: Mapping[str, Volume], ultrasound: Volume, fan: Volume
) -> tuple[np.ndarray, dict[str, Any]]:
    """Register MRI rigidly to the ultrasound of the same state of the brain, by LC2 alone: without synthetic MRI.

    Where no place fits better than the one that the images have, the MRI is left there.

    Parameters
    ----------
    moving
        MRI by contrast, all in one frame.
    ultrasound
        The reconstructed 3D ultrasound.
    fan
        Above 0 inside the ultrasound fan, on its grid.

    Returns
    -------
    tuple of numpy.ndarray and dict
        4x4 matrix from the ultrasound's LPS points to the MRI's, and what a report says: figures and warnings.

    Raises
    ------
    InputError
        The images do not overlap, or the fan is too thin.
    """
    search = Search([ultrasound_pair(moving, ultrasound)], eroded(fan, RIM_MM))
    solution = search.run()
    before, after = solution.initial_value, solution.value
    better = after > before
    matrix = solution.matrix if better else search.initial
    distinct = search.distinctness(solution.matrix)
    warnings = [] if better else ["No place fits better than the one the images have; they were left there."]
    if better and distinct < SIGNIFICANT:
        warnings.append("The MRI fits other places nearly as well.")
    return matrix, {
        "method": "rigid, LC2, the ultrasound as reference",
        "images": list(moving),
        "rim_mm": RIM_MM,
        "similarity": {"before": round(before, 4), "after": round(max(before, after), 4)},
        "distinct": round(distinct, 4),
        "moved_mm": round(mean_distance(matrix, search.initial, search.points), 3),
        "rotation_degrees": round(rotation_degrees(matrix), 3),
        "matrix_lps": matrix.tolist(),
        "direction": DIRECTION,
        "warnings": warnings,
    }


def register_by_landmarks(moving: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Bring MRI rigidly onto the ultrasound by corresponding landmarks, least squares over all of them.

    Parameters
    ----------
    moving, fixed
        (n, 3) landmarks of the MRI and of the ultrasound, LPS mm.

    Returns
    -------
    tuple of numpy.ndarray and dict
        4x4 matrix from the ultrasound's LPS points to the MRI's, and what a report says: distances of the landmarks in
        mm ``before`` and ``after``, ``TRE`` of each by the fit of all others (absent of three), the root mean square
        ``FLE_rms_mm``, and warnings.

    Raises
    ------
    InputError
        The landmarks do not correspond, or lie on a line, about which nothing tells the rotation.
    """
    points.check_pairs(moving, fixed)
    if min(_second_extent_mm(image) for image in (moving, fixed)) < _WIDE_MM:
        raise InputError("the landmarks lie on a line, about which nothing tells the rotation; mark more of them")
    matrix = points.fit_rigid(moving, fixed)
    before, after = (points.target_registration_errors(to_sitk(m), moving, fixed) for m in (np.eye(4), matrix))
    left_out = points.left_out_errors(moving, fixed)
    known = bool(np.isfinite(left_out).all())
    doubtful = known and left_out.mean() > SUCCESS_MM
    warnings = [f"Landmarks lie over {SUCCESS_MM:g} mm from where the others put them."] if doubtful else []
    return matrix, {
        "method": "rigid, landmarks, the ultrasound as reference",
        "landmarks": len(fixed),
        "before": points.summarise(before),
        "after": points.summarise(after),
        **({"TRE": points.summarise(left_out)} if known else {}),
        "FLE_rms_mm": round(points.localization_error(after), 3),
        "moved_mm": round(mean_distance(matrix, np.eye(4), fixed), 3),
        "rotation_degrees": round(rotation_degrees(matrix), 3),
        "matrix_lps": matrix.tolist(),
        "direction": DIRECTION,
        "warnings": warnings,
    }


def _second_extent_mm(image: np.ndarray) -> float:
    """Root mean square distance of points along the second of their principal axes."""
    return float(np.linalg.svd(image - image.mean(axis=0), compute_uv=False)[1] / np.sqrt(len(image)))


def synthetic_pairs(moving: Mapping[str, Volume], synthetic: Mapping[str, Volume]) -> list[Pair]:
    """What is compared of synthetic and preoperative MRI: equal contrasts, else each with each."""
    equal = [Pair(synthetic[name], (moving[name],), positive=True) for name in moving if name in synthetic]
    return equal or [Pair(image, tuple(moving.values())) for image in synthetic.values()]


def ultrasound_pair(moving: Mapping[str, Volume], ultrasound: Volume) -> Pair:
    """Raw ultrasound and all preoperative contrasts with their gradients: LC2."""
    return Pair(ultrasound, tuple(moving.values()), gradient=True)


def _check_covered(solution: Solution, search: Search) -> None:
    """Refuse an answer that so little of the fan speaks for that chance may have found it."""
    covered = solution.covered * float((search.mask.array > 0).sum()) * search.mask.voxel_volume_ml
    if covered < LEAST_ML:
        raise InputError(
            f"the MRI covers {covered:.1f} ml of the ultrasound ({solution.covered:.0%}), and a registration needs "
            f"{LEAST_ML:g} ml; give an MRI that holds more of it"
        )


def _check(
    moving: Mapping[str, Volume], ultrasound: Volume, synthetic: Mapping[str, Volume], *, fan: Volume | None,
    cavity: Volume | None,
) -> tuple[Volume, Volume]:
    """Return the eroded mask and the fan, or say what is wrong with the input."""
    if not moving or not synthetic:
        raise InputError("registration: needs a preoperative MRI and a synthetic MRI; choose both")
    if fan is None:
        fan = ultrasound.with_array(field_of_view(ultrasound.array).astype(np.uint8))
    given = {**{f"synthetic {name}": image for name, image in synthetic.items()}, "mask": fan, "cavity": cavity}
    for name, image in given.items():
        if image is not None and not image.same_grid(ultrasound, 1e-3):
            raise InputError(f"{name}: does not lie on the ultrasound's grid; synthesize this ultrasound again")
    if not (fan.array > 0).any():
        raise InputError("mask: is empty; choose the ultrasound volume that holds the image")
    return eroded(fan, RIM_MM), fan


def eroded(mask: Volume, distance: float) -> Volume:
    """Take ``distance`` mm off a mask on all sides.

    Raises
    ------
    InputError
        Nothing is left.
    """
    import SimpleITK as sitk

    padded = sitk.ConstantPad(mask.with_array((mask.array > 0).astype(np.uint8)).to_sitk(), [1] * 3, [1] * 3, 0)
    depth = sitk.SignedMaurerDistanceMap(padded, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    inside = sitk.GetArrayFromImage(depth)[1:-1, 1:-1, 1:-1] > distance
    if not inside.any():
        raise InputError(
            f"mask: nothing is left {distance:g} mm inside the rim of the ultrasound; check its voxel size, or "
            "reconstruct the whole sweep"
        )
    return mask.with_array(inside.astype(np.uint8))


def _side_by_side(searches: tuple[Search, ...], progress: PartProgress) -> None:
    """Run the searches, each in its own thread, and report from this one: it may raise to cancel them."""
    fractions, stop = [0.0] * len(searches), threading.Event()

    def run(number: int) -> None:
        def note(fraction: float) -> None:
            fractions[number] = fraction
            if stop.is_set():
                raise RuntimeError("cancelled")

        searches[number].explore(note)

    jobs = [threads().submit(run, number) for number in range(len(searches))]
    try:
        while wait(jobs, timeout=0.1).not_done:
            progress(min(fractions))
    except BaseException:
        stop.set()
        wait(jobs)
        raise
    for job in jobs:
        job.result()


def _report(
    search: Search, matrix: np.ndarray, transform: sitk.Transform, *, consistency: Consistency,
    deformation: Deformation | None, landmarks: tuple[np.ndarray, np.ndarray] | None, seconds: dict[str, float],
    doubts: Sequence[str],
) -> dict[str, Any]:
    warnings = [*consistency.reasons, *doubts]
    values = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    rigid = bounded(matrix, search.points.mean(axis=0), 0.0)
    report: dict[str, Any] = {
        "notice": NOTICE,
        "direction": DIRECTION,
        "verdict": consistency.name,
        "reasons": list(consistency.reasons),
        "answers_apart_mm": consistency.distance_mm,
        "moved_mm": consistency.moved_mm,
        "rotation_degrees": round(rotation_degrees(rigid), 3),
        "scales": [round(float(value), 4) for value in values],
        "similarity": {"synthetic": consistency.synthetic, "ultrasound": consistency.ultrasound},
        "measures": {"before": _measures(search, to_sitk(search.initial)), "after": _measures(search, transform)},
        "matrix_lps": matrix.tolist(),
        "seconds": {**seconds, "total": round(sum(seconds.values()), 3)},
        "versions": versions(),
    }
    if deformation is not None:
        displacement = np.linalg.norm(deformation.field, axis=-1)
        report["deformation"] = {
            "largest_mm": round(float(displacement.max()), 3),
            "mean_in_fan_mm": round(float(displacement[deformation.grid.array >= 1].mean()), 3),
            "least_jacobian": round(deformation.least_jacobian, 4),
            "similarity": {"before": round(deformation.before, 4), "after": round(deformation.after, 4)},
        }
    if landmarks is not None:
        before = points.target_registration_errors(to_sitk(search.initial), *landmarks)
        after = points.target_registration_errors(transform, *landmarks)
        report["TRE"] = {
            "landmarks": len(before), "before": points.summarise(before), "after": points.summarise(after),
        }
        if after.mean() > before.mean():
            warnings.append("The landmarks lie further apart than before.")
    report["warnings"] = warnings
    report["summary"] = _summary(report)
    return report


def _measures(search: Search, transform: sitk.Transform) -> dict[str, float]:
    """Local correlation and MIND-SSC distance of the first pair, which the search did not optimise."""
    level = search.fine
    term = level.terms[0]
    warped = level.warp(term, transform)[0]
    known = np.isfinite(warped) & level.mask
    warped, fixed = np.where(known, warped, 0), term.measure.image
    if not known.any():
        return {}
    values = {"local_ncc": local_ncc(fixed, warped, known), "mind_ssc_distance": mind_distance(fixed, warped, known)}
    return {name: round(value, 4) for name, value in values.items()}


def _summary(report: dict[str, Any]) -> str:
    words = {"agrees": "the two answers agree", "doubtful": "DOUBTFUL", "failed": "FAILED, the MRI stays where it was"}
    line = f"{words[report['verdict']]} ({report['answers_apart_mm']:.1f} mm apart)"
    line += f"; MRI {'would have ' * (report['verdict'] == 'failed')}moved {report['moved_mm']:.1f} mm"
    if "TRE" in report:
        before, after = (report["TRE"][key]["mean_mm"] for key in ("before", "after"))
        line += f"; TRE of {report['TRE']['landmarks']} landmarks {before:.2f} mm before, {after:.2f} mm after"
    line += f"; {report['seconds']['total']:.1f} s"
    return " ".join([line, *report["warnings"]]) if report["warnings"] else line

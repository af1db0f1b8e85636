"""Whether a registration can be believed: two answers that were found independently, and what speaks against them.

One answer compares synthetic with preoperative MRI, the other the raw ultrasound with the preoperative MRI (LC2). Where
they differ, each measure tries the other's answer and keeps it if that fits better, so that a search that was caught in
the wrong place does not cast doubt on a right answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .rigid import CAPTURE_MM, Search, Solution, mean_distance

#: Mean distance in mm of the two answers in the fan, up to which they agree, and above which one is plainly wrong.
AGREE_MM, FAIL_MM = 2.0, 5.0
#: How much better, as a fraction, the answer must fit than any other place, for synthetic MRI and for raw ultrasound.
DISTINCT = (0.2, 0.03)
#: An answer further from the start than this many times the capture range was not searched for on all sides.
_BEYOND = 1.25
#: A start that is moved less than this, in mm, need not fit better than before.
_AT_REST_MM = 1.0


@dataclass(frozen=True)
class Verdict:
    """The outcome of the consensus check.

    Attributes
    ----------
    name
        ``agrees``, ``doubtful`` or ``failed``.
    reasons
        What speaks against the registration, a sentence each; none when it agrees.
    distance_mm
        Mean distance of the two answers in the fan.
    moved_mm
        Mean displacement of the fan by the answer.
    synthetic, ultrasound
        Similarity before and after of synthetic MRI and of LC2, how distinct each answer is, and the fraction of the
        fan that the MRI covers.
    """

    name: str
    reasons: tuple[str, ...]
    distance_mm: float
    moved_mm: float
    synthetic: dict[str, float]
    ultrasound: dict[str, float]


def reconcile(synthetic: Search, ultrasound: Search, answers: tuple[Solution, Solution]) -> tuple[Solution, Solution]:
    """Let each measure try the other's answer where the two differ, and return the better ones."""
    first, second = answers
    if mean_distance(first.matrix, second.matrix, synthetic.points) <= AGREE_MM:
        return answers
    return synthetic.better(first, second.matrix), ultrasound.better(second, first.matrix)


def judge(search: Search, synthetic: Solution, ultrasound: Solution) -> Verdict:
    """Compare the answer of synthetic MRI with that of raw ultrasound.

    Parameters
    ----------
    search
        The search of either, for the points of the fan and the initial transform.
    synthetic, ultrasound
        The two answers.
    """
    distance = mean_distance(synthetic.matrix, ultrasound.matrix, search.points)
    moved = mean_distance(synthetic.matrix, search.initial, search.points)
    reasons, failed = [], distance > FAIL_MM
    if distance > AGREE_MM:
        reasons.append(f"Synthetic MRI and raw ultrasound lead to places {distance:.1f} mm apart.")
    for name, solution in (("Synthetic MRI", synthetic), ("Raw ultrasound", ultrasound)):
        if moved > _AT_REST_MM and solution.value <= solution.initial_value:
            reasons.append(f"{name} fits no better than before.")
            failed = True
        if solution.distinct < DISTINCT[solution is ultrasound]:
            reasons.append(f"{name} fits other places nearly as well.")
    if moved > _BEYOND * CAPTURE_MM:
        reasons.append(f"The MRI would move {moved:.0f} mm, further than the search can vouch for ({CAPTURE_MM:g} mm).")
    if synthetic.covered < 0.9:
        reasons.append(f"The MRI covers only {synthetic.covered:.0%} of the ultrasound.")
    name = "failed" if failed else "doubtful" if reasons else "agrees"
    return Verdict(
        name, tuple(reasons), round(distance, 3), round(moved, 3), _describe(synthetic), _describe(ultrasound)
    )


def _describe(solution: Solution) -> dict[str, float]:
    figures = {
        "before": solution.initial_value, "after": solution.value, "distinct": solution.distinct,
        "covered": solution.covered,
    }
    return {name: round(float(np.clip(value, -1, 1)), 4) for name, value in figures.items()}

"""Whether a registration can be believed: two opinions that were formed independently, and what speaks against it.

One compares synthetic with preoperative MRI, the other the raw ultrasound with the preoperative MRI (LC2). An opinion
counts only if its own best place stands out from all others that it found by more than chance: a synthetic image that
shows little of what is there fits many places equally well, and is no witness against the ultrasound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .rigid import CAPTURE_MM, mean_distance
from .search import ELSEWHERE_MM, MOST_DISTINCT, SIGNIFICANT, Search, Solution

#: Mean distance in mm of the two opinions' best places in the fan, up to which they agree.
AGREE_MM = 2.0
#: An answer further from the start than this many times the capture range was not searched for on all sides.
_BEYOND = 1.25
#: A start that is moved less than this, in mm, need not fit better than before.
_AT_REST_MM = 1.0
_NAMES = ("Synthetic MRI", "Raw ultrasound")


@dataclass(frozen=True)
class Consistency:
    """The outcome of the consistency check.

    Attributes
    ----------
    name
        ``agrees``, ``doubtful`` or ``failed``.
    reasons
        What speaks against the registration, a sentence each; none when it agrees.
    distance_mm
        Mean distance in the fan of the places that the two opinions like best.
    moved_mm
        Mean displacement of the fan by the answer.
    synthetic, ultrasound
        Similarity of synthetic MRI and of LC2 before and after, by how many standard errors the answer fits better
        than their best other place, the distance in mm of the place that they like best, and the fraction of the fan
        that the MRI covers.
    """

    name: str
    reasons: tuple[str, ...]
    distance_mm: float
    moved_mm: float
    synthetic: dict[str, float]
    ultrasound: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Opinion:
    """What one measure says of the answer.

    Attributes
    ----------
    before, after
        Similarity at the start and at the answer.
    distinct
        Standard errors by which the answer fits better than its other places.
    away_mm
        Distance of the place that it likes best.
    sure
        Standard errors by which that place fits better than its others.
    """

    before: float
    after: float
    distinct: float
    away_mm: float
    sure: float

    @classmethod
    def of(cls, search: Search, matrix: np.ndarray) -> _Opinion:
        best = search.optima[0][1]
        before, after = (search.value(search.middle, pose) for pose in (search.initial, matrix))
        away = mean_distance(best, matrix, search.points)
        return cls(before, after, search.distinctness(matrix), away, search.distinctness(best))

    @property
    def supports(self) -> bool:
        return min(self.sure, self.distinct) >= SIGNIFICANT and self.away_mm <= ELSEWHERE_MM

    @property
    def objects(self) -> bool:
        return self.sure >= SIGNIFICANT and self.away_mm > ELSEWHERE_MM

    def figures(self, covered: float) -> dict[str, float]:
        figures = {
            "before": max(self.before, 0.0), "after": max(self.after, 0.0),
            "distinct": float(np.clip(self.distinct, -MOST_DISTINCT, MOST_DISTINCT)), "away_mm": self.away_mm,
            "covered": covered,
        }
        return {name: round(value, 4) for name, value in figures.items()}


def assess_consistency(
    solution: Solution, *, joint: Search, synthetic: Search, ultrasound: Search
) -> Consistency:
    """Ask both measures about an answer.

    Parameters
    ----------
    solution
        The answer.
    joint
        The search that gave it.
    synthetic, ultrasound
        The searches of either measure alone, done.
    """
    opinions = [_Opinion.of(search, solution.matrix) for search in (synthetic, ultrasound)]
    places = [search.optima[0][1] for search in (synthetic, ultrasound)]
    distance = mean_distance(*places, joint.points)
    moved = mean_distance(solution.matrix, joint.initial, joint.points)
    failures = _failures(solution, opinions, distance=distance, moved=moved)
    reasons = failures or _doubts(solution, opinions, distance=distance, moved=moved)
    name = "failed" if failures else "doubtful" if reasons else "agrees"
    figures = [opinion.figures(solution.covered) for opinion in opinions]
    return Consistency(name, tuple(reasons), round(distance, 3), round(moved, 3), *figures)


def _failures(solution: Solution, opinions: list[_Opinion], *, distance: float, moved: float) -> list[str]:
    reasons = []
    if moved > _AT_REST_MM and solution.value <= solution.initial_value:
        reasons.append("The images fit no better than before.")
    support = max((opinion.distinct for opinion in opinions if opinion.supports), default=0.0)
    for name, opinion in zip(_NAMES, opinions, strict=True):
        if opinion.objects and opinion.sure >= support:
            reasons.append(f"{name} fits another place better, {opinion.away_mm:.0f} mm away.")
    if distance > ELSEWHERE_MM and not any(opinion.supports for opinion in opinions):
        reasons.append(f"Synthetic MRI and raw ultrasound lead to places {distance:.1f} mm apart, neither sure.")
    return reasons


def _doubts(solution: Solution, opinions: list[_Opinion], *, distance: float, moved: float) -> list[str]:
    reasons = []
    if distance > AGREE_MM:
        reasons.append(f"Synthetic MRI and raw ultrasound lead to places {distance:.1f} mm apart.")
    for name, opinion in zip(_NAMES, opinions, strict=True):
        if not opinion.supports:
            reasons.append(f"{name} fits other places as well.")
    if moved > _BEYOND * CAPTURE_MM:
        reasons.append(f"The MRI would move {moved:.0f} mm, further than the search can vouch for ({CAPTURE_MM:g} mm).")
    if solution.covered < 0.9:
        reasons.append(f"The MRI covers only {solution.covered:.0%} of the ultrasound.")
    return reasons

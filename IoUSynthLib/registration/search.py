"""The search for the place of the MRI: over the capture range, up to the local maxima, and round the best of them.

Three levels share the work. On the coarse one all shifts are tried by the Fourier transform, and the best are refined.
On the middle one, of small patches, the start and the best of these climb to local maxima, and the search hops from the
best one to its neighbours (basin hopping, Wales and Doye 1997): the similarity of real ultrasound has several maxima
within a few mm, and large patches rank them wrongly. On the fine one the best are polished, the start among them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from ..parallel import side_by_side
from ..progress import PartProgress
from ..volume import Volume
from .level import Level, Pair
from .rigid import about, coarse_candidates, distinct, mean_distance, refine, to_sitk

#: Voxels of the mask at the coarse, middle and fine level, so that a fan of any size takes about the same time ...
_VOXELS = (8_000, 16_000, 80_000)
#: ... with voxels no smaller than this, in mm ...
_FINEST = (2.0, 1.3, 0.8)
#: ... and patches of this radius in voxels: how echo follows from tissue changes within a few mm.
_RADIUS = 2
#: Most steps of a refinement at each level.
_STEPS = (15, 12, 12)
#: Number of the coarse search's transforms that are refined at the coarse level.
_REFINED = 5
#: Number of starts that climb at the middle level, beside the initial transform.
_CLIMBED = 4
#: Length in mm of a hop, how many of its 26 directions climb, and the most rounds.
_HOP_MM, _HOPS, _ROUNDS = 3.0, 2, 2
#: Number of maxima that are polished at the fine level, and the mean distance in mm below which two of them are one.
_FINALISTS, _SAME_MM = 3, 1.0
#: Transforms further apart than this, in mm, are other places.
ELSEWHERE_MM = 5.0
#: A place fits better than another, not by chance, by this many standard errors. On five simulated cases for training
#: all 22 right places stand out by it, and none of 8 wrong ones in reach (Resources/Documentation/registration.md).
SIGNIFICANT = 1.0
#: What counts as distinctness where no other place was found.
MOST_DISTINCT = 10.0
#: A transform counts only if it leaves data for this fraction of what the initial transform has data for.
_LEAST_COVERED = 0.5


@dataclass(frozen=True, eq=False)
class Solution:
    """A transform that a search has found.

    Attributes
    ----------
    matrix
        4x4, from LPS points of the fixed image to LPS points of the moving one.
    value
        Similarity at the fine level, in [0, 1].
    initial_value
        The same at the initial transform.
    covered
        Fraction of the mask for which the moving images have data.
    """

    matrix: np.ndarray
    value: float
    initial_value: float
    covered: float


def register_rigid(
    fixed: Volume, moving: Volume, mask: Volume, *, gradient: bool = False, positive: bool = True,
    initial: np.ndarray | None = None,
) -> Solution:
    """Register two images rigidly, by local correlation, or by LC2 where ``gradient`` is set.

    Parameters
    ----------
    fixed, moving
        For example synthetic and preoperative T2w.
    mask
        On the grid of ``fixed``; above 0 where it has data, better a few mm inside the fan's rim.
    gradient, positive
        See :class:`.level.Pair`; for raw ultrasound True and False.
    initial
        4x4 matrix to start from; the identity by default.

    Raises
    ------
    InputError
        The mask is empty, or the images do not overlap.

    Examples
    --------
    The same blobs, seen 2 mm away:

    >>> from IoUSynthLib.preprocessing import crop
    >>> blobs = np.random.default_rng(0).random((6, 6, 6)).repeat(8, 0).repeat(8, 1).repeat(8, 2).astype(np.float32)
    >>> fixed, mask = Volume(blobs + 1), Volume(np.ones_like(blobs))
    >>> moving = Volume(blobs + 1, origin=(2, 0, 0))
    >>> register_rigid(fixed, moving, mask).matrix[:3, 3].round(1).astype(int).tolist()
    [2, 0, 0]
    """
    return Search([Pair(fixed, (moving,), gradient, positive)], mask, initial).run()


class Search:
    """The search for one set of pairs.

    Parameters
    ----------
    pairs, mask
        See :class:`.level.Level`.
    initial
        4x4 matrix to start from; the identity by default.

    Attributes
    ----------
    optima
        Local maxima of the middle level that were found, best first: value and matrix.
    least
        A transform counts only if this fraction of the mask has data.
    """

    def __init__(self, pairs: list[Pair], mask: Volume, initial: np.ndarray | None = None) -> None:
        self.pairs, self.mask = pairs, mask
        self.initial = np.eye(4) if initial is None else np.asarray(initial, dtype=np.float64)
        self.optima: list[tuple[float, np.ndarray]] = []
        self.least = _LEAST_COVERED * self.coarse.evaluate(to_sitk(self.initial)).covered

    def _level(self, number: int) -> Level:
        volume = float((self.mask.array > 0).sum()) * self.mask.voxel_volume_ml * 1000
        spacing = max(_FINEST[number], (volume / _VOXELS[number]) ** (1 / 3))
        return Level(self.pairs, self.mask, spacing, initial=self.initial, radius=_RADIUS)

    @cached_property
    def coarse(self) -> Level:
        """Level of the coarse search."""
        return self._level(0)

    @cached_property
    def middle(self) -> Level:
        """Level of the local maxima."""
        return self._level(1)

    @cached_property
    def fine(self) -> Level:
        """Level of the solution."""
        return self._level(2)

    @property
    def points(self) -> np.ndarray:
        """LPS points of the fixed mask, (n, 3)."""
        return self.coarse.points

    def run(self, progress: PartProgress | None = None) -> Solution:
        """Search the capture range, polish what is best, and return the solution."""
        progress = progress or (lambda fraction: None)
        self.explore(lambda fraction: progress(0.8 * fraction))
        return self.settle([matrix for _, matrix in self.optima])

    def explore(self, progress: PartProgress) -> None:
        """Fill :attr:`optima`; ``progress`` gets fractions of 1."""
        candidates = coarse_candidates(self.coarse, self.initial, lambda fraction: progress(0.3 * fraction))
        scored = sorted(candidates, key=lambda matrix: -self.value(self.coarse, matrix))[:_REFINED]
        refined = [self._refine(self.coarse, 0, start) for start in (self.initial, *scored)]
        progress(0.4)
        ranked = sorted([*refined, *candidates], key=lambda matrix: -self.value(self.middle, matrix))
        for number, start in enumerate(distinct([self.initial, *ranked], self.points, 1 + _CLIMBED)):
            self._climb(start)
            progress(0.4 + 0.08 * (number + 1))
        for number in range(_ROUNDS):
            best = self.optima[0]
            for start in self._neighbours(best[1]):
                self._climb(start)
            progress(0.8 + 0.1 * (number + 1))
            if self.optima[0] is best:
                break
        _ = self.fine  # made here, where searches run side by side

    def settle(self, starts: Sequence[np.ndarray]) -> Solution:
        """Polish the best of some matrices, and the initial one, and return the solution.

        The initial place is left only for one that fits significantly better: where the images cannot tell, the
        navigation is believed.
        """
        ranked = sorted(starts, key=lambda matrix: -self.value(self.middle, matrix))
        finalists = [*distinct(ranked, self.points, _FINALISTS, apart=_SAME_MM), self.initial]
        fine = self.fine  # made once, before the threads ask for it
        polished = side_by_side(partial(self._refine, fine, 2), finalists)
        found = [self.fine.evaluate(to_sitk(matrix)) for matrix in polished]
        best = int(np.argmax([evaluation.value for evaluation in found]))
        significant = self.fine.advantage(found[best], found[-1]) >= SIGNIFICANT
        return self.solution(polished[best if significant else -1])

    def affine(self, matrix: np.ndarray) -> Solution:
        """Refine all twelve parameters of a transform at the fine level."""
        return self.solution(self._refine(self.fine, 2, matrix, affine=True))

    def solution(self, matrix: np.ndarray) -> Solution:
        """Describe a transform by this search's similarity."""
        found, before = (self.fine.evaluate(to_sitk(pose)) for pose in (matrix, self.initial))
        return Solution(matrix, found.value, before.value, found.covered)

    def distinctness(self, matrix: np.ndarray) -> float:
        """By how many standard errors (:meth:`.Level.advantage`) a matrix fits better than any other of the optima."""
        found = self.middle.evaluate(to_sitk(matrix))
        others = [other for _, other in self.optima if mean_distance(matrix, other, self.points) > ELSEWHERE_MM]
        advantages = [self.middle.advantage(found, self.middle.evaluate(to_sitk(other))) for other in others]
        return min(advantages, default=MOST_DISTINCT)

    def value(self, level: Level, matrix: np.ndarray) -> float:
        """Similarity of a matrix at a level; below 0 where too little has data."""
        evaluation = level.evaluate(to_sitk(matrix))
        return evaluation.value if evaluation.covered >= self.least else -1.0

    def _refine(self, level: Level, number: int, start: np.ndarray, *, affine: bool = False) -> np.ndarray:
        return refine(level, start, steps=_STEPS[number], initial=self.initial, least=self.least, affine=affine)

    def _climb(self, start: np.ndarray) -> None:
        """Add the local maximum that is reached from a start."""
        matrix = self._refine(self.middle, 1, start)
        self.optima.append((self.value(self.middle, matrix), matrix))
        self.optima.sort(key=lambda optimum: -optimum[0])

    def _neighbours(self, matrix: np.ndarray) -> list[np.ndarray]:
        """The best of the matrices that differ by a hop."""
        directions = [np.array(step, dtype=float) for step in itertools.product((-1, 0, 1), repeat=3) if any(step)]
        shifts = [_HOP_MM * step / np.linalg.norm(step) for step in directions]
        moved = [matrix @ about(self.middle.centre, np.concatenate([np.zeros(3), shift])) for shift in shifts]
        return sorted(moved, key=lambda pose: -self.value(self.middle, pose))[:_HOPS]


class JointSearch(Search):
    """What several searches of one mask and start have found, compared by all their similarities with equal weights.

    Parameters
    ----------
    searches
        Their images are shared.
    """

    def __init__(self, searches: Sequence[Search]) -> None:
        self.searches = searches
        self.mask, self.initial = searches[0].mask, searches[0].initial
        self.optima = []
        self.least = min(search.least for search in searches)

    def _level(self, number: int) -> Level:
        return Level.joined([(search.coarse, search.middle, search.fine)[number] for search in self.searches])

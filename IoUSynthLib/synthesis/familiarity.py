"""How far an ultrasound is from those that a generator has learned from, as the generator's own encoder sees it.

Brightness, contrast and grain (:mod:`.quality`) hardly tell real ultrasound from simulated. What the first levels of
the encoder make of it do: the standard deviation of each of their channels over the voxels of the fan, in a fixed
sample of slices. How far these lie from their means over the training cases is measured by Mahalanobis' distance (as
Lee et al., NeurIPS 2018, do with the features of an image), with the covariance shrunk as Ledoit and Wolf have it
(Journal of Multivariate Analysis 2004), since there may be no more cases than features.

Of the generator of version 0.3 and the simulated cases of its kind, leaving one of 23 out at a time, cases lay within
1.4 and nine real volumes (RESECT 4, 5, 6, 8, 12, 15, 21, 23 and 25, by which levels and moment were chosen) at 1.8 to
2.8. Means of the channels, which follow the gain, and the image itself and deeper levels tell the two apart less well.
NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..inference import Session, sample_windows
from ..models.bundle import FAMILIARITY_FILE, Bundle
from ..volume import InputError
from .grid import NetworkGrid, network_inputs

#: Slices of the sample, along all axes together: a twentieth of what is predicted.
SLICES = 12
#: A voxel of the encoder counts where at least this share of it lies in the fan.
_INSIDE = 0.5
#: Least deviation of a feature over cases, as a share of the median one: of a channel that never fires, any trace would
#: be a wonder.
_LEAST_DEVIATION = 0.1
#: Directions in which training cases differ most, that are kept one by one.
_DIRECTIONS = 16
#: The limit is the distance that this percentage of cases keeps to that were left out, a part of them at a time. More
#: would rest on the few odd ones of a cohort: of 188 simulated cases 95 % keep to 1.3, 99 % to 1.7, and one is at 2.1.
_MOST_CASES, _PARTS = 95.0, 10
#: Significant digits of what is stored.
_DIGITS = 5


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What the ultrasound of a training looks like to its network.

    Attributes
    ----------
    mean, deviation
        (features,) of the training cases.
    directions, variances
        (directions, features), orthonormal, in which features divided by their deviations vary most, and how much.
    rest
        Their variance in every other direction.
    limit
        Distance above which an ultrasound is called unfamiliar.
    cases
        How many were measured, by split.
    """

    mean: np.ndarray
    deviation: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float
    limit: float
    cases: dict[str, int]

    @classmethod
    def fit(cls, training: Sequence[np.ndarray], validation: Sequence[np.ndarray]) -> Familiarity:
        """Take the distribution of training cases, and the limit from the distances of cases that were left out of it.

        Those are the cases for validation, and each tenth of the training cases from the other nine.

        Parameters
        ----------
        training, validation
            :func:`measure_features` of at least three cases and of any number.
        """
        fitted = cls._fit(training)
        distances = [fitted.distance(features) for features in validation]
        for part in range(min(_PARTS, len(training))):
            others = cls._fit([case for number, case in enumerate(training) if number % _PARTS != part])
            distances += [others.distance(case) for case in training[part::_PARTS]]
        limit = float(np.percentile(distances, _MOST_CASES))
        return replace(fitted, limit=limit, cases={"train": len(training), "validation": len(validation)})

    @classmethod
    def _fit(cls, cases: Sequence[np.ndarray]) -> Familiarity:
        stack = np.stack(cases)
        mean, deviation = stack.mean(axis=0), stack.std(axis=0, ddof=1)
        deviation = np.maximum(deviation, _LEAST_DEVIATION * np.median(deviation) + np.finfo(np.float32).tiny)
        variances, directions = np.linalg.eigh(shrunk_covariance((stack - mean) / deviation))  # rising
        kept = slice(-min(_DIRECTIONS, len(mean) - 1), None)
        rest = float(variances[: kept.start].mean())
        return cls(mean, deviation, directions.T[kept], variances[kept], rest, limit=np.inf, cases={})

    @classmethod
    def of(cls, bundle: Bundle) -> Familiarity | None:
        """Read that of a bundle; None where nobody has measured it.

        Raises
        ------
        InputError
            The file is damaged.
        """
        content = bundle.read_familiarity()
        if content is None:
            return None
        try:
            arrays = {name: np.array(content[name], dtype=np.float64) for name in _ARRAYS}
            numbers = {name: float(content[name]) for name in ("rest", "limit")}
            known = cls(**arrays, **numbers, cases=dict(content["cases"]))
            sound = known._is_sound()
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise InputError(
                f"{bundle.path / FAMILIARITY_FILE}: is not what an input can be compared with; install the model "
                f"{bundle.name} again"
            )
        return known

    def _is_sound(self) -> bool:
        size = self.mean.size
        shapes = (self.mean.shape, self.deviation.shape, self.directions.shape)
        positive = min(self.deviation.min(), self.variances.min(), self.rest, self.limit) > 0
        return shapes == ((size,), (size,), (self.variances.size, size)) and bool(positive)

    def describe(self) -> dict[str, Any]:
        """Return what :meth:`of` reads, for JSON."""
        stored = {name: _rounded(getattr(self, name)) for name in ("limit", "rest", *_ARRAYS)}
        return {"cases": self.cases, **stored}

    def distance(self, features: np.ndarray) -> float:
        """Mahalanobis' distance by the square root of the number of features: about 1 for a case of the training."""
        scaled = (features - self.mean) / self.deviation
        along = self.directions @ scaled
        across = max(float(scaled @ scaled - along @ along), 0.0)
        return float(np.sqrt(((along**2 / self.variances).sum() + across / self.rest) / self.mean.size))


_ARRAYS = ("mean", "deviation", "directions", "variances")


def _rounded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_rounded(part) for part in value]
    return float(f"{value:.{_DIGITS}g}")


def shrunk_covariance(cases: np.ndarray) -> np.ndarray:
    """Return the covariance (features, features) of centred (cases, features), shrunk towards a multiple of identity.

    How far is what Ledoit and Wolf (2004) estimate to be best in the mean, whatever the cases were drawn from.
    """
    count, size = cases.shape
    sample = cases.T @ cases / count
    target = np.trace(sample) / size * np.eye(size)
    apart = float(((sample - target) ** 2).sum())
    norms = (cases**2).sum(axis=1)
    uncertain = float((norms**2).sum() - count * (sample**2).sum()) / count**2
    share = 0.0 if apart <= 0 else min(max(uncertain, 0.0), apart) / apart
    return share * target + (1 - share) * sample


def measure_features(session: Session, grid: NetworkGrid, bundle: Bundle) -> np.ndarray | None:
    """Measure what a generator's encoder makes of an ultrasound.

    Parameters
    ----------
    session
        The generator's network, whose file gives the features of its encoder.
    grid
        The ultrasound, on the generator's grid.
    bundle
        The generator.

    Returns
    -------
    numpy.ndarray or None
        Standard deviations of the channels of all levels; None where the fan is too small for the encoder.
    """
    count = max(1, SLICES // max(1, len(bundle.slice_axes)))
    moments = [_Moments() for _ in session.features]
    # MRI has no say in whether the ultrasound is familiar.
    seen, valid = network_inputs(bundle, grid)[(slice(None), *grid.box)], grid.valid[grid.box]
    for image, inside in sample_windows(seen, valid, bundle, count=count):
        for level, features in zip(moments, session.encode(image), strict=True):
            level.add(features[0], _share(inside, features.shape[2:]) >= _INSIDE)
    if not all(level.count for level in moments):
        return None
    return np.concatenate([level.deviation() for level in moments])


def compare(session: Session, grid: NetworkGrid, bundle: Bundle) -> dict[str, float] | None:
    """Compare an ultrasound with those that a generator has learned from.

    The parameters are those of :func:`measure_features`.

    Returns
    -------
    dict or None
        ``distance``, and the ``limit`` above which it is unfamiliar; None where the bundle, or the network, does not
        tell what it has learned from.

    Raises
    ------
    InputError
        The bundle's file is damaged, or was measured on another network.
    """
    known = Familiarity.of(bundle)
    features = measure_features(session, grid, bundle) if known is not None and session.features else None
    if features is None:
        return None
    if features.shape != known.mean.shape:
        raise InputError(
            f"{bundle.path / FAMILIARITY_FILE}: has {known.mean.size} features, the network {features.size}; export "
            "the model again"
        )
    return {"distance": round(known.distance(features), 3), "limit": round(known.limit, 3)}


class _Moments:
    """Standard deviation of channels, gathered window by window."""

    def __init__(self) -> None:
        self.count, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, features: np.ndarray, inside: np.ndarray) -> None:
        """Take (channels, ...) where a mask (...) is set."""
        values = features[:, inside].astype(np.float64)
        self.count += values.shape[1]
        self._sum, self._squares = self._sum + values.sum(axis=1), self._squares + (values**2).sum(axis=1)

    def deviation(self) -> np.ndarray:
        """Return that of each channel."""
        return np.sqrt(np.maximum(self._squares / self.count - (self._sum / self.count) ** 2, 0.0))


def _share(inside: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Share of valid voxels in each voxel of a coarser grid, which divides the finer one."""
    split = [size for whole, parts in zip(inside.shape, shape, strict=True) for size in (parts, whole // parts)]
    return inside.reshape(split).mean(axis=tuple(range(1, 2 * inside.ndim, 2)))

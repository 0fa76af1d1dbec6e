"""The surrogate: a Gaussian process over the scores of all trials at all rungs.

A pruned trial has no final score, but its rungs say as much of its values as a finished trial's do,
and they are most of what a sweep knows. So a score is modelled as the sum of: a level of its rung;
an effect of the values, similar at neighbouring rungs; an effect of this trial alone (its luck);
and noise. Since all rungs are in, no bias arises from only good trials reaching the later ones.

The kernel over values is a mean over the dimensions (additive effects: Duvenaud, Nickisch,
Rasmussen, "Additive Gaussian Processes", NIPS 2011) and a product over them (interactions). Numbers
are similar when they are close. Sets are similar by the share of elements in common (Jaccard), so
``1-2-4`` tells of ``1-2-4-8`` although nobody tried that one; any other category is a set of
itself. Its few hyperparameters are not fitted: every combination of a small grid predicts, weighted
by its marginal likelihood (Bayesian model averaging). A few scores cannot tell whether values or
luck made them, and a model that decides for values all the same tries the neighbours of one lucky
trial again and again.

Each combination is factored once (Cholesky); only observed trials enter the matrices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

Point = Mapping[str, "float | frozenset[str]"]
"""The values of a trial by dimension: a number's place in its range, 0 to 1, or a set.

A dimension of a branch not taken is left out.
"""

# The grid of hyperparameters.
LENGTHS = (0.15, 0.3, 0.6)  # length scales, in parts of the range of a number
ADDITIVE_SHARES = (0.5, 0.9)  # of the variance that values explain: additive; the rest interacts
DECAYS = (0.1, 0.4)  # of the similarity of two rungs, for each doubling of the epochs between them
SHARES_OF_VALUES = (0.3, 0.6, 0.85)  # of the variance within a rung; luck and noise halve the rest

LUCK_DECAY = 0.3
# A combination whose log likelihood lies further below the best one counts less than 1 %: left out.
UNLIKELY = 5.0
RUNG_VARIANCE = 4.0  # of the rungs' levels, in units of all scores' variance: a vague prior
# Time grows with the cube; of more, the newest trials count, each with all its rungs or some of its
# later ones.
MOST_OBSERVATIONS = 600


@dataclass(frozen=True)
class Observation:
    """The `score` of the trial at position `point` after `epoch` epochs."""

    point: int
    epoch: int
    score: float


@dataclass(frozen=True)
class _Member:
    """The model under one combination of hyperparameters; `weight` is its share in the average.

    `root_OO` is the lower Cholesky factor of the observations' covariance, `weights_O` its inverse
    times the scores.
    """

    length: float
    additive_share: float
    decay: float
    share_of_values: float
    likelihood: float
    root_OO: np.ndarray
    weights_O: np.ndarray
    weight: float = 0.0


class Surrogate:
    """A model of `observations` of trials at `points`; deterministic."""

    def __init__(self, points: Sequence[Point], observations: Sequence[Observation]) -> None:
        """Fit it. Raises `ValueError` without observations."""
        if not observations:
            raise ValueError("nothing was observed")
        by_age = sorted(observations, key=lambda one: (one.point, one.epoch))
        newest = by_age[-MOST_OBSERVATIONS:]
        observed = sorted({one.point for one in newest})
        places = {point: place for place, point in enumerate(observed)}
        self._dimensions = dimensions_of(points)
        self._points = [points[point] for point in observed]
        self._trials_O = np.array([places[one.point] for one in newest])
        self._epochs_O = np.log2([float(one.epoch) for one in newest])
        scores_O = np.array([one.score for one in newest])
        self._mean = float(scores_O.mean())
        self._scale = float(scores_O.std()) or 1.0
        self._members = self._fitted((scores_O - self._mean) / self._scale)

    def _fitted(self, scores_O: np.ndarray) -> list[_Member]:
        """The models under all combinations of hyperparameters that are likely enough to count."""
        likeness = Likeness(self._points, self._points, self._dimensions)
        same_trial_OO = self._trials_O[:, None] == self._trials_O
        doublings_OO = np.abs(self._epochs_O[:, None] - self._epochs_O)
        level_OO = RUNG_VARIANCE * (doublings_OO == 0)
        luck_OO = 0.5 * same_trial_OO * np.exp(-LUCK_DECAY * doublings_OO)
        luck_OO[np.diag_indices(len(scores_O))] += 0.5
        decayed_OO = {decay: np.exp(-decay * doublings_OO) for decay in DECAYS}
        likely: list[_Member] = []
        for length, additive_share in itertools.product(LENGTHS, ADDITIVE_SHARES):
            kernel = likeness.kernel(length, additive_share)
            values_OO = kernel[np.ix_(self._trials_O, self._trials_O)]
            for decay, share in itertools.product(DECAYS, SHARES_OF_VALUES):
                covariance_OO = share * values_OO
                covariance_OO *= decayed_OO[decay]
                covariance_OO += (1 - share) * luck_OO
                covariance_OO += level_OO
                # Symmetric: its transpose is itself, in the order that LAPACK factors in place.
                root_OO = cholesky(covariance_OO.T, lower=True, overwrite_a=True)
                weights_O = cho_solve((root_OO, True), scores_O)
                likelihood = float(-0.5 * scores_O @ weights_O - np.log(np.diag(root_OO)).sum())
                likely.append(
                    _Member(length, additive_share, decay, share, likelihood, root_OO, weights_O)
                )
                likely = _likely(likely)
        best = max(member.likelihood for member in likely)
        total = sum(math.exp(member.likelihood - best) for member in likely)
        return [
            replace(member, weight=math.exp(member.likelihood - best) / total) for member in likely
        ]

    @property
    def shares_of_values(self) -> dict[float, float]:
        """Share of the scores' variance that values explain -> its posterior probability."""
        shares: dict[float, float] = {}
        for member in self._members:
            shares[member.share_of_values] = shares.get(member.share_of_values, 0.0) + member.weight
        return shares

    def expect(self, points: Sequence[Point], epoch: int) -> np.ndarray:
        """The expected scores (P,) after `epoch` epochs."""
        crossed = _Crossed(self, points, epoch)
        means_MP = [crossed.covariance(member) @ member.weights_O for member in self._members]
        weights_M = np.array([member.weight for member in self._members])
        return self._mean + self._scale * (weights_M @ np.array(means_MP))

    def predict(self, points: Sequence[Point], epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The expected scores (P,) after `epoch` epochs, and their standard deviations (P,).

        The deviations leave luck and noise out: they are those of what the values are worth.
        """
        crossed = _Crossed(self, points, epoch)
        means_MP = np.empty((len(self._members), len(points)))
        variances_MP = np.empty_like(means_MP)
        for place, member in enumerate(self._members):
            covariance_PO = crossed.covariance(member)
            half_OP = solve_triangular(member.root_OO, covariance_PO.T, lower=True)
            known_P = np.einsum("op,op->p", half_OP, half_OP)
            means_MP[place] = covariance_PO @ member.weights_O
            prior = member.share_of_values + RUNG_VARIANCE
            variances_MP[place] = np.clip(prior - known_P, 0.0, None)
        weights_M = np.array([member.weight for member in self._members])
        mean_P = weights_M @ means_MP
        variance_P = weights_M @ (variances_MP + (means_MP - mean_P) ** 2)
        return self._mean + self._scale * mean_P, self._scale * np.sqrt(variance_P)


def _likely(members: Sequence[_Member]) -> list[_Member]:
    """Those of `members` that count beside the best one: the others' matrices need not be kept."""
    best = max(member.likelihood for member in members)
    return [member for member in members if member.likelihood > best - UNLIKELY]


class _Crossed:
    """The covariances of scores after `epoch` epochs with the observations of a surrogate."""

    def __init__(self, surrogate: Surrogate, points: Sequence[Point], epoch: int) -> None:
        dimensions = dimensions_of(points, surrogate._dimensions)
        self._likeness = Likeness(points, surrogate._points, dimensions)
        self._trials_O = surrogate._trials_O
        self._doublings_O = np.abs(math.log2(epoch) - surrogate._epochs_O)
        self._level_O = RUNG_VARIANCE * (self._doublings_O == 0)
        self._kernels: dict[tuple[float, float], np.ndarray] = {}

    def covariance(self, member: _Member) -> np.ndarray:
        """The covariances (P, O) under `member`, in the units of the standardised scores."""
        key = member.length, member.additive_share
        if key not in self._kernels:
            self._kernels[key] = self._likeness.kernel(*key)[:, self._trials_O]
        covariance_PO = member.share_of_values * self._kernels[key]
        covariance_PO *= np.exp(-member.decay * self._doublings_O)
        covariance_PO += self._level_O
        return covariance_PO


def dimensions_of(
    points: Sequence[Point], others: Mapping[str, bool] | None = None
) -> dict[str, bool]:
    """Name -> whether its values are sets, of each dimension of `points`, and `others`."""
    dimensions = dict(others or {})
    for point in points:
        for name, value in point.items():
            dimensions[name] = dimensions.get(name, False) or isinstance(value, frozenset)
    return dimensions


class Likeness:
    """How similar each of `points` (P) and each of `others` (Q) are, dimension by dimension.

    `dimensions` is name -> whether its values are sets; one that both lack is equal in both.
    """

    def __init__(
        self, points: Sequence[Point], others: Sequence[Point], dimensions: Mapping[str, bool]
    ) -> None:
        self._shape = len(points), len(others)
        self._distances: list[np.ndarray] = []
        self._alike: list[np.ndarray] = []
        for name in sorted(dimensions):
            here = [point.get(name) for point in points]
            there = [point.get(name) for point in others]
            if dimensions[name]:
                self._alike.append(_sets_alike(here, there))
            else:
                self._distances.append(_distances(here, there))

    def kernel(self, length: float, additive_share: float) -> np.ndarray:
        """Covariances (P, Q) of the effects of values; 1 where the points are equal."""
        num_dimensions = len(self._distances) + len(self._alike)
        if not num_dimensions:
            return np.ones(self._shape)
        sum_PQ = np.zeros(self._shape)
        together_PQ = np.ones(self._shape)
        for alike_PQ in itertools.chain(self._numbers_alike(length), self._alike):
            sum_PQ += alike_PQ
            together_PQ *= alike_PQ
        return additive_share * (sum_PQ / num_dimensions) + (1 - additive_share) * together_PQ

    def _numbers_alike(self, length: float) -> Iterator[np.ndarray]:
        for distances_PQ in self._distances:
            yield np.exp(-0.5 * (distances_PQ / length) ** 2)


def _distances(
    here: Sequence[float | frozenset[str] | None], there: Sequence[float | frozenset[str] | None]
) -> np.ndarray:
    """Of two numbers in the units of their range; infinite where only one side has it, 0 where
    neither has.
    """
    here_P, there_Q = (
        np.array([math.nan if value is None else value for value in side], dtype=float)
        for side in (here, there)
    )
    distances_PQ = np.abs(here_P[:, None] - there_Q)
    distances_PQ[np.isnan(distances_PQ)] = math.inf
    distances_PQ[np.isnan(here_P)[:, None] & np.isnan(there_Q)] = 0.0
    return distances_PQ


def _sets_alike(
    here: Sequence[float | frozenset[str] | None], there: Sequence[float | frozenset[str] | None]
) -> np.ndarray:
    """The share of elements in common; 1 where neither side has the dimension."""
    kinds = list(dict.fromkeys([*here, *there]))
    places = {kind: place for place, kind in enumerate(kinds)}
    table = np.array([[_share_in_common(one, other) for other in kinds] for one in kinds])
    return table[np.ix_([places[value] for value in here], [places[value] for value in there])]


def _share_in_common(
    one: float | frozenset[str] | None, other: float | frozenset[str] | None
) -> float:
    if one == other:
        return 1.0
    if not isinstance(one, frozenset) or not isinstance(other, frozenset):
        return 0.0
    return len(one & other) / len(one | other)

"""What a combination of values would score: a Gaussian process over every score of every trial at
every rung.

A pruned trial has no final score, but its rungs say as much of its values as a finished trial's do,
and they are most of what a sweep knows. So a score is modelled as the sum of: a level of its rung;
what the values do, alike at neighbouring rungs; what is this trial's luck; and noise. Since all
rungs are in, that only good trials reach the later ones misleads nothing.

The kernel over values is a mean over the dimensions (effects that add up: Duvenaud, Nickisch,
Rasmussen, "Additive Gaussian Processes", NIPS 2011) and a product over them (what only the
combination does). Numbers are alike when they are close. Sets are alike by the share that they have
in common (Jaccard), so ``1-2-4`` tells of ``1-2-4-8`` although nobody tried that one; any other
category is a set of itself. Its few parameters are not chosen: every combination of a small table
predicts, and counts by how likely it makes the scores (Bayesian model averaging). A few scores
cannot tell whether values or luck made them, and a model that decides for values all the same tries
the neighbours of one lucky trial again and again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

Point = Mapping[str, "float | frozenset[str]"]
"""The values of a trial by dimension: a number's place in its range, 0 to 1, or a set.

A dimension of a branch not taken is left out.
"""

LENGTHS = (0.15, 0.3, 0.6)  # of the range of a number
ADDITIVE_SHARES = (0.5, 0.9)  # of what the values do
DECAYS = (0.1, 0.4)  # of the likeness of two rungs, for each doubling of the epochs between them
SHARES_OF_VALUES = (
    0.3,
    0.6,
    0.85,
)  # of the scores' variance within a rung; luck and noise halve the rest
LUCK_DECAY = 0.3
# in natural logarithms below the best: a combination that counts less than 1 % of it is left out
UNLIKELY = 5.0
RUNG_VARIANCE = (
    4.0  # of the rungs' levels, in the variance of all scores: hardly anything is taken for granted
)
# time grows with the cube; of more, the newest trials count, each with all its rungs or some of its
# later ones
MOST_OBSERVATIONS = 600


@dataclass(frozen=True)
class Observation:
    """What the trial at position `point` scored after `epoch` epochs."""

    point: int
    epoch: int
    score: float


@dataclass(frozen=True)
class _Member:
    """The model under one combination of parameters, fitted; `weight` is its share in the
    average.
    """

    length: float
    additive_share: float
    decay: float
    share_of_values: float
    likelihood: float
    covariance_OO: np.ndarray
    weights_O: np.ndarray
    weight: float = 0.0


class Surrogate:
    """The model of `observations` of trials at `points`. Deterministic. Without observations it
    raises `ValueError`.
    """

    def __init__(self, points: Sequence[Point], observations: Sequence[Observation]) -> None:
        if not observations:
            raise ValueError("nothing was observed")
        newest_last = sorted(observations, key=lambda one: (one.point, one.epoch))[
            -MOST_OBSERVATIONS:
        ]
        self._points = list(points)
        self._trials_O = np.array([one.point for one in newest_last])
        self._epochs_O = np.log2([float(one.epoch) for one in newest_last])
        scores_O = np.array([one.score for one in newest_last])
        self._mean = float(scores_O.mean())
        self._scale = float(scores_O.std()) or 1.0
        self._members = self._fitted((scores_O - self._mean) / self._scale)

    def _fitted(self, scores_O: np.ndarray) -> list[_Member]:
        """The model under every combination of parameters that makes the scores likely enough to
        matter.
        """
        likeness = Likeness(self._points, self._points)
        same_trial_OO = self._trials_O[:, None] == self._trials_O
        doublings_OO = np.abs(self._epochs_O[:, None] - self._epochs_O)
        level_OO = RUNG_VARIANCE * (doublings_OO == 0)
        luck_OO = 0.5 * same_trial_OO * np.exp(-LUCK_DECAY * doublings_OO) + 0.5 * np.eye(
            len(scores_O)
        )
        members = []
        for length, additive_share in itertools.product(LENGTHS, ADDITIVE_SHARES):
            values_OO = likeness.kernel(length, additive_share)[
                np.ix_(self._trials_O, self._trials_O)
            ]
            for decay, share in itertools.product(DECAYS, SHARES_OF_VALUES):
                covariance_OO = (
                    share * values_OO * np.exp(-decay * doublings_OO)
                    + (1 - share) * luck_OO
                    + level_OO
                )
                root_OO = np.linalg.cholesky(covariance_OO)
                weights_O = np.linalg.solve(covariance_OO, scores_O)
                likelihood = float(-0.5 * scores_O @ weights_O - np.log(np.diag(root_OO)).sum())
                members.append(
                    _Member(
                        length, additive_share, decay, share, likelihood, covariance_OO, weights_O
                    )
                )
        best = max(member.likelihood for member in members)
        likely = [member for member in members if member.likelihood > best - UNLIKELY]
        total = sum(math.exp(member.likelihood - best) for member in likely)
        return [
            replace(member, weight=math.exp(member.likelihood - best) / total) for member in likely
        ]

    @property
    def shares_of_values(self) -> dict[float, float]:
        """How likely it is that the values make such a share of the scores' variance; luck and
        noise make the rest.
        """
        shares: dict[float, float] = {}
        for member in self._members:
            shares[member.share_of_values] = shares.get(member.share_of_values, 0.0) + member.weight
        return shares

    def predict(self, points: Sequence[Point], epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The scores (P,) to expect after `epoch` epochs, and how unsure that is (P,): one standard
        deviation, luck and noise not counted.
        """
        likeness = Likeness(points, self._points)
        weights_M = np.array([member.weight for member in self._members])
        means_MP, variances_MP = (
            np.array(parts)
            for parts in zip(
                *(self._predicted(member, likeness, epoch) for member in self._members), strict=True
            )
        )
        mean_P = weights_M @ means_MP
        variance_P = weights_M @ (variances_MP + (means_MP - mean_P) ** 2)
        return self._mean + self._scale * mean_P, self._scale * np.sqrt(variance_P)

    def _predicted(
        self, member: _Member, likeness: Likeness, epoch: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (P,) of one member, in the units of the standardised scores."""
        values_PO = likeness.kernel(member.length, member.additive_share)[:, self._trials_O]
        doublings_O = np.abs(math.log2(epoch) - self._epochs_O)
        covariance_PO = member.share_of_values * values_PO * np.exp(
            -member.decay * doublings_O
        ) + RUNG_VARIANCE * (doublings_O == 0)
        known_P = np.einsum(
            "po,op->p", covariance_PO, np.linalg.solve(member.covariance_OO, covariance_PO.T)
        )
        return covariance_PO @ member.weights_O, np.clip(
            member.share_of_values + RUNG_VARIANCE - known_P, 0.0, None
        )


class Likeness:
    """How alike each of `points` (P) and each of `others` (Q) are, dimension by dimension."""

    def __init__(self, points: Sequence[Point], others: Sequence[Point]) -> None:
        self._shape = len(points), len(others)
        self._distances: list[np.ndarray] = []
        self._alike: list[np.ndarray] = []
        for name in sorted({name for point in (*points, *others) for name in point}):
            here = [point.get(name) for point in points]
            there = [point.get(name) for point in others]
            if any(isinstance(value, frozenset) for value in (*here, *there)):
                self._alike.append(_sets_alike(here, there))
            else:
                self._distances.append(_distances(here, there))

    def kernel(self, length: float, additive_share: float) -> np.ndarray:
        """Covariances (P, Q) of what the values do; 1 where the points are equal."""
        alike = [
            np.exp(-0.5 * (distances_PQ / length) ** 2) for distances_PQ in self._distances
        ] + self._alike
        if not alike:
            return np.ones(self._shape)
        together_PQ: np.ndarray = np.prod(alike, axis=0)
        return additive_share * np.mean(alike, axis=0) + (1 - additive_share) * together_PQ


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

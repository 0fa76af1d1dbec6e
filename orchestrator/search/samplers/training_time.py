"""A model of training time: how long values train, learnt from the trials so far.

A Gaussian process over the logarithm of the seconds that whole trainings take, so that effects of
single values multiply. Its few parameters are fixed: times differ little from trial to trial but by
their values, and one busy machine must not rule out a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.search.samplers.surrogate import Likeness, Point, dimensions_of

LENGTH = 0.6  # of the range of a number
ADDITIVE_SHARE = 0.9
SPREAD = 0.5  # of the logarithms of times that values make: a factor of 1.6 either way
NOISE = 0.1  # of the logarithms of times that anything else makes
MOST_TIMES = 1000  # time grows with the cube; of more, those of the newest trials count


def relative_times(
    points: Sequence[Point], seconds: Mapping[int, float], candidates: Sequence[Point]
) -> np.ndarray:
    """The training time of each of `candidates` (P,), relative to the geometric mean of known ones.

    `seconds` is position in `points` -> seconds of the whole training, where known; without any,
    all answers are 1.
    """
    if not seconds:
        return np.ones(len(candidates))
    newest = sorted(seconds)[-MOST_TIMES:]
    known = [points[place] for place in newest]
    logarithms_K = np.log([seconds[place] for place in newest])
    dimensions = dimensions_of(known)
    among_known = Likeness(known, known, dimensions)
    to_candidates = Likeness(candidates, known, dimensions_of(candidates, dimensions))
    covariance_KK = SPREAD**2 * among_known.kernel(LENGTH, ADDITIVE_SHARE)
    covariance_KK[np.diag_indices(len(known))] += NOISE**2
    covariance_PK = SPREAD**2 * to_candidates.kernel(LENGTH, ADDITIVE_SHARE)
    weights_K = np.linalg.solve(covariance_KK, logarithms_K - logarithms_K.mean())
    return np.exp(covariance_PK @ weights_K)

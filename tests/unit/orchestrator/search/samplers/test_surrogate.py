"""The surrogate: predictions across rungs, between neighbours, for combinations nobody tried."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from orchestrator.search.samplers import surrogate as surrogate_module
from orchestrator.search.samplers.surrogate import (
    ADDITIVE_SHARES,
    DECAYS,
    LENGTHS,
    LUCK_DECAY,
    MOST_OBSERVATIONS,
    RUNG_VARIANCE,
    SHARES_OF_VALUES,
    UNLIKELY,
    Likeness,
    Observation,
    Point,
    Surrogate,
    dimensions_of,
)

FIRST, LAST = 3, 12
KINDS = ("c3d", "r3d", "r2plus1d")


def rates(text: str) -> Point:
    return {"rates": frozenset(text.split("-"))}


def crossed(number_of_places: int = 5) -> Iterator[Point]:
    for kind in KINDS:
        for place in range(number_of_places):
            yield {"encoder": frozenset([kind]), "weight": place / (number_of_places - 1)}


def worth(point: Point) -> float:
    """Two effects that add up: the encoder's, and a weight that is best in the middle."""
    encoder, weight = point["encoder"], point["weight"]
    assert isinstance(weight, float) and isinstance(encoder, frozenset)
    return 0.3 + 0.1 * KINDS.index(next(iter(encoder))) - 0.4 * abs(weight - 0.5)


def test_effects_add_up_in_a_combination_that_nobody_tried() -> None:
    left_out: Point = {"encoder": frozenset(["r2plus1d"]), "weight": 0.5}
    tried = [point for point in crossed() if point != left_out]
    surrogate = Surrogate(
        tried, [Observation(place, LAST, worth(point)) for place, point in enumerate(tried)]
    )
    expected, deviation = surrogate.predict([left_out, *tried], LAST)
    assert expected.argmax() == 0 and expected[0] == pytest.approx(0.5, abs=0.08)
    assert deviation[0] > deviation[1:].max(), "nobody was there"


def test_a_rate_set_tells_of_those_that_share_rates_with_it() -> None:
    tried = [rates("1-2-4"), rates("3-5-7")]
    surrogate = Surrogate(tried, [Observation(0, LAST, 0.5), Observation(1, LAST, 0.3)])
    (more, other, strange), deviation = surrogate.predict(
        [rates("1-2-4-8"), rates("3-5"), rates("6-9")], LAST
    )
    assert more > strange > other
    assert deviation[2] > deviation[0]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_luck_is_not_taken_for_worth(seed: int) -> None:
    draw, points = random.Random(seed), list(crossed())
    scores = [Observation(place, LAST, draw.gauss(0.3, 0.1)) for place in range(len(points) * 4)]
    assert len(Surrogate(points, scores[:3]).shares_of_values) == len(SHARES_OF_VALUES), (
        "three scores decide nothing"
    )
    surrogate = Surrogate(points * 4, scores)
    assert surrogate.shares_of_values[min(SHARES_OF_VALUES)] > 0.9
    expected, _ = surrogate.predict(points, LAST)
    assert expected.std() < 0.05, "half of what chance alone makes of the scores"


def test_what_the_scores_show_beyond_doubt_is_believed() -> None:
    points = list(crossed()) * 3
    surrogate = Surrogate(
        points, [Observation(place, LAST, worth(point)) for place, point in enumerate(points)]
    )
    assert set(surrogate.shares_of_values) == {max(SHARES_OF_VALUES)}


def test_that_only_good_trials_go_on_misleads_nobody() -> None:
    """The last rung is higher for all, and only the better half is there: the others are expected
    below it, above what they had.
    """
    points = list(crossed())
    early = [Observation(place, FIRST, worth(point) - 0.1) for place, point in enumerate(points)]
    bar = sorted(one.score for one in early)[len(points) // 2]
    late = [
        Observation(one.point, LAST, worth(points[one.point])) for one in early if one.score >= bar
    ]
    expected, _ = Surrogate(points, early + late).predict(points, LAST)
    error = np.array([worth(point) for point in points]) - expected
    assert abs(error).max() < 0.06 and abs(error.mean()) < 0.03
    only_early, _ = Surrogate(points, early).predict(points, FIRST)
    assert (expected > only_early).all()


def test_luck_is_no_value() -> None:
    """One of ten trials with the same values was lucky at every rung."""
    points = [rates("1-2")] * 10 + [rates("3-4")] * 10
    draw = random.Random(0)
    observations = [
        Observation(place, epoch, 0.3 + draw.gauss(0, 0.01) + 0.3 * (place == 0))
        for place in range(20)
        for epoch in (FIRST, LAST)
    ]
    (same, other), _ = Surrogate(points, observations).predict([points[0], points[-1]], LAST)
    assert abs(same - other) < 0.1


@pytest.mark.parametrize("num_trials", [1, 3, MOST_OBSERVATIONS // 2 + 40])
def test_any_number_of_trials(num_trials: int) -> None:
    draw = random.Random(1)
    points: list[Point] = [
        {"weight": draw.random(), "encoder": frozenset([draw.choice(KINDS)])}
        for _ in range(num_trials)
    ]
    observations = [
        Observation(place, epoch, worth(point) - 0.05 * (epoch == FIRST))
        for place, point in enumerate(points)
        for epoch in (FIRST, LAST)
    ]
    surrogate = Surrogate(points, observations)
    first, again = (
        surrogate.predict(points, LAST),
        Surrogate(points, observations).predict(points, LAST),
    )
    assert np.isfinite(first).all() and np.array_equal(first, again)
    if num_trials > 3:
        assert np.corrcoef(first[0], [worth(point) for point in points])[0, 1] > 0.98


def similarity(one: Point, other: Point, names: set[str], length: float, share: float) -> float:
    """Transcription of the kernel over values, for one pair of points."""
    alike = []
    for name in names:
        here, there = one.get(name), other.get(name)
        if here == there:
            alike.append(1.0)
        elif isinstance(here, frozenset) and isinstance(there, frozenset):
            alike.append(len(here & there) / len(here | there))
        elif isinstance(here, float) and isinstance(there, float):
            alike.append(math.exp(-0.5 * ((here - there) / length) ** 2))
        else:
            alike.append(0.0)
    return share * sum(alike) / len(alike) + (1 - share) * math.prod(alike)


def transcription(
    points: Sequence[Point], observations: Sequence[Observation], new: Sequence[Point], epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """The model as its first lines say, entry by entry, with an inverse for every combination."""
    newest = sorted(observations, key=lambda one: (one.point, one.epoch))[-MOST_OBSERVATIONS:]
    scores = np.array([one.score for one in newest])
    names = {name for point in (*points, *new) for name in point}
    own = {name for point in points for name in point}
    results = []
    for length, additive, decay, share in itertools.product(
        LENGTHS, ADDITIVE_SHARES, DECAYS, SHARES_OF_VALUES
    ):
        among = np.empty((len(newest), len(newest)))
        for row, one in enumerate(newest):
            for column, other in enumerate(newest):
                doublings = abs(math.log2(one.epoch) - math.log2(other.epoch))
                values = similarity(points[one.point], points[other.point], own, length, additive)
                luck = 0.5 * (one.point == other.point) * math.exp(-LUCK_DECAY * doublings)
                among[row, column] = (
                    share * values * math.exp(-decay * doublings)
                    + (1 - share) * (luck + 0.5 * (one is other))
                    + RUNG_VARIANCE * (doublings == 0)
                )
        inverse = np.linalg.inv(among)
        standard = (scores - scores.mean()) / scores.std()
        _, log_determinant = np.linalg.slogdet(inverse)
        likelihood = -0.5 * standard @ inverse @ standard + 0.5 * log_determinant
        crossed = np.empty((len(new), len(newest)))
        for row, point in enumerate(new):
            for column, one in enumerate(newest):
                doublings = abs(math.log2(one.epoch) - math.log2(epoch))
                values = similarity(point, points[one.point], names, length, additive)
                level = RUNG_VARIANCE * (doublings == 0)
                crossed[row, column] = share * values * math.exp(-decay * doublings) + level
        variance = share + RUNG_VARIANCE - np.diag(crossed @ inverse @ crossed.T)
        results.append((likelihood, crossed @ inverse @ standard, variance))
    best = max(likelihood for likelihood, _, _ in results)
    likely = [one for one in results if one[0] > best - UNLIKELY]
    weights = np.exp([likelihood - best for likelihood, _, _ in likely])
    weights /= weights.sum()
    mean = sum(weight * one[1] for weight, one in zip(weights, likely, strict=True))
    variance = sum(
        weight * (one[2] + (one[1] - mean) ** 2)
        for weight, one in zip(weights, likely, strict=True)
    )
    return scores.mean() + scores.std() * mean, scores.std() * np.sqrt(variance)


@pytest.mark.parametrize("seed", range(3))
def test_predictions_are_those_of_a_slow_transcription(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With branches, categories, several rungs, and trials that the bound leaves out."""
    monkeypatch.setattr(surrogate_module, "MOST_OBSERVATIONS", 20)
    monkeypatch.setitem(globals(), "MOST_OBSERVATIONS", 20)
    draw = random.Random(seed)

    def drawn() -> Point:
        point: dict[str, float | frozenset[str]] = {"weight": draw.random()}
        if draw.random() < 0.5:
            point["encoder"] = frozenset([draw.choice(KINDS)])
            point["rate"] = draw.random()
        return {**point, "rates": frozenset(draw.choice(["1-2", "1-2-4", "2-8"]).split("-"))}

    points = [{**drawn(), "only the oldest": 0.5} if place == 0 else drawn() for place in range(18)]
    observations = [
        Observation(place, epoch, draw.random())
        for place in range(18)
        for epoch in (FIRST, 2 * FIRST, LAST)[: draw.randrange(1, 4)]
    ]
    new: list[Point] = [drawn() for _ in range(5)] + [{"weight": 0.5, "only a new one": 0.1}]
    surrogate = Surrogate(points, observations)
    mean, deviation = surrogate.predict(new, LAST)
    slow_mean, slow_deviation = transcription(points, observations, new, LAST)
    assert mean == pytest.approx(slow_mean, rel=1e-9)
    assert deviation == pytest.approx(slow_deviation, rel=1e-7)
    assert surrogate.expect(new, LAST) == pytest.approx(mean, rel=1e-12)


def test_equal_scores_are_no_reason_to_fail() -> None:
    expected, deviation = Surrogate(
        [rates("1-2"), rates("1-4")], [Observation(0, 1, 0.2), Observation(1, 1, 0.2)]
    ).predict([rates("2-4")], 1)
    assert expected[0] == pytest.approx(0.2) and np.isfinite(deviation).all()


def test_without_observations_there_is_no_model() -> None:
    with pytest.raises(ValueError, match="nothing was observed"):
        Surrogate([rates("1-2")], [])


def test_likeness_is_a_covariance_with_branches_that_only_some_take() -> None:
    points = [*crossed(3), {"encoder": frozenset(["c3d"])}, rates("1-2"), rates("1-2-4"), {}]
    for length, share in ((0.15, 0.5), (0.6, 0.9)):
        kernel = Likeness(points, points, dimensions_of(points)).kernel(length, share)
        assert np.array_equal(kernel, kernel.T) and np.allclose(np.diag(kernel), 1.0)
        assert np.linalg.eigvalsh(kernel).min() > -1e-9
    assert kernel[-3, -2] == pytest.approx(0.9 * (2 + 2 / 3) / 3 + 0.1 * 2 / 3), (
        "encoder and weight are absent on both sides"
    )

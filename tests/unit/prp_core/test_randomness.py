"""Draws are pure functions of their key: uniform, independent, and the same for ever."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest
import torch

from prp_core.randomness import (
    draw_below,
    draw_bits,
    draw_unit,
    generator_for,
    permutation,
    seed_everything,
    shares,
)

NUM_DRAWS = 20_000


def chi_squared(counts: list[int]) -> float:
    """Distance of `counts` from uniform; its mean is the number of cells less one."""
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def test_golden_values_never_change() -> None:
    """A change here changes the sample stream of every run ever made: resumes and comparisons with
    old runs break.
    """
    assert draw_bits(632, 0, 5, "start") == 5324046418528659361
    assert draw_below(100, 632, 0, 5, "start") == 28
    assert draw_unit(632, 0, 5, "start") == pytest.approx(0.288617134669122, abs=1e-15)
    assert permutation(8, 632, "order", 0) == [4, 1, 0, 6, 2, 5, 7, 3]
    assert torch.rand(2, generator=generator_for(632, "crop")).tolist() == pytest.approx(
        [0.29037219, 0.48871124]
    )


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 24])
def test_draws_below_a_bound_are_uniform(bound: int) -> None:
    counts = Counter(
        draw_below(bound, 632, epoch, index)
        for epoch in range(20)
        for index in range(NUM_DRAWS // 20)
    )
    assert set(counts) == set(range(bound))
    # The key is fixed, so this either holds always or never; a uniform draw stays below it 9,999
    # times in 10,000.
    assert (
        chi_squared([counts[value] for value in range(bound)])
        < bound - 1 + 4 * (2 * bound) ** 0.5 + 6
    )


def test_units_are_uniform_and_below_one() -> None:
    units = [draw_unit("unit", index) for index in range(NUM_DRAWS)]
    assert min(units) >= 0 and max(units) < 1
    assert sum(units) / NUM_DRAWS == pytest.approx(0.5, abs=0.01)
    assert chi_squared([sum(int(unit * 16) == cell for unit in units) for cell in range(16)]) < 50


def test_neighbouring_keys_are_unrelated() -> None:
    pairs = [
        (draw_unit(seed, 0, index), draw_unit(seed, 0, index + 1))
        for seed in range(20)
        for index in range(500)
    ]
    correlation = torch.corrcoef(torch.tensor(pairs, dtype=torch.float64).T)[0, 1]
    assert abs(correlation.item()) < 0.03


def test_key_parts_do_not_run_together() -> None:
    keys = [
        (1, 23),
        (12, 3),
        (123,),
        ("123",),
        ("1", 23),
        ("1/23",),
        ("1", "23"),
        (1, "23"),
        (-1, 23),
    ]
    assert len({draw_bits(*key) for key in keys}) == len(keys)


def test_draws_have_no_state() -> None:
    """Other draws, torch's and Python's own generators and the order of asking change nothing."""
    before = [draw_bits(632, index) for index in range(10)]
    random.seed(1)
    torch.manual_seed(1)
    draw_bits("something else")
    after = [draw_bits(632, index) for index in reversed(range(10))]
    assert after == before[::-1]


def test_another_process_draws_the_same() -> None:
    """Python's own `hash` of a string differs between processes; ours must not."""
    code = (
        "from prp_core.randomness import draw_bits; import sys; "
        "sys.stdout.write(str(draw_bits(632, 'start', 7)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONHASHSEED": "1"},
    )
    assert int(done.stdout) == draw_bits(632, "start", 7)


@pytest.mark.parametrize("length", [0, 1, 2, 50])
def test_permutations_hold_each_position_once(length: int) -> None:
    assert sorted(permutation(length, 632, "order")) == list(range(length))


def test_permutations_differ_by_key_and_are_fair() -> None:
    assert permutation(50, 632, 0) != permutation(50, 632, 1)
    first = Counter(permutation(5, 632, epoch)[0] for epoch in range(2000))
    assert chi_squared([first[position] for position in range(5)]) < 20


def test_generators_of_one_key_agree_and_leave_the_global_one_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, second, other = (
        torch.rand(4, generator=generator_for(632, name)) for name in ("crop", "crop", "flip")
    )
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.rand(4), expected)


def test_seeding_everything_repeats_initial_weights() -> None:
    seed_everything(632, "weights")
    first = torch.nn.Linear(3, 2).weight
    seed_everything(632, "weights")
    assert torch.equal(first, torch.nn.Linear(3, 2).weight)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_are_disjoint_and_whole(size: int) -> None:
    items = permutation(17, "items")
    taken = [shares(items, rank, size) for rank in range(size)]
    assert sorted(item for share in taken for item in share) == list(range(17))
    assert max(map(len, taken)) - min(map(len, taken)) <= 1
    assert [taken[place % size][place // size] for place in range(17)] == items, (
        "read in turns, the shares are the items in order"
    )


def test_a_bound_below_one_is_ours_to_fix() -> None:
    with pytest.raises(AssertionError):
        draw_below(0, 632)

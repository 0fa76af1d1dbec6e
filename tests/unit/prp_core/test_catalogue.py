"""Names that are looked up: the entry, or an error with the choices and the nearest one."""

from __future__ import annotations

import pytest

from prp_core.catalogue import look_up, unknown
from prp_core.checks import check, check_choice
from prp_core.errors import UserError

ENCODERS = {"r3d": 1, "c3d": 2, "r2plus1d": 3}


def test_a_known_name_is_found() -> None:
    assert look_up("encoder", "c3d", ENCODERS) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("r3dd", "Unknown encoder 'r3dd'; known: c3d, r2plus1d, r3d. Did you mean 'r3d'?"),
        ("r2+1d", "Unknown encoder 'r2+1d'; known: c3d, r2plus1d, r3d. Did you mean 'r2plus1d'?"),
        ("transformer", "Unknown encoder 'transformer'; known: c3d, r2plus1d, r3d."),
        ("", "Unknown encoder ''; known: c3d, r2plus1d, r3d."),
    ],
)
def test_an_unknown_name_is_refused_with_the_choices(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        look_up("encoder", name, ENCODERS)
    assert str(error.value) == message


def test_the_error_is_a_value_error_and_ours() -> None:
    error = unknown("reader", "opencv", ["pyav", "decord"])
    assert isinstance(error, UserError) and isinstance(error, ValueError)
    assert str(error) == "Unknown reader 'opencv'; known: decord, pyav."


def test_a_check_shows_path_value_and_rule() -> None:
    check(True, "clip.length", 16, "must be a multiple of 8")
    with pytest.raises(UserError) as error:
        check(False, "clip.length", 12, "must be a multiple of 8")
    assert str(error.value) == "clip.length = 12: must be a multiple of 8"


def test_a_choice_shows_its_path_and_the_nearest_one() -> None:
    check_choice("training.schedule", "cosine", ("plateau", "cosine"))
    with pytest.raises(UserError) as error:
        check_choice("training.schedule", "cosin", ("plateau", "cosine"))
    assert str(error.value) == (
        "Unknown value of training.schedule 'cosin'; known: cosine, plateau. Did you mean 'cosine'?"
    )


def test_of_many_names_the_first_are_listed_and_the_nearest_one() -> None:
    error = unknown("key", "name_49", [f"name_{number:02}" for number in range(50, 80)])
    assert str(error).startswith("Unknown key 'name_49'; known: name_50, name_51, ")
    assert ", name_69 and 10 more. Did you mean 'name_" in str(error)

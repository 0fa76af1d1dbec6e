"""Which errors of MLflow are temporary, and the retries while they are."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrator.tracking import TrackerUnavailable
from orchestrator.tracking.mlflow_client import is_temporary, retry

PLACE = "http://tracker:5000"


def test_importing_the_room_imports_neither_mlflow_nor_torch() -> None:
    code = (
        "import orchestrator.tracking, sys; print([name for name in ('mlflow', 'torch', "
        "'ray') if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


class Answer(Exception):
    """An error as MLflow raises it."""

    def __init__(self, error_code: str) -> None:
        super().__init__(f"MLflow says {error_code}")
        self.error_code = error_code


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Answer("INVALID_PARAMETER_VALUE"), False),
        (Answer("RESOURCE_DOES_NOT_EXIST"), False),
        (Answer("TEMPORARILY_UNAVAILABLE"), True),
        (Answer("INTERNAL_ERROR"), True),
        (Answer("ENDPOINT_NOT_FOUND"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (KeyError("ours"), False),
    ],
)
def test_which_errors_may_pass(error: Exception, expected: bool) -> None:
    assert is_temporary(error) is expected


def test_a_call_is_asked_again_only_while_that_can_help() -> None:
    errors = [ConnectionResetError(), Answer("INTERNAL_ERROR")]

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    assert retry(call, PLACE, 30) == "done"
    for error, expected in (
        (Answer("BAD_REQUEST"), Answer),
        (Answer("PERMISSION_DENIED"), Answer),
        (ConnectionResetError(), TrackerUnavailable),
    ):
        errors = [error]
        with pytest.raises(expected):
            retry(call, PLACE, 0.0)
    errors = [ConnectionRefusedError("refused")]
    with pytest.raises(
        TrackerUnavailable, match=r"MLflow at http://tracker:5000 did not answer for 0 s: refused"
    ):
        retry(call, PLACE, 0.0)

"""Errors that cross processes keep their fields, and their text says what to do."""

from __future__ import annotations

import inspect
import pickle

import pytest

from prp_core import errors
from prp_core.errors import (
    QUARANTINE_REASONS,
    BrokenVideo,
    DivergedError,
    PrpError,
    StoreError,
    UserError,
)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            BrokenVideo("walk/a.avi", "truncated", "205 of 207 frames"),
            "walk/a.avi: truncated (205 of 207 frames)",
        ),
        (BrokenVideo("walk/a.avi", "empty"), "walk/a.avi: empty"),
        (
            DivergedError(step=12, loss_name="train/rate_loss", value=float("inf")),
            "train/rate_loss is inf at step 12: training diverged; lower training.learning_rate",
        ),
    ],
)
def test_an_error_with_fields_crosses_a_process_whole(error: PrpError, text: str) -> None:
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes, as Ray sends them
    assert type(arrived) is type(error)
    assert vars(arrived) == vars(error)
    assert str(arrived) == str(error) == text


def test_every_error_has_one_parent() -> None:
    raised = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, BaseException)
    ]
    assert len(raised) >= 8
    assert all(issubclass(kind, PrpError) for kind in raised)


def test_the_user_is_blamed_only_for_what_the_user_wrote() -> None:
    assert issubclass(UserError, ValueError)
    assert not issubclass(StoreError, UserError) and not issubclass(BrokenVideo, UserError)


def test_every_quarantine_reason_is_explained() -> None:
    assert len(QUARANTINE_REASONS) >= 10
    for reason, explanation in QUARANTINE_REASONS.items():
        assert reason == reason.lower().replace(" ", "-") and len(explanation.split()) >= 4, reason

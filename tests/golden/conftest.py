"""Golden numbers are computed as the unit tests compute."""

from tests.unit.conftest import (
    kept_memory,
    no_more_memory_kept_than_most_tests_need,
    one_thread,
)

__all__ = ["kept_memory", "no_more_memory_kept_than_most_tests_need", "one_thread"]

"""Golden numbers are computed as the unit tests compute."""

from tests.unit.conftest import kept_memory, one_thread

__all__ = ["kept_memory", "one_thread"]

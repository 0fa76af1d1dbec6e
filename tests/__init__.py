"""The tests, from single modules to what a user types (see CONTRIBUTING.md)."""

import os

# As in `orchestrator/__init__.py`, for tests that start Ray without it: `uv run pytest` must not
# make Ray's workers start through uv.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

# MLflow's telemetry thread changes the environment while other threads read it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

# Several test processes share the cores (`-n` in pyproject.toml): each computes with one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

"""Cancellation of a task whose result nobody wants any more, with the process that runs it."""

from __future__ import annotations

from typing import Any

import ray


def cancel_task(task: Any) -> None:
    """End the task behind the reference `task` unless it has ended.

    Ray aborts the process that cancels a task while it takes that task's reply (a failed check, "it
    != submissible_tasks_.end()", github.com/ray-project/ray/pull/54738), which goes on for a moment
    after `ray.get` has returned. So a task with a result is never cancelled.
    """
    ready, _ = ray.wait([task], timeout=0)
    if not ready:
        ray.cancel(task, force=True)

"""One sweep from its command line to its leaderboard: what a study's `main` runs.

`study_command` is the entry of every study; `arguments` parses its command line before anything
heavy is imported. `plan` checks all of it and finds the videos; `driver` (one at a time, by `lock`)
starts the cluster's coordinator and the trials, while `live_screen` shows them. At the end
`confirm_run` trains the best again with new seeds, `final_evaluation` measures baselines, winner
and test part, `showcase_run` makes the pages of the best trials, and `leaderboard` prints what was
found. `status` reads how a sweep stands from its records, with or without a driver.
"""

from orchestrator.sweep.study_command import main

__all__ = ["main"]

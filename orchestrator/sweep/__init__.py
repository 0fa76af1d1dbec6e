"""One sweep from its command line to its leaderboard: what a study's `main` runs.

`study_command` is the entry of every study; `arguments` parses its command line before anything
heavy is imported, `settings` turns that into a config, `kept` compares it with that of a sweep that
goes on, `initial_encoder` finds the one that trials start from where one is given, and `claim` the
sweep in its storage, which can be written (`writable`), and holds its lease. `corpus` finds,
indexes (`indexing_line` says how far) or makes the videos, and `plan` checks config and videos
against the search space (`corpus_check`: what a trial would refuse; `evidence`: what the videos can
show; `label_free_config`: what changes where no video has a class; `protocol_of_sweep`: the hashes
of how figures are measured); `examination` asks every kind of node what it can reach and hold
(`probes`, of a sample of the videos `video_probe`, of trials that share a GPU `gpu_shares`; each
returns a `finding`), and a trial's workers as a group (`group_probe`), for `prp doctor`. `driver`
starts the coordinator and the trials, in `rounds` until none is left, while `live_screen` shows
them (`trial_rows` in a `fitting_table`; `quiet_watch` says why nothing changes) and `steering_loop`
has the coordinator read what people ask of the sweep. While the last trials train,
`early_baselines` takes a place that is free. After the last trial `finish` calls the others, each
as a part that may fail alone (`end_parts`): `confirm_run` trains the best again with new seeds
(`confirm_worker` on each rank), `final_evaluation` starts the tasks that measure baselines, winner
and test part (`final_tasks`; `held_out_part` has the test part measured once), `showcase_run` those
that make the pages of the best trials (`showcase_task`), and `leaderboard` prints the results.
`notification` tells a hook how it ended. `status` reads how a sweep stands from its records, with
or without a driver.
"""

from orchestrator.sweep.study_command import main

__all__ = ["main"]

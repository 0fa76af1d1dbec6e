"""One trial, from the coordinator's task to its outcome; and training a trial again.

`messages` are the values that cross processes: a trial's task, rungs, outcome and view.
`run_trials` runs the trials of a sweep through Ray Tune, whose searcher asks the coordinator.
`driver` is the driver of one trial: it trains with Ray Train and tells how the trial ended.
`pending_points` are the points of a run that the sweep's storage may not have yet, among them the
load of its node (`system_metrics`).
`worker` is what Ray Train calls on every rank: it opens the videos and trains with `prp_core`.
`evaluate_rung` is the task that evaluates a rung while its trial trains on.
`reproduce_run` trains a recorded trial again; `reproduction` compares the figures with the record.
"""

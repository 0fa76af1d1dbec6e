"""The sweep coordinator: a Ray actor that owns the Optuna study and makes pruning decisions.

`coordinator` is the actor, composed of one desk for each of its callers, and its handle.
`sweep_state` is what the desks share: the study, the account, the recorder, and `trial_table`.
`trial_desk` serves the searcher and the drivers and workers of trials: ask, log, rungs, tell;
`outcome_checks` are the checks of an end that is told.
`attempts` says which driver and which of its attempts has a trial, and when one failed too often.
`pruning` makes the decision at a rung, by the pruner and by the budget, and stores it.
`async_evaluation` follows rungs that tasks evaluate while training goes on, from
`evaluation_queue`, which starts those tasks, to the decision.
`confirm_desk` serves the confirming runs of the best trials.
`run_starts` says what each run is started with, `shown_metrics` which metrics MLflow gets.
`recorder` writes what was decided to MLflow, and serves the driver at the end of a sweep.
`publishing` sends what a sweep without a driver still has to tell MLflow.
`screen_desk` serves the live screen, `steering_desk` those who steer the sweep while it runs
(`steering_notes` are the notes that it leaves).
"""

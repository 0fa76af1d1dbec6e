"""Search: what a sweep tries next and which trials it prunes; the only package that uses Optuna.

`dimensions.py` offers what studies vary, `space.py` runs a search space and turns sampled values
into a config, `stand_in.py` runs a space without a database, `space_record.py` is a space as a
sweep keeps it, `samplers/` draw the values of the next trial, `pruner.py` decides at rungs,
`query_hits.py` has which queries a trial hit there, `decided_trials.py` keeps what was decided,
`warm_start.py` takes in the trials of earlier sweeps, `hand_out.py` says which driver and which
attempt has a trial, `handed_out_trials.py` keeps that for all of them, `extension.py` is a trial
that continues another one, `study.py` is the ask-and-tell interface over all of these,
`journal_backend.py` keeps its study in a sweep's journal,
`database.py` in a database that may go away, `mirrored_storage.py` reads it from memory,
`record.py` reads a study for reports, and `study_export.py` copies it to a SQLite file for
optuna-dashboard.
"""

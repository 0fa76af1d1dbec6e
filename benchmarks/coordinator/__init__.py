"""What the coordinator of a large sweep costs: `python -m benchmarks.coordinator` prints a table.

`large_sweep` makes the state of a sweep in which many trials have ended and some run, `figures`
times what the coordinator does for them. Trainings are made up; the coordinator, its study in a
database, its ledger and its MLflow are the real ones.
"""

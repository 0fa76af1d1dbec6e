"""Benchmarks of a training step on one CPU thread.

`memory_format` compares channels-last weights with the default layout; `task_cost` the pretext
tasks that are on.
"""

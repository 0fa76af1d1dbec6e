"""Benchmarks of a training step on one CPU thread.

`memory_format` compares channels-last weights with the default layout, `fused_decoder` the fused
decoder with the written one, `task_cost` the pretext tasks that are on.
"""

"""Benchmark of the command line: CPU-seconds of each command, side by side with an empty program.

``python -m benchmarks.commands`` prints the table; `__main__` is all of it. What may be imported
before a command has work to do is held by `tests/unit/orchestrator/commands/test_startup.py`.
"""

"""Cost: what a sweep has spent, what it may spend, and what of it was wasted.

`meter.py` turns the messages of one run into slices of time, `ledger.py` keeps the slices in an
append-only file with their running sums, `pricing.py` finds the price of an hour, `budget.py` holds
the arithmetic of limits and estimates, and `account.py` joins them for the coordinator.
"""

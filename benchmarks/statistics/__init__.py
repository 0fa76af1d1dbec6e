"""How often what is printed holds: intervals, and the verdicts of simulated sweeps.

`coverage` simulates the intervals of one figure, `simulated_sweep` whole sweeps by the product's
own functions, `rates` counts, `__main__` prints.
"""

"""How often the printed intervals hold the truth: `coverage` simulates it, `__main__` prints it."""

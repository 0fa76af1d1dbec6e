"""The data path against the paper's way and the decoder's own limit: `python -m benchmarks.data`
prints every table.

`corpus` makes the videos, `paper_way` loads them as the paper does, `rows` names each way of
loading, `measure` runs them side by side. To add a row, write a `Way` in a file of its own and list
it in `__main__`.
"""

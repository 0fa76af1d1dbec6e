"""Benchmarks on the demo's videos.

`representation` trains the demo's encoder with several seeds and compares it, on videos that it has
not seen, with its own random initialisation, with pixels (`pixels`), and with other configs; the
halves of the method among them, at equal compute (`arms`). `networks` trains and examines them.
`picture` draws the GIF of the README.
"""

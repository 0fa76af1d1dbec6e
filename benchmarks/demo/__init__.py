"""Benchmarks on the demo's videos.

`representation` trains the demo's encoder with several seeds and compares it with its own random
initialisation, and with another config, on videos that it has not seen.
"""

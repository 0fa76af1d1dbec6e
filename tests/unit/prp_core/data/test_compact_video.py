"""The encoder of compact shards."""

from __future__ import annotations

import numpy as np

from prp_core.data.readers.compact_video import encode_gops


def test_nothing_is_on_that_makes_the_bytes_depend_on_chance() -> None:
    """x264 has neither threads nor a macroblock tree, which make its bytes depend on chance.

    Threads decide by timing; the tree without a look-ahead reads memory that it never wrote (other
    bytes once in 400 encodings).
    """
    (gop,) = encode_gops(np.zeros((5, 64, 96, 3), np.uint8), 5, 18)
    for option in (b" threads=1 ", b" sliced_threads=0 ", b" mbtree=0 "):
        assert option in gop, "x264 names its options in the first GOP"

"""A checksum for each frame that costs less than copying it: weighted sums of 64-bit words.

The words of a frame fall into 641 columns (a prime, so that two pages or lines that change places
land in other columns); each column is summed, and the sums are weighted with odd numbers. A change
of one word is always detected, other damage in all but one of 2**64 cases. This protects against
disks and crashes, not against people.
"""

from __future__ import annotations

import numpy as np

NUM_COLUMNS = 641
GOLDEN = 0x9E3779B97F4A7C15
NUM_AT_A_TIME = 64


def frame_checksums(frames_NF: np.ndarray, salt: int, positions: np.ndarray) -> np.ndarray:
    """uint64 (N,), the checksums of N frames of F bytes, uint8 (N, F).

    `salt` identifies the file and `positions` (N,) the frames, so that neither is mistaken.
    """
    num_words = frames_NF.shape[1] // 8
    words_NW = frames_NF[:, : num_words * 8].view(np.uint64)
    num_rows = num_words // NUM_COLUMNS
    columns_NC = np.zeros((len(frames_NF), NUM_COLUMNS), dtype=np.uint64)
    if num_rows:
        rows_NRC = words_NW[:, : num_rows * NUM_COLUMNS].reshape(
            len(frames_NF), num_rows, NUM_COLUMNS
        )
        np.sum(rows_NRC, axis=1, dtype=np.uint64, out=columns_NC)
    columns_NC[:, : num_words - num_rows * NUM_COLUMNS] += words_NW[:, num_rows * NUM_COLUMNS :]
    sums_N = columns_NC @ WEIGHTS[:NUM_COLUMNS]  # modulo 2**64, without a temporary array
    tail_NB = frames_NF[:, num_words * 8 :].astype(np.uint64)
    sums_N += (tail_NB * WEIGHTS[NUM_COLUMNS : NUM_COLUMNS + tail_NB.shape[1]]).sum(
        axis=1, dtype=np.uint64
    )
    return (
        sums_N + np.uint64(salt) + (positions.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN)
    )


def _odd_weights(number: int) -> np.ndarray:
    """Well mixed odd numbers, splitmix64 of 1, 2, ...; part of the file format, never changed."""
    mixed = np.arange(1, number + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)


WEIGHTS = _odd_weights(NUM_COLUMNS + 7)

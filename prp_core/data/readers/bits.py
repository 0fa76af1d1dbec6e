"""A bit reader for codec headers, most significant bit first."""

from __future__ import annotations


class Bits:
    """Reads numbers from `data`. Raises `ValueError` past its end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        self.skip(count)
        return self._value >> self._left & ((1 << count) - 1)

    def skip(self, count: int) -> None:
        """Pass over `count` bits."""
        self._left -= count
        if self._left < 0:
            raise ValueError("the header ends early")

    def golomb(self) -> int:
        """An unsigned Exp-Golomb number: n zeros, a one, and n more bits."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed_golomb(self) -> int:
        """A signed Exp-Golomb number: 0, 1, -1, 2, -2 ..."""
        number = self.golomb()
        return (number + 1) // 2 if number % 2 else -(number // 2)

"""Seeded mutations of bytes: the damage of disks and copies, and what a malicious writer tries."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

NASTY_VALUES = (
    b"-5",
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"18446744073709551616",
    b"9" * 5000,
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"../../outside"',
    b'"\\ud800"',
    b"inf",
    b"[" * 200_000,
    b'{"a":' * 200_000,
)
VALUE = re.compile(rb'-?\d+(?:\.\d+)?(?:e-?\d+)?|"(?:[^"\\]|\\.)*"|true|false|null|\[[^\[\]]*\]')


def _flip(data: bytearray, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def _cut(data: bytearray, draw: random.Random) -> bytes:
    return bytes(data[: draw.randrange(len(data))])


def _remove(data: bytearray, draw: random.Random) -> bytes:
    begin = draw.randrange(len(data))
    del data[begin : begin + draw.randint(1, 64)]
    return bytes(data)


def _repeat(data: bytearray, draw: random.Random) -> bytes:
    begin = draw.randrange(len(data))
    data[begin:begin] = data[begin : begin + draw.randint(1, 256)] * draw.choice((1, 1, 3))
    return bytes(data)


def _insert(data: bytearray, draw: random.Random) -> bytes:
    begin = draw.randrange(len(data) + 1)
    data[begin:begin] = draw.randbytes(draw.randint(1, 32))
    return bytes(data)


def _overwrite(data: bytearray, draw: random.Random) -> bytes:
    begin = draw.randrange(len(data))
    span = data[begin : begin + draw.choice((1, 2, 4, 8, 32))]
    data[begin : begin + len(span)] = draw.choice((b"\0", b"\xff", b"\x7f")) * len(span)
    return bytes(data)


def _swap_values(data: bytearray, draw: random.Random) -> bytes:
    """One value of a text becomes another kind of value; of other files, some bytes do."""
    found = list(VALUE.finditer(data))
    if not found:
        return _insert(data, draw)
    begin, end = draw.choice(found).span()
    data[begin:end] = draw.choice(NASTY_VALUES)
    return bytes(data)


MUTATIONS: Sequence[Callable[[bytearray, random.Random], bytes]] = (
    _flip,
    _cut,
    _remove,
    _repeat,
    _insert,
    _overwrite,
    _swap_values,
)


def mutated(sample: bytes, seed: str) -> bytes:
    """`sample` after one to three mutations; the same for the same `seed`."""
    draw = random.Random(seed)
    data = sample
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if data:
            data = draw.choice(MUTATIONS)(bytearray(data), draw)
    return data

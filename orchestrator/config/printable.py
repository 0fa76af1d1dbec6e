"""Text for a terminal: control characters of names become escapes.

A video's name may hold line breaks, or sequences that colour, move or rename what a terminal shows.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with each character that does not print as its escape, such as ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )

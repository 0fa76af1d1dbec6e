"""The filter of a manifest: an expression over a video's facts, such as ``seconds >= 2``.

    expression  any comparison, joined by ``and``, ``or``, ``not`` and parentheses
    comparison  FIELD = VALUE, and !=, <, <=, >, >=; FIELD in (VALUE, ...); FIELD not in (...);
                FIELD ~ PATTERN, where * stands for any characters and ? for one
    VALUE       a number, or a text, quoted where it is no plain word

`FIELDS` lists the fields. Nothing of an expression is executed: it is parsed into comparisons.
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from prp_core.catalogue import unknown
from prp_core.data.manifest import Manifest, VideoRecord
from prp_core.errors import UserError

Test = Callable[[VideoRecord], bool]


def _seconds(record: VideoRecord) -> float | None:
    return record.num_frames / record.fps if record.fps > 0 else None


NUMBERS: dict[str, Callable[[VideoRecord], float | None]] = {
    "frames": lambda record: record.num_frames,
    "seconds": _seconds,
    "fps": lambda record: record.fps if record.fps > 0 else None,
    "width": lambda record: record.width or None,
    "height": lambda record: record.height or None,
    "bytes": lambda record: record.num_bytes,
}
"""Facts that are numbers; no comparison holds of one that is not known (None)."""

TEXTS: dict[str, Callable[[VideoRecord], str]] = {
    "key": lambda record: record.key,
    "label": lambda record: record.label or "",
    "group": lambda record: record.group,
    "split": lambda record: record.split,
    "codec": lambda record: record.codec,
}
"""Facts that are texts; ``""`` where there is none, as of a video without a class."""

FIELDS = (*NUMBERS, *TEXTS)

ORDERS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
TOKEN = re.compile(
    r"""\s*(?: (?P<quoted>"[^"]*"|'[^']*')
             | (?P<sign><=|>=|!=|==|[=<>~(),])
             | (?P<word>[^\s"'()<>=!~,]+) )""",
    re.VERBOSE,
)
MAX_DEPTH = 50
LONGEST_SHOWN = 200
OPTION = "--where"
EXAMPLE = "seconds >= 2 and label in (walk, run)"


@dataclass(frozen=True)
class Token:
    """A word, a quoted text or a sign of an expression."""

    text: str
    is_quoted: bool = False

    def __str__(self) -> str:
        return repr(self.text)


def parse_filter(expression: str, option: str = OPTION) -> Test:
    """What `expression` says of a video.

    Raises `UserError` with the place that is wrong; `option` is what it was given with.
    """
    parser = _Parser(expression, option)
    test = parser.either()
    if parser.next is not None:
        raise parser.wrong(f"{parser.next} is left over; join comparisons with 'and' or 'or'")
    return test


def filtered(
    manifest: Manifest, expression: str, option: str = OPTION, *, is_to_prepare: bool = False
) -> Manifest:
    """`manifest` with those of its usable videos that `expression` holds of; all where it is empty.

    Quarantined videos stay in it, since nothing is known of them; with `is_to_prepare` those that
    only have to be prepared are chosen as the usable ones are. Raises `UserError` where the
    expression is wrong, or keeps none of the videos; `option` is what it was given with.
    """
    if not expression:
        return manifest
    test = parse_filter(expression, option)
    read = {one.key for one in (manifest.preparable() if is_to_prepare else manifest.usable())}
    kept = [record for record in manifest.records if record.key not in read or test(record)]
    if all(record.key not in read for record in kept):
        kind = "videos that can be prepared" if is_to_prepare else "usable videos"
        raise UserError(
            f"{option} {expression!r} keeps none of the {len(read)} {kind} of {manifest.uri}; "
            "see what they are with: prp data show"
        )
    return Manifest(manifest.uri, tuple(kept))


class _Parser:
    """A parser by recursive descent; each method reads one rule of the grammar."""

    def __init__(self, expression: str, option: str) -> None:
        self._expression = expression
        self._option = option
        self._tokens = self._read()
        self._place = 0
        self._depth = 0

    @property
    def next(self) -> Token | None:
        """The token that comes next; None at the end."""
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def wrong(self, why: str) -> UserError:
        """The error for this expression, for whoever typed it."""
        shown = self._expression
        if len(shown) > LONGEST_SHOWN:
            shown = f"{shown[:LONGEST_SHOWN]}..."
        return UserError(f"{self._option} {shown!r}: {why}; for example: {EXAMPLE}")

    def either(self) -> Test:
        """Alternatives, joined by ``or``."""
        tests = [self._both()]
        while self._takes("or"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda record: any(test(record) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._takes("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda record: all(test(record) for test in tests)

    def _one(self) -> Test:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.wrong(f"it is too deep (more than {MAX_DEPTH} parentheses or 'not')")
        test = self._negated_or_grouped()
        self._depth -= 1
        return test

    def _negated_or_grouped(self) -> Test:
        if self._takes("not"):
            test = self._one()
            return lambda record: not test(record)
        if self._takes("("):
            test = self.either()
            self._expect(")")
            return test
        return self._comparison()

    def _comparison(self) -> Test:
        token = self._take("a field")
        name = token.text
        if token.is_quoted or name not in FIELDS:
            raise self.wrong(str(unknown("field", name, FIELDS)).rstrip("."))
        if self._takes("not"):
            self._expect("in")
            test = self._among(name)
            return lambda record: not test(record)
        if self._takes("in"):
            return self._among(name)
        sign = self._take("a comparison such as '>='").text
        if sign not in ("=", "==", "!=", "~", *ORDERS):
            raise self.wrong(
                f"{sign!r} after {name!r} is not a comparison (=, !=, <, <=, >, >=, ~, in)"
            )
        return self._compared(name, sign, self._take(f"a value after {sign!r}"))

    def _compared(self, name: str, sign: str, token: Token) -> Test:
        if sign in ("=", "==", "!="):
            test = self._equals(name, token)
            return test if sign != "!=" else lambda record: not test(record)
        if sign == "~":
            if name in NUMBERS:
                raise self.wrong(f"{name!r} is a number; patterns match text only")
            text_of = TEXTS[name]
            return lambda record: fnmatch.fnmatchcase(text_of(record), token.text)
        if name in TEXTS:
            raise self.wrong(f"{name!r} is text and has no order; write =, !=, ~ or in")
        number_of = NUMBERS[name]
        limit = self._number(name, token)
        holds = ORDERS[sign]

        def ordered(record: VideoRecord) -> bool:
            number = number_of(record)
            return number is not None and holds(number, limit)

        return ordered

    def _equals(self, name: str, token: Token) -> Test:
        if name in NUMBERS:
            number_of = NUMBERS[name]
            wanted = self._number(name, token)
            return lambda record: number_of(record) == wanted
        text_of = TEXTS[name]
        return lambda record: text_of(record) == token.text

    def _among(self, name: str) -> Test:
        self._expect("(")
        tests = [self._equals(name, self._take("a value"))]
        while self._takes(","):
            tests.append(self._equals(name, self._take("a value")))
        self._expect(")")
        return lambda record: any(test(record) for test in tests)

    def _number(self, name: str, token: Token) -> float:
        try:
            return float(token.text)
        except ValueError:
            raise self.wrong(f"{name!r} is a number, and {token} is none") from None

    def _take(self, wanted: str) -> Token:
        token = self.next
        if token is None:
            raise self.wrong(f"{wanted} is missing at the end")
        self._place += 1
        return token

    def _takes(self, text: str) -> bool:
        token = self.next
        found = token is not None and not token.is_quoted and token.text == text
        self._place += found
        return found

    def _expect(self, text: str) -> None:
        if not self._takes(text):
            found = "the end" if self.next is None else str(self.next)
            raise self.wrong(f"{text!r} is missing before {found}")

    def _read(self) -> list[Token]:
        text = self._expression.rstrip()
        place = 0
        tokens = []
        while place < len(text):
            match = TOKEN.match(text, place)
            if match is None:
                raise self.wrong(f"{text[place:].strip()[:20]!r} cannot be read")
            place = match.end()
            quoted = match["quoted"]
            tokens.append(
                Token(quoted[1:-1], is_quoted=True)
                if quoted is not None
                else Token(match["sign"] or match["word"])
            )
        if not tokens:
            raise self.wrong("it is empty")
        return tokens

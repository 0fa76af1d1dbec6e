"""An HTTP proxy on loopback that injects faults before an S3 server and logs every request.

In a test:   with FaultProxy("http://127.0.0.1:9000", seed=1) as proxy:
                 proxy.add("status", code=503, times=3)
                 client(endpoint_url=proxy.url)
By hand:

    python fault_proxy.py UPSTREAM PORT '[{"do": "latency", "seconds": 0.08}]'

Host and every signed header go through untouched, so signatures hold. One connection serves one
upstream connection.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

FAULTS = {
    "status": "answer the S3 error `code` (named `name`) without asking the server",
    "lose": "let the server act, then TCP RST in place of its answer",
    "reset": "TCP RST: before the answer (`at` unset) or after `at` bytes of the body",
    "cut": "close after `at` bytes of the body, fewer than Content-Length promises",
    "short": "a well-formed answer whose last `by` bytes are missing (Content-Length rewritten)",
    "flip": "xor one byte of the body, at `at` (unset: anywhere)",
    "stall": "stop for `seconds` after `at` bytes of the body",
    "hang": "read the request, answer nothing for `seconds`, close",
}
ADDED_TO_FAULTS = {
    "latency": "wait `seconds` plus up to `jitter_seconds` before forwarding",
    "rate": "slow the body down to `bytes_per_second`",
    "field": "add the header field `name`: `value` to the answer",
    "rewrite": "in the request's head, put `value` for what matches the regex `name`",
}
ERROR_NAMES = {
    400: "ExpiredToken",
    403: "AccessDenied",
    404: "NoSuchKey",
    500: "InternalError",
    503: "SlowDown",
}
READ_BYTES = 1 << 16
FOREVER = 1 << 60


@dataclass
class Rule:
    """One fault for the requests whose method, path and head it matches: skips the first `skip`,
    then applies `times` times with `probability`.

    `at` defaults to the middle of the body (`reset` without it comes before the answer, `flip`
    strikes anywhere).
    """

    do: str
    method: str = ""
    path: str = ""
    head: str = ""
    times: int = FOREVER
    skip: int = 0
    probability: float = 1.0
    code: int = 503
    name: str = ""
    value: str = ""
    at: int | None = None
    by: int = 1
    seconds: float = 60.0
    jitter_seconds: float = 0.0
    bytes_per_second: float = 0.0
    num_matched: int = 0

    def __post_init__(self) -> None:
        assert self.do in FAULTS or self.do in ADDED_TO_FAULTS, self.do

    def matches(self, request: Head) -> bool:
        """Whether the rule speaks of this request, used up or not."""
        return (
            self.method in ("", request.method)
            and re.search(self.path, request.path) is not None
            and re.search(self.head, request.raw.decode("latin1")) is not None
        )


@dataclass
class Journal:
    """What became of one request; `num_bytes` counts the bytes of the body that the client was
    sent, `fields` are the request's.
    """

    method: str
    path: str
    range: str | None
    fault: str | None = None
    status: int = 0
    num_bytes: int = 0
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """The head of a request or an answer: its raw bytes, the words of its first line, its header
    fields in lower case.
    """

    raw: bytes
    words: tuple[str, ...]
    fields: dict[str, str]

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Head:
        raw = await reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin1").split("\r\n")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        return cls(raw, tuple(first.split(" ", 2)), fields)

    @property
    def method(self) -> str:
        return self.words[0]

    @property
    def path(self) -> str:
        return self.words[1]

    @property
    def status(self) -> int:
        return int(self.words[1])

    @property
    def is_chunked(self) -> bool:
        return self.fields.get("transfer-encoding", "").lower() == "chunked"

    @property
    def closes(self) -> bool:
        return self.fields.get("connection", "").lower() == "close"


@dataclass(frozen=True)
class Treatment:
    """The fault for one request, the seconds to wait first, the body's bytes per second (0:
    unlimited), the answer's added fields, where in the body (0 to 1) a fault strikes that may
    strike anywhere, and the head of the request as the server is to see it.
    """

    fault: Rule | None
    latency_seconds: float
    rate: float
    added: bytes
    place: float
    head: bytes


class ConnectionEnds(Exception):
    """The client's connection is to be closed now."""


class FaultProxy:
    """The proxy, listening while entered; `.url` is its address. Rules may be added from any thread
    at any time.
    """

    def __init__(
        self, upstream: str, port: int = 0, rules: Iterable[dict[str, Any]] = (), seed: int = 0
    ) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname, parts.port or 80)
        self._port = port
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._rules: list[Rule] = []
        self.journal: list[Journal] = []
        self.url = ""
        for rule in rules:
            self.add(**rule)

    def add(self, do: str, **how: Any) -> None:
        """Add a rule (see `Rule`). The first fault that matches and is not used up applies; latency
        and rate are added to it.
        """
        with self._lock:
            self._rules.append(Rule(do, **how))

    def clear(self) -> None:
        """Forget every rule and the journal."""
        with self._lock:
            self._rules.clear()
            self.journal.clear()

    def gets(self, path: str = "") -> list[Journal]:
        """The GET requests so far whose path matches the regular expression."""
        return [
            entry
            for entry in list(self.journal)
            if entry.method == "GET" and re.search(path, entry.path)
        ]

    def __enter__(self) -> FaultProxy:
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._listen(ready)), daemon=True
        )
        self._thread.start()
        assert ready.wait(10), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _listen(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=1 << 20)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def _pick(self, request: Head) -> Treatment:
        """What is to be done to this request and its answer."""
        fault, latency_seconds, rate, added = None, 0.0, 0.0, b""
        head = request.raw
        with self._lock:
            for rule in self._rules:
                if not rule.matches(request) or (rule.do in FAULTS and fault is not None):
                    continue
                rule.num_matched += 1
                if (
                    not rule.skip < rule.num_matched <= rule.skip + rule.times
                    or self._random.random() >= rule.probability
                ):
                    continue
                if rule.do == "latency":
                    latency_seconds += rule.seconds + self._random.uniform(0, rule.jitter_seconds)
                elif rule.do == "rate":
                    rate = rule.bytes_per_second
                elif rule.do == "field":
                    added += f"{rule.name}: {rule.value}\r\n".encode()
                elif rule.do == "rewrite":
                    head = re.sub(rule.name.encode(), rule.value.encode(), head)
                else:
                    fault = rule
            return Treatment(fault, latency_seconds, rate, added, self._random.random(), head)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = Exchange(self._upstream, reader, writer)
        try:
            while True:
                request = await Head.read(reader)
                entry = Journal(
                    request.method, request.path, request.fields.get("range"), fields=request.fields
                )
                self.journal.append(entry)
                treatment = self._pick(request)
                entry.fault = treatment.fault.do if treatment.fault else None
                await asyncio.sleep(treatment.latency_seconds)
                await exchange.serve(request, entry, treatment)
        except (
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            asyncio.CancelledError,
            OSError,
            ConnectionEnds,
        ):
            pass  # the client or the server went away, or the fault was just that
        finally:
            exchange.close()


class Exchange:
    """One client connection and the upstream connection behind it."""

    def __init__(
        self,
        upstream: tuple[str | None, int],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._address = upstream
        self._client_reader = reader
        self._client = writer
        self._server_reader: asyncio.StreamReader | None = None
        self._server: asyncio.StreamWriter | None = None

    def close(self) -> None:
        for writer in (self._server, self._client):
            if writer is not None:
                writer.close()

    async def serve(self, request: Head, entry: Journal, treatment: Treatment) -> None:
        """Answer one request; raises `ConnectionEnds` when no other may follow on this
        connection.
        """
        fault = treatment.fault
        if fault and fault.do == "hang":
            await asyncio.sleep(fault.seconds)
            raise ConnectionEnds
        if fault and fault.do == "reset" and fault.at is None:
            self._reset()
        if fault and fault.do == "status":
            await self._answer_error(request, fault)
            entry.status = fault.code
            raise ConnectionEnds
        reader, writer = await self._connected()
        await self._forward_request(request, treatment.head, reader, writer)
        answer = await Head.read(reader)
        while answer.status == 100:
            answer = await Head.read(reader)
        entry.status = answer.status
        if fault and fault.do == "lose":
            self._reset()
        await self._forward_answer(request, answer, reader, entry, treatment)
        if answer.closes or request.closes:
            raise ConnectionEnds

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._server_reader is None or self._server is None:
            self._server_reader, self._server = await asyncio.open_connection(
                *self._address, limit=1 << 20
            )
        return self._server_reader, self._server

    async def _answer_error(self, request: Head, fault: Rule) -> None:
        if request.fields.get("expect") != "100-continue":
            await self._pass_request_body(request, None)
        name = fault.name or ERROR_NAMES.get(fault.code, "Error")
        body = (
            f'<?xml version="1.0"?><Error><Code>{name}</Code><Message>injected</Message></Error>'
        ).encode()
        head = (
            f"HTTP/1.1 {fault.code} {name}\r\nContent-Type: "
            f"application/xml\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._client.write(head.encode() + (b"" if request.method == "HEAD" else body))
        await self._client.drain()

    async def _forward_request(
        self,
        request: Head,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        writer.write(head)
        await writer.drain()
        if request.fields.get("expect") == "100-continue":
            answer = await Head.read(reader)
            self._client.write(answer.raw)
            await self._client.drain()
            if answer.status != 100:
                raise ConnectionEnds
        await self._pass_request_body(request, writer)

    async def _pass_request_body(self, request: Head, writer: asyncio.StreamWriter | None) -> None:
        remaining = int(request.fields.get("content-length", 0))
        while remaining > 0:
            piece = await self._client_reader.read(min(READ_BYTES, remaining))
            if not piece:
                raise ConnectionEnds
            remaining -= len(piece)
            if writer:
                writer.write(piece)
                await writer.drain()
        if request.is_chunked:
            await pass_chunks(self._client_reader, writer)

    async def _forward_answer(
        self,
        request: Head,
        answer: Head,
        reader: asyncio.StreamReader,
        entry: Journal,
        treatment: Treatment,
    ) -> None:
        fault = treatment.fault
        has_no_body = request.method == "HEAD" or answer.status in (204, 304)
        num_bytes = 0 if has_no_body else int(answer.fields.get("content-length", 0))
        num_shown = num_bytes
        raw = answer.raw[:-2] + treatment.added + answer.raw[-2:]
        if fault and fault.do == "short" and num_bytes:
            num_shown = max(0, num_bytes - fault.by)
            raw = re.sub(rb"(?i)(content-length: *)\d+", rb"\g<1>%d" % num_shown, raw)
        self._client.write(raw)
        await self._client.drain()
        if answer.is_chunked and not has_no_body:
            entry.num_bytes += await pass_chunks(reader, self._client)
        elif num_bytes:
            await self._forward_body(reader, num_bytes, num_shown, entry, treatment)

    async def _forward_body(
        self,
        reader: asyncio.StreamReader,
        num_bytes: int,
        num_shown: int,
        entry: Journal,
        treatment: Treatment,
    ) -> None:
        fault, rate, at = treatment.fault, treatment.rate, None
        if fault and fault.do in ("reset", "cut", "flip", "stall"):
            at = (
                int((treatment.place if fault.do == "flip" else 0.5) * num_bytes)
                if fault.at is None
                else fault.at
            )
        started, done = time.monotonic(), 0
        while done < num_bytes:
            piece = await reader.read(min(READ_BYTES, num_bytes - done))
            if not piece:
                raise ConnectionEnds
            shown = piece[: max(0, num_shown - done)]
            if fault and at is not None and done <= at < done + len(piece):
                shown = await self._strike(fault, piece, at - done, entry)
            self._client.write(shown)
            await self._client.drain()
            done += len(piece)
            entry.num_bytes += len(shown)
            if rate:
                await asyncio.sleep(max(0.0, done / rate - (time.monotonic() - started)))

    async def _strike(self, fault: Rule, piece: bytes, at: int, entry: Journal) -> bytes:
        """Apply the fault inside this piece of a body; the piece that goes on to the client."""
        if fault.do == "flip":
            return piece[:at] + bytes([piece[at] ^ 0x40]) + piece[at + 1 :]
        self._client.write(piece[:at])
        await self._client.drain()
        entry.num_bytes += at
        if fault.do == "stall":
            await asyncio.sleep(fault.seconds)
            return piece[at:]
        if fault.do == "reset":
            await asyncio.sleep(0.05)  # let the bytes before the reset arrive
            self._reset()
        raise ConnectionEnds

    def _reset(self) -> None:
        self._client.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._client.transport.abort()
        raise ConnectionEnds


async def pass_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> int:
    """Pass on a chunked body with its trailers; the number of bytes in its chunks."""
    total = 0
    while True:
        line = await reader.readuntil(b"\r\n")
        num_bytes = int(line.split(b";")[0], 16)
        rest = await reader.readexactly(num_bytes + 2) if num_bytes else await _trailers(reader)
        total += num_bytes
        if writer:
            writer.write(line + rest)
            await writer.drain()
        if not num_bytes:
            return total


async def _trailers(reader: asyncio.StreamReader) -> bytes:
    lines = [await reader.readuntil(b"\r\n")]
    while lines[-1] != b"\r\n":
        lines.append(await reader.readuntil(b"\r\n"))
    return b"".join(lines)


def main() -> None:
    """Run the proxy by hand until Ctrl-C."""
    rules = json.loads(sys.argv[3]) if len(sys.argv) > 3 else ()
    with FaultProxy(sys.argv[1], int(sys.argv[2]), rules) as proxy:
        print(proxy.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()

"""CPU time of reading objects from S3: bare boto3, our store over it, and obstore (Rust).

    uv run --with obstore python -m benchmarks.data.s3_clients

CPU-seconds per small object and per 64 MiB object, against a real S3 server of its own on loopback
(`tests/tools/rgw.sh`), whose CPU time is not counted. Interleaved rounds, medians.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable

from orchestrator.storage.open_store import open_store
from tests.fixtures_s3 import S3Server, running_server

NUM_ROUNDS = 5
SMALL_BYTES = 100_000
LARGE_BYTES = 64 << 20
NUM_SMALL = 200
NUM_LARGE = 2

Read = Callable[[str], int]


def main() -> None:
    """Print a row for each client."""
    with running_server() as server:
        os.environ.update(server.environment)
        bucket = server.make_bucket()
        small = [f"small/{number}" for number in range(NUM_SMALL)]
        large = [f"large/{number}" for number in range(NUM_LARGE)]
        for key in small + large:
            server.client().put_object(
                Bucket=bucket,
                Key=key,
                Body=os.urandom(SMALL_BYTES if key in small else LARGE_BYTES),
            )
        clients = readers(server, bucket)
        seconds: dict[tuple[str, str], list[float]] = {}
        for _ in range(NUM_ROUNDS + 1):
            for name, read in clients.items():
                for size, keys in (("small", small), ("large", large)):
                    seconds.setdefault((name, size), []).append(cpu_seconds(read, keys) / len(keys))
        for name in clients:
            per_small, per_large = (
                statistics.median(seconds[name, size][1:]) for size in ("small", "large")
            )
            print(
                f"{name:22}{per_small * 1e3:8.2f} ms of CPU per {SMALL_BYTES // 1000} "
                f"kB object{per_large * 1e3:10.1f} ms per 64 MiB object"
            )


def readers(server: S3Server, bucket: str) -> dict[str, Read]:
    """Each client as a function that reads one object to its end and says how many bytes it had."""
    plain = server.client()
    ours = open_store(f"s3://{bucket}")
    found: dict[str, Read] = {
        "boto3": lambda key: sum(
            map(len, plain.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 18))
        ),
        "our store over boto3": lambda key: sum(map(len, ours.read(key))),
    }
    if importlib.util.find_spec("obstore") is None:
        print("obstore is not installed: run with `uv run --with obstore`")
        return found
    # not a dependency: what it would save is the question here
    import obstore  # type: ignore[import-not-found]
    from obstore.store import S3Store  # type: ignore[import-not-found]

    other = S3Store(
        bucket,
        endpoint=server.endpoint_url,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    found["obstore"] = lambda key: sum(
        map(len, obstore.get(other, key).stream(min_chunk_size=1 << 18))
    )
    return found


def cpu_seconds(read: Read, keys: list[str]) -> float:
    """CPU-seconds of this process, threads included, to read `keys` one after the other."""
    started = time.process_time()
    for key in keys:
        assert read(key) in (SMALL_BYTES, LARGE_BYTES)
    return time.process_time() - started


if __name__ == "__main__":
    main()

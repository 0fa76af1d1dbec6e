"""The notice that a machine goes away, passed on to Ray, so that trials commit checkpoints first.

Runs on the machine that goes: on Kubernetes as the hook before a pod's end (``preStop``), on AWS
beside the raylet, where it asks the instance's metadata every few seconds for a spot interruption.
Ray Train tells the workers of every group that has a worker there, and they commit at their next
step. Needs nothing but Ray, and what Ray's processes have in their environment (the token).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

METADATA = "http://169.254.169.254"
POLL_SECONDS = 5.0
TOKEN_SECONDS = 21600
# AWS gives two minutes; the machine may go a little before.
MARGIN_SECONDS = 10.0
SHORTEST_SECONDS = 5.0
TRAINING_WORKER = b"RayTrainWorker"


def announce(address: str, seconds: float, reason: str, node_id: str = "") -> str:
    """Tell the Ray cluster at `address` (``HOST:PORT`` of its GCS) that this node goes away in
    `seconds`; the node's id. `node_id` names another one. Raises `RuntimeError` if Ray refuses.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # as `ray drain-node` does
    from ray.core.generated import autoscaler_pb2

    client = GcsClient(address=address)
    node_id = node_id or own_node_id(client)
    deadline_ms = int((time.time() + seconds) * 1000)
    preemption = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    is_accepted, refusal = client.drain_node(node_id, preemption, reason, deadline_ms)
    if not is_accepted:
        raise RuntimeError(f"Ray does not drain node {node_id}: {refusal}")
    return node_id


def own_node_id(client: object) -> str:
    """The id of the living Ray node with this machine's address. Raises `RuntimeError`."""
    import ray.util

    here = ray.util.get_node_ip_address()
    for node_id, info in client.get_all_node_info(timeout=10).items():  # type: ignore[attr-defined]
        if info.node_manager_address == here and info.state == 0:  # ALIVE
            return str(node_id.hex())
    raise RuntimeError(f"no living Ray node has the address {here}")


def seconds_to_interruption(
    metadata: str = METADATA, now: Callable[[], float] = time.time
) -> float | None:
    """Seconds until EC2 takes this spot instance back; None while nothing is announced.

    Raises `OSError` when the metadata do not answer.
    """
    ask = urllib.request.Request(
        f"{metadata}/latest/api/token",
        method="PUT",
        headers={"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)},
    )
    with urllib.request.urlopen(ask, timeout=5) as answer:
        token = answer.read().decode()
    look = urllib.request.Request(
        f"{metadata}/latest/meta-data/spot/instance-action",
        headers={"X-aws-ec2-metadata-token": token},
    )
    try:
        with urllib.request.urlopen(look, timeout=5) as answer:
            notice = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    when = datetime.datetime.fromisoformat(notice["time"].replace("Z", "+00:00"))
    return max(SHORTEST_SECONDS, when.timestamp() - now() - MARGIN_SECONDS)


def watch_spot(address: str, metadata: str = METADATA, node_id: str = "") -> str:
    """Wait for a spot interruption of this machine and announce it; the node's id."""
    while True:
        try:
            seconds = seconds_to_interruption(metadata)
            if seconds is not None:
                return announce(address, seconds, "EC2 takes this spot instance back", node_id)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            sys.stderr.write(f"drain_node: {error}; asking again\n")
        time.sleep(POLL_SECONDS)


def wait_for_workers(seconds: float) -> None:
    """Return when no training worker runs on this machine any more, after `seconds` at the latest.

    So a pod that is idle ends at once.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and _trains_here():
        time.sleep(0.5)


def _trains_here() -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if TRAINING_WORKER in path.read_bytes():
                return True
        except OSError:  # it ended while we looked
            continue
    return False


def main(words: list[str] | None = None) -> int:
    """Announce at once and wait, or with ``--watch-spot`` when EC2 does."""
    parser = argparse.ArgumentParser(prog="drain_node", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--address", default=os.environ.get("RAY_ADDRESS", ""), help="HOST:PORT")
    parser.add_argument("--seconds", type=float, default=60.0, help="until this machine goes")
    parser.add_argument("--watch-spot", action="store_true", help="wait for EC2's notice first")
    arguments = parser.parse_args(words)
    try:
        if arguments.watch_spot:
            watch_spot(arguments.address)
            return 0
        if _trains_here():
            announce(arguments.address, arguments.seconds, "this pod ends")
            wait_for_workers(arguments.seconds)
    except RuntimeError as error:
        sys.stderr.write(f"drain_node: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

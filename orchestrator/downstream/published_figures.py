"""Published figures of video retrieval, with pretraining data, protocol and source.

In percent, split 1. Each row names where it was read (`SOURCES`), most of them second-hand. PRP
points to VCOP's protocol: 10 clips of 16 frames a video, 112 x 112, the last feature map max-pooled
to 9,216 numbers, averaged, cosine. Others have protocols of their own, with other clips, sizes and
features, and often other pretraining data ("?": not stated where the figure was read): they rank
methods roughly, not to the point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prp_core.catalogue import look_up

KS = (1, 5, 10, 20, 50)
VCOP = "VCOP"  # the protocol of evaluation here
OWN = "own"
UNSTATED = "?"

SOURCES = {
    "B": "README of BestJuly/Inter-intra-video-contrastive-learning (IIC)",
    "C": "README of BestJuly/Pretext-Contrastive-Learning (PCL)",
    "D": "README of RSPNet",
    "E": "supplement of the RSPNet paper, table 1",
    "I": "README of TCLR",
}


@dataclass(frozen=True)
class PublishedRow:
    """A row of a paper: `recalls` in percent at `KS`, None where it was not published."""

    method: str
    backbone: str
    pretrained_on: str
    protocol: str
    recalls: tuple[float | None, ...]
    source: str


def _row(
    method: str, backbone: str, data: str, protocol: str, source: str, *recalls: float | None
) -> PublishedRow:
    return PublishedRow(
        method, backbone, data, protocol, recalls + (None,) * (len(KS) - len(recalls)), source
    )


PUBLISHED: dict[str, tuple[PublishedRow, ...]] = {
    "ucf101": (
        _row("PRP", "C3D", "UCF101", VCOP, "B", 23.2, 38.1, 46.0, 55.7, 68.4),
        _row("PRP", "R3D", "UCF101", VCOP, "B", 22.8, 38.5, 46.7, 55.2, 69.1),
        _row("PRP", "R(2+1)D", "UCF101", VCOP, "B", 20.3, 34.0, 41.9, 51.7, 64.2),
        _row("random init", "R3D", "none", UNSTATED, "B", 9.9, 18.9, 26.0, 35.5, 51.9),
        _row("VCOP", "R3D", "UCF101", VCOP, "B", 14.1, 30.3, 40.4, 51.1, 66.5),
        _row("VCP", "R3D", "UCF101", UNSTATED, "B", 18.6, 33.6, 42.5, 53.5, 68.1),
        _row("IIC repeat", "C3D", "UCF101", UNSTATED, "B", 31.9, 48.2, 57.3, 67.1, 79.1),
        _row("IIC repeat", "R(2+1)D", "UCF101", UNSTATED, "B", 34.7, 51.7, 60.9, 69.4, 81.9),
        _row("SpeedNet", "S3D-G", "K400", OWN, "E", 13.0, 28.1, 37.5, 49.5, 65.0),
        _row("Pace", "C3D", "?", OWN, "E", 31.9, 49.7, 59.2, 68.9, 80.2),
        _row("Pace", "R3D-18", "?", OWN, "C", 23.8, 38.1, 46.4, 56.6, 69.8),
        _row("RTT", "R3D-18", "?", OWN, "B, C", 26.1, 48.5, 59.1, 69.6, 82.8),
        _row("RSPNet", "C3D", "K400", OWN, "D, E", 36.0, 56.7, 66.5, 76.3, 87.7),
        _row("RSPNet", "R3D-18", "K400", OWN, "D, E", 41.1, 59.4, 68.4, 77.8, 88.7),
        _row("TCLR", "R3D-18", "UCF101", OWN, "I", 56.1),
    ),
    "hmdb51": (
        _row("PRP", "C3D", "UCF101", VCOP, "B", 10.5, 27.2, 40.4, 56.2, 75.9),
        _row("PRP", "R(2+1)D", "UCF101", VCOP, "B", 8.2, 25.3, 36.2, 51.0, 73.0),
        _row("VCOP", "C3D", "UCF101", VCOP, "B", 7.4, 22.6, 34.4, 48.5, 70.1),
        _row("VCOP", "R(2+1)D", "UCF101", VCOP, "B", 5.7, 19.5, 30.7, 45.6, 67.0),
        _row("VCP", "C3D", "UCF101", UNSTATED, "B", 7.8, 23.8, 35.3, 49.3, 71.6),
        _row("VCP", "R(2+1)D", "UCF101", UNSTATED, "B", 6.7, 21.3, 32.7, 49.2, 73.3),
        _row("IIC repeat", "C3D", "UCF101", UNSTATED, "B", 9.9, 29.6, 42.0, 57.3, 78.4),
        _row("IIC repeat", "R(2+1)D", "UCF101", UNSTATED, "B", 12.7, 33.3, 45.8, 61.6, 81.3),
    ),
}
NUM_CLASSES = {"ucf101": 101, "hmdb51": 51}


def published_rows(name: str) -> tuple[PublishedRow, ...]:
    """The rows of the data set `name`; none for ``none``. Raises `UserError` for another name."""
    return look_up("table of published figures", name, {**PUBLISHED, "none": ()})


def table_of(labels: Sequence[str]) -> str:
    """The data set that videos with these classes are of, by their number; "none" otherwise."""
    return next((name for name, num in NUM_CLASSES.items() if num == len(labels)), "none")

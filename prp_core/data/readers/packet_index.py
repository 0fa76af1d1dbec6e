"""The packet index of a file: which packet holds which frame, and where decoding may begin.

It is made without decoding, and only where all of this follows from the bytes themselves:
`index_packets` returns None for every other file, and the reader then decodes from the beginning.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prp_core.data.readers.h264_packets import h264_layout
from prp_core.data.readers.header import jumps_of_edit_list
from prp_core.data.readers.mpeg4_packets import mpeg4_layout
from prp_core.data.readers.packet_layout import PacketLayout

# The packets of the open file are kept; a larger file is read from the disk as it is decoded.
MAX_FILE_BYTES = 64 << 20
CODECS = ("mpeg4", "h264")


@dataclass(frozen=True)
class PacketIndex:
    """The packets in decoding order, their layout, and the pictures that are shown.

    `visible[n]` is the number that frame n has in the layout: an edit list may hide pictures, which
    are decoded all the same.
    """

    packets: tuple[Any, ...]
    layout: PacketLayout
    visible: tuple[int, ...]

    @property
    def num_frames(self) -> int:
        """Frames that decoding the whole file yields."""
        return len(self.visible)

    def runs(self, indices: Sequence[int]) -> list[list[int]]:
        """See `PacketLayout.runs`."""
        return self.layout.runs([self.visible[index] for index in indices])

    def place_of(self, index: int) -> int:
        """The place of frame `index`."""
        return self.layout.shown[self.visible[index]]

    def shown_by(self, run: Sequence[int]) -> list[int]:
        """The places of `run` that give a frame, in the order of their frames."""
        led = self.layout.led_by(run)
        return [
            place
            for place in self.layout.in_order(run)
            if not self.packets[place].is_discard and place not in led
        ]

    def farthest(self) -> tuple[int, int]:
        """(the frame that needs most pictures decoded, how many at most)."""
        last, count = max(self.layout.segments(), key=lambda one: one[1])
        return min(bisect_left(self.visible, last), self.num_frames - 1), count


def index_packets(container: Any, stream: Any, path: str) -> PacketIndex | None:
    """The index of the open `stream`, whose packets are consumed.

    None where decoding from the beginning is the only safe way.
    """
    codec = stream.codec_context.name
    if codec not in CODECS or Path(path).stat().st_size > MAX_FILE_BYTES:
        return None
    if jumps_of_edit_list(container, stream):
        return None
    *packets, end = container.demux(stream)
    if end.size or not packets or any(packet.size == 0 or packet.is_corrupt for packet in packets):
        return None
    hides_some = any(packet.is_discard for packet in packets)
    if codec == "mpeg4":
        unpacked = mpeg4_layout(stream, packets)
        if unpacked is None or (hides_some and unpacked[0] is not packets):
            return None
        packets, layout = unpacked
    elif codec == "h264":
        found = h264_layout(stream.codec_context.extradata or b"", packets)
        if found is None:
            return None
        layout = found
    else:
        return None
    for place, packet in enumerate(packets):  # the decoder hands the number on to the frame
        packet.pts = packet.dts = place
    unseen = layout.leading.get(0, frozenset())
    visible = tuple(
        number
        for number, place in enumerate(layout.shown)
        if not packets[place].is_discard and place not in unseen
    )
    return PacketIndex(tuple(packets), layout, visible) if visible else None

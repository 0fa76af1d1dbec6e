"""The demo corpus: small encoded videos, made on the spot; a class is a landscape and a motion.

A camera looks down on islands in a sea, on clearings in a forest or on lava, and it drifts in a
straight line, climbs and sinks, or shakes. (It can also turn on the spot, pace to and fro, or
circle: `MOTIONS`.) A scene (a group) is a map of its own. Colours tell the landscape and nothing of
the motion; what moves how fast tells the motion and nothing of the landscape: landscapes are about
equally bright and rich in contrast. So pictures alone name the class of every third video, the
amount of motion alone of every third, too, and a representation has to hold both what is seen and
how it moves: what the two halves of the method ask of it. Each motion is 2.5 to 4 times as fast as
the one before, and rates double: to name the rate of a clip one has to see how fast things seem to
move, and in what manner. What was measured on this and on other made videos is in
docs/experiments.md. Place, direction, phase and tempo are drawn for each video. The same settings
give the same frames.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

FRAMES_PER_SECOND = 25
TEXTURE_SIZE = 256  # a power of two
TEXELS_PER_PIXEL = 2.5
STEEPNESS = 2.5
"""Of the shores: the larger, the harder the line between high and low ground."""

Colour = tuple[float, float, float]
LANDSCAPES: dict[str, tuple[Colour, Colour]] = {
    "Islands": ((0.24, 0.36, 0.45), (0.86, 0.77, 0.55)),
    "Forest": ((0.21, 0.42, 0.27), (0.80, 0.87, 0.51)),
    "Lava": ((0.43, 0.27, 0.20), (0.95, 0.70, 0.52)),
}
"""The colours (red, green and blue, 0 to 1) of the low and of the high ground: near enough to each
other that an encoder does not tell landscapes without training."""
NO_LOOKING_AHEAD = "rc-lookahead=0:sync-lookahead=0:mbtree=0:bframes=0"
PIXELS_FROM_CENTRE = 26.0
"""The mean distance of a visible point from the centre of rotation, which makes rotating as fast as
drifting."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """The settings of the demo corpus, which decide its files."""

    landscapes: tuple[str, ...] = tuple(LANDSCAPES)
    """Keys of `LANDSCAPES`; each goes with each of `motions`."""
    motions: tuple[str, ...] = ("Drift", "Breathe", "Shake")
    """Keys of `MOTIONS`."""
    num_scenes: int = 14
    """Scenes (groups) of each class."""
    clips_per_scene: int = 2
    """Videos of each scene."""
    height: int = 64
    """Height of the pictures in pixels, even."""
    width: int = 80
    """Width of the pictures in pixels, even."""
    min_frames: int = 72
    """Least number of frames of a video."""
    max_frames: int = 136
    """Largest number of frames of a video."""
    seed: int = 0
    """The seed of every draw."""
    with_broken: bool = False
    """Whether the files `BROKEN` are added, to show quarantine at work."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes: a landscape and a motion each, ``IslandsDrift``."""
        return tuple(land + motion for land in self.landscapes for motion in self.motions)

    @property
    def digest(self) -> str:
        """12 hex digits over these settings and the text of this file, the folder's name.

        So whoever changes the drawing gets another folder.
        """
        text = json.dumps(asdict(self), sort_keys=True).encode() + Path(__file__).read_bytes()
        return hashlib.sha256(text).hexdigest()[:12]


@dataclass(frozen=True)
class Path2D:
    """The camera's path over the map, frame by frame.

    `x_T` and `y_T` are pixels from where it began, `angle_T` radians, `log_size_T` the logarithm of
    how large a part of the map it sees.
    """

    x_T: np.ndarray
    y_T: np.ndarray
    angle_T: np.ndarray
    log_size_T: np.ndarray


Motion = Callable[[np.ndarray, np.random.Generator], Path2D]
"""(pixels travelled up to each frame, a generator) to where the camera is."""

BROKEN = (
    "IslandsDrift/v_IslandsDrift_g98_c01.mp4",
    "IslandsDrift/v_IslandsDrift_g99_c01.mp4",
)
"""Keys of the broken files: a text file named as a video, and a truncated video."""


def make(
    root: Path, settings: DemoSettings | None = None, *, num_threads: int | None = None
) -> Path:
    """The folder ``root/<digest>`` of ``<Class>/v_<Class>_g<NN>_c<NN>.mp4``; made if needed.

    It is written under a temporary name and then renamed: a folder that exists is complete, even
    after kills and races.
    """
    settings = settings or DemoSettings()
    folder = root / settings.digest
    if folder.is_dir():
        return folder
    draft = root / f"{settings.digest}.{uuid.uuid4().hex[:8]}.draft"
    try:
        _write_all(draft, settings, num_threads or os.cpu_count() or 1)
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _write_all(folder: Path, settings: DemoSettings, num_threads: int) -> None:
    jobs = [
        (label, scene, clip)
        for label in settings.classes
        for scene in range(1, settings.num_scenes + 1)
        for clip in range(1, settings.clips_per_scene + 1)
    ]
    for label in settings.classes:
        (folder / label).mkdir(parents=True)
    with ThreadPoolExecutor(num_threads, thread_name_prefix="demo-videos") as pool:
        list(pool.map(lambda job: _write_video(folder, settings, *job), jobs))
    if settings.with_broken:
        whole = (folder / key_of("IslandsDrift", 1, 1)).read_bytes()
        (folder / BROKEN[0]).write_text("This is no video.\n")
        (folder / BROKEN[1]).write_bytes(whole[: len(whole) // 2])


def key_of(label: str, scene: int, clip: int) -> str:
    """The key of a video; its name is of UCF101's form, so its group is parsed as UCF101's."""
    return f"{label}/v_{label}_g{scene:02d}_c{clip:02d}.mp4"


def _write_video(folder: Path, settings: DemoSettings, label: str, scene: int, clip: int) -> None:
    encode(folder / key_of(label, scene, clip), draw_video(settings, label, scene, clip))


def draw_video(settings: DemoSettings, label: str, scene: int, clip: int) -> np.ndarray:
    """The frames of one video of the class `label`, uint8 ``(T, height, width, 3)``: a pure
    function.
    """
    number = ALL_CLASSES.index(label)
    landscape = list(LANDSCAPES)[number // len(MOTIONS)]
    motion = list(MOTIONS)[number % len(MOTIONS)]
    key = [settings.seed, number, scene]
    looks = draw_scene(np.random.default_rng(key), landscape)
    draw = np.random.default_rng([*key, clip])
    num_frames = int(draw.integers(settings.min_frames, settings.max_frames + 1))
    return render(motion, looks, num_frames, draw, height=settings.height, width=settings.width)


def encode(path: Path, frames_THWC: np.ndarray) -> None:
    """Encode `frames_THWC` (uint8 RGB) as H.264 in MP4, with a keyframe every half second."""
    import av  # loaded only when videos are made

    # A look-ahead makes x264's choices depend on timing; without it equal frames give equal bytes.
    options = {
        "qp": "23",
        "preset": "veryfast",
        "g": "12",
        "threads": "1",
        "flags": "+bitexact",
        "x264-params": NO_LOOKING_AHEAD,
    }
    with av.open(
        str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}
    ) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())


def _drift(travelled_T: np.ndarray, draw: np.random.Generator) -> Path2D:
    """Gliding in a straight line of any direction."""
    return _along_a_line(travelled_T, draw.uniform(0, 2 * math.pi))


def _turn(travelled_T: np.ndarray, draw: np.random.Generator) -> Path2D:
    """Turning on the spot, either way round."""
    still_T = np.zeros_like(travelled_T)
    angle_T = travelled_T / PIXELS_FROM_CENTRE * draw.choice([-1.0, 1.0])
    return Path2D(still_T, still_T, angle_T, still_T)


def _breathe(travelled_T: np.ndarray, draw: np.random.Generator) -> Path2D:
    """Climbing and sinking: the picture shrinks and swells by half each way."""
    still_T = np.zeros_like(travelled_T)
    log_size_T = _zigzag(travelled_T / PIXELS_FROM_CENTRE, 0.45, draw.random())
    return Path2D(still_T, still_T, still_T, log_size_T)


def _pace(travelled_T: np.ndarray, draw: np.random.Generator) -> Path2D:
    """To and fro along a line of any direction, about 20 frames a round."""
    return _along_a_line(_zigzag(travelled_T, 7.0, draw.random()), draw.uniform(0, math.pi))


def _orbit(travelled_T: np.ndarray, draw: np.random.Generator) -> Path2D:
    """Round a circle, upright, either way, about 22 frames a round."""
    reach = 8.0
    still_T = np.zeros_like(travelled_T)
    phase_T = travelled_T / reach * draw.choice([-1.0, 1.0]) + draw.uniform(0, 2 * math.pi)
    return Path2D(reach * np.cos(phase_T), reach * np.sin(phase_T), still_T, still_T)


def _shake(travelled_T: np.ndarray, draw: np.random.Generator) -> Path2D:
    """To and fro, short and quick: about 5 frames a round, which no searched rate divides."""
    return _along_a_line(_zigzag(travelled_T, 4.6, draw.random()), draw.uniform(0, math.pi))


def _along_a_line(along_T: np.ndarray, direction: float) -> Path2D:
    still_T = np.zeros_like(along_T)
    return Path2D(along_T * math.cos(direction), along_T * math.sin(direction), still_T, still_T)


def _zigzag(travelled_T: np.ndarray, reach: float, phase: float) -> np.ndarray:
    """Between -`reach` and `reach` at constant speed, starting `phase` (0 to 1) of a round in."""
    round_T = (travelled_T / (4 * reach) + phase) % 1.0
    return reach * (4 * np.abs(round_T - 0.5) - 1)


MOTIONS: dict[str, tuple[Motion, float]] = {
    "Drift": (_drift, 0.35),
    "Turn": (_turn, 0.56),
    "Breathe": (_breathe, 0.9),
    "Pace": (_pace, 1.43),
    "Orbit": (_orbit, 2.29),
    "Shake": (_shake, 3.67),
}
"""From the slowest to the fastest, with their mean motion in pixels a frame."""

ALL_CLASSES = tuple(land + motion for land in LANDSCAPES for motion in MOTIONS)
"""Every landscape with every motion: the place of a class here decides its draws."""


def draw_scene(draw: np.random.Generator, landscape: str) -> np.ndarray:
    """The map of one group: uint8 ``(TEXTURE_SIZE, TEXTURE_SIZE, 3)``, half of it high ground; it
    wraps.
    """
    height = _smooth_noise(draw, cycles=draw.uniform(3.5, 5))
    share = 1 / (1 + np.exp(-STEEPNESS * height))[..., None]
    low, high = (
        np.array(colour) + draw.uniform(-0.015, 0.015, 3) for colour in LANDSCAPES[landscape]
    )
    return np.round((low + (high - low) * share) * 255).astype(np.uint8)


def _smooth_noise(draw: np.random.Generator, *, cycles: float) -> np.ndarray:
    """Wrapping hills, about `cycles` of them across, of mean 0 and standard deviation 1.

    So no map is brighter or has more contrast than another.
    """
    down = np.fft.fftfreq(TEXTURE_SIZE)[:, None] * TEXTURE_SIZE
    across = np.fft.rfftfreq(TEXTURE_SIZE)[None, :] * TEXTURE_SIZE
    frequency = np.hypot(down, across)
    spectrum = (
        np.fft.rfft2(draw.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE)))
        * np.exp(-((frequency / cycles) ** 2))
        * (frequency > 0)
    )
    noise = np.fft.irfft2(spectrum, s=(TEXTURE_SIZE, TEXTURE_SIZE))
    return (noise - noise.mean()) / noise.std()


def render(
    motion: str,
    ground: np.ndarray,
    num_frames: int,
    draw: np.random.Generator,
    *,
    height: int,
    width: int,
) -> np.ndarray:
    """One video, uint8 ``(num_frames, height, width, 3)``: the camera moves over `ground`.

    It follows `motion`, at one tempo, drawn within 8 % of the class's.
    """
    move, pixels_per_frame = MOTIONS[motion]
    path = move(np.arange(num_frames) * pixels_per_frame * draw.uniform(0.92, 1.08), draw)
    angle_T = path.angle_T + draw.uniform(0, 2 * math.pi)
    size_T = np.exp(path.log_size_T)
    centre = draw.uniform(-0.5, 0.5, 2) * (width, height)
    place = draw.uniform(0, TEXTURE_SIZE, 2)
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    across = across - np.float32(width / 2 + centre[0])
    down = down - np.float32(height / 2 + centre[1])
    cosine = _columns(np.cos(angle_T) * size_T)
    sine = _columns(np.sin(angle_T) * size_T)
    u_THW = cosine * across + sine * down + _columns(path.x_T)
    v_THW = cosine * down - sine * across + _columns(path.y_T)
    return _look_up(
        ground, u_THW * TEXELS_PER_PIXEL + place[0], v_THW * TEXELS_PER_PIXEL + place[1]
    )


def _columns(values_T: np.ndarray) -> np.ndarray:
    return values_T.astype(np.float32)[:, None, None]


def _look_up(ground: np.ndarray, across_THW: np.ndarray, down_THW: np.ndarray) -> np.ndarray:
    """The colours of `ground` at these places, which wrap; each pixel is one number of 32 bits."""
    wrap = TEXTURE_SIZE - 1  # a remainder of a power of two is a mask, ten times as fast
    place_THW = np.floor(down_THW).astype(np.int32) & wrap
    place_THW *= TEXTURE_SIZE
    place_THW += np.floor(across_THW).astype(np.int32) & wrap
    four_bytes = np.zeros((TEXTURE_SIZE * TEXTURE_SIZE, 4), np.uint8)
    four_bytes[:, :3] = ground.reshape(-1, 3)
    pixels_THW = np.take(four_bytes.view(np.uint32)[:, 0], place_THW)
    return pixels_THW.view(np.uint8).reshape(*place_THW.shape, 4)[..., :3].copy()

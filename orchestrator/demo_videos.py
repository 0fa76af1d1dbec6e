"""A small set of encoded videos made on the spot, whose classes are motions and whose looks say nothing.

A scene (a group: one sprite before one backdrop) is drawn alike for every class, so no single picture tells the class; how the sprite
moves, and how fast, does. Each class is about 1.75 times as fast as the one before, and rates double: to name the rate of a clip one has
to see what kind of motion it is and how fast. Place, direction, phase and tempo are drawn for each video. Same settings, same frames.
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
TEXTURE_SIZE = 256
SPRITE_TEXELS_PER_PIXEL = 4.5
NO_LOOKING_AHEAD = "rc-lookahead=0:sync-lookahead=0:mbtree=0:bframes=0"
MARGIN = 20
"""Pixels beyond each picture's edge over which a sprite that leaves is out of sight before it comes back on the other side."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What decides the files. `num_scenes` of each class, `clips_per_scene` videos of each scene, `min_frames` to `max_frames` frames.

    Pictures are `height` x `width` pixels, both even. `with_broken` adds `BROKEN`, for whoever wants to see quarantine at work.
    """

    num_scenes: int = 20
    clips_per_scene: int = 2
    height: int = 64
    width: int = 80
    min_frames: int = 72
    max_frames: int = 136
    seed: int = 0
    with_broken: bool = False

    @property
    def digest(self) -> str:
        """Twelve hex digits that name these settings and the text of this file: who changes the drawing gets another folder."""
        text = json.dumps(asdict(self), sort_keys=True).encode() + Path(__file__).read_bytes()
        return hashlib.sha256(text).hexdigest()[:12]


@dataclass(frozen=True)
class Path2D:
    """Where the sprite is, frame by frame: pixels from the picture's centre, radians, and the logarithm of its size."""

    x_T: np.ndarray
    y_T: np.ndarray
    angle_T: np.ndarray
    log_size_T: np.ndarray


@dataclass(frozen=True)
class Sprite:
    """One thing that moves: its texture, its outline (a position in `SHAPES`) and its radius in pixels."""

    texture: np.ndarray
    shape: int
    radius: float


@dataclass(frozen=True)
class Scene:
    """The looks that the videos of one group share. Textures are float32 ``(TEXTURE_SIZE, TEXTURE_SIZE, 3)`` of 0 to 1 that wrap."""

    backdrop: np.ndarray
    sprites: tuple[Sprite, ...]


Motion = Callable[[np.ndarray, float, np.random.Generator], Path2D]
"""(pixels travelled up to each frame, the sprite's radius, a generator) to where the sprite is."""

BROKEN = ("Drift/v_Drift_g99_c01.mp4", "Turn/v_Turn_g99_c01.mp4")
"""Keys of the broken files: a text that calls itself a video, and a video whose second half never arrived."""


def make(root: Path, settings: DemoSettings | None = None, *, num_threads: int | None = None) -> Path:
    """The folder ``root/<digest>`` of ``<Class>/v_<Class>_g<NN>_c<NN>.mp4``, made unless it is there.

    It is written under another name beside and then renamed: a folder that exists is complete, whoever was killed or raced on the way.
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
            if not folder.is_dir():  # a folder that somebody else finished first holds the same files
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _write_all(folder: Path, settings: DemoSettings, num_threads: int) -> None:
    jobs = [
        (motion, scene, clip) for motion in MOTIONS for scene in range(1, settings.num_scenes + 1) for clip in range(1, settings.clips_per_scene + 1)
    ]
    for motion in MOTIONS:
        (folder / motion).mkdir(parents=True)
    with ThreadPoolExecutor(num_threads, thread_name_prefix="demo-videos") as pool:
        list(pool.map(lambda job: _write_video(folder, settings, *job), jobs))
    if settings.with_broken:
        whole = (folder / key_of("Turn", 1, 1)).read_bytes()
        (folder / BROKEN[0]).write_text("This is no video.\n")
        (folder / BROKEN[1]).write_bytes(whole[: len(whole) // 2])


def key_of(motion: str, scene: int, clip: int) -> str:
    """The place of a video below the folder; the name is UCF101's, so its group is read off as UCF101's is."""
    return f"{motion}/v_{motion}_g{scene:02d}_c{clip:02d}.mp4"


def _write_video(folder: Path, settings: DemoSettings, motion: str, scene: int, clip: int) -> None:
    encode(folder / key_of(motion, scene, clip), draw_video(settings, motion, scene, clip))


def draw_video(settings: DemoSettings, motion: str, scene: int, clip: int) -> np.ndarray:
    """The frames of one video before they are encoded, uint8 ``(T, height, width, 3)``: a pure function of the arguments."""
    key = [settings.seed, list(MOTIONS).index(motion), scene]
    looks = draw_scene(np.random.default_rng(key))
    draw = np.random.default_rng([*key, clip])
    num_frames = int(draw.integers(settings.min_frames, settings.max_frames + 1))
    return render(motion, looks, num_frames, draw, height=settings.height, width=settings.width)


def encode(path: Path, frames_THWC: np.ndarray) -> None:
    """Write `frames_THWC` (uint8 RGB) as H.264 in MP4, the index in front, a key frame every half second."""
    import av  # loaded only when videos are made

    # Looking ahead makes x264's choices depend on timing: without it, the same frames give the same bytes.
    options = {"qp": "23", "preset": "veryfast", "g": "12", "threads": "1", "flags": "+bitexact", "x264-params": NO_LOOKING_AHEAD}
    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())


def _drift(travelled_T: np.ndarray, radius: float, draw: np.random.Generator) -> Path2D:
    """A straight line; what leaves the picture comes back on the other side."""
    return _along_a_line(travelled_T, draw.uniform(0, 2 * math.pi))


def _turn(travelled_T: np.ndarray, radius: float, draw: np.random.Generator) -> Path2D:
    """A wheel on the spot, either way round. The rim is half as fast again as a point on average."""
    still_T = np.zeros_like(travelled_T)
    return Path2D(still_T, still_T, 1.5 * travelled_T / radius * draw.choice([-1.0, 1.0]), still_T)


def _breathe(travelled_T: np.ndarray, radius: float, draw: np.random.Generator) -> Path2D:
    """Swelling and shrinking on the spot, by half each way."""
    still_T = np.zeros_like(travelled_T)
    return Path2D(still_T, still_T, still_T, _zigzag(1.5 * travelled_T / radius, 0.45, draw.random()))


def _pace(travelled_T: np.ndarray, radius: float, draw: np.random.Generator) -> Path2D:
    """To and fro along a line of any direction."""
    return _along_a_line(_zigzag(travelled_T, 12.0, draw.random()), draw.uniform(0, math.pi))


def _orbit(travelled_T: np.ndarray, radius: float, draw: np.random.Generator) -> Path2D:
    """Round a circle, upright, either way."""
    reach, still_T = 14.0, np.zeros_like(travelled_T)
    phase_T = travelled_T / reach * draw.choice([-1.0, 1.0]) + draw.uniform(0, 2 * math.pi)
    return Path2D(reach * np.cos(phase_T), reach * np.sin(phase_T), still_T, still_T)


def _shake(travelled_T: np.ndarray, radius: float, draw: np.random.Generator) -> Path2D:
    """To and fro so short and quick that it trembles."""
    return _along_a_line(_zigzag(travelled_T, 9.0, draw.random()), draw.uniform(0, math.pi))


def _along_a_line(along_T: np.ndarray, direction: float) -> Path2D:
    still_T = np.zeros_like(along_T)
    return Path2D(along_T * math.cos(direction), along_T * math.sin(direction), still_T, still_T)


def _zigzag(travelled_T: np.ndarray, reach: float, phase: float) -> np.ndarray:
    """Between -`reach` and `reach` at constant speed, starting `phase` (0 to 1) of a round in."""
    round_T = (travelled_T / (4 * reach) + phase) % 1.0
    return reach * (4 * np.abs(round_T - 0.5) - 1)


MOTIONS: dict[str, tuple[Motion, float]] = {
    "Drift": (_drift, 0.5),
    "Turn": (_turn, 1.2),
    "Breathe": (_breathe, 2.2),
    "Pace": (_pace, 3.6),
    "Orbit": (_orbit, 5.6),
    "Shake": (_shake, 9.0),
}
"""The classes from the slowest to the quickest, with the pixels a frame that points of a sprite cover on average."""


def draw_scene(draw: np.random.Generator) -> Scene:
    """A backdrop and two or three sprites."""
    grain = _smooth_noise(draw, cycles=draw.uniform(2, 6), sharpness=2.0)[..., None] - 0.5
    backdrop = draw.uniform(0.2, 0.8, 3) + grain * draw.uniform(-0.3, 0.3, 3)
    sprites = tuple(_draw_sprite(draw) for _ in range(draw.integers(2, 4)))
    return Scene(np.clip(backdrop, 0, 1).astype(np.float32), sprites)


def _draw_sprite(draw: np.random.Generator) -> Sprite:
    """Its blotches run from a dark to a light colour, so that it can be seen on anything."""
    pattern = _smooth_noise(draw, cycles=draw.uniform(3, 6), sharpness=5.0)[..., None]
    dark, light = draw.uniform(0.0, 0.2, 3), draw.uniform(0.7, 1.0, 3)
    texture = (dark + pattern * (light - dark)).astype(np.float32)
    return Sprite(texture, int(draw.integers(len(SHAPES))), float(draw.uniform(15, 24)))


def _smooth_noise(draw: np.random.Generator, *, cycles: float, sharpness: float) -> np.ndarray:
    """Blotches of 0 to 1 that wrap, about `cycles` of them across; `sharpness` above 1 pushes them towards 0 and 1."""
    down = np.fft.fftfreq(TEXTURE_SIZE)[:, None] * TEXTURE_SIZE
    across = np.fft.rfftfreq(TEXTURE_SIZE)[None, :] * TEXTURE_SIZE
    frequency = np.hypot(down, across)
    spectrum = np.fft.rfft2(draw.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE))) * np.exp(-((frequency / cycles) ** 2)) * (frequency > 0)
    noise = np.fft.irfft2(spectrum, s=(TEXTURE_SIZE, TEXTURE_SIZE))
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return np.clip((noise - 0.5) * sharpness + 0.5, 0, 1)


SHAPES: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    lambda u, v: np.hypot(u, v),
    lambda u, v: np.maximum(np.abs(u), np.abs(v)) / 0.88,
    lambda u, v: (np.abs(u) + np.abs(v)) / 1.25,
    lambda u, v: np.maximum(np.abs(u) / 1.2, np.abs(v) / 0.65),
)
"""Disc, square, diamond, bar: each maps a point of the sprite to its distance from the centre, in units in which the rim is 1 radius."""


def render(motion: str, scene: Scene, num_frames: int, draw: np.random.Generator, *, height: int, width: int) -> np.ndarray:
    """One video as uint8 ``(num_frames, height, width, 3)``: each sprite of `scene` moves as `motion` says, at one tempo within 8 %."""
    move, pixels_per_frame = MOTIONS[motion]
    travelled_T = np.arange(num_frames) * pixels_per_frame * draw.uniform(0.92, 1.08)
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    offset = draw.integers(TEXTURE_SIZE, size=2)
    backdrop_HWC = _look_up_texture(scene.backdrop, across + offset[0], down + offset[1], 2.5)
    frames_THWC = np.broadcast_to(backdrop_HWC, (num_frames, height, width, 3)).copy()
    for sprite in scene.sprites:
        place = draw.uniform(-0.2, 0.2, 2) * (width, height)
        _put(sprite, move(travelled_T, sprite.radius, draw), place, draw.uniform(0, 2 * math.pi), frames_THWC)
    frames_THWC += np.float32(draw.uniform(0.0, 0.012)) * draw.standard_normal(frames_THWC.shape, dtype=np.float32)
    return (np.clip(frames_THWC, 0, 1) * 255).astype(np.uint8)


def _put(sprite: Sprite, path: Path2D, place: np.ndarray, angle: float, frames_THWC: np.ndarray) -> None:
    """Paint `sprite` over each frame. `place` is where the path's origin lies, in pixels from the picture's centre."""
    height, width = frames_THWC.shape[1:3]
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    dx_THW = _wrapped(across - width / 2 - _columns(path.x_T + place[0]), width + MARGIN)
    dy_THW = _wrapped(down - height / 2 - _columns(path.y_T + place[1]), height + MARGIN)
    angle_T, shrink_T = path.angle_T + angle, np.exp(-path.log_size_T)
    cosine, sine = _columns(np.cos(angle_T) * shrink_T), _columns(np.sin(angle_T) * shrink_T)
    u_THW, v_THW = cosine * dx_THW + sine * dy_THW, cosine * dy_THW - sine * dx_THW
    cover_THW1 = np.clip(0.5 + sprite.radius - SHAPES[sprite.shape](u_THW, v_THW), 0, 1)[..., None]
    frames_THWC += cover_THW1 * (_look_up_texture(sprite.texture, u_THW, v_THW, SPRITE_TEXELS_PER_PIXEL) - frames_THWC)


def _columns(values_T: np.ndarray) -> np.ndarray:
    return values_T.astype(np.float32)[:, None, None]


def _wrapped(distance: np.ndarray, period: float) -> np.ndarray:
    return (distance + period / 2) % period - period / 2


def _look_up_texture(texture: np.ndarray, across: np.ndarray, down: np.ndarray, scale: float) -> np.ndarray:
    return texture[(down * scale).astype(np.int32) % TEXTURE_SIZE, (across * scale).astype(np.int32) % TEXTURE_SIZE]

"""A showcase of two queries and one clip, from plain values, with names that try to be markup."""

from __future__ import annotations

import numpy as np

from orchestrator.config.run_config import load_config
from orchestrator.report.showcase import Clip, Showcase, Strip
from prp_core.evaluation.intervals import Interval
from prp_core.evaluation.neighbours import Neighbour, QueryNeighbours, RetrievalExamples
from prp_core.pretext.reconstruction_sample import ReconstructionSample, ShownFrame

EVIL = '<script>alert("x")</script> & co'
JPEG = b"\xff\xd8\xff a picture"
FRAMES = tuple(
    ShownFrame(j, 10 + j / 2, j // 2, supervised=j % 2 == 0) for j in (0, 3, 6, 9, 12, 15)
)
NOTHING = np.zeros((6, 8, 8, 3), dtype=np.uint8)
SAMPLE = ReconstructionSample(
    key="walk/train.mp4",
    label=EVIL,
    rate=1,
    start=10,
    upsampling=2,
    num_targets=16,
    num_supervised=8,
    frames=FRAMES,
    clip_NHWC=NOTHING,
    target_NHWC=NOTHING,
    output_NHWC=NOTHING,
    attention_NHW=NOTHING[..., 0],
    predicted_rate=2,
    predicted_probability=0.625,
    error=0.125,
    error_of_mean=0.25,
    error_of_repeating=0.0,
)
RIGHT, WRONG = (
    Neighbour("walk/right.mp4", "walk", 0.98765, True),
    Neighbour("run/wrong.mp4", "run", 0.5, False),
)
RETRIEVED = RetrievalExamples(
    (
        QueryNeighbours("walk/query.mp4", "walk", (RIGHT, WRONG)),
        QueryNeighbours("run/<b>.mp4", EVIL, (WRONG, RIGHT)),
    ),
    0.25,
    8,
    20,
    (("a/b.mp4", "truncated"),),
    (),
    interval=Interval(0.25, 0.071, 0.591),
)
STRIP = Strip((JPEG, JPEG), (0, 29), 30)
FOUND = Showcase(
    sweep_id="rate-search-1 <i>",
    trial=6,
    values={"pretext.playback_rate.rates": "1-2", "pretext.playback_rate.loss_weight": 0.123456},
    config=load_config("demo", ["pretext.playback_rate.rates=1-2"]),
    retrieved=RETRIEVED,
    strips={"walk/query.mp4": STRIP, "walk/right.mp4": STRIP, "run/<b>.mp4": STRIP},
    clips=[Clip(SAMPLE, dict.fromkeys(("clip", "target", "output", "attention"), (JPEG,) * 6))],
    left_out=(("run/wrong.mp4", "undecodable"),),
)

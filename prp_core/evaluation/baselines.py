"""Baselines: what an untrained encoder, and pixels alone, achieve on the same videos and views."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from prp_core.agreement import first_alone
from prp_core.encoders.encoder import Encoder
from prp_core.evaluation.downstream import EvaluatedConfig, EvaluationVideos, evaluate_tables
from prp_core.evaluation.features import (
    Describe,
    encoder_feature,
    extract_tables,
    in_evaluation_mode,
)
from prp_core.evaluation.label_free import own_hits
from prp_core.evaluation.protocol import PIXEL_SIDE
from prp_core.evaluation.retrieval import hits_at_k
from prp_core.pretext.network import NetworkConfig, build_network
from prp_core.world import World

ENCODER = "encoder"
RANDOM_INIT = "random_init"


def mean_frame(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """(B, 3, h, w) with sides of at most 28: the mean over time."""
    return _smaller(clips_BCTHW.mean(dim=2))


def mean_absolute_difference(clips_BCTHW: torch.Tensor) -> torch.Tensor:
    """(B, 3, h, w) with sides of at most 28: the mean over time of |x_t+1 - x_t|."""
    return _smaller(clips_BCTHW.diff(dim=2).abs().mean(dim=2))


def _smaller(picture_BCHW: torch.Tensor) -> torch.Tensor:
    """Averaged down, so that the features of a whole corpus fit in memory."""
    height, width = picture_BCHW.shape[-2:]
    return adaptive_avg_pool2d(picture_BCHW, (min(height, PIXEL_SIDE), min(width, PIXEL_SIDE)))


PIXEL_BASELINES: dict[str, Describe] = {
    "mean_frame": mean_frame,
    "mean_absolute_difference": mean_absolute_difference,
}
"""Features that need no network. An encoder that retrieves no better than these has learnt colours
and places, not motion.
"""

BASELINES = (RANDOM_INIT, *PIXEL_BASELINES)


def evaluate_baselines(
    config: EvaluatedConfig, videos: EvaluationVideos, world: World, *, is_final: bool
) -> dict[str, float]:
    """The metrics of each of `BASELINES`, as ``<baseline>/retrieval/recall_at_1`` and so on.

    The videos are decoded once for all of them. `random_init` is the encoder with the very weights
    that training with this config starts from (running statistics untouched).
    """
    videos.check(config.evaluation)
    encoder = build_network(config).encoder.to(world.device)
    describers: dict[str, Describe] = {RANDOM_INIT: encoder_feature(encoder)}
    describers.update({name: _flat(describe) for name, describe in PIXEL_BASELINES.items()})
    views = config.evaluation.views
    with in_evaluation_mode(encoder):
        galleries, tables = (
            extract_tables(
                describers,
                records,
                videos.source,
                config.clip,
                views,
                world,
                with_windows=config.evaluation.label_free is not None,
            )
            for records in (videos.gallery, videos.queries)
        )

    def numbers() -> dict[str, float]:
        return {
            f"{name}/{metric}": value
            for name in BASELINES
            for metric, value in evaluate_tables(
                galleries[name], tables[name], config.evaluation, world, is_final=is_final
            ).items()
        }

    return first_alone(world, "evaluating baselines", numbers)


def describer_of(name: str, config: NetworkConfig, device: torch.device) -> Describe:
    """The baseline called `name`, one of `BASELINES`, as `evaluate_baselines` measures it."""
    if name == RANDOM_INIT:
        return encoder_feature(untrained_encoder(config).to(device))
    return _flat(PIXEL_BASELINES[name])


def untrained_encoder(config: NetworkConfig) -> Encoder:
    """The encoder that training with `config` starts from, in evaluation mode."""
    encoder = build_network(config).encoder
    assert isinstance(encoder, Encoder), type(encoder)
    return encoder.eval()


def hits_beside_baselines(
    encoder: nn.Module,
    config: EvaluatedConfig,
    videos: EvaluationVideos,
    world: World,
    *,
    is_label_free: bool = False,
) -> dict[str, dict[str, bool]]:
    """Whether each query's nearest gallery video has its class, by the query's key: of `encoder`
    (`ENCODER`), and of each of `BASELINES` on the same videos.

    `is_label_free`: whether its nearest window is its own (`own_hits`) instead. Paired comparisons
    are made of these. `random_init` starts from the seed of `config`. A query that cannot be read
    is left out. The same on every worker; raises as `extract_both` does.
    """
    videos.check(config.evaluation)
    untrained = build_network(config).encoder.to(world.device)
    describers = {ENCODER: encoder_feature(encoder), RANDOM_INIT: encoder_feature(untrained)}
    describers.update({name: _flat(describe) for name, describe in PIXEL_BASELINES.items()})
    with in_evaluation_mode(encoder), in_evaluation_mode(untrained):
        galleries, tables = (
            extract_tables(
                describers,
                records,
                videos.source,
                config.clip,
                config.evaluation.views,
                world,
                with_windows=config.evaluation.label_free is not None,
            )
            for records in (videos.gallery, videos.queries)
        )

    def hits_of(name: str) -> list[bool]:
        if is_label_free:
            return list(own_hits(galleries[name], tables[name]))
        return list(hits_at_k(galleries[name], tables[name], (1,))[1].tolist())

    return {name: dict(zip(tables[name].keys, hits_of(name), strict=True)) for name in describers}


def _flat(describe: Describe) -> Describe:
    def flat(clips_BCTHW: torch.Tensor) -> torch.Tensor:
        return describe(clips_BCTHW).flatten(1)

    return flat

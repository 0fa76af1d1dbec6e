"""Pretrained encoders against random initialisation and pixels, over several seeds.

    uv run python -m benchmarks.demo.representation --seeds 0-1-2 --demo-seed 1 --scenes 40
    uv run python -m benchmarks.demo.representation --seeds 0-1-2-3-4 --scenes 40 --arms

Every seed trains the preset's config from its own initialisation on the same training part, without
Ray. Queries are `--part` of the videos that generator seed `--demo-seed` draws, the gallery is the
training part. `--scenes` beyond the demo's own draws further scenes, all of them queries: training,
gallery and the demo's own parts stay what they are, and the intervals over scenes become narrower.
With ``--part further`` they are the only queries: videos that no sweep, no choice and no earlier
test has seen. ``--compare PATH=VALUE`` (repeatable, the values together) trains the same seeds once
more with these values, and compares query by query. ``--arms`` compares what is learnt: both tasks,
each alone, and playing direction, with equal operations (`arms.py`).

``--data FOLDER`` takes the videos of a folder, with ``--labels CSV`` where their names do not say
class and group: all of them are trained on, which needs no class, and each is a query among the
videos of the other groups.

Printed: recall@1, and the differences query by query, each with two intervals of 95 %: over seeds
(Student's t) and over scenes (`group_interval`, since the videos of one scene succeed and fail
together); the same against each pixel baseline (`pixels.py`); the accuracies of the pretext tasks
on the queries' spans; the decoder's error beside a flat colour's, and beside the error of frames
decoded from another clip; effective rank of features.
Exit code 1 unless pretrained is above random initialisation and above every pixel baseline, motion
energy among them, over seeds and over scenes, by the differences query by query. With fewer groups
than an interval needs nothing is shown.
"""

from __future__ import annotations

import argparse
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.demo.arms import ARMS, BOTH, epochs_of_equal_compute
from benchmarks.demo.networks import ALONE, Job, measure_all, outside_own_group
from benchmarks.demo.pixels import PIXELS, hits_of_pixels
from orchestrator.config.run_config import RunConfig, load_config
from orchestrator.config.sweep_spec import home_dir
from orchestrator.confirmation import mean_interval
from orchestrator.data import demo_videos
from orchestrator.data.demo_videos import DemoSettings
from orchestrator.data.index import IndexJob, index
from orchestrator.data.label_source import LabelSource
from orchestrator.sweep.evidence import smallest_difference
from prp_core.data.manifest import Manifest, Parts, VideoRecord, parts
from prp_core.data.object_store import LocalStore
from prp_core.data.video_source import VideoSource
from prp_core.evaluation.features import Describe, extract_tables
from prp_core.evaluation.intervals import MIN_GROUPS, Interval, group_interval
from prp_core.world import use_threads

RANDOM = "random initialisation"
PRETRAINED = "pretrained"
Hits = dict[str, list[list[float]]]
"""For each kind of network: a row per seed, 1.0 or 0.0 for each query."""


def main() -> int:
    """Train, measure, print; 0 when pretrained is above all that it is compared with, else 1."""
    arguments = parse()
    use_threads(1)
    # One evaluation, after the last epoch.
    settings = [*arguments.settings, "training.first_rung_epochs=100000"]
    seeds = arguments.seeds.split("-")
    configs = configs_of(arguments, settings, seeds)
    first = configs[PRETRAINED][0]
    folder, split, queries = chosen_videos(arguments, settings)
    print(corpus_line(split, queries, len(seeds)), flush=True)
    jobs = [
        Job(config, folder, split, queries, is_trained=kind != RANDOM)
        for kind, of_seeds in {RANDOM: configs[PRETRAINED], **configs}.items()
        for config in of_seeds
    ]
    measured = measure_all(jobs, arguments.processes)
    pixels = pixel_hits(first, folder, split, queries)
    hits: Hits = {}
    for place, kind in enumerate((RANDOM, *configs)):
        own = measured[place * len(seeds) : (place + 1) * len(seeds)]
        hits[kind] = [one.hits for one in own]
        for seed, one in zip(seeds, own, strict=True):
            told = ", ".join(f"{name} {value:.4f}" for name, value in one.results.items())
            print(
                f"seed {seed}, {kind}: {mean(one.hits):.3f}, effective rank {one.rank:.1f}; {told}"
            )
    return report(hits, pixels, [record.group for record in queries])


def configs_of(
    arguments: argparse.Namespace, settings: Sequence[str], seeds: Sequence[str]
) -> dict[str, list[RunConfig]]:
    """For each kind of training, a config for each of `seeds`; `PRETRAINED` is the first."""
    kinds: dict[str, list[str]] = {PRETRAINED: [*settings]}
    if arguments.compared:
        kinds[f"with {', '.join(arguments.compared)}"] = [*settings, *arguments.compared]
    if arguments.arms:
        whole = load_config(arguments.preset, settings)
        for name, own in ARMS.items():
            if name != BOTH:
                epochs = epochs_of_equal_compute(
                    load_config(arguments.preset, [*settings, *own]), whole
                )
                print(f"{name}: {epochs} epochs of {whole.training.num_epochs}'s operations")
                kinds[name] = [*settings, *own, f"training.num_epochs={epochs}"]
    return {
        kind: [load_config(arguments.preset, [*values, f"seed={seed}"]) for seed in seeds]
        for kind, values in kinds.items()
    }


def corpus_line(split: Parts, queries: Sequence[VideoRecord], num_seeds: int) -> str:
    """What there is, and the smallest difference that it can show."""
    sizes = list(Counter(record.group for record in queries).values())
    num_groups = len(sizes)
    line = (
        f"{len(split.train)} training videos; queries: {len(queries)} videos of {num_groups} scenes"
    )
    if num_groups < MIN_GROUPS:
        return f"{line}, which show no difference: an interval needs {MIN_GROUPS} scenes"
    least = smallest_difference(sizes, max(2, num_seeds), 2)
    return f"{line}, which show a difference of {least:.2f} or more"


def chosen_videos(
    arguments: argparse.Namespace, settings: Sequence[str]
) -> tuple[Path, Parts, tuple[VideoRecord, ...]]:
    """(folder of the videos, parts of the demo's own scenes or the whole folder, queries)."""
    config = load_config(arguments.preset, settings)
    if arguments.data:
        labels = LabelSource(labels_csv=arguments.labels)
        found, _ = index(IndexJob(uri=arguments.data, labels=labels, loader=config.loader))
        videos = found.usable()
        return arguments.data, Parts(videos, videos, ()), videos
    folder, split, further = demo_parts(config, arguments.demo_seed, arguments.scenes)
    own = () if arguments.part == "further" else getattr(split, arguments.part)
    queries = (*own, *further)
    if not queries:
        raise SystemExit(
            "--part further asks for scenes beyond the demo's own: say how many there "
            "are in all with --scenes"
        )
    return folder, split, queries


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--seeds", default="0-1-2", help="training seeds joined by '-'")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument(
        "--compare", dest="compared", action="append", default=[], metavar="PATH=VALUE"
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="how many networks are trained at once"
    )
    parser.add_argument(
        "--arms", action="store_true", help="compare the halves of the method at equal compute"
    )
    parser.add_argument(
        "--demo-seed",
        type=int,
        default=DemoSettings.seed,
        help="the seed that the videos are drawn from",
    )
    parser.add_argument(
        "--scenes",
        type=int,
        default=DemoSettings.num_scenes,
        help="scenes of each class; those beyond the demo's are queries",
    )
    parser.add_argument(
        "--data", type=Path, help="a folder of videos instead of the demo's: trains on all"
    )
    parser.add_argument("--labels", type=Path, help="a CSV table of their key, label and group")
    what = (
        "val while something is being chosen, test once at the end; further: only the "
        "scenes beyond the demo's own"
    )
    parser.add_argument("--part", choices=("val", "test", "further"), default="test", help=what)
    return parser.parse_args()


def demo_parts(
    config: RunConfig, demo_seed: int, num_scenes: int
) -> tuple[Path, Parts, tuple[VideoRecord, ...]]:
    """(folder of the videos, parts of the demo's own scenes, the videos of further scenes)."""
    own = DemoSettings.num_scenes
    folder = demo_videos.make(
        home_dir() / "demo-videos", DemoSettings(seed=demo_seed, num_scenes=max(own, num_scenes))
    )
    manifest, _ = index(IndexJob(uri=folder, loader=config.loader))
    further = tuple(record for record in manifest.usable() if scene_number(record) > own)
    as_in_demo = Manifest(
        manifest.uri, tuple(record for record in manifest.records if scene_number(record) <= own)
    )
    split = parts(as_in_demo, val_fraction=config.source.val_fraction, seed=config.seed)
    return folder, split, further


def scene_number(record: VideoRecord) -> int:
    """``IslandsOrbit/g07`` is scene 7 of its class."""
    return int(record.group.rpartition("g")[2])


def pixel_hits(
    config: RunConfig, folder: Path, split: Parts, queries: Sequence[VideoRecord]
) -> dict[str, list[float]]:
    """For each of `PIXELS` the hits of `queries`."""
    describers = {name: flat(describe) for name, describe in PIXELS.items()}
    views = config.evaluation.views
    with VideoSource(LocalStore(folder), None, config.loader) as source:
        gallery, asked = (
            extract_tables(describers, records, source, config.clip, views, ALONE)
            for records in (split.train, queries)
        )
    return {
        name: outside_own_group(gallery[name], asked[name], functools.partial(hits_of_pixels, name))
        for name in PIXELS
    }


def flat(describe: Describe) -> Describe:
    """`describe` with one vector for each clip."""
    return lambda clips_BCTHW: describe(clips_BCTHW).flatten(1)


def report(hits: Hits, pixels: Mapping[str, list[float]], scenes: Sequence[str]) -> int:
    """Print recall@1 and the differences with their intervals; 0 when `PRETRAINED` is above random
    initialisation and above each of `pixels`, over seeds and over scenes, else 1; 1 where there are
    too few scenes for an interval.
    """
    for name, of_queries in {**{name: [row] for name, row in pixels.items()}, **hits}.items():
        print(line_of(name, of_queries, scenes, is_share=True))
    trained = hits[PRETRAINED]
    rivals = {RANDOM: hits[RANDOM], **{name: [row] * len(trained) for name, row in pixels.items()}}
    missed = []
    for name, of_seeds in rivals.items():
        rows = differences(trained, of_seeds)
        print(line_of(f"{PRETRAINED} - {name}", rows, scenes))
        if not all(found is not None and found.low > 0 for found in intervals_of(rows, scenes)):
            missed.append(name)
    for name, of_seeds in hits.items():
        if name not in (RANDOM, PRETRAINED):
            print(line_of(f"{PRETRAINED} - {name}", differences(trained, of_seeds), scenes))
            print(line_of(f"{name} - {RANDOM}", differences(of_seeds, hits[RANDOM]), scenes))
    print(f"pretrained is not above: {', '.join(missed)}" if missed else "pretrained is above all")
    return 1 if missed else 0


def intervals_of(
    of_seeds: Sequence[Sequence[float]], scenes: Sequence[str], *, is_share: bool = False
) -> list[Interval | None]:
    """The interval over scenes (None: too few), then that over seeds, where there are several."""
    least, most = (0.0, 1.0) if is_share else (-1.0, 1.0)
    columns = [mean(column) for column in zip(*of_seeds, strict=True)]
    over_scenes = group_interval(columns, scenes, least=least, most=most)
    if len(of_seeds) < 2:
        return [over_scenes]
    over_seeds = mean_interval([mean(row) for row in of_seeds], least=least, most=most)
    return [over_scenes, over_seeds]


def line_of(
    name: str, of_seeds: Sequence[Sequence[float]], scenes: Sequence[str], *, is_share: bool = False
) -> str:
    """A mean, of recall@1 or of a difference, with its intervals."""
    over_scenes, *over_seeds = intervals_of(of_seeds, scenes, is_share=is_share)
    value = mean([mean(row) for row in of_seeds])
    text = f"{name}: {value:.3f}, over scenes {bounds(over_scenes)}"
    return f"{text}, over seeds {bounds(over_seeds[0])}" if over_seeds else text


def differences(
    after: Sequence[Sequence[float]], before: Sequence[Sequence[float]]
) -> list[list[float]]:
    """`after` minus `before`, query by query, for each seed."""
    return [
        [one - other for one, other in zip(*pair, strict=True)]
        for pair in zip(after, before, strict=True)
    ]


def bounds(interval: Interval | None) -> str:
    """``[0.412, 0.623]``; for None that there are too few scenes."""
    return f"[{interval.low:.3f}, {interval.high:.3f}]" if interval else "(too few)"


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


if __name__ == "__main__":
    raise SystemExit(main())

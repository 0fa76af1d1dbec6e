"""Every run of a sweep sees the same parts."""

from __future__ import annotations

from pathlib import Path

from orchestrator.config.run_config import load_config, to_tree, with_values
from orchestrator.config.sweep_spec import SweepSpec
from orchestrator.data.open_data import open_data
from orchestrator.storage.manifest_file import write_manifest
from orchestrator.storage.open_store import open_store
from prp_core.data.manifest import Manifest, VideoRecord


def test_a_run_with_another_seed_has_the_parts_of_its_sweep(tmp_path: Path) -> None:
    """Without a stated split the parts are drawn by the sweep's seed.

    A confirming run whose own seed drew them would train on test videos.
    """
    records = [
        VideoRecord(
            key=f"{label}/{group}.mp4",
            num_bytes=1,
            etag="e",
            num_frames=60,
            codec="h264",
            label=label,
            group=f"scene {group}",
        )
        for label in ("down", "up")
        for group in range(20)
    ]
    (tmp_path / "videos").mkdir()
    config = load_config("demo", [f"cache.dir={tmp_path / 'cache'}", "seed=632"])
    spec = SweepSpec(
        sweep_id="sweep",
        config=to_tree(config),
        storage_uri=str(tmp_path),
        tracking_uri="",
        data_uri=(tmp_path / "videos").as_uri(),
        manifest_uri=write_manifest(
            Manifest("/videos", tuple(records)), open_store(tmp_path / "manifests")
        ),
        tags={},
    )
    parts = []
    for seed in (632, 633):
        with open_data(spec, with_values(config, {"seed": seed})) as data:
            parts.append(data.parts)
    assert parts[0] == parts[1]
    assert parts[0].train and parts[0].val and parts[0].test
    with open_data(spec.with_config(to_tree(with_values(config, {"seed": 633}))), config) as data:
        assert data.parts != parts[0], "another sweep's seed draws other parts"

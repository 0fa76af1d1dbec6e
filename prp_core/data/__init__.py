"""From objects in a store to the frames of a training batch.

In the order that data flows: `object_store` (the face of a store, and the folder),
`container_sniffing`, `splits` and `indexing` make a `manifest` of verified videos; `node_cache`
(over `cache_space`, fed by `ranged_read`) keeps objects on the node's disk; `decode_process` reads
them with one of `readers/` in a process that can be killed; `video_source` joins these three.
`shards` are videos prepared for training: `shard_planning` groups them, `shard_writing` makes a
shard, `shard_source` reads frames from it (over `jpeg_codec`). `cached_frames` puts the node's
`frame_cache` (checked by `frame_checksums`) before either; all three wear the face in
`frame_source`. `cache_counters` and `cache_inspection` say what a node's caches did and hold.
`dilated_sampling` is the arithmetic of a sample, `clip_dataset` says which sample comes when,
`loader` has it decoded ahead (and fetched, by `fetch_ahead`) and hands out the `spans`, and
`transforms` resize and crop them on the device. `clip_config` and `loader_config` hold the
settings.
"""

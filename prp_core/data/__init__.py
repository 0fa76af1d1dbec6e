"""From objects in a store to the frames of a training batch.

In the order that data flows: `object_store` (the face of a store, and the folder), `container_sniffing`, `splits` and `indexing`
make a `manifest` of verified videos; `node_cache` (over `cache_space`) keeps objects on the node's disk; `decode_process` reads them
with one of `readers/` in a process that can be killed; `video_source` joins these three. `cached_frames` stands before it (or before any
other `frame_source`) with a `frame_cache` of whole videos at the training size, checked by `frame_checksums`; `cache_counters` and
`cache_inspection` say what a node's caches did and hold. `dilated_sampling` is the arithmetic of a sample, `clip_dataset` says which
sample comes when, `loader` has it fetched (`fetch_ahead`) and decoded ahead and hands out the `spans`, and `transforms` resize and crop
them on the device. `clip_config` and `loader_config` hold the settings.
"""

"""The data path: from objects in a store to the frames of a training batch.

In the order that data flows: `object_store` (the store protocol, and a folder as a store, which is
changed under a `folder_lock`, made of a `file_lock`, by `file_writing`), `container_sniffing`,
`container_end`, `folder_layout`, `table_text`, `table_match`, `annotation_files`, `split_lists`,
`splits` and `indexing` make a `manifest` of verified videos, of which a `manifest_filter` chooses
some; `copies` reports copies among them. `cache/` keeps objects on the node's disk, fed by
`ranged_read`; `decode_process` reads them with one of `readers/` in a process that can be killed
within `decode_limits` and writes into `frame_memory`; `video_source` joins these three.
`shards/` are videos prepared for training. Each of them is a `frame_source`: the protocol of
whatever returns decoded frames. `dilated_sampling` is the integer arithmetic of a sample,
`clip_dataset` chooses the sample of each step, `feasibility` counts the videos that are long
enough, `metadata_probe` asks whether length and codec give the rate away, `loader` decodes ahead
(and prefetches, with `fetch_ahead`; large pictures are resized as they come, `carried_frames`) and
yields batches of `spans`;
`device_feed` has them copied (`transfer`) to the device one ahead of the step; there `colour` and
`transforms` convert, resize and crop them and `augmentation/` varies them at random. `clip_config`
and `loader_config` hold the settings.
"""

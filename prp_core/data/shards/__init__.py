"""Prepared shards: tar archives that hold videos resized and re-encoded for training.

`index` describes a set of shards: settings, files, and the byte ranges of each video's frames.
`planning` assigns videos to shards, `writing` encodes them into one, with `jpeg_codec` for JPEG
shards, and `source` is the frame source that reads frames back, whole shards or byte ranges.
"""

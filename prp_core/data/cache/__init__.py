"""The node's disk cache, in two tiers: objects as downloaded, and decoded frames.

`space` bounds the bytes of a tier and evicts; `counters` adds up what each process did.
`node_cache` is the tier of objects: one verified download per object for all processes.
`frame_cache` is the tier of decoded frames, one memory-mapped `frames_file` for each video, each
frame with one of the `frame_checksums`. `cached_frames` is a frame source that reads through it.
`inspection` lists, verifies and clears a cache from outside (``prp cache``).
"""

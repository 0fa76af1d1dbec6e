"""Videos as a sweep sees them: indexing, preparing shards, and opening either on a node.

In the order that data flows: `demo_videos` makes a small corpus. `index` makes the manifest of a
folder or bucket, with labels of a `label_source`, and keeps an `index_journal`, from which a killed
run resumes; `manifest_check` asks whether the objects are still those of the manifest. `prepare`
makes shards, one `prepare_task` for each on the cluster, and ends with a `prepare_report`.
`sweep_videos` are a sweep's videos and their parts, `pixel_facts` say what decides their pixels;
`open_data` opens them on a node, with a `frame_tier` of decoded frames; `health_line` sums up in
one line how well loading works.
"""

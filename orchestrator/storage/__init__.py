"""Object storage: how videos, manifests, journals and checkpoints are read and written.

In the order that bytes flow: `store_profiles` reads named settings of a store, `s3_clients` holds
the boto3 clients of a process, `s3_errors` translates S3's errors into ours, and `s3_store` is S3
with one attempt per call. `read_timeout` adapts the timeout of its reads, `remote_store` is the
protocol of such a store, and `retrying_store` wraps one with retries. `open_store` opens the store
of a URI (`STORES` lists the kinds), `conditional_writes` checks whether it supports conditional
writes, and `store_region` whether a bucket lies in our region. `parquet_table` reads a Parquet file
with checks, `manifest_file` stores a manifest as one, `shard_index_file` the index of prepared
shards, `feature_file` a table of features, and `prepared_place` is the layout of a prepared corpus.
"""

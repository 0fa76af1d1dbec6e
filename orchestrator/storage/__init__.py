"""Where videos, manifests and checkpoints lie, and how they are reached. In the order that bytes
flow:

store_config    what a user may say about a store: endpoint, region, profile, addressing, patience
store_profiles  the same under a name, in stores.toml
s3_clients      the boto3 clients of a process
s3_errors       every answer of S3 and exception of boto3, translated into our errors
s3_store        S3 as an object store, each call made once
remote_store    the face that a store beyond a network wears, and the error that says "try again"
retrying_store  the same face around it: jittered back-off within a deadline, broken bodies resumed
open_store      the store that a URI names
conditional_writes  whether a store keeps to the conditions of a write, which a sweep rests on
store_region    whether a bucket lies where we run
manifest_file   a manifest as a Parquet file in a store, immutable, named by its content hash
shard_index_file  the index of prepared shards as a Parquet file, likewise
prepared_place  the marker that makes a folder or bucket of shards a place to train from
"""

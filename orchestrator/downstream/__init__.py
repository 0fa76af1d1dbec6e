"""Use of an encoder after pretraining: features of videos, published evaluation, search.

In the order that data flows: `video_set` finds the videos that a command names; `feature_job` is
what all tasks of a run share and the task that describes some videos; `feature_run` plans the
tasks, runs them here or on a cluster, and resumes a run that was killed; `feature_table` joins what
they wrote into one Parquet file; `published_figures` are the figures of papers, `evaluate_splits`
measures an encoder as they do, and `evaluation_table` prints both; `similar_videos` finds the
nearest neighbours of a video in an index. `fine_tuning` trains a whole encoder on labelled videos.
"""

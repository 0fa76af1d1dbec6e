"""Downstream evaluation of an encoder: nothing here looks at a pretext loss.

In the order that data flows:

- `views`: the clips that stand for a whole video, the same for every encoder;
- `decode_ahead`: videos read by a few threads ahead of the device;
- `features`: one feature vector for each video; broken videos are counted;
- `frame_encoder`: an encoder with its preprocessing, from a video's frames to its feature;
  `portable_encoder`: one as a program or as weights for other software;
- `evaluation`: the protocol of an evaluation of features: `retrieval`, `label_free` (no classes),
  `linear_probe`;
- `feature_health`: whether features have collapsed; `sentinels`: what is wrong by a trial's
  metrics, with the likely cause; `intervals`: confidence intervals; `group_variance`: the
  variance of a mean over groups of unequal size; `query_hits`: a recall, query by query;
- `class_check`: whether the videos have the classes that a retrieval needs;
- `time_panel`: whether retrieval needs the order of frames;
- `evaluation_config`: which evaluations a run has; `protocol`: the digest of how they measure;
- `downstream`: the metrics of one encoder; `baselines`: those of an untrained one and of pixels;
- `recognition`: fine-tuning of the whole encoder;
- `neighbours`, `video_strip`: the nearest neighbours of a few queries, and frames to show them.
"""

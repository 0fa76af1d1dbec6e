"""What a representation is worth: nothing here looks at a pretext loss.

In the order that data flows:

- `evaluation_config`: which evaluations, how many clips of a video;
- `views`: the clips that stand for a whole video, the same for every encoder;
- `decode_ahead`: videos read by a few threads ahead of the device;
- `features`: one feature vector for each video, broken ones counted, as a `feature_table`;
- `retrieval`, `linear_probe`: two questions to those features; `feature_health`: have they
  collapsed;
- `neighbours`, `video_strip`: whom retrieval finds, by name, and a few small frames of each;
- `recognition`: fine-tuning of the whole encoder;
- `pixel_baselines`, `baselines`: what pixels alone, and an encoder that never learnt, achieve on
  the same views;
- `downstream`: the evaluations of one encoder, as named numbers;
- `intervals`: how far to trust a number; `protocol`: the digest that two numbers must share to be
  compared.
"""

"""Pretext tasks: what an encoder is pretrained on, without labels (playback rate perception, PRP).

In the order that data flows:

- `pretext_config`: the tasks of a run, one field each;
- `task`: the protocol of a task, from rows of a batch to metrics;
- `playback_rate`, `slow_motion`, `playing_direction`: the tasks, each with its config, targets,
  head, loss and metrics; `motion_attention`: the weights of slow motion's loss;
- `targets`: clips and targets of a batch, on the device;
- `network`: encoder, branches and heads; `heads`: the heads that tasks choose from;
  `fused_upsampling`: two convolutions of the decoder as one;
- `reconstruction_sample`: one clip's reconstruction, frame by frame, for a page;
- `official_checkpoint`: loads weights that the method's authors and their followers published.
"""

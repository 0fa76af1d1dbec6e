"""The learning: playback rate perception in plain PyTorch, with no notion of clusters, S3 or
trackers.

What lives here, in the order that data flows:

- `errors`, `catalogue`, `checks`, `config`: what can be chosen, and how a wrong choice is refused.
- `randomness`, `world`: draws that are pure functions of what they are for; which of how many
  workers this is.
- `data`: an object in a store becomes a verified video, then a span of uint8 frames, then a batch.
- `encoders`: C3D, R3D and R(2+1)D, and small ones that train on a CPU.
- `pretext`: a batch becomes clip, rate label, slow-motion target and motion attention; the network
  and its two losses.
- `training`: the loop, its steps, its checkpoints (whole or absent) and whom it reports to.
- `evaluation`: what an encoder is worth downstream: retrieval, a linear probe, recognition, and the
  baselines beside them.

Importing this package imports nothing; every module in it imports where only torch and numpy are
installed.
"""

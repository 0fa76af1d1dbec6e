"""Pretext tasks: what an encoder learns from videos without labels, by playback rate perception
(PRP).

In the order that data flows: `targets.py` arranges a batch of spans into clips, rate labels,
reconstruction targets and weights; `motion_attention.py` makes those weights, large where things
move; `network.py` answers both questions about a clip; `playback_rate.py` and `slow_motion.py` say
how wrong the answers are; `reconstruction_sample.py` shows them frame by frame; `pretext_config.py`
holds the knobs. `official_checkpoint.py` reads weights that the method's authors and their
followers published.
"""

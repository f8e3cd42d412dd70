"""The frozen teacher: Segment Anything, and non-learned baselines, turn boxes into pseudo-masks."""

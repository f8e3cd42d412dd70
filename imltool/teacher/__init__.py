"""Frozen teachers that turn boxes into pseudo-masks: Segment Anything and non-learned baselines."""

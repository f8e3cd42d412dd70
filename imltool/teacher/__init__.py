"""The frozen teacher: Segment Anything and its weightless comparisons turn boxes into pseudo-masks."""

"""Measure how much a graph's differences to torch change F1 on labelled pictures."""

from __future__ import annotations

from imltool.data.sets import NamedSet
from imltool.engines.graph_info import F1Check
from imltool.errors import DataError
from imltool.evaluation import metrics
from imltool.evaluation.counts import stack
from imltool.evaluation.methods import checkpoint_method
from imltool.evaluation.rows import HALF, Counting
from imltool.evaluation.runner import evaluate_set
from imltool.inference.localizer import Localizer


def check_f1(graph: Localizer, reference: Localizer, one: NamedSet) -> F1Check:
    """The pixel F1 of a graph and of torch on the tampered pictures of a set.

    Raises `DataError` when a picture or its mask cannot be read, or no picture is tampered.
    """
    pictures = sum(sample.tampered for sample in one.samples)
    return F1Check(name=one.name, pictures=pictures, f1=_mean_f1(graph, one), torch=_mean_f1(reference, one))


def _mean_f1(localizer: Localizer, one: NamedSet) -> float:
    tampered = [sample for sample in one.samples if sample.tampered]
    if not tampered:
        raise DataError(f"set {one.name} has no tampered picture to measure F1 on", "give a labelled set")
    scored = evaluate_set(tampered, [checkpoint_method(localizer)], counting=Counting(curves=False))
    rows = [row for _, row in scored]
    if failed := [row for row in rows if not row.ok]:
        raise DataError(f"{one.name}/{failed[0].name}: {failed[0].reason}")
    return float(metrics.f1(stack(row.counts[HALF] for row in rows)).mean())

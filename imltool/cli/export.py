"""`imltool export`: a student as a graph that other engines run."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from imltool.cli import common


class GraphFormat(str, Enum):
    onnx = "onnx"


class PrecisionChoice(str, Enum):
    fp32 = "fp32"
    fp16 = "fp16"


def export(
    weights: common.WeightsOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Graph to write (default: beside the weights, where --engine looks).", metavar="FILE"
        ),
    ] = None,
    format_: Annotated[GraphFormat, typer.Option("--format", help="Format of the graph.")] = GraphFormat.onnx,
    precision: Annotated[
        PrecisionChoice,
        typer.Option("--precision", help="fp16 stores weights in half the space; computing stays in float32."),
    ] = PrecisionChoice.fp16,
    as_json: common.JsonOption = False,
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Write a student as an ONNX graph, for ONNX Runtime, OpenVINO or a program of your own.

    The graph is run and compared with torch before it is kept. Its metadata
    says what goes in (normalisation, size), which thresholds belong to it, and
    from which weights it was made.
    """
    common.setup_logging(verbose, quiet)
    from imltool.engines.export import export_student
    from imltool.engines.registry import graph_of
    from imltool.files import human_size, sha256_file
    from imltool.journal import dump_json
    from imltool.weights import student_file

    source = student_file(weights)
    target = graph_of(source) if out is None else out
    info = export_student(source, target, precision.value)
    size = target.stat().st_size
    facts = {"file": str(target), "size_bytes": size, "sha256": sha256_file(target)}
    if as_json:
        common.stdout.print(dump_json(facts | {"info": info.model_dump(mode="json")}), markup=False, highlight=False)
    common.say(
        f"{target}: {human_size(size)}, probabilities differ from torch's by at most "
        f"{info.max_difference:.1e}, on average {info.mean_difference:.1e}, over {info.checked} trial pictures"
    )

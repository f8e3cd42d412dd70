"""`imltool export`: write a student or the teacher as graphs for other engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from imltool.cli import common
from imltool.errors import UsageError

if TYPE_CHECKING:
    from imltool.config import Settings
    from imltool.engines.graph_info import Size


Precision = Literal["fp32", "fp16", "int8"]


def export(
    weights: common.WeightsOption = None,
    teacher: Annotated[
        str | None, common.teacher_option("Export a teacher instead, as two graphs, encoder and decoder: mobile-sam.")
    ] = None,
    out: Annotated[
        Path | None,
        common.out_option(
            "Graph to write, or a teacher's folder of graphs (default: beside the weights, where --engine looks).",
            "FILE|DIR",
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        common.option(
            "--precision",
            "Precision of the weights: fp32, fp16 (half the space, computed in float32) or int8 (computed in 8-bit "
            "integers). Default: the checkpoint's; fp16 for a teacher.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        common.option(
            "--size N|dynamic",
            "Input size of a student's graph: a multiple of 32 from 64 to 2048, or dynamic for any such height "
            "and width (default: the checkpoint's).",
        ),
    ] = None,
    calibration: Annotated[
        Path | None, common.option("--calibration FOLDER", "For int8: pictures from which value ranges are found.")
    ] = None,
    check: Annotated[
        list[str] | None,
        common.option("--check NAME=DIR", "Compare F1 with torch's on a labelled set. Repeatable; required for int8."),
    ] = None,
    lists: common.ListOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Write a student or a teacher as ONNX graphs, for ONNX Runtime, OpenVINO or your own program.

    A graph is kept only after it was compared with torch. Its metadata states the input (normalisation, size), the
    thresholds and the weights it was made from. --engine looks beside the weights for graphs of the checkpoint's
    input size and for dynamic ones.
    """
    wanted = _size(size)
    if teacher is not None:
        if calibration is not None or check or lists or precision == "int8":
            raise UsageError("a teacher is exported as fp32 or fp16, and checked with masks", "leave out the others")
        _export_teacher(teacher, weights, out, precision, wanted, as_json)
        return
    from imltool.data.sets import apply_lists, named_sets
    from imltool.engines.registry import graph_of
    from imltool.export.student import export_student
    from imltool.student.header import read_header
    from imltool.weights import HUB_PREFIX, student_file

    if out is None and weights is not None and weights.as_posix().startswith(HUB_PREFIX):
        raise UsageError("a student of the Hugging Face hub has no folder to write a graph to", "give --out FILE")
    source = student_file(weights)
    architecture = read_header(source).architecture
    own = wanted == architecture.input_size and architecture.has_one_size
    other = wanted if isinstance(wanted, int) and not own else None
    int8 = precision == "int8"
    target = graph_of(source, "int8" if int8 else "fp32", other) if out is None else out
    labelled = named_sets(check or [])
    apply_lists(labelled, lists or [])
    info = export_student(source, target, precision, calibration, labelled, wanted)
    _report(
        target,
        info,
        f"probabilities differ from torch's by at most {info.max_difference:.1e}, on average "
        f"{info.mean_difference:.1e}, over {info.checked} trial pictures",
        as_json,
    )
    for found in info.f1_checks:
        common.say(
            f"F1 on {found.pictures} tampered pictures of {found.name}: {found.f1:.4f}, torch's {found.torch:.4f}"
        )


def _size(text: str | None) -> Size | None:
    if text is None:
        return None
    if text == "dynamic":
        return "dynamic"
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--size {text} is neither a number of pixels nor dynamic") from None


def _export_teacher(
    teacher: str,
    weights: Path | None,
    out: Path | None,
    precision: Precision | None,
    size: Size | None,
    as_json: bool,
) -> None:
    from imltool.export.teacher import export_teacher
    from imltool.teacher.graphs import graphs_of
    from imltool.teacher.network import INPUT_SIZE
    from imltool.teacher.registry import teacher_weights

    if size not in (None, INPUT_SIZE):
        raise UsageError(f"a teacher's graphs take pictures of {INPUT_SIZE} pixels only", "leave out --size")
    source = teacher_weights(teacher, weights)
    if source is None:
        raise UsageError(f"teacher {teacher} has no network to export", "export mobile-sam")
    infos = export_teacher(teacher, source, out or source.parent, precision or "fp16")
    for target, info in zip(graphs_of(source, out), infos, strict=True):
        _report(
            target,
            info,
            f"{'features' if info.part == 'encoder' else 'mask logits'} differ from torch's by at most "
            f"{info.max_difference:.1e}, on average {info.mean_difference:.1e}; IoU of masks {info.mask_iou:.4f}",
            as_json,
        )


def _report(target: Path, info: Settings, differences: str, as_json: bool) -> None:
    from imltool.files import human_size, sha256_file

    size = target.stat().st_size
    facts = {"file": str(target), "size_bytes": size, "sha256": sha256_file(target)}
    if as_json:
        common.print_json(facts | {"info": info.model_dump(mode="json")})
    common.say(f"{target}: {human_size(size)}, {differences}")

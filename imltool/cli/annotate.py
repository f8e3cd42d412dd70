"""`imltool annotate`: draw boxes in a browser, see the teacher's mask, accept it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from imltool.cli import common
from imltool.texts import counted

if TYPE_CHECKING:
    from imltool.annotate.stats import AnnotationStats
    from imltool.tables import Table

DEFAULT = "start"


class _WithDefault(TyperGroup):
    """`annotate PATH` means `annotate start PATH`."""

    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        if arguments and arguments[0] not in (*self.commands, *context.help_option_names):
            arguments = [DEFAULT, *arguments]
        return super().parse_args(context, arguments)


app = typer.Typer(
    cls=_WithDefault,
    no_args_is_help=True,
    help="Draw boxes in a browser: annotate PATH… --out boxes.json. `annotate start --help` lists the options. "
    "If a folder has the name of a command, write ./stats.",
)

BoxesArgument = Annotated[Path, common.argument("BOXES", "A file that imltool annotate wrote.")]


@app.command(DEFAULT)
@common.logged
def start(
    paths: Annotated[list[Path], common.argument("PATH", "Pictures, or folders of them (recursive).")],
    out: Annotated[Path, common.out_option("COCO JSON to write; an earlier one is resumed.", "FILE")] = Path(
        "boxes.json"
    ),
    teacher: Annotated[str, common.teacher_option()] = "mobile-sam",
    weights: common.TeacherWeightsOption = None,
    boxes: Annotated[
        Path | None, common.option("--boxes FILE", "Boxes to correct: COCO, VOC, YOLO, CSV or LabelMe.")
    ] = None,
    box_format: common.BoxFormatOption = None,
    categories: common.CategoryOption = None,
    boxes_of: common.BoxesOfOption = None,
    annotator: Annotated[
        str | None, common.option("--annotator NAME", "Name of the annotator (default: the user's name).")
    ] = None,
    suggest: Annotated[
        bool,
        common.option(
            "--suggest", "Show the student's regions as dashed boxes. They may bias the annotator: this is recorded."
        ),
    ] = False,
    embeddings: common.EmbeddingsOption = None,
    embeddings_size: common.EmbeddingsSizeOption = 10.0,
    port: common.PortOption = 0,
    no_browser: common.NoBrowserOption = False,
    device: common.DeviceOption = "auto",
) -> None:
    """Draw boxes around edits in a browser, with the teacher's mask beside them (the default: start may be left out).

    Prints an address that works only on this machine and only for this run. Every change is saved at once. Ctrl-C ends
    the session, and the same command resumes it. Pass FILE to `imltool pseudo --boxes`; the journals and a list of the
    pictures judged authentic are kept beside it.
    """
    from imltool.annotate.pictures import check_out, find_pictures
    from imltool.data.box_formats import read_boxes
    from imltool.data.boxes import BoxReport, match_boxes

    check_out(out)
    pictures = find_pictures(paths, out)
    for line in pictures.left_out:
        common.say(f"left out {line}")
    report = BoxReport()
    if boxes:
        found = read_boxes(boxes, box_format, categories or ())
        report = match_boxes(pictures.root, found, boxes_of, pictures.names)
    common.log_boxes(report)

    from imltool.annotate.session import open_session

    with open_session(
        pictures,
        out,
        teacher=teacher,
        weights=weights,
        device=device,
        annotator=annotator,
        suggest=suggest,
        port=port,
        embeddings=common.embedding_folder(embeddings, embeddings_size),
    ) as session:
        if boxes:
            common.say(f"{counted(session.take_over(report.matched), 'picture')} with boxes to correct")
        common.serve(session.server, counted(len(pictures.names), "picture"), no_browser)
    common.say(f"{session.store.overview().progress.done} of {len(pictures.names)} pictures judged → {out}")
    common.say(f"next: imltool pseudo {pictures.root} --boxes {out} --out pseudo")


@app.command()
def stats(
    boxes: BoxesArgument = Path("boxes.json"),
    as_json: common.JsonOption = False,
) -> None:
    """Report the seconds and boxes per picture of every annotator, and how well annotators agree."""
    from imltool.annotate.stats import annotation_stats

    found = annotation_stats(boxes)
    if as_json:
        common.print_json(asdict(found))
        return
    for table in _tables(found):
        common.print_table(table, common.stdout)


def _tables(found: AnnotationStats) -> list[Table]:
    from imltool.tables import Table, cell

    counts = dict.fromkeys(("judged", "tampered", "authentic", "unsure", "skipped"), "{:d}")
    forms = {**counts, "seconds_median": "{:.1f}", "seconds_mean": "{:.1f}", "boxes_mean": "{:.2f}"}
    forms |= {"masks_accepted": "{:.0%}", "with_suggestions": "{:d}"}
    heads = ["annotator", *counts, "s/picture (median)", "(mean)", "boxes/tampered", "masks accepted"]
    rows = [
        [one.annotator, *(cell(getattr(one, key), form) for key, form in forms.items())] for one in found.annotators
    ]
    tables = [Table("annotators", [*heads, "saw suggestions"], rows, 1)]
    forms = {"pictures": "{:d}", "same_verdict": "{:.0%}", "both_tampered": "{:d}"}
    forms |= {"box_iou": "{:.3f}", "label_iou": "{:.3f}"}
    heads = ["annotators", "pictures", "same verdict", "both tampered", "box IoU", "label IoU"]
    rows = [
        [" – ".join(pair.annotators), *(cell(getattr(pair, key), form) for key, form in forms.items())]
        for pair in found.pairs
    ]
    if rows:
        tables.append(Table("agreement on pictures that both judged tampered or authentic", heads, rows, 1))
    return tables


@app.command()
def export(
    boxes: BoxesArgument,
    to: Annotated[str, common.option("--to FORMAT", "coco (a file), voc or yolo (folders).")],
    out: Annotated[Path, common.out_option("File or new folder to write.", "PATH")],
    annotator: Annotated[
        str | None, common.option("--annotator NAME", "Only this annotator's boxes (default: the latest).")
    ] = None,
) -> None:
    """Write the boxes in another format. Only COCO keeps clicks, accepted masks and verdicts."""
    from imltool.annotate.export import export_boxes

    common.say(f"{counted(export_boxes(boxes, to, out, annotator), 'picture')} → {out}")

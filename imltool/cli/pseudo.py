"""`imltool pseudo`: boxes in, pseudo-masks out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imltool.cli import common

if TYPE_CHECKING:
    from imltool.data.boxes import BoxReport


def pseudo(
    images: Annotated[Path, typer.Argument(help="Folder of pictures.", metavar="IMAGES")],
    boxes: Annotated[
        Path,
        typer.Option("--boxes", help="COCO, CSV, LabelMe file; VOC, YOLO, LabelMe folder.", metavar="FILE"),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for masks/ and pseudo.jsonl.", metavar="DIR")],
    teacher: Annotated[
        str, typer.Option("--teacher", help="mobile-sam, vit-b, vit-l, vit-h, box or grabcut.", metavar="NAME")
    ] = "mobile-sam",
    weights: Annotated[
        Path | None, typer.Option("--weights", "-w", help="The teacher's weights, when not bundled.", metavar="FILE")
    ] = None,
    box_format: Annotated[
        str | None, typer.Option("--format", help="coco, voc, yolo, csv or labelme; default: detected.", metavar="NAME")
    ] = None,
    gt: Annotated[
        Path | None, typer.Option("--gt", help="Ground-truth masks: audit the result against them.", metavar="MASKS")
    ] = None,
    engine: common.EngineOption = "auto",
    embeddings: common.EmbeddingsOption = None,
    embeddings_size: common.EmbeddingsSizeOption = 10.0,
    config: common.ConfigOption = None,
    set_: common.SetOption = None,
    engine_cluster: common.ClusterOption = None,
    cluster_address: common.ClusterAddressOption = None,
    cluster_workers: common.ClusterWorkersOption = None,
    as_json: common.JsonOption = False,
    device: common.DeviceOption = "auto",
    seed: common.SeedOption = 0,
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Turn coarse boxes into pseudo-masks with a frozen Segment Anything teacher.

    Run it again after an interruption and only the missing pictures are done. With --embeddings, a second run over the
    same pictures, with other boxes or settings, takes a fraction of the time. --engine-cluster changes nothing of what
    is written but the seconds. Settings (--set): multimask, grow, clip, min_island, min_hole, min_predicted_iou,
    min_coverage.
    """
    common.setup_logging(verbose, quiet)
    from imltool.cluster.clusters import choose_cluster
    from imltool.config import load_settings, save_settings
    from imltool.data.boxes import match_boxes, read_boxes
    from imltool.errors import DataError
    from imltool.files import sha256_file, sha256_text
    from imltool.journal import dump_json, output_folder
    from imltool.teacher.pseudo import PseudoSettings, write_pseudo_masks
    from imltool.teacher.registry import load_teacher, teacher_weights

    settings = load_settings(PseudoSettings, config, set_)
    cluster = choose_cluster(engine_cluster, cluster_address, cluster_workers)
    path = teacher_weights(teacher, weights)
    if not images.is_dir():
        raise DataError(f"{images} is not a folder of pictures")
    if gt is not None and not gt.is_dir():
        raise DataError(f"ground truth {gt} is not a folder of masks")
    annotated = read_boxes(boxes, box_format)
    report = match_boxes(images, annotated)
    _tell(report)
    if not report.matched:
        raise DataError(f"no box of {boxes} fits a picture in {images}", "see the faults above")
    folder = common.embedding_folder(embeddings, embeddings_size)
    model = load_teacher(teacher, weights, device, engine, folder)
    parameters = {
        "command": "pseudo",
        "teacher": teacher,
        "weights_sha256": sha256_file(path) if path else None,
        # masks of two engines can differ in single pixels
        "engine": model.engine.split()[0] if model.engine else None,
        "settings": settings.model_dump(mode="json"),
        # the annotation as it was read: a picture that is mended later still belongs to the same run
        "boxes_sha256": sha256_text(dump_json([item.identity() for item in annotated])),
    }
    failures = len(report.faults)
    made = 0
    started = time.perf_counter()
    with output_folder(out, parameters), common.progress_bar() as bar:
        save_settings(settings, out / "config.yaml")
        task = bar.add_task(f"pseudo-masks ({teacher})", total=len(report.matched))
        for row in write_pseudo_masks(report.matched, model, settings, out, cluster):
            bar.advance(task)
            made += row["status"] == "ok"
            if row["status"] == "failed":
                failures += 1
                common.log.error("%s: %s", row["image"], row["reason"])
            if as_json:
                common.stdout.print(dump_json(row), markup=False, highlight=False)
    kept = len(report.matched) - made - (failures - len(report.faults))
    common.say(f"{made} pseudo-masks made{f', {kept} kept from before' if kept else ''} → {out}")
    if made:
        reused = f", {folder.found} embeddings from {embeddings}" if folder else ""
        spread = f", workers: {cluster.describe()['workers']}" if cluster else ""
        rate = made / (time.perf_counter() - started)
        common.say(f"{rate:.2f} images/s by {model.engine or teacher}{spread}{reused}")
    if gt is not None:
        _audit(out, images, gt, seed, as_json)
    common.finish(failures)


def _tell(report: BoxReport) -> None:
    for fault in report.faults:
        common.log.error("%s: %s", fault.image, fault.message)
    for name in report.without_boxes:
        common.say(f"no box: {name}")
    if report.without_boxes:
        common.say(f"pictures without boxes: {len(report.without_boxes)}")


def _audit(out: Path, images: Path, gt: Path, seed: int, as_json: bool) -> None:
    from imltool.journal import dump_json
    from imltool.teacher.audit import write_audit

    with common.progress_bar() as bar:
        task = bar.add_task("audit", total=None)
        summary = write_audit(out, images, gt, seed, lambda: bar.advance(task))
    if as_json:
        common.stdout.print(dump_json({"audit": summary}), markup=False, highlight=False)
    else:
        common.stdout.print(_table(summary))
    common.say(f"audit → {out / 'audit.json'}, {out / 'audit.csv'}, {out / 'audit.png'}")


def _table(summary: dict[str, Any]) -> Any:
    from rich.table import Table

    columns = {
        "images": "{:d}",
        "iou_mean": "{:.3f}",
        "iou_median": "{:.3f}",
        "boundary_f": "{:.3f}",
        "under_half": "{:.1%}",
        "fallback": "{:.1%}",
        "seconds": "{:.2f}",
    }
    table = Table(title="pseudo-masks against ground truth")
    table.add_column("boxes cover")
    for heading in ("images", "IoU mean", "IoU median", "boundary F (2 px)", "IoU < .5", "fell back", "s/image"):
        table.add_column(heading, justify="right")
    for name, figures in {"all": summary, **summary["strata"]}.items():
        cells = [form.format(figures[key]) if key in figures else "–" for key, form in columns.items()]
        table.add_row(name, *cells)
    return table

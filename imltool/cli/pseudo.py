"""`imltool pseudo`: boxes in, pseudo-masks out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from imltool.cli import common
from imltool.texts import counted

if TYPE_CHECKING:
    from imltool.data.accounts import Account
    from imltool.data.boxes import BoxReport
    from imltool.tables import Table
    from imltool.teacher.audit import AuditSummary

MAX_LEFT_OUT = 0.1
"""`imltool.data.accounts.MAX_LEFT_OUT`; importing it here would slow down every start."""


def pseudo(
    images: Annotated[Path, common.argument("IMAGES", "Folder of pictures.")],
    boxes: Annotated[
        Path, common.option("--boxes FILE|DIR", "Annotation file, or a folder of them; docs/data.md lists the formats.")
    ],
    out: Annotated[Path, common.out_option("Folder for masks/ and pseudo.jsonl.")],
    teacher: Annotated[
        str,
        common.teacher_option("mobile-sam, vit-b, vit-l, vit-h, hq-vit-b and others of SAM-HQ, sam2, box or grabcut."),
    ] = "mobile-sam",
    weights: common.TeacherWeightsOption = None,
    box_format: common.BoxFormatOption = None,
    categories: common.CategoryOption = None,
    boxes_of: common.BoxesOfOption = None,
    max_left_out: common.MaxLeftOutOption = MAX_LEFT_OUT,
    coco: Annotated[
        bool, common.option("--coco", "Also write the masks as COCO run lengths, DIR/pseudo.coco.json.")
    ] = False,
    gt: Annotated[
        Path | None, common.option("--gt MASKS", "Ground-truth masks: audit the result against them.")
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
) -> None:
    """Turn coarse boxes into pseudo-masks with a frozen Segment Anything teacher.

    After an interruption, or when more pictures were annotated, the same command makes only the missing masks. With
    --embeddings, a second run over the same pictures, with other boxes or settings, takes a fraction of the time.
    --engine-cluster changes nothing in the output but the seconds. Settings (--set): multimask, grow, clip,
    min_island, min_hole, min_predicted_iou, min_coverage.
    """
    from imltool.cluster.clusters import choose_cluster
    from imltool.config import load_settings, save_settings
    from imltool.data.accounts import require_used, write_accounts
    from imltool.data.box_formats import read_boxes
    from imltool.data.boxes import match_boxes
    from imltool.errors import DataError
    from imltool.files import sha256_file
    from imltool.journal import output_folder
    from imltool.teacher.pseudo import COCO, PseudoSettings, write_coco_masks, write_pseudo_masks
    from imltool.teacher.pseudo_rows import read_pseudo
    from imltool.teacher.registry import load_teacher, teacher_weights

    settings = load_settings(PseudoSettings, config, set_)
    cluster = choose_cluster(engine_cluster, cluster_address, cluster_workers)
    path = teacher_weights(teacher, weights)
    if not images.is_dir():
        raise DataError(f"{images} is not a folder of pictures")
    if gt is not None and not gt.is_dir():
        raise DataError(f"ground truth {gt} is not a folder of masks")
    report = match_boxes(images, read_boxes(boxes, box_format, categories or ()), boxes_of)
    common.log_boxes(report)
    account = _account(images, report)
    common.say_accounts([account])
    if not report.matched:
        raise DataError(f"no box of {boxes} fits a picture in {images}", _unmatched(report))
    require_used([account], max_left_out, common.MAX_LEFT_OUT)
    folder = common.embedding_folder(embeddings, embeddings_size)
    model = load_teacher(teacher, weights, device, engine, folder)
    parameters = {
        "command": "pseudo",
        "teacher": teacher,
        "weights_sha256": sha256_file(path) if path else None,
        # masks of two engines can differ in single pixels
        "engine": model.engine.split()[0] if model.engine else None,
        "settings": settings.model_dump(mode="json"),
    }
    counts = dict.fromkeys(("ok", "failed", "withdrawn"), 0)
    started = time.perf_counter()
    with output_folder(out, parameters), common.progress_bar() as bar:
        save_settings(settings, out / "config.yaml")
        write_accounts(out, [account])
        task = bar.add_task(f"pseudo-masks ({teacher})", total=len(report.matched))
        # a picture that is missing today may be back tomorrow: a mask is removed only when its annotation changed
        withdrawn = [name for name, why in report.lost.items() if why == "no usable box"]
        for row in write_pseudo_masks(report.matched, model, settings, out, cluster, withdrawn, report.empty):
            bar.advance(task)
            counts[row.status] += 1
            if row.status == "failed":
                common.log.error("%s: %s", row.image, row.reason)
            elif row.status == "withdrawn":
                common.say(f"{row.image}: its box is gone, its pseudo-mask is removed")
            if as_json:
                common.print_json(row.model_dump())
        made = counts["ok"]
        kept = len(report.matched) - made - counts["failed"]
        common.say(f"{counted(made, 'pseudo-mask')} made{f', {kept} kept from before' if kept else ''} → {out}")
        others = len(read_pseudo(out)) - made - kept if made + kept else 0
        if others > 0:
            common.say(f"{counted(others, 'pseudo-mask')} in {out} kept: these boxes do not name their pictures")
        if coco:
            common.say(f"{counted(write_coco_masks(out), 'mask')} → {out / COCO}")
    if made:
        reused = f", {folder.found} embeddings from {embeddings}" if folder else ""
        spread = f", workers: {cluster.describe().workers}" if cluster else ""
        rate = made / (time.perf_counter() - started)
        common.say(f"{rate:.2f} images/s by {model.engine or teacher}{spread}{reused}")
    if gt is not None:
        _audit(out, images, gt, seed, as_json)
    common.finish(len(report.faults) + counts["failed"])


def _account(images: Path, report: BoxReport) -> Account:
    from imltool.data.accounts import Account
    from imltool.teacher.pseudo_rows import no_box_words

    account = Account(images.resolve().name, used=len(report.matched))
    for name, reason in report.lost.items():
        account.leave_out(reason, name)
    for name in report.without_boxes:
        if name not in report.lost:
            account.set_aside(no_box_words(report.empty[name]) if name in report.empty else "not annotated", name)
    return account


def _unmatched(report: BoxReport) -> str:
    """What to check when no annotation fits: a name from each side."""
    lost = [name for name, reason in report.lost.items() if reason == "picture not found"]
    if lost and report.without_boxes:
        return f"the boxes name {lost[0]}, the pictures are called {report.without_boxes[0]}"
    return "see the faults above"


def _audit(out: Path, images: Path, gt: Path, seed: int, as_json: bool) -> None:
    from imltool.teacher.audit import write_audit

    with common.progress_bar() as bar:
        task = bar.add_task("audit", total=None)
        summary = write_audit(out, images, gt, seed, lambda: bar.advance(task))
    if as_json:
        common.print_json({"audit": summary.model_dump(exclude_none=True)})
    else:
        common.print_table(_table(summary), common.stdout)
    common.say(f"audit → {out / 'audit.json'}, {out / 'audit.csv'}, {out / 'audit.png'}")


def _table(summary: AuditSummary) -> Table:
    from imltool.tables import Table, cell

    columns = {"images": "{:d}", "iou_mean": "{:.3f}", "iou_median": "{:.3f}", "boundary_f": "{:.3f}"}
    columns |= {"under_half": "{:.1%}", "fallback": "{:.1%}", "seconds": "{:.2f}"}
    heads = ("boxes cover", "images", "IoU mean", "IoU median", "boundary F (2 px)", "IoU < .5", "fell back", "s/image")
    rows = [
        [name, *(cell(getattr(found, key), form) for key, form in columns.items())]
        for name, found in {"all": summary, **summary.strata}.items()
    ]
    return Table("pseudo-masks against ground truth", heads, rows, 1)

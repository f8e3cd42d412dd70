"""`imltool data`: prepare data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imltool.cli import common, layouts
from imltool.texts import counted

app = typer.Typer(help="Prepare data sets.", no_args_is_help=True, rich_markup_mode="markdown")


@app.command()
@common.logged
def split(
    folder: Annotated[Path, common.argument("DIR", "Data set folder (its subfolders hold the pictures).")],
    out: Annotated[Path, common.option("--out PREFIX", "Write PREFIX.train.txt and PREFIX.val.txt.")],
    share: Annotated[float, common.option("--share SHARE", "Share of pictures held out.", min=0.01, max=0.99)] = 0.25,
    parts: Annotated[
        list[str] | None, common.option("--part NAME", "Subfolder to split. Repeatable (default: tampered, authentic).")
    ] = None,
    pattern: Annotated[
        str | None, common.option("--scene-pattern REGEX", "Regular expression of a scene id (default: CASIA's).")
    ] = None,
    seed: common.SeedOption = 0,
) -> None:
    """Split a data set so that no scene is on both sides; the lists fix the split for training and evaluation."""
    from imltool.data.folder import name_below
    from imltool.data.splits import CASIA_SCENE, require_pattern, split_by_scene
    from imltool.errors import DataError
    from imltool.files import walk_images, write_text

    require_pattern(pattern or CASIA_SCENE, "--scene-pattern")
    if not folder.is_dir():
        raise DataError(f"data set {folder} is not a folder")
    for part in parts or []:
        if not (folder / part).is_dir():
            raise DataError(f"{folder} has no subfolder {part}", "name its subfolders with --part")
    wanted = parts or ["tampered", "authentic"]
    names = [name_below(folder, path) for part in wanted for path in walk_images(folder / part)]
    if not names:
        raise DataError(f"no picture under {', '.join(wanted)} in {folder}", "name the subfolders with --part")
    train, held = split_by_scene(names, share, seed, pattern or CASIA_SCENE)
    head = f"# {folder.name}, scene-disjoint split, share {share:g}, seed {seed}\n"
    for name, chosen in (("train", train), ("val", held)):
        write_text(out.with_name(f"{out.name}.{name}.txt"), head + "\n".join(chosen) + "\n")
    common.say(f"{len(train)} for training, {len(held)} held out → {out}.train.txt, {out}.val.txt")


@app.command()
@common.logged
def objects(
    photos: Annotated[list[Path], common.argument("PHOTOS", "Photos, or folders of them (recursive).")],
    out: Annotated[Path, common.out_option("Folder for images/, masks/ and objects.jsonl.", "OBJECTS")],
    teacher: Annotated[str, common.teacher_option()] = "mobile-sam",
    weights: common.TeacherWeightsOption = None,
    max_per_photo: Annotated[int, common.option("--max-per-photo N", "At most N objects per photo.", min=1)] = 2,
    limit: Annotated[int | None, common.option("--limit N", "Use only N photos, drawn with --seed.", min=1)] = None,
    sheet: Annotated[bool, common.option("--sheet", "Draw the first 96 objects on sheet.png.")] = False,
    restart: common.RestartOption = False,
    config: common.ConfigOption = None,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
    device: common.DeviceOption = "auto",
    seed: common.SeedOption = 0,
) -> None:
    """Cut objects from unlabelled photos with Segment Anything, as sources of synthetic splices.

    Use them with synth --objects OBJECTS/images:OBJECTS/masks. After an interruption, the same command processes only
    the missing photos. Settings (--set): long_side, grid, min_predicted_iou, min_stability, min_area, max_area,
    min_side, max_border, min_main_piece, min_solidity, min_compactness, min_contrast, min_score, max_overlap.
    """
    from imltool.config import load_settings, save_settings
    from imltool.errors import DataError
    from imltool.files import sha256_file
    from imltool.scan.inputs import plan_inputs
    from imltool.synth import objects as cutting
    from imltool.teacher.registry import load_teacher, teacher_weights
    from imltool.texts import printable, readable

    settings = load_settings(cutting.ObjectSettings, config, set_)
    path = teacher_weights(teacher, weights)
    plan = plan_inputs(photos, out)
    for folder in plan.skipped:
        common.say(f"left out {printable(str(folder))}: ground truth of a labelled data set")
    if not plan.inputs:
        raise DataError(f"no photo found in {', '.join(printable(str(photo)) for photo in photos)}")
    model = cutting.require_sam(load_teacher(teacher, weights, device))
    parameters = {
        "photos": [readable(str(root.path)) for root in plan.roots],
        "teacher": teacher,
        "weights_sha256": sha256_file(path) if path else None,
        "settings": settings.model_dump(mode="json"),
        "max_per_photo": max_per_photo,
    }
    with cutting.objects_folder(out, parameters, restart):
        save_settings(settings, out / cutting.CONFIG)
        chosen = cutting.sample(plan.inputs, limit, seed)
        stems = cutting.object_stems(plan.inputs)
        made = found = failures = 0
        with common.progress_bar() as bar:
            task = bar.add_task(f"objects ({teacher})", total=len(chosen))
            for row in cutting.write_objects(chosen, stems, model, settings, max_per_photo, out):
                bar.advance(task)
                if row.status == "ok":
                    made, found = made + 1, found + len(row.objects)
                else:
                    failures += 1
                    common.log.error("%s: %s", row.photo, row.reason)
                if as_json:
                    common.print_json(row.model_dump(mode="json"))
        kept = len(chosen) - made - failures
        common.say(
            f"{counted(found, 'object')} cut from {counted(made, 'photo')}"
            f"{f', {kept} photos kept from before' if kept else ''} → {out}"
        )
        if sheet:
            common.say(f"sheet → {cutting.write_sheet(out)}")
    common.finish(failures)


layouts.register(app)

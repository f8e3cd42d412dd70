"""`imltool synth`: make a labelled set of forgeries from clean photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from imltool.cli import common
from imltool.texts import counted


def synth(
    out: Annotated[Path, common.out_option("Folder for tampered/, masks/, authentic/, boxes.json.")],
    count: Annotated[int, common.option("--count,-n N", "Number of samples in the folder.", min=1)],
    photos: Annotated[list[Path] | None, common.option("--photos DIR", "Folder of clean photos; repeatable.")] = None,
    objects: Annotated[
        list[str] | None,
        common.option("--objects IMAGES:MASKS", "Photos with one masked object each, to cut out; repeatable."),
    ] = None,
    max_left_out: common.MaxLeftOutOption = 0.1,
    sheet: Annotated[bool, common.option("--sheet", "Draw the first 48 samples on sheet.png.")] = False,
    config: common.ConfigOption = None,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
    seed: common.SeedOption = 0,
) -> None:
    """Make splices, copy-moves, removals, retouches, enlargements and authentic pictures, with exact masks and boxes.

    After an interruption, or with a larger --count, the same command makes only the missing samples.
    Settings: configs/synth.yaml.
    """
    import cv2

    from imltool.config import load_settings, save_settings
    from imltool.data.accounts import require_used, write_accounts
    from imltool.errors import UsageError
    from imltool.journal import output_folder
    from imltool.synth.forge import Forge
    from imltool.synth.settings import SynthSettings
    from imltool.synth.sources import SourcePool, working_side
    from imltool.synth.writer import sources_digest, write_forgeries, write_sheet

    if not photos and not objects:
        raise UsageError("no source pictures", "give --photos DIR, or --objects IMAGES:MASKS, or both")
    settings = load_settings(SynthSettings, config, set_)
    pairs = [_pair(text) for text in objects or []]
    pool = SourcePool.from_folders(photos or [], pairs, working_side(settings))
    common.say_accounts(pool.accounts)
    require_used(pool.accounts, max_left_out, common.MAX_LEFT_OUT)
    forge = Forge(settings, pool)
    parameters = {
        "command": "synth",
        "seed": seed,
        "settings": settings.model_dump(mode="json"),
        "sources_sha256": sources_digest(pool),
    }
    with output_folder(out, parameters):
        save_settings(settings, out / "config.yaml")
        write_accounts(out, pool.accounts)
        cv2.setNumThreads(1)  # on pictures this small, threads only cost time
        made, reasons = 0, []
        with common.progress_bar() as bar:
            task = bar.add_task("synth", total=count)
            for row in write_forgeries(forge, count, seed, out):
                bar.update(task, completed=row.index + 1)
                if row.status == "ok":
                    made += 1
                else:
                    if row.reason not in reasons:  # one bad source serves many samples
                        common.log.error("%s", row.reason)
                    reasons.append(row.reason)
                if as_json:
                    common.print_json(row.model_dump(mode="json"))
        kept = count - made - len(reasons)
        lost = f", {len(reasons)} failed" if reasons else ""
        common.say(f"{counted(made, 'sample')} made{f', {kept} kept from before' if kept else ''}{lost} → {out}")
        if sheet:
            common.say(f"sheet → {write_sheet(out)}")
    common.finish(len(reasons))


def _pair(text: str) -> tuple[Path, Path]:
    from imltool.errors import UsageError

    images, colon, masks = text.rpartition(":")
    if not colon or not images or not masks:
        raise UsageError(f"--objects {text!r} is not of the form IMAGES:MASKS", "two folders with a colon between")
    return Path(images), Path(masks)

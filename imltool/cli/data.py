"""`imltool data`: prepare data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imltool.cli import common

app = typer.Typer(help="Prepare data sets.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    pass


@app.command()
def split(
    folder: Annotated[Path, typer.Argument(help="Data set folder (its subfolders hold the pictures).", metavar="DIR")],
    out: Annotated[
        Path, typer.Option("--out", help="Prefix: writes PREFIX.train.txt and PREFIX.val.txt.", metavar="PREFIX")
    ],
    share: Annotated[float, typer.Option("--share", min=0.01, max=0.99, help="Share of pictures held out.")] = 0.25,
    parts: Annotated[
        list[str] | None, typer.Option("--part", help="Subfolder to split; repeatable. Default: tampered, authentic.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option("--scene-pattern", help="Regular expression of a scene id. Default: CASIA's.")
    ] = None,
    seed: common.SeedOption = 0,
    verbose: common.VerboseOption = 0,
    quiet: common.QuietOption = False,
) -> None:
    """Split a data set so that no scene is on both sides; the lists fix the split for training and evaluation."""
    import re

    from imltool.data.splits import CASIA_SCENE, split_by_scene
    from imltool.errors import DataError, UsageError
    from imltool.files import walk_images, write_text

    common.setup_logging(verbose, quiet)
    try:
        re.compile(pattern or CASIA_SCENE)
    except re.error as error:
        raise UsageError(f"--scene-pattern {pattern!r} is not a regular expression: {error}") from error
    if not folder.is_dir():
        raise DataError(f"data set {folder} is not a folder")
    wanted = parts or ["tampered", "authentic"]
    names = [path.relative_to(folder).as_posix() for part in wanted for path in walk_images(folder / part)]
    if not names:
        raise DataError(f"no picture under {', '.join(wanted)} in {folder}", "name the subfolders with --part")
    train, held = split_by_scene(names, share, seed, pattern or CASIA_SCENE)
    head = f"# {folder.name}, scene-disjoint split, share {share:g}, seed {seed}\n"
    for name, chosen in (("train", train), ("val", held)):
        write_text(out.with_name(f"{out.name}.{name}.txt"), head + "\n".join(chosen) + "\n")
    common.say(f"{len(train)} for training, {len(held)} held out → {out}.train.txt, {out}.val.txt")

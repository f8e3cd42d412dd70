"""`imltool model`: inspect, average, release and calibrate checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from imltool.cli import common
from imltool.texts import counted

app = typer.Typer(help="Inspect, average, release and calibrate checkpoints.", no_args_is_help=True)


@app.command()
@common.logged
def info(
    weights: common.WeightsOption = None,
    config: Annotated[Path | None, common.option("--config,-c FILE", "Training configuration to read instead.")] = None,
    set_: common.SetOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Show parameters, FLOPs and switches of a student, and the tool that counted them."""
    from imltool.config import load_settings
    from imltool.errors import UsageError
    from imltool.student.info import describe_architecture, describe_checkpoint, facts_table
    from imltool.training.settings import TrainSettings

    if weights is not None and (config is not None or set_):
        raise UsageError("--weights and --config/--set exclude each other", "give the checkpoint or the configuration")
    if config is not None or set_:
        facts = describe_architecture(load_settings(TrainSettings, config, set_).student)
    else:
        facts = describe_checkpoint(weights)
    if as_json:
        common.print_json(facts)
        return
    common.print_table(facts_table(facts), common.stdout)


@app.command()
@common.logged
def release(
    run: Annotated[Path, common.argument("RUN", "Folder of a training run.")],
    out: Annotated[Path, common.out_option("Checkpoint to write.", "FILE")],
    checkpoint: Annotated[
        str,
        common.option("--checkpoint NAME", "best (in validation), last, or a file made from checkpoints of the run."),
    ] = "best",
    as_json: common.JsonOption = False,
    device: common.DeviceOption = "auto",
) -> None:
    """Calibrate a run's checkpoint on its calibration split and store it as float16, ready to ship."""
    from imltool.files import human_size
    from imltool.student.info import shown
    from imltool.training.release import release as write_release

    figures = write_release(run, out, device, checkpoint)
    common.show_checkpoint(out, figures, as_json)
    common.say(f"{out}: {human_size(out.stat().st_size)}, {shown(figures.model_dump())}")


@app.command()
@common.logged
def average(
    files: Annotated[list[Path], common.argument("FILE", "Checkpoints of one architecture, two or more.")],
    out: Annotated[Path, common.out_option("Checkpoint to write.", "FILE")],
) -> None:
    """Average the weights of checkpoints, such as those of a run and of its continuation.

    Thresholds are not fitted: imltool model release --checkpoint FILE does this.
    """
    from imltool.training.release import average as write_average

    write_average(files, out)
    common.say(f"mean of {len(files)} checkpoints → {out}")


@app.command()
@common.logged
def calibrate(
    out: Annotated[Path, common.out_option("Checkpoint to write.", "FILE")],
    weights: common.WeightsOption = None,
    authentic: Annotated[
        list[str] | None,
        common.option(
            "--authentic NAME=DIR", "Folder of authentic pictures of one kind, for example of one camera. Repeatable."
        ),
    ] = None,
    config: Annotated[
        Path | None, common.option("--config,-c FILE", "Configuration: use its data.calibration instead.")
    ] = None,
    set_: common.SetOption = None,
    tta_flips: Annotated[
        Literal["1", "2", "4"] | None,
        common.option("--tta-flips", "Test-time augmentation stored in the file: number of flips averaged."),
    ] = None,
    tta_scale: Annotated[
        list[float] | None,
        common.option(
            "--tta-scale X",
            "See each picture at X times the input size, too, and average the maps; stored in the file. Repeatable: "
            "1 and 2 is the setting of the default student, 1 alone is faster. Default: that of --weights.",
        ),
    ] = None,
    keep_weights: Annotated[
        bool,
        common.option(
            "--keep-weights",
            "Fit the score thresholds only, as with --authentic: weights and pixel threshold stay unchanged.",
        ),
    ] = False,
    as_json: common.JsonOption = False,
    device: common.DeviceOption = "auto",
) -> None:
    """Fit a checkpoint's operating points to your own pictures.

    The false-alarm rate of scan holds for the kinds of pictures on which it was measured. Give folders of authentic
    pictures like those you work with, 19 or more of each kind: scan --weights FILE then keeps to 5 % on such pictures.
    The student must not have been trained on any of them.
    """
    from imltool.config import load_settings
    from imltool.errors import UsageError
    from imltool.training.release import calibrate as write_calibrated
    from imltool.training.settings import DataSettings, TrainSettings
    from imltool.training.sources import authentic_sources

    if bool(authentic) == (config is not None):
        raise UsageError("no pictures to calibrate on, or two sources", "give either --authentic NAME=DIR or --config")
    if authentic:
        if set_:
            raise UsageError("--set changes a configuration", "give --config too, or leave --set out")
        data = DataSettings(calibration=authentic_sources(authentic))
    else:
        data = load_settings(TrainSettings, config, set_).data
    flips, scales = int(tta_flips) if tta_flips else None, tuple(tta_scale) if tta_scale else None
    figures = write_calibrated(weights, data, out, device, flips, scales, keep_weights)
    common.show_checkpoint(out, figures, as_json)
    common.say(
        f"an indication is now a score above {figures.score_threshold:.4f}, fitted to "
        f"{counted(figures.n_authentic, 'authentic picture')}"
    )
    common.say(f"next: imltool export --weights {out}, for scans without PyTorch")

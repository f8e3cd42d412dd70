"""`imltool train`: train a student."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from imltool.cli import common


def train(
    out: Annotated[Path, common.out_option("Folder of the run.", "RUN")],
    config: common.ConfigOption = None,
    set_: common.SetOption = None,
    start: Annotated[
        str | None,
        common.option(
            "--from NAME",
            "Short for --set init=NAME: teacher, timm, random, or a student (known name, or checkpoint file).",
        ),
    ] = None,
    resume: Annotated[
        bool, common.option("--resume", "Resume the run in --out, with its own configuration unless --config is given.")
    ] = False,
    as_json: common.JsonOption = False,
    device: common.DeviceOption = "auto",
    seed: Annotated[int | None, common.option("--seed N", "Short for --set seed=N.", common.GENERAL, min=0)] = None,
) -> None:
    """Train a student on pseudo-masks, pixel masks, authentic photos and synthetic forgeries.

    RUN gets config.yaml, log.jsonl, curves.png, last.safetensors, best.safetensors and a state to resume from.
    After Ctrl-C or SIGTERM the state is saved. With --resume, workers, intervals and data.root (moved, with the same
    files) may be changed; other settings must be the same. On several GPUs: accelerate launch -m imltool train ….
    """
    import json

    from imltool.config import load_settings
    from imltool.training.run_folder import RunFolder
    from imltool.training.settings import TrainSettings

    overrides = [*(set_ or []), *([f"seed={seed}"] if seed is not None else [])]
    if start is not None:
        overrides.append(f"init={json.dumps(start)}")
    if resume and not config:
        config = [RunFolder(out).configuration]
    settings = load_settings(TrainSettings, config, overrides)
    from imltool.training.loop import Training

    training = Training(settings, out, device, resume)
    if not training.main:  # under accelerate launch only the main process prints messages
        common.setup_logging(quiet=True)
    rate = ""
    with common.progress_bar() as bar:
        task = bar.add_task("training", total=settings.optim.steps)
        for event in training.run():
            if as_json and training.main:
                common.print_json(event)
            if event["event"] == "start":
                bar.update(task, completed=event["step"])
                common.say_accounts(training.accounts)
                for note in training.notes:
                    common.log.warning("%s", note)
                common.say(f"training on {event['device']}, steps {event['step']}-{event['steps']}, into {out}")
            elif event["event"] == "train":
                rate = f"{event['images_per_second']:.1f} images/s"
                bar.update(task, completed=event["step"], description=f"loss {event['loss']:.4f}, {rate}")
                if bar.disable:  # no terminal: lines instead of a bar
                    common.say(f"step {event['step']} of {settings.optim.steps}: loss {event['loss']:.4f}, {rate}")
            elif event["event"] == "validation":
                common.say(f"step {event['step']}: {_figures(event)} {rate}")
    common.say(f"done: {out / 'best.safetensors'}")


def _figures(event: dict[str, object]) -> str:
    shown = ("pixel_f1", "pixel_f1_calibrated", "image_auc", "image_tpr", "fp_area")
    return ", ".join(f"{name} {event[name]:.3f}" for name in shown if event.get(name) is not None) or "saved"

"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from timm.utils import ModelEmaV3
from torch import Tensor
from torch.utils.data import DataLoader

from imltool.device import choose_device, seed_everything
from imltool.errors import TrainingError
from imltool.files import sha256_file
from imltool.student.backbone import MEAN, STD
from imltool.student.checkpoint import CheckpointHeader, TrainingSet, save_checkpoint
from imltool.student.localizer import Localizer, normalise
from imltool.student.model import Student
from imltool.training.curves import draw_curves
from imltool.training.data import TrainingData, seed_worker
from imltool.training.initialise import BATCH_NORM_BATCHES, initialise
from imltool.training.losses import LOSSES
from imltool.training.run_folder import RunFolder
from imltool.training.schedule import learning_rate
from imltool.training.settings import TrainSettings
from imltool.training.validation import Validation

Event = dict[str, Any]


class Training:
    """One run: `for event in Training(...).run()` trains, validates, saves and yields what is logged.

    Args:
        device: as `choose_device` takes it; `accelerate launch` starts several processes with the same settings.
        resume: continue the newest state in `out`, exactly as if nothing had happened.

    Raises `DataError`, `WeightsError`, `ResumeError` before the first step, `TrainingError` at NaN or lack of memory.
    """

    def __init__(self, settings: TrainSettings, out: Path, device: str = "auto", resume: bool = False) -> None:
        self.settings = settings
        seed_everything(settings.seed)
        optim = settings.optim
        self.accelerator = Accelerator(
            cpu=choose_device(device).type == "cpu",
            mixed_precision=optim.precision,
            # one batch is shared by all processes: the same settings mean the same training on any number of them
            dataloader_config=DataLoaderConfiguration(split_batches=True),
        )
        self.data = TrainingData(
            settings.data, settings.augment, settings.student.input_size, settings.seed, optim.steps * optim.batch_size
        )
        self.validation = Validation(settings.data) if settings.data.validation else None
        self.folder = RunFolder(out)
        self.main = self.accelerator.is_main_process
        if self.main:
            self.folder.claim(settings, resume)
        self.accelerator.wait_for_everyone()
        state = self.folder.state
        student = Student(settings.student)
        if state is None:
            initialise(student, settings.init, self._first_batches())
        student = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = ModelEmaV3(student, decay=optim.ema, use_warmup=True) if optim.ema else None
        optimizer = torch.optim.AdamW(self._groups(student), lr=optim.lr)
        loader = DataLoader(
            self.data,
            batch_size=optim.batch_size,
            sampler=range(self.folder.step * optim.batch_size, len(self.data)),
            num_workers=settings.workers,
            worker_init_fn=seed_worker,
            pin_memory=self.accelerator.device.type == "cuda",
            prefetch_factor=4 if settings.workers else None,
            # a forked worker would inherit OpenCV's and OpenMP's thread pools in an unusable state, and hang
            multiprocessing_context="spawn" if settings.workers else None,
        )
        self.student, self.optimizer, self.loader = self.accelerator.prepare(student, optimizer, loader)
        if self.ema is not None:
            self.ema.to(self.accelerator.device)
            self.accelerator.register_for_checkpointing(self.ema)
        if state is not None:
            self.accelerator.load_state(str(state))
        self.best = -1.0

    def run(self) -> Iterator[Event]:
        """Train to the last step. Yields `start`, `train`, `validation` and `end` events, also written to log.jsonl."""
        optim, folder = self.settings.optim, self.folder
        loss_of = LOSSES[optim.loss]
        if self.main:
            folder.open_log()
        self.best = max((row["score"] for row in folder.rows if row["event"] == "validation"), default=-1.0)
        step, total, mark = folder.step, 0.0, time.perf_counter()
        yield {"event": "start", "step": step, "steps": optim.steps, "device": str(self.accelerator.device)}
        self.student.train()
        try:
            for pixels, target in self.loader:
                lr = learning_rate(step, optim.steps, optim.lr, optim.warmup, optim.final_lr)
                for group in self.optimizer.param_groups:
                    group["lr"] = lr * group["scale"]
                with self.accelerator.autocast():
                    logits = self.student(self._input(pixels))
                loss = loss_of(logits.float(), target[:, None].float().div_(255.0))
                self.accelerator.backward(loss)
                norm = self.accelerator.clip_grad_norm_(self.student.parameters(), optim.clip_norm)
                value = float(self.accelerator.reduce(loss.detach(), "mean"))
                if not math.isfinite(value + float(norm)) and optim.precision != "fp16":
                    raise TrainingError(
                        f"the loss is not finite at step {step + 1}",
                        f"lower optim.lr or set optim.precision=no; the weights before it are in {folder.path}",
                    )
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                if self.ema is not None:
                    self.ema.update(self.accelerator.unwrap_model(self.student), step=step)
                step, total = step + 1, total + value
                if step % self.settings.log_every == 0 or step == optim.steps:
                    count = (step - 1) % self.settings.log_every + 1
                    seconds = time.perf_counter() - mark
                    rate = count * optim.batch_size / seconds
                    yield self._log(
                        {"event": "train", "step": step, "loss": total / count, "lr": lr, "images_per_second": rate}
                    )
                    total, mark = 0.0, time.perf_counter()
                last = step == optim.steps
                if step % self.settings.validate_every == 0 or last:
                    yield self._validate(step)
                    mark = time.perf_counter()
                if step % self.settings.save_every == 0 or last:
                    self._save_state(step)
                if last:
                    break
        except KeyboardInterrupt:
            self._save_state(step)
            raise
        except TrainingError:
            self._save_state(step)
            raise
        except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "memory" not in str(error).lower():
                raise
            self.optimizer.zero_grad(set_to_none=True)
            self._save_state(step)
            raise TrainingError(
                f"out of memory at step {step + 1}",
                "lower optim.batch_size or student.input_size, then --resume elsewhere",
            ) from error
        finally:
            folder.close()
        yield {"event": "end", "step": step, "best": self.best}

    def _input(self, pixels: Tensor) -> Tensor:
        return normalise(pixels, MEAN, STD).contiguous(memory_format=torch.channels_last)

    def _first_batches(self) -> list[Tensor]:
        size = min(16, self.settings.optim.batch_size)
        count = min(len(self.data), BATCH_NORM_BATCHES * size)
        pixels = [self.data[index][0] for index in range(count)]
        return [self._input(torch.stack(pixels[i : i + size])) for i in range(0, count, size)]

    def _groups(self, student: Student) -> list[dict[str, Any]]:
        """Weight decay for matrices only; the pretrained backbone moves more slowly."""
        optim = self.settings.optim
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name, parameter in student.named_parameters():
            scale = optim.backbone_lr if name.startswith("backbone.") else 1.0
            decay = optim.weight_decay if parameter.ndim > 1 and "attention_biases" not in name else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
        return [{"params": found, "scale": scale, "weight_decay": decay} for (scale, decay), found in groups.items()]

    def _log(self, row: Event) -> Event:
        if self.main:
            self.folder.log(row)
        return row

    def _save_state(self, step: int) -> None:
        if self.main:
            self.folder.begin_state(step)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(self.folder.hidden(step)))
        self.accelerator.wait_for_everyone()
        if self.main:
            self.folder.finish_state(self.folder.hidden(step))

    def _weights(self) -> Student:
        return self.ema.module if self.ema is not None else self.accelerator.unwrap_model(self.student)

    def _header(self, step: int, figures: dict[str, Any]) -> CheckpointHeader:
        return CheckpointHeader(
            name=self.settings.name,
            architecture=self.settings.student,
            step=step,
            figures=figures,
            training_sets=self.training_sets,
            configuration=self.settings.model_dump(mode="json"),
        )

    @property
    def training_sets(self) -> tuple[TrainingSet, ...]:
        """Names and file hashes of everything trained on, computed once."""
        if not hasattr(self, "_training_sets"):
            self._training_sets = tuple(
                TrainingSet(name=name, files=tuple(sorted({sha256_file(path) for path in paths})))
                for name, paths in self.data.files().items()
            )
        return self._training_sets

    def _validate(self, step: int) -> Event:
        """Validate the weights, write last.safetensors (and best.safetensors), log and draw the curves.

        One process does it; the others wait at the next step's exchange of gradients.
        """
        if not self.main:
            return {"event": "validation", "step": step}
        figures: dict[str, Any] = {}
        score, header = float(step), self._header(step, figures)
        weights = self._weights()
        if self.validation is not None:
            localizer = Localizer(weights, header, self.accelerator.device, None)
            figures, found = self.validation.run(localizer)
            score = figures["pixel_f1"] if figures["pixel_f1"] is not None else 0.0
            header = self._header(step, figures).model_copy(
                update={
                    "pixel_threshold": found.pixel_threshold,
                    "score_threshold": found.score_threshold,
                    "score_fpr": found.score_fpr,
                }
            )
        save_checkpoint(self.folder.path / "last.safetensors", weights.state_dict(), header)
        if score > self.best:
            self.best = score
            save_checkpoint(self.folder.path / "best.safetensors", weights.state_dict(), header)
        row = self._log({"event": "validation", "step": step, "score": score, **figures})
        draw_curves(self.folder.path / "curves.png", self.folder.rows)
        self.student.train()
        return row

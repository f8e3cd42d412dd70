"""The training loop."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, InitProcessGroupKwargs, broadcast_object_list
from safetensors import SafetensorError
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor
from torch.utils.data import DataLoader

from imltool.data.accounts import require_used, write_accounts
from imltool.device import choose_device, freed_memory_kept, seed_everything
from imltool.errors import ImlError, OutputError, TrainingError, UsageError
from imltool.files import make_folder, writing
from imltool.inference.localizer import Localizer
from imltool.interrupt import deferred_interrupt
from imltool.student.checkpoint import save_checkpoint
from imltool.student.header import CheckpointHeader, Figures
from imltool.student.model import Student, normalise
from imltool.student.settings import MEAN, STD
from imltool.traces.stack import VERSION
from imltool.training.curves import draw_curves
from imltool.training.data import TrainingData, plain_fault, seed_worker
from imltool.training.distillation import Before
from imltool.training.initialise import BATCH_NORM_BATCHES, find_start, initialise
from imltool.training.losses import LOSSES, Meter, divergence
from imltool.training.provenance import data_digest, hash_sets, joined, merged_sets, refuse_overlap
from imltool.training.run_folder import RunFolder, stopped_early
from imltool.training.settings import MAX_LEFT_OUT_OPTION, TrainSettings
from imltool.training.trackers import Trackers, require_trackers
from imltool.training.validation import Validation

Event = dict[str, Any]
Batch = tuple[Tensor, Tensor, Tensor]
PRECISIONS = {"bf16": "bf16", "fp16": "fp16", "fp32": "no"}
AUTO_PRECISION = {"cuda": "bf16"}
"""`auto` precision by kind of device, else fp32: CPUs without AMX train faster in it (our choice, docs/engines.md)."""


class Training:
    """One run: `for event in Training(...).run()` trains, validates, saves and yields events.

    Args:
        device: as `choose_device` takes it; `accelerate launch` starts several processes with the same settings.
        resume: continue from the newest state in `out`, with the same result as an uninterrupted run.

    Raises `DataError`, `WeightsError`, `ResumeError`, `UsageError` before the first step, `TrainingError` when the loss
    is not finite or memory runs out, `OutputError` when a file cannot be written.
    """

    def __init__(self, settings: TrainSettings, out: Path, device: str = "auto", resume: bool = False) -> None:
        self.settings = settings
        optim = settings.optim
        seed_everything(settings.seed)
        require_trackers(settings.trackers)
        # accelerate keeps one precision per process, and a program may train twice
        AcceleratorState._reset_state()  # noqa: SLF001 there is no public way
        chosen = choose_device(device)
        kind = chosen.partition(":")[0]
        precision = AUTO_PRECISION.get(kind, "fp32") if optim.precision == "auto" else optim.precision
        self.accelerator = Accelerator(
            cpu=chosen == "cpu",
            mixed_precision=PRECISIONS[precision],
            # all processes share one batch, so the schedule does not depend on their number
            dataloader_config=DataLoaderConfiguration(split_batches=True),
            # the main process validates while the others wait
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=12))],
            log_with=list(settings.trackers) or None,
            project_dir=out / "trackers",  # for trackers that write files, such as TensorBoard
        )
        self.main = self.accelerator.is_main_process
        self._require_processes()
        self.data = TrainingData(
            settings.data,
            settings.augment,
            settings.student,
            settings.seed,
            optim.steps * optim.batch_size,
            optim.batch_size,
        )
        watched, calibrating = settings.data.validation, settings.data.calibration
        self.validation = Validation(settings.data, watched) if watched else None
        self.calibration = Validation(settings.data, calibrating) if calibrating else None
        start = find_start(settings.init)
        self.before = Before(start, settings.student, self.accelerator.device) if optim.distill else None
        self.ancestry = start.ancestry if start else ()
        # pictures the start was trained on count as training pictures: none of them may be held out now
        self.training_sets = merged_sets(hash_sets(self.data.files()), start.header.training_sets if start else ())
        parts = [part for part in (self.validation, self.calibration) if part]
        seen = joined([part.files() for part in parts])
        validation_sets = hash_sets(seen)
        refuse_overlap(self.training_sets, validation_sets, seen)
        # the start was chosen and calibrated on its own: they count as seen, too
        self.validation_sets = merged_sets(validation_sets, start.header.validation_sets if start else ())
        if self.validation and self.calibration:
            validating, fitting = self.validation.files(), self.calibration.files()
            refuse_overlap(hash_sets(validating), hash_sets(fitting), fitting, "calibration", "validation")
        self.accounts = [*self.data.accounts(), *(account for part in parts for account in part.accounts)]
        self.notes = [*self.data.notes(), *(note for part in parts for note in part.notes)]
        self.folder = RunFolder(out)
        if self.main:
            require_used(self.accounts, settings.data.max_left_out, MAX_LEFT_OUT_OPTION)
            masks = [*self.data.masks(), *(mask for part in parts for mask in part.masks())]
            self.folder.claim(settings, resume, data_digest((*self.training_sets, *validation_sets), masks))
            write_accounts(self.folder.path, self.accounts)
        self.accelerator.wait_for_everyone()
        state = self.folder.state
        student = Student(settings.student)
        if state is None:
            initialise(student, settings.init, self._first_batches)
        if optim.sync_batch_norm and self.accelerator.num_processes > 1:
            student = torch.nn.SyncBatchNorm.convert_sync_batchnorm(student)  # type: ignore[no-untyped-call]
        student.freeze_backbone(optim.backbone_lr == 0)
        student.fix_statistics(optim.fix_batch_norm)
        student = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = ModelEmaV3(student, decay=optim.ema, use_warmup=True) if optim.ema else None
        self.meter = Meter()
        optimizer = torch.optim.AdamW(self._groups(student), lr=optim.lr)
        self.student, self.optimizer, self.loader = self.accelerator.prepare(student, optimizer, self._loader())
        if self.ema is not None:
            self.ema.to(self.accelerator.device)
            self.accelerator.register_for_checkpointing(self.ema)
        self.accelerator.register_for_checkpointing(self.meter)
        if state is not None:
            self.accelerator.load_state(str(state))
        self.best = -2.0
        self.trackers = Trackers(self.accelerator, settings.trackers, settings.name, settings)

    def _require_processes(self) -> None:
        """Raises `UsageError` when the number or kind of processes does not fit the settings."""
        optim, count = self.settings.optim, self.accelerator.num_processes
        if (optim.batch_size // optim.accumulate) % count:
            parts = f" in {optim.accumulate} parts" if optim.accumulate > 1 else ""
            raise UsageError(
                f"optim.batch_size {optim.batch_size}{parts} cannot be shared by {count} processes",
                "make it a multiple of their number",
            )
        if optim.sync_batch_norm and count > 1 and self.accelerator.device.type != "cuda":
            raise UsageError("optim.sync_batch_norm needs CUDA devices", "leave it out")

    def run(self) -> Iterator[Event]:
        """Train to the last step. Yields `start`, `train`, `validation` and `end` events.

        `train` and `validation` events are also lines of log.jsonl.
        """
        settings, folder = self.settings, self.folder
        if self.main:
            folder.open_log(self.accounts)
        self.best = max((row["score"] for row in folder.rows if row["event"] == "validation"), default=-2.0)
        step, steps, mark = folder.step, settings.optim.steps, time.perf_counter()
        yield {
            "event": "start",
            "step": step,
            "steps": steps,
            "device": str(self.accelerator.device),
            "sources": [account.row() for account in self.accounts],
        }
        batches = self._batches()
        self.student.train()
        last = self._should_stop()  # True when a run that ended early is resumed
        try:
            on_cpu = self.accelerator.device.type == "cpu"
            with freed_memory_kept() if on_cpu else nullcontext(), deferred_interrupt() as interrupted:
                for parts in batches if not last else ():
                    lr = settings.optim.learning_rate(step)
                    self.meter.add(self._step(parts, step, lr))
                    step += 1
                    last = step == steps
                    if step % settings.log_every == 0 or last:
                        rate = self.meter.steps * settings.optim.batch_size / (time.perf_counter() - mark)
                        loss = self.meter.take()
                        yield self._log(
                            {"event": "train", "step": step, "loss": loss, "lr": lr, "images_per_second": rate}
                        )
                        mark = time.perf_counter()
                    if step % settings.validate_every == 0 or last:
                        yield self._validate(step)
                        last = last or self._should_stop()
                        mark = time.perf_counter()
                    if interrupted() and self.accelerator.num_processes > 1:
                        raise KeyboardInterrupt  # processes may be at different steps: the last common state is kept
                    if step % settings.save_every == 0 or last or interrupted():
                        self._save_state(step)
                    if interrupted():
                        raise KeyboardInterrupt
                    if last:
                        break
        finally:
            batches.close()  # ends the workers
            folder.close()
            self.trackers.close()
        yield {"event": "end", "step": step, "best": self.best}

    def _should_stop(self) -> bool:
        """Whether the score has not risen for `patience` validations; the same in all processes."""
        if self.settings.patience is None:
            return False
        stale = self.main and stopped_early(self.folder.rows, self.settings.patience)
        (decided,) = broadcast_object_list([stale])
        return bool(decided)

    def _step(self, parts: list[Batch], step: int, lr: float) -> float:
        """Take one optimizer step; returns the mean loss over processes. On an error, saves the state before it."""
        optim = self.settings.optim
        held = [buffer.clone() for buffer in self.student.buffers()]
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        try:
            loss = torch.stack([self._backward(part, part is parts[-1], len(parts)) for part in parts]).mean()
            norm = float(self.accelerator.clip_grad_norm_(self.student.parameters(), optim.clip_norm))
            value = float(self.accelerator.reduce(loss, "mean"))
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "memory" not in str(error).lower():
                raise
            self._undo(held, step)
            raise TrainingError(
                f"out of memory at step {step + 1}; the state before it is saved",
                "--resume on a larger machine, or start a new run with a higher optim.accumulate",
            ) from error
        # under fp16 the gradient scaler skips a step whose gradients overflow; the loss itself must be finite
        if not math.isfinite(value) or not (math.isfinite(norm) or optim.precision == "fp16"):
            self._undo(held, step)
            raise TrainingError(
                f"the loss is not finite at step {step + 1}; the state before it is saved",
                "start a new run in another --out with a lower optim.lr, or with optim.precision=fp32",
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.accelerator.unwrap_model(self.student), step=step)
        return value

    def _backward(self, part: Batch, last: bool, count: int) -> Tensor:
        """Accumulate the gradients of one of `count` parts of a batch; returns its loss.

        Processes exchange gradients only at the `last` part.
        """
        pixels, traces, labels = part
        optim = self.settings.optim
        images, seen = self._input(pixels), traces.float() if traces.numel() else None
        target = labels[:, None].float().div_(255.0)
        with nullcontext() if last else self.accelerator.no_sync(self.student):
            with self.accelerator.autocast():
                logits = self.student(images, seen)
            loss = LOSSES[optim.loss](logits.float(), target)
            if self.before is not None:
                loss = loss + optim.distill * divergence(logits.float(), self.before(images, seen), target)
            self.accelerator.backward(loss / count)
        return loss.detach()

    def _undo(self, held: list[Tensor], step: int) -> None:
        """Restore buffers changed by the forward pass (BatchNorm, the ema bank); save the state after `step` steps."""
        self.optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(self.student.buffers(), held, strict=True):
            buffer.copy_(before)
        if self.accelerator.num_processes == 1:  # with more, the others are waiting elsewhere: the last state is kept
            self._save_state(step)

    def _batches(self) -> Generator[list[Batch], None, None]:
        """The parts of each batch."""
        parts: list[Batch] = []
        try:
            for part in self.loader:
                parts.append(part)
                if len(parts) == self.settings.optim.accumulate:
                    yield parts
                    parts = []
        except ImlError as error:
            raise plain_fault(error) from None

    def _loader(self) -> DataLoader[Batch]:
        settings = self.settings
        return DataLoader(
            self.data,
            batch_size=settings.optim.batch_size // settings.optim.accumulate,
            sampler=range(self.folder.step * settings.optim.batch_size, len(self.data)),
            num_workers=settings.workers,
            worker_init_fn=seed_worker,
            # a separate generator: drawing from torch's global one would shift the random stream of a resumed run
            generator=torch.Generator().manual_seed(settings.seed),
            pin_memory=self.accelerator.device.type == "cuda",
            prefetch_factor=4 if settings.workers else None,
            # a forked worker would inherit OpenCV's and OpenMP's thread pools in an unusable state, and hang
            multiprocessing_context="spawn" if settings.workers else None,
        )

    def _input(self, pixels: Tensor) -> Tensor:
        return normalise(pixels, MEAN, STD).contiguous(memory_format=torch.channels_last)

    def _first_batches(self) -> list[Tensor]:
        size = min(16, self.settings.optim.batch_size)
        count = min(len(self.data), BATCH_NORM_BATCHES * size)
        pixels = [self.data[index][0] for index in range(count)]
        batches = [pixels[i : i + size] for i in range(0, count, size)]
        # pictures of another side than the first one's belong to another training batch: left out
        return [self._input(torch.stack([one for one in batch if one.shape == batch[0].shape])) for batch in batches]

    def _groups(self, student: Student) -> list[dict[str, Any]]:
        """Weight decay for matrices only; the pretrained backbone moves more slowly."""
        optim = self.settings.optim
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name, parameter in student.named_parameters():
            if not parameter.requires_grad:
                continue
            scale = optim.backbone_lr if name.startswith("backbone.") else 1.0
            decay = optim.weight_decay if parameter.ndim > 1 and "attention_biases" not in name else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
        return [{"params": found, "scale": scale, "weight_decay": decay} for (scale, decay), found in groups.items()]

    def _log(self, row: Event) -> Event:
        if self.main:
            self.folder.log(row)
        self.trackers.log(row)
        return row

    def _save_state(self, step: int) -> None:
        hidden = self.folder.hidden(step)
        if self.main:
            shutil.rmtree(hidden, ignore_errors=True)
            make_folder(hidden)
        self.accelerator.wait_for_everyone()
        try:
            with writing(hidden):
                self.accelerator.save_state(str(hidden))
        except (SafetensorError, RuntimeError) as error:  # raised by safetensors and torch.save when the disk is full
            raise OutputError(
                f"cannot write the state {hidden}: {' '.join(str(error).split())[:160]}",
                "free some space and --resume: the state before it is kept",
            ) from error
        self.accelerator.wait_for_everyone()
        if self.main:
            self.folder.finish_state(hidden)

    def _weights(self) -> Student:
        if self.ema is not None:
            return cast(Student, self.ema.module)
        # without accelerate's autocast, so that thresholds are fitted in the precision in which they are used
        return cast(Student, self.accelerator.unwrap_model(self.student, keep_fp32_wrapper=False))

    def _validate(self, step: int) -> Event:
        """Validate the weights, write last.safetensors (and best.safetensors), log and draw the curves.

        The main process does it; the others wait at the next step's exchange of gradients.
        """
        if not self.main:
            return {"event": "validation", "step": step}
        figures: Figures | None = None
        weights, score = self._weights(), float(step)
        header = CheckpointHeader(
            name=self.settings.name,
            architecture=self.settings.student,
            step=step,
            trace_version=VERSION,
            ancestry=self.ancestry,
            training_sets=self.training_sets,
            validation_sets=self.validation_sets,
            configuration=self.settings.model_dump(mode="json"),
        )
        localizer = Localizer.of(weights, header, self.accelerator.device)
        found = None
        if self.validation is not None:
            figures, found = self.validation.run(localizer)
            score = figures.balance
        if self.calibration is not None:
            _, found = self.calibration.run(localizer)
        if found is not None:
            header = found.into(header, figures)
        save_checkpoint(self.folder.path / "last.safetensors", weights.state_dict(), header)
        if score > self.best:
            self.best = score
            save_checkpoint(self.folder.path / "best.safetensors", weights.state_dict(), header)
        measured = figures.model_dump() if figures else {}
        row = self._log({"event": "validation", "step": step, "score": score, **measured})
        draw_curves(self.folder.path / "curves.png", self.folder.rows)
        self.student.train()
        return row

"""SAM 2 (Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024) as a teacher, run by transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imltool.errors import UsageError, WeightsError
from imltool.pictures.images import RGB
from imltool.teacher.sam import rated
from imltool.teacher.teacher import BoxMask

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files that describe the preprocessing: transformers 5 writes only the second, official folders have both."""
KINDS = ("sam2", "sam2_video")
"""`model_type` of a folder's configuration. Official folders have the second: the same tensors, plus tensors for
videos, which are not loaded.
"""

IMAGE_POSITIONS = "shared_image_embedding.positional_embedding"
PROMPT_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"
"""SAM 2 has one matrix for the positions of pixels and of prompts. transformers 4 saves it only under the first name;
transformers 5 does not handle this and would fill the second with random numbers.
"""


@dataclass(frozen=True)
class Sam2Embedding:
    """The encoder's result for a picture: three maps from fine to coarse, for the official models float32
    [1,32,256,256], [1,64,128,128] and [1,256,64,64]; `size` is (H, W) of the picture.
    """

    features: list[Tensor]
    size: tuple[int, int]


class Sam2Teacher:
    """SAM 2 with box prompts, with the processor and model of transformers. It is never trained or changed.

    Pictures of any shape are resized to the processor's square (1024 × 1024), and masks back from it, as in the
    training of SAM 2.

    Args:
        weights: `model.safetensors` in a folder written by `save_pretrained`.
        device: torch's name of the device.

    Raises `UsageError` without transformers, `WeightsError` when the folder contains no SAM 2 or a damaged one.
    """

    name = "sam2"
    embeddings = None

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        self.weights, self.device = weights, device
        self._model, self._processor, version = _load(weights.parent)
        self._model.to(device)
        on = "" if torch.device(device).type == "cpu" else f" {torch.device(device).type}"
        self.engine = f"torch {torch.__version__}{on}, transformers {version}"

    @torch.inference_mode()
    def embed(self, rgb: RGB) -> Sam2Embedding:
        """Embed a uint8 RGB picture [H,W,3]."""
        # a copy, because torch warns about read-only arrays; axes are named, because three rows could be taken for
        # planes
        view = self._processor(images=np.array(rgb), input_data_format="channels_last", return_tensors="pt")
        return Sam2Embedding(self._model.get_image_embeddings(view["pixel_values"].to(self.device)), rgb.shape[:2])

    @torch.inference_mode()
    def decode(self, embedding: Sam2Embedding, boxes: NDArray[np.float32], multimask: bool = False) -> list[BoxMask]:
        """One mask for every box.

        Args:
            boxes: float32 [n,4] XYXY, pixels of the picture.
            multimask: take the best-rated of SAM 2's three masks (`choice` 1 to 3) instead of its single mask (`choice`
                0), which SAM 2 itself replaces by the best of the three if it is unstable.
        """
        if len(boxes) == 0:
            return []
        prompts = self._processor(original_sizes=[embedding.size], input_boxes=[boxes.tolist()], return_tensors="pt")
        answer = self._model(
            image_embeddings=list(embedding.features),
            input_boxes=prompts["input_boxes"].to(self.device),
            multimask_output=multimask,
        )
        found = []
        for low, quality in zip(answer.pred_masks[0], answer.iou_scores[0], strict=True):
            best = int(quality.argmax())
            chosen = low[None, best : best + 1]
            (logits,) = self._processor.post_process_masks([chosen], [embedding.size], binarize=False)
            found.append(rated(logits[0, 0], float(quality[best]), best + 1 if multimask else 0))
        return found


def sam2_weights(given: Path) -> Path:
    """The weights file of a SAM 2 folder; `given` is the folder or that file. Raises `WeightsError` for any other."""
    folder = given.parent if given.name == WEIGHTS else given
    missing = [
        names[0] for names in ([WEIGHTS], [CONFIG], PROCESSORS) if not any((folder / n).is_file() for n in names)
    ]
    if missing:
        what = f"has no {missing[0]}" if folder.is_dir() else "is not a folder" if folder.exists() else "does not exist"
        remedy = "give the folder of a SAM 2 for transformers, such as facebook/sam2.1-hiera-tiny"
        raise WeightsError(f"{folder} {what}", remedy)
    return folder / WEIGHTS


def sam2_files(weights: Path) -> list[Path]:
    """The files from which a SAM 2 is loaded, the weights first."""
    beside = (weights.with_name(name) for name in (CONFIG, *PROCESSORS))
    return [weights, *(path for path in beside if path.is_file())]


def _load(folder: Path) -> tuple[Any, Any, str]:
    """Model, processor and transformers' version."""
    try:
        from transformers import Sam2Model, Sam2Processor, __version__
    except ImportError as error:
        raise UsageError("teacher sam2 needs transformers", "pip install 'imltool[sam2]'") from error
    # nothing in a folder may cause network access or run code
    here = {"local_files_only": True, "trust_remote_code": False}
    model: Any = None
    processor: Any = None
    problem = ""
    with _quiet():
        try:
            kind = json.loads((folder / CONFIG).read_bytes()).get("model_type")
            if kind not in KINDS:
                problem = f"its {CONFIG} is of {kind}"
            else:
                model, report = Sam2Model.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **here)
                processor = Sam2Processor.from_pretrained(folder, **here)
                missing = sorted(report["missing_keys"])
                if missing == [PROMPT_POSITIONS]:
                    model.load_state_dict({PROMPT_POSITIONS: model.state_dict()[IMAGE_POSITIONS]}, strict=False)
                elif missing:
                    problem = f"{len(missing)} tensors missing, {missing[0]}"
        except Exception as error:  # OSError, ValueError, RuntimeError, SafetensorError, huggingface_hub's
            problem = " ".join(str(error).split())[:160]
    if problem:
        raise WeightsError(f"{folder} does not hold a SAM 2: {problem}", "check the files of the folder")
    return model.requires_grad_(False).eval(), processor, __version__


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the progress bar and the warning that a SAM 2 for videos is loaded for pictures."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()

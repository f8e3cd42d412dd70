"""The bundled teacher: MobileSAM's TinyViT encoder with segment-anything's prompt encoder and mask decoder."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from imltool.errors import WeightsError
from imltool.student.backbone import ENCODER, TinyVitBackbone, backbone_state
from imltool.teacher.network import EMBED_DIM, EMBED_GRID, INPUT_SIZE


class MobileSamEncoder(nn.Module):
    """TinyViT-5M in which the last patch merging keeps the resolution, followed by SAM's neck.

    Input: float [B,3,1024,1024], RGB normalised as SAM does, zero-padded at the bottom and right.
    Output: image embedding, float [B,256,64,64].
    """

    img_size = INPUT_SIZE

    def __init__(self) -> None:
        super().__init__()
        self.backbone = TinyVitBackbone("5m")
        merging: Any = self.backbone.stages[3]
        merging.downsample.conv2.conv.stride = (1, 1)
        self.neck = nn.Sequential(
            nn.Conv2d(self.backbone.channels[-1], EMBED_DIM, kernel_size=1, bias=False),
            LayerNorm2d(EMBED_DIM),
            nn.Conv2d(EMBED_DIM, EMBED_DIM, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(EMBED_DIM),
        )

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.neck(self.backbone(images)[-1])
        return features


def build_mobile_sam(weights: Path) -> Sam:
    """Build the teacher and load `weights` strictly: no tensor may be missing, unused or of another shape.

    Args:
        weights: see `read_mobile_sam`.

    Returns segment-anything's `Sam` in eval mode, float32, on the CPU.
    Raises `WeightsError` when the file is missing, damaged or another model's.
    """
    state = read_mobile_sam(weights)
    sam = Sam(
        image_encoder=MobileSamEncoder(),  # type: ignore[arg-type]
        prompt_encoder=PromptEncoder(
            embed_dim=EMBED_DIM,
            image_embedding_size=(EMBED_GRID, EMBED_GRID),
            input_image_size=(INPUT_SIZE, INPUT_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=EMBED_DIM,
            transformer=TwoWayTransformer(depth=2, embedding_dim=EMBED_DIM, mlp_dim=2048, num_heads=8),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=EMBED_DIM,
        ),
    )
    renamed = {f"{ENCODER}backbone.{name}": tensor for name, tensor in backbone_state(state).items()}
    renamed |= {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(ENCODER) or name.startswith(f"{ENCODER}neck.")
    }
    try:
        sam.load_state_dict(renamed, strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise WeightsError(f"{weights} does not hold MobileSAM: {detail}", "imltool weights verify") from error
    return sam.eval()


def read_mobile_sam(weights: Path) -> dict[str, Tensor]:
    """Tensors of a MobileSAM file under their own names, as float32.

    Args:
        weights: safetensors, as bundled, or a torch file such as the official mobile_sam.pt; float16 or float32.

    Raises `WeightsError`.
    """
    if not weights.is_file():
        raise WeightsError(f"teacher weights {weights} do not exist", "reinstall imltool, or give --weights PATH")
    try:
        with weights.open("rb") as handle:
            is_torch = handle.read(2) == b"PK"  # torch's files are zip archives
        state = torch.load(weights, map_location="cpu", weights_only=True) if is_torch else load_file(weights)
    except (SafetensorError, OSError, RuntimeError, UnpicklingError) as error:
        raise WeightsError(
            f"{weights} is not a readable safetensors or torch file: {' '.join(str(error).split())[:200]}",
            "imltool weights verify reports which file is damaged",
        ) from error
    if not (isinstance(state, dict) and all(isinstance(tensor, Tensor) for tensor in state.values())):
        raise WeightsError(f"{weights} does not hold MobileSAM: it is not a plain table of tensors")
    return {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in state.items()}

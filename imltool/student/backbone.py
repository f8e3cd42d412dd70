"""TinyViT, from timm: the student's backbone and, with one change, the bundled teacher's encoder.

MobileSAM's encoder and timm's `tiny_vit_5m_224` hold the same tensors under other names, so one set of weights serves
both (our choice: the student starts from the bundled teacher).
"""

from __future__ import annotations

import re
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from imltool.errors import WeightsError

BackboneName = Literal["nano", "5m", "11m", "21m"]
TIMM_NAMES: dict[str, str] = {"5m": "tiny_vit_5m_224", "11m": "tiny_vit_11m_224", "21m": "tiny_vit_21m_224"}
_NANO: dict[str, Any] = {"embed_dims": (16, 16, 32, 32), "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
"""TinyViT with the strides and window sizes of `5m`, one block a stage and a hundredth of the weights (our choice)."""


def _tiny_vit(name: BackboneName, drop_path: float) -> Any:
    base = TIMM_NAMES["5m" if name == "nano" else name]
    return timm.create_model(
        base, pretrained=False, num_classes=0, drop_path_rate=drop_path, **(_NANO if name == "nano" else {})
    )


class TinyVitBackbone(nn.Module):
    """Four feature scales of an RGB picture (paper: F1..F4).

    Args:
        name: `5m` (the paper's size), `11m`, `21m`, or `nano` for tests and demos.
        drop_path: stochastic depth rate in training, 0..1.

    Input: float [B,3,H,W], RGB normalised with `MEAN` and `STD`, H and W multiples of 32.
    Output: F1 [B,c1,H/4,W/4], F2 [B,c2,H/8,W/8], F3 [B,c3,H/16,W/16], F4 [B,c4,H/32,W/32];
    channels are 64, 128, 160, 320 for `5m` and 16, 16, 32, 32 for `nano`.
    """

    def __init__(self, name: BackboneName = "5m", drop_path: float = 0.0) -> None:
        super().__init__()
        net = _tiny_vit(name, drop_path)
        self.channels: tuple[int, ...] = tuple(info["num_chs"] for info in net.feature_info)
        self.patch_embed: nn.Module = net.patch_embed
        self.stages: nn.Sequential = net.stages

    def forward(self, images: Tensor, hint: Tensor | None = None) -> list[Tensor]:
        """`hint`: float [B,c1,H/4,W/4] added to F1 on its way to the attention stages, F1 itself stays."""
        x = self.patch_embed(images)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
            if hint is not None and len(features) == 1:
                x = x + hint
        return features


_RENAMES = (
    (re.compile(r"^patch_embed\.seq\.0\."), "patch_embed.conv1."),
    (re.compile(r"^patch_embed\.seq\.2\."), "patch_embed.conv2."),
    (re.compile(r"^layers\.(\d)\.downsample\."), lambda match: f"stages.{int(match[1]) + 1}.downsample."),
    (re.compile(r"^layers\.(\d)\."), r"stages.\1."),
    (re.compile(r"\.c\."), ".conv."),
)


def backbone_state(encoder_state: dict[str, Tensor]) -> dict[str, Tensor]:
    """MobileSAM encoder tensors (names without `image_encoder.`) under timm's names, neck and head left out."""
    renamed = {}
    for name, tensor in encoder_state.items():
        if name.startswith(("neck.", "head.", "norm_head.")):
            continue
        for pattern, replacement in _RENAMES:
            name = pattern.sub(replacement, name)
        renamed[name] = tensor
    return renamed


def load_teacher_encoder(backbone: TinyVitBackbone, state: dict[str, Tensor]) -> None:
    """Load the bundled teacher's encoder into a `5m` backbone, strictly.

    The file's BatchNorms are folded into the convolutions: right in eval mode, wrong in train mode until
    `restore_batch_norm` has seen real pictures.

    Args:
        state: MobileSAM tensors under their own names, with the `image_encoder.` prefix.

    Raises `WeightsError` when names or shapes do not fit (the teacher is TinyViT-5M only).
    """
    prefix = "image_encoder."
    encoder = {name[len(prefix) :]: tensor.float() for name, tensor in state.items() if name.startswith(prefix)}
    try:
        backbone.load_state_dict(backbone_state(encoder), strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"the teacher's encoder does not fit this backbone: {str(error).splitlines()[1].strip()}",
            "the bundled teacher is TinyViT-5M: set backbone to 5m, or initialise from timm or at random",
        ) from error


@torch.no_grad()
def restore_batch_norm(backbone: nn.Module, batches: list[Tensor]) -> None:
    """Give folded BatchNorms real statistics without changing what the network computes in eval mode.

    For every BatchNorm (scale w, shift b, statistics folded away) the mean μ and variance σ² of its own input over
    `batches` become its running statistics, with weight = w·√(σ²+ε) and bias = b + w·μ: the same affine map in eval
    mode, and a normalisation that train mode can re-estimate (our choice).

    Args:
        backbone: any module, left in eval mode.
        batches: normalised pictures, float [B,3,H,W]; a few dozen pictures are enough.

    Raises ValueError when no batch is given.
    """
    if not batches:
        raise ValueError("restore_batch_norm needs at least one batch")
    backbone.eval()
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}

    def watch(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        total = sums[norm]  # type: ignore[index]
        total[0] += x.shape[0] * x.shape[2] * x.shape[3]
        total[1] += x.sum(dim=(0, 2, 3)).cpu()
        total[2] += x.square().sum(dim=(0, 2, 3)).cpu()

    hooks = [norm.register_forward_pre_hook(watch) for norm in norms]
    try:
        for batch in batches:
            backbone(batch)
    finally:
        for hook in hooks:
            hook.remove()
    for norm in norms:
        count, total, squares = sums[norm]
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0.0)
        # the folded norm may itself hold statistics (mean 0, variance 1 - ε in the bundled file)
        held = norm.running_var.double().cpu() + norm.eps  # type: ignore[union-attr]
        scale = norm.weight.double().cpu() / held.sqrt()
        shift = norm.bias.double().cpu() - scale * norm.running_mean.double().cpu()  # type: ignore[union-attr]
        norm.weight.copy_(scale * (variance + norm.eps).sqrt())
        norm.bias.copy_(shift + scale * mean)
        norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        norm.running_var.copy_(variance)  # type: ignore[union-attr]

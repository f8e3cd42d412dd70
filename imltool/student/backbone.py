"""The student's backbone: TinyViT or another timm model; TinyViT-5M is, with one change, the bundled teacher's encoder.

MobileSAM's encoder and timm's `tiny_vit_5m_224` hold the same tensors under other names, so one set of weights serves
both (our choice: the student starts from the bundled teacher).
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from imltool.errors import ConfigError, WeightsError
from imltool.student.settings import TINY_VIT

BackboneName = Literal["nano", "5m", "11m", "21m"]
TIMM_NAMES: dict[str, str] = {"5m": "tiny_vit_5m_224", "11m": "tiny_vit_11m_224", "21m": "tiny_vit_21m_224"}
_NANO: dict[str, Any] = {"embed_dims": (16, 16, 32, 32), "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
"""TinyViT with strides and window sizes of `5m`, one block per stage and a hundredth of the weights (our choice)."""


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
        """`hint`: float [B,c1,H/4,W/4], added to the input of the attention stages; the returned F1 is without it."""
        x = self.patch_embed(images)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
            if hint is not None and len(features) == 1:
                x = x + hint
        return features


class TimmBackbone(nn.Module):
    """Four feature scales of any timm model that returns features at strides 4, 8, 16 and 32 for any input size.

    Args:
        name: timm's name, such as `resnet18` or `convnext_tiny.fb_in22k`.

    Input and output: see `TinyVitBackbone`; the channels are the model's. Raises `ConfigError` for another model.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, name: str, drop_path: float = 0.0) -> None:
        super().__init__()
        self.net = self._build(name, drop_path)
        self.channels: tuple[int, ...] = tuple(self.net.feature_info.channels())
        trial = torch.zeros(1, 3, 96, 64)
        try:
            with torch.no_grad():
                features = self.net.eval()(trial)
        except Exception as error:  # models for a single input size raise various types
            raise ConfigError(
                f"student.backbone: {name} takes no picture of {trial.shape[3]}x{trial.shape[2]} pixels",
                "choose a model for any input size, such as resnet18 or convnext_tiny",
            ) from error
        sizes = [
            (1, width, 96 // stride, 64 // stride) for width, stride in zip(self.channels, self.strides, strict=True)
        ]
        if [tuple(feature.shape) for feature in features] != sizes:
            raise ConfigError(f"student.backbone: {name} gives no features [B,C,H,W] at strides 4, 8, 16 and 32", _TRY)
        self.net.train()

    def _build(self, name: str, drop_path: float) -> Any:
        options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
        try:
            net: Any = timm.create_model(name, features_only=True, **options)
            reductions = net.feature_info.reduction()
            self.out_indices = tuple(reductions.index(stride) for stride in self.strides)
            return timm.create_model(name, features_only=True, out_indices=self.out_indices, **options)
        except Exception as error:  # timm raises many types for names, and for models without features
            near = difflib.get_close_matches(name, [*TINY_VIT, *timm.list_models()], n=1)
            raise ConfigError(
                f"student.backbone: {name} is no model of timm's with features at strides 4, 8, 16 and 32",
                f"did you mean {near[0]}?" if near and near[0] != name else _TRY,
            ) from error

    def forward(self, images: Tensor, hint: Tensor | None = None) -> list[Tensor]:
        """`hint`: float [B,c1,H/4,W/4], added to F1 (our choice: timm gives no access between the stages)."""
        first, *others = self.net(images)
        return [first if hint is None else first + hint, *others]


_TRY = f"choose {', '.join(TINY_VIT)}, or a convolutional model of timm's such as resnet18"


def build_backbone(name: str, drop_path: float = 0.0) -> TinyVitBackbone | TimmBackbone:
    """The backbone called `name`, see `StudentSettings.backbone`, with random weights. Raises `ConfigError`."""
    if name in TINY_VIT:
        return TinyVitBackbone(name, drop_path)  # type: ignore[arg-type]
    return TimmBackbone(name, drop_path)


_RENAMES = (
    (re.compile(r"^patch_embed\.seq\.0\."), "patch_embed.conv1."),
    (re.compile(r"^patch_embed\.seq\.2\."), "patch_embed.conv2."),
    (re.compile(r"^layers\.(\d)\.downsample\."), lambda match: f"stages.{int(match[1]) + 1}.downsample."),
    (re.compile(r"^layers\.(\d)\."), r"stages.\1."),
    (re.compile(r"\.c\."), ".conv."),
)


ENCODER = "image_encoder."
"""The prefix of the encoder's tensors in MobileSAM."""


def backbone_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of MobileSAM's encoder, without neck and head, by timm's names."""
    renamed = {}
    for full, tensor in state.items():
        name = full.removeprefix(ENCODER)
        if not full.startswith(ENCODER) or name.startswith(("neck.", "head.", "norm_head.")):
            continue
        for pattern, replacement in _RENAMES:
            name = pattern.sub(replacement, name)
        renamed[name] = tensor
    return renamed


def load_teacher_encoder(backbone: nn.Module, state: dict[str, Tensor]) -> None:
    """Load the bundled teacher's encoder into a `5m` backbone, strictly.

    The file's BatchNorms are folded into the convolutions: correct in eval mode, wrong in train mode until
    `restore_batch_norm` has been run on real pictures.

    Args:
        state: MobileSAM tensors under their own names, with the `image_encoder.` prefix.

    Raises `WeightsError` when names or shapes do not fit (the teacher is TinyViT-5M only).
    """
    try:
        backbone.load_state_dict({name: tensor.float() for name, tensor in backbone_state(state).items()}, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"the teacher's encoder does not fit this backbone: {str(error).splitlines()[1].strip()}",
            "the bundled teacher is TinyViT-5M: set backbone to 5m, or initialise from timm or at random",
        ) from error


@torch.no_grad()
def restore_batch_norm(backbone: nn.Module, batches: list[Tensor]) -> None:
    """Give folded BatchNorms real statistics without changing the network's output in eval mode.

    For every BatchNorm (scale w, shift b, folded statistics), the mean μ and variance σ² of its input over `batches`
    become its running statistics, with weight = w·√(σ²+ε) and bias = b + w·μ. This is the same affine map in eval mode,
    and a normalisation that train mode can re-estimate (our choice).

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

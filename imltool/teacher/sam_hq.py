"""SAM-HQ (Ke et al., "Segment Anything in High Quality", NeurIPS 2023) as a `Sam`, from the authors' package."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from imltool.errors import UsageError, WeightsError
from imltool.teacher.network import EMBED_DIM

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

log = logging.getLogger("imltool")
FINER = 4
"""The decoder's high-quality features have four times the resolution of the embedding."""


class HqEncoder(nn.Module):
    """SAM-HQ's encoder, with the part of its decoder that does not depend on the prompt.

    Input: float [1,3,1024,1024] as SAM's. Output: float [1,768,64,64], both results as one tensor: 256 planes of the
    image embedding, and 512 planes with the high-quality features [1,32,256,256] in blocks of four by four.
    """

    def __init__(self, encoder: nn.Module, decoder: Any) -> None:
        super().__init__()
        self.img_size = encoder.img_size
        self.encoder = encoder
        self.refined, self.early = decoder.embedding_encoder, decoder.compress_vit_feat

    def forward(self, images: Tensor) -> Tensor:
        embedding, layers = self.encoder(images)
        finer = self.refined(embedding) + self.early(layers[0].permute(0, 3, 1, 2))
        return torch.cat([embedding, pixel_unshuffle(finer, FINER)], dim=1)


class HqDecoder(nn.Module):
    """SAM-HQ's mask decoder: the high-quality mask is added to each of SAM's four masks, as the authors do."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def predict_masks(
        self, features: Tensor, positions: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As in `segment_anything`; `features` are the output of `HqEncoder`."""
        finer = pixel_shuffle(features[:, EMBED_DIM:], FINER)
        masks, quality = self.decoder.predict_masks(features[:, :EMBED_DIM], positions, sparse, dense, finer)
        return masks[:, :-1] + masks[:, -1:], quality


def _registry() -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports timm by deprecated names
            from segment_anything_hq import sam_model_registry
            from timm.models import register_model, tiny_vit

            # the package replaces timm's TinyViTs, which the student uses, by its own
            for name in ("5m_224", "11m_224", "21m_224", "21m_384", "21m_512"):
                register_model(getattr(tiny_vit, f"tiny_vit_{name}"))
    except ImportError as error:
        raise UsageError("a SAM-HQ teacher needs segment-anything-hq", "pip install 'imltool[hq]'") from error
    return dict(sam_model_registry)


def build_sam_hq(kind: str, weights: Path) -> Sam:
    """Build SAM-HQ with the authors' builder and load an official file such as sam_hq_vit_b.pth.

    Args:
        kind: `vit_tiny`, `vit_b`, `vit_l` or `vit_h`.

    Raises `UsageError` without the package, `WeightsError` when the file is damaged or another model's: no tensor may
    be missing. Tensors that the model does not have are ignored, as by the authors' loader, and reported.
    """
    sam = _registry()[kind]()
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        missing, more = sam.load_state_dict(state, strict=False)
    except Exception as error:  # torch.load raises UnpicklingError, EOFError, RuntimeError, …
        missing, more = [" ".join(str(error).split())[:160]], []
    if missing:
        message = f"{weights} does not hold SAM-HQ {kind}: {len(missing)} missing or unreadable, {missing[0]}"
        raise WeightsError(message, "check the file, and the type that --teacher names")
    if more:
        log.warning("%s: %d tensors do not belong to SAM-HQ %s, the first: %s", weights, len(more), kind, more[0])
    sam.image_encoder, sam.mask_decoder = HqEncoder(sam.image_encoder, sam.mask_decoder), HqDecoder(sam.mask_decoder)
    hq: Sam = sam.requires_grad_(False)
    return hq

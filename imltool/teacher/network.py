"""The interface of Segment Anything's encoder and decoder, independent of the engine, and torch's implementation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam
from torch import Tensor, nn

from imltool.pictures.images import RGB

INPUT_SIZE = 1024
EMBED_GRID = 64
EMBED_DIM = 256
PADDING, OUTSIDE, INSIDE, TOP_LEFT, BOTTOM_RIGHT = -1, 0, 1, 2, 3
"""SAM's labels for points of a prompt: nothing, a click outside or inside the object, a box's corners."""


class SamNetwork(Protocol):
    """Segment Anything, ready to run.

    Attributes:
        engine: the engine's name in `engines.registry.ENGINES`.
        version: the engine's version.
        layers: the encoder's modules if torch runs it, for stepping through the encoder; empty for other engines.
    """

    engine: str
    version: str

    @property
    def layers(self) -> Iterable[nn.Module]: ...

    def encode(self, view: RGB) -> Tensor:
        """A picture's embedding, float32 [1,256,64,64].

        Args:
            view: uint8 [H,W,3] RGB whose longer side is 1024.
        """
        ...

    def decode(
        self, features: Tensor, points: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> tuple[Tensor, Tensor]:
        """Decode n prompts: returns mask logits float32 [n,4,256,256] and SAM's estimates of their IoU [n,4].

        The first of the four masks is the single-mask output, the others are the multimask ones. The logits belong to
        the padded square.

        Args:
            features: an embedding.
            points: [n,p,2] XY, pixels of the view.
            labels: [n,p], the kind of each point: `PADDING`, `OUTSIDE`, `INSIDE`, `TOP_LEFT`, `BOTTOM_RIGHT`.
        """
        ...


class PromptedDecoder(nn.Module):
    """SAM's prompt encoder and mask decoder as one function of an embedding, points and labels.

    See `SamNetwork.decode`. `positions` are the result of `get_dense_pe`, the same for every prompt, if the caller has
    kept it.
    """

    def __init__(self, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = prompt_encoder, mask_decoder

    def forward(
        self, features: Tensor, points: Tensor, labels: Tensor, positions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        prompts = self.prompt_encoder
        positions = prompts.get_dense_pe() if positions is None else positions
        # a pixel's position is its centre
        places = prompts.pe_layer._pe_encoding((points + 0.5) / INPUT_SIZE)  # noqa: SLF001
        kinds = labels[..., None]
        sparse = torch.where(kinds == PADDING, prompts.not_a_point_embed.weight, places)
        for kind, embedding in enumerate(prompts.point_embeddings):
            sparse = sparse + embedding.weight * (kinds == kind)
        dense = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(points.shape[0], -1, EMBED_GRID, EMBED_GRID)
        logits, quality = self.mask_decoder.predict_masks(features, positions, sparse, dense)
        return logits, quality


class TorchSam:
    """Segment Anything run by torch, on any device; see `SamNetwork`.

    Args:
        sam: segment-anything's model.
    """

    engine = "torch"

    def __init__(self, sam: Sam, device: torch.device) -> None:
        self.sam = sam.to(device).eval()
        # convolutions run a quarter faster on CPUs in this order; outputs agree to rounding
        self.sam.image_encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self.version = str(torch.__version__) if device.type == "cpu" else f"{torch.__version__} {device.type}"
        self._decoder = PromptedDecoder(sam.prompt_encoder, sam.mask_decoder)
        with torch.inference_mode():
            self._positions = sam.prompt_encoder.get_dense_pe()

    @property
    def layers(self) -> Iterable[nn.Module]:
        return [module for module in self.sam.image_encoder.modules() if not any(True for _ in module.children())]

    @torch.inference_mode()
    def encode(self, view: RGB) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(view)).to(self.device).permute(2, 0, 1)[None]
        features: Tensor = self.sam.image_encoder(self.sam.preprocess(pixels))
        return features

    @torch.inference_mode()
    def decode(
        self, features: Tensor, points: NDArray[np.float32], labels: NDArray[np.float32]
    ) -> tuple[Tensor, Tensor]:
        prompts = (torch.from_numpy(array).to(self.device) for array in (points, labels))
        logits, quality = self._decoder(features.to(self.device), *prompts, self._positions)
        return logits, quality

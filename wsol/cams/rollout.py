"""Attention rollout (Abnar and Zuidema, ACL 2020, arXiv 2005.00928): what the class token gathers through all blocks.

Each block's attention, averaged over its heads, is averaged with the identity, which stands for the residual
connection; the product over the blocks, from the last to the first, says how much of every patch reaches the class
token. Knows no class. It costs a second forward pass.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsol.cams.map_method import MapMethod
from wsol.errors import UserError
from wsol.models.classifier import Classifier
from wsol.models.mode import evaluation_mode
from wsol.models.networks import PATCH_TOKENS
from wsol.models.patch_tokens import PatchTokens, attention_weights


def _maps(model: Classifier, images: Tensor, features: Tensor, class_ids: Tensor) -> Tensor:
    backbone = model.backbone
    assert isinstance(backbone, PatchTokens)
    rolled: list[Tensor] = []  # of the blocks so far, [N, T, T]

    def roll(attention: nn.Module, tokens: Tensor) -> None:
        weights = attention_weights(attention, tokens)
        step = (weights + torch.eye(weights.shape[-1], device=weights.device)) / 2
        rolled[:] = [step @ rolled[0] if rolled else step]

    with evaluation_mode(model), torch.no_grad(), backbone.watched(roll):
        backbone(images)
    return backbone.as_map(rolled[0][:, 0, :, None])[:, 0]


def _check(model: Classifier) -> None:
    if not isinstance(model.backbone, PatchTokens):
        raise UserError(
            f"rollout reads the attention of transformers with a class token ({', '.join(PATCH_TOKENS)}), not of "
            f"{model.spec.arch}"
        )


ROLLOUT = MapMethod(
    "rollout",
    None,
    "Abnar and Zuidema, ACL 2020, arXiv 2005.00928",
    needs_gradient=False,
    final_only=True,
    class_agnostic=True,
    through=_maps,
    check=_check,
)

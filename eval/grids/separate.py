"""DiFull (Rao, Boehle and Schiele, CVPR 2022, arXiv 2205.10435): every tile passes the network alone, and the head of a
class sees its own tile alone.

A map method reads the layer's outputs of all tiles put together and the gradient of that head, which is zero in the
other tiles. Methods that weigh each cell by its own gradient (HiResCAM, LayerCAM) therefore get 100 by construction;
those that apply one weight a channel to the whole map (CAM, Grad-CAM) do not.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from wsol.cams.map_method import LayerMap
from wsol.errors import UserError
from wsol.models.head import Outputs


class _OwnTile(nn.Module):
    """A head that is given the final maps of whole grids [N, C, side * h, side * w] and reads tile n modulo tiles."""

    def __init__(self, head: nn.Module, side: int) -> None:
        super().__init__()
        self.head, self.side = head, side

    def forward(self, features: Tensor, class_ids: Tensor) -> Outputs:
        n, channels, height, width = features.shape
        tiles = features.view(n, channels, self.side, height // self.side, self.side, width // self.side)
        found: Outputs = self.head(tiles[_own(n, self.side)], class_ids)
        return found


def over_separate_tiles(wanted: LayerMap, side: int) -> LayerMap:
    """A map method as DiFull applies it: of a batch of the tiles [G * side * side] of grids, row by row, with the class
    of each, it gives the maps [G * side * side, side * h, side * w] of these classes over their whole grids.

    Raises UserError for a method that passes images through the network again: it has no features to put together.
    """
    method, formula = wanted.method, wanted.method.formula
    if formula is None:
        raise UserError(
            f"'{method.name}' passes images through the network again; --layout separate plays methods that read a "
            "layer's output and its gradient, such as cam, gradcam or layercam"
        )

    def maps(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
        n, channels, height, width = features.shape
        grids = features.view(-1, side, side, channels, height, width).permute(0, 3, 1, 4, 2, 5)
        whole = grids.reshape(-1, channels, side * height, side * width).repeat_interleave(side**2, 0)
        own = torch.zeros_like(whole)
        own.view(n, channels, side, height, side, width)[_own(n, side)] = gradient
        return formula(whole, own if method.needs_gradient else whole, _OwnTile(head, side), class_ids)

    return LayerMap(replace(method, formula=maps), wanted.layer)


def _own(n: int, side: int) -> tuple[Tensor, slice, Tensor, slice, Tensor, slice]:
    """Where each of `n` grids of a batch has its own tile; an index of [n, C, side, h, side, w]."""
    tile = torch.arange(n) % side**2
    return torch.arange(n), slice(None), tile // side, slice(None), tile % side, slice(None)

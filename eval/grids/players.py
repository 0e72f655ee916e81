"""Who makes the maps of grids: a network by a map method, or a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wsol.cams.extract import extract_maps
from wsol.cams.registry import CAM_OF_FINAL
from wsol.errors import UserError
from wsol.loading import normalize_images

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.maps.function import MapFunction
    from wsol.cams.map_method import LayerMap
    from wsol.models import Classifier
    from wsol.models.pixels import Pixels

Player = Callable[[torch.Tensor, torch.Tensor], "npt.NDArray[np.floating]"]
"""Images uint8 [N, 3, H, W] and M class outputs of each [N, M] to raw maps [N, M, h, w]."""


def network_player(model: Classifier, wanted: LayerMap, device: torch.device) -> Player:
    """The maps of a network; of CAM in one pass for all classes, else in one a class."""

    def play(images: torch.Tensor, class_ids: torch.Tensor) -> npt.NDArray[np.floating]:
        given = normalize_images(images.to(device), model.spec.input)
        asked = [class_ids] if wanted == CAM_OF_FINAL else list(class_ids.T)
        try:
            found = [extract_maps(model, given, ids, [wanted]).maps[0].float().cpu() for ids in asked]
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"the network takes no input of {images.shape[-1]} pixels, which the grid needs ({reason:.120}); "
                "--layout separate passes the tiles one by one"
            ) from error
        return np.asarray(found[0] if wanted == CAM_OF_FINAL else torch.stack(found, 1))

    return play


def function_player(function: MapFunction, pixels: Pixels, device: torch.device) -> Player:
    """The maps of `function(images, class_ids)`, called once a class."""

    def play(images: torch.Tensor, class_ids: torch.Tensor) -> npt.NDArray[np.floating]:
        given = normalize_images(images.to(device), pixels)
        found: list[Any] = []
        for ids in class_ids.T:
            maps = function(given, ids.to(device))
            maps = maps[0] if isinstance(maps, tuple) else maps
            array = (
                maps.detach().float().cpu().numpy() if isinstance(maps, torch.Tensor) else np.asarray(maps)
            )
            if array.ndim != 3 or len(array) != len(images):
                raise UserError(
                    f"the map function gave maps of shape {list(array.shape)}, expected [{len(images)}, h, w]"
                )
            found.append(array)
        return np.stack(found, 1)

    return play

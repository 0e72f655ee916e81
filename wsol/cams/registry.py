"""The map methods by name."""

from __future__ import annotations

from collections.abc import Sequence

from wsol.cams.ablation_cam import ABLATION_CAM
from wsol.cams.cam import CAM
from wsol.cams.eigen_cam import EIGEN_CAM
from wsol.cams.elementwise import ELEMENTWISE
from wsol.cams.gradcam import GRADCAM
from wsol.cams.gradcam_plus_plus import GRADCAM_PLUS_PLUS
from wsol.cams.hirescam import HIRESCAM
from wsol.cams.layercam import LAYERCAM
from wsol.cams.map_method import FINAL, LayerMap, MapMethod
from wsol.cams.positive_cam import POSITIVE_CAM
from wsol.cams.principal import PRINCIPAL
from wsol.cams.rollout import ROLLOUT
from wsol.cams.score_cam import SCORE_CAM
from wsol.cams.xgradcam import XGRADCAM
from wsol.errors import unknown_name

MAP_METHODS: dict[str, MapMethod] = {
    method.name: method
    for method in (
        CAM,
        HIRESCAM,
        GRADCAM,
        GRADCAM_PLUS_PLUS,
        XGRADCAM,
        LAYERCAM,
        ELEMENTWISE,
        POSITIVE_CAM,
        ABLATION_CAM,
        EIGEN_CAM,
        PRINCIPAL,
        SCORE_CAM,
        ROLLOUT,
    )
}

CAM_OF_FINAL = LayerMap(CAM)
"""What is scored where nothing else is asked for."""


def layer_maps(methods: Sequence[str], layers: Sequence[str]) -> tuple[LayerMap, ...]:
    """Every method at every layer, each pair once; a method that reads the final map alone is taken there alone.

    Raises UserError for an unknown method, and for one that reads the final map alone where `layers` leaves that out.

    >>> [m.label for m in layer_maps(["cam", "layercam"], ["final", "layer3"])]
    ['cam', 'layercam', 'layercam-layer3']
    """
    found = []
    for name in methods:
        if name not in MAP_METHODS:
            raise unknown_name("map method", name, MAP_METHODS)
        method = MAP_METHODS[name]
        mine = [FINAL] if method.final_only and FINAL in layers else layers
        found += [LayerMap(method, layer) for layer in mine]
    return tuple(dict.fromkeys(found))

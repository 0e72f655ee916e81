"""Published localization protocols as data.

Sources: Choe et al., CVPR 2020 (arXiv 2001.07437) and TPAMI (arXiv 2007.04178) for MaxBoxAcc, MaxBoxAccV2 and
PxAP; Yun et al., ICCV 2019 (arXiv 1905.04899, appendix B) for `cutmix2019`; Zhou et al., CVPR 2016
(arXiv 1512.04150) for `cam2016`; Kim et al., ICCV 2021 (arXiv 2107.13221) for the normalisations.
"""

from __future__ import annotations

from collections.abc import Mapping

from eval.protocols.definition import Protocol

_CHOE = "Choe et al., CVPR 2020, arXiv 2001.07437"
_CHOE_V2 = "Choe et al., TPAMI 2022, arXiv 2007.04178"
_V2 = (0.3, 0.5, 0.7)
CONVENTIONAL_THRESHOLD = 0.2

_BASE: tuple[Protocol, ...] = (
    Protocol("maxboxacc", source=_CHOE, pictured=True),
    Protocol("maxboxacc_v2", contours="all", iou_thresholds=_V2, source=_CHOE_V2, pictured=True),
    Protocol(
        "maxboxacc_transferred", threshold="transferred", source=_CHOE + ", threshold from train-fullsup"
    ),
    Protocol(
        "maxboxacc_v2_transferred",
        contours="all",
        iou_thresholds=_V2,
        threshold="transferred",
        source=_CHOE_V2 + ", thresholds from train-fullsup",
    ),
    Protocol(
        "maxboxacc_transferred_middle",
        threshold="transferred",
        plateau="middle",
        source=_CHOE + ", threshold from train-fullsup, the middle of equally good ones",
        on_request=True,
    ),
    Protocol(
        "maxboxacc_v2_transferred_middle",
        contours="all",
        iou_thresholds=_V2,
        threshold="transferred",
        plateau="middle",
        source=_CHOE_V2 + ", thresholds from train-fullsup, the middle of equally good ones",
        on_request=True,
    ),
    Protocol(
        "gt_known_fixed",
        threshold="fixed",
        fixed_threshold=CONVENTIONAL_THRESHOLD,
        source="GT-known Loc at the conventional fixed threshold (CAM, CVPR 2016) on min-max maps",
    ),
    Protocol(
        "top1_loc",
        threshold="fixed",
        fixed_threshold=CONVENTIONAL_THRESHOLD,
        class_gate="top1",
        source="Top-1 Loc: gt_known_fixed and the true class ranked first",
    ),
    Protocol(
        "top5_loc",
        threshold="fixed",
        fixed_threshold=CONVENTIONAL_THRESHOLD,
        class_gate="top5",
        source="Top-5 Loc: gt_known_fixed and the true class among the first five",
    ),
    Protocol(
        "cam2016",
        normalization="max",
        threshold="fixed",
        fixed_threshold=0.2,
        source="Zhou et al., CVPR 2016, arXiv 1512.04150",
        other_normalizations=False,
    ),
    Protocol(
        "cutmix2019",
        frame="center-crop",
        normalization="max",
        threshold="fixed",
        fixed_threshold=0.15,
        iou_comparison=">",
        class_gate="top1",
        class_view="scored",
        source="Yun et al., ICCV 2019, arXiv 1905.04899, appendix B; boxes follow the crop, clipped (not stated there)",
        other_normalizations=False,
    ),
    Protocol(
        "corloc",
        threshold="fixed",
        fixed_threshold=CONVENTIONAL_THRESHOLD,
        iou_comparison=">",
        source="CorLoc, Deselaers et al., IJCV 2012: IoU over 0.5 with any true box; a map's box at the conventional "
        "threshold (boxes given as such need none)",
        on_request=True,
    ),
    Protocol("pxap", metric="pixel_average_precision", threshold="none", source=_CHOE),
    Protocol(
        "mask_iou",
        metric="mask_iou",
        threshold="oracle",
        source="pooled IoU of mask and thresholded map, best threshold",
    ),
)
PROTOCOLS: Mapping[str, Protocol] = {p.name: p for p in _BASE}

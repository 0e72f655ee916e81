"""Maps drawn where their cells look."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eval.maps.aligned import upsample_aligned
from eval.maps.normalization import upsample
from eval.protocols import PROTOCOLS, differences, protocol_named, select
from wsol.cams.cell_centers import cell_centers
from wsol.cams.cells import Axis, CellCenters
from wsol.models import Classifier, ClassifierSpec
from wsol.models.classifier import Parts
from wsol.models.head import PooledLinear


@pytest.mark.parametrize(("cells", "pixels", "frame"), [(7, 224, 224), (8, 64, 224), (14, 224, 100)])
def test_cells_on_the_regular_grid_are_drawn_as_opencv_draws_them(
    cells: int, pixels: int, frame: int
) -> None:
    raw = np.random.default_rng(0).normal(size=(cells, cells))
    step = pixels / cells
    axis = Axis((step - 1) / 2, step, cells, pixels)
    assert axis.offset == pytest.approx(0)
    found = upsample_aligned(raw, (frame, frame), CellCenters(axis, axis))
    np.testing.assert_allclose(found, upsample(raw, (frame, frame)), atol=2e-5)


class Shifted(nn.Module):
    """Blurs over 16 x 16 pixels and looks, with cell i, at pixel 16 * i + 7.5 - 6 across and 16 * i + 7.5 + 4 down."""

    def __init__(self) -> None:
        super().__init__()
        self.blur = nn.AvgPool2d(16, 16)

    def forward(self, images: Tensor) -> Tensor:
        return self.blur(nn.functional.pad(images, (6, -6, -4, 4)))


def test_a_known_offset_is_taken_back_to_a_tenth_of_a_pixel() -> None:
    """A blob anywhere in the image: the aligned map's centre of mass is the blob's."""
    model = Classifier(ClassifierSpec("resnet_small", 1, 8, 224), Parts(Shifted(), PooledLinear(3, 2), 8))
    cells = cell_centers(model)
    assert cells is not None
    assert cells.offset_xy == (6, -4)
    pixels = np.arange(224)
    for cx, cy in ((111.5, 111.5), (100, 120), (96.3, 131.7)):
        blob = np.exp(-((pixels[None] - cx) ** 2 + (pixels[:, None] - cy) ** 2) / (2 * 20**2))
        raw = model.backbone(torch.from_numpy(blob).expand(1, 3, -1, -1))[0, 0].numpy()

        def center(m: np.ndarray) -> np.ndarray:
            return np.array([(m.sum(0) * pixels).sum(), (m.sum(1) * pixels).sum()]) / m.sum()

        np.testing.assert_allclose(center(upsample_aligned(raw, (224, 224), cells)), [cx, cy], atol=0.1)
        np.testing.assert_allclose(center(upsample(raw, (224, 224))), [cx + 6, cy - 4], atol=0.1)


def test_the_variant_is_a_protocol_of_its_own_and_the_published_ones_stay() -> None:
    plain, aligned = PROTOCOLS["maxboxacc"], protocol_named("maxboxacc@aligned")
    assert str(plain.channel) == "resize224-minmax"
    assert str(aligned.channel) == "resize224-minmax-aligned"
    assert differences(plain.definition(), aligned.definition()) == ["drawing: 'resized' / 'aligned'"]
    older = plain.definition()
    del older["drawing"]
    assert differences(older, plain.definition()) == []
    names = [p.name for p in select(["maxboxacc", "maxboxacc@aligned"], aligned=True)]
    assert names == ["maxboxacc", "maxboxacc@aligned"]

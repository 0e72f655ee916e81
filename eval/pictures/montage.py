"""Pictures of score maps with predicted and true boxes, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

if TYPE_CHECKING:
    import numpy.typing as npt

TRUE_COLOUR = "#ffffff"
PREDICTED_COLOUR = "#ffb000"
"""White and amber differ in lightness alone, so they can be distinguished on a dark map and by colour-blind readers."""


@dataclass(frozen=True)
class Panel:
    """One picture: image uint8 [S, S, 3], its score map uint8 [F, F], boxes in the map's frame, and a caption."""

    image: npt.NDArray[np.uint8]
    score: npt.NDArray[np.uint8]
    predicted_xyxy: npt.NDArray[np.integer]
    true_xyxy: npt.NDArray[np.integer]
    caption: str


def write_montage(panels: Sequence[Panel], file: Path, title: str, columns: int = 6) -> Path:
    """Draw panels (image with its boxes above, the same under its score map below) into one PNG."""
    columns = max(1, min(columns, len(panels)))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(1.9 * columns, 4.2 * rows + 0.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, panel in enumerate(panels):
        side = panel.score.shape[0]
        extent = (0, side, side, 0)
        above, below = axes[2 * (i // columns)][i % columns], axes[2 * (i // columns) + 1][i % columns]
        above.imshow(panel.image, extent=extent)
        above.set_title(panel.caption, fontsize=7, loc="left", parse_math=False)
        below.imshow(panel.image.mean(-1), cmap="gray", vmin=0, vmax=255, extent=extent)
        below.imshow(panel.score, cmap="inferno", vmin=0, vmax=255, alpha=0.6, extent=extent)
        for ax in (above, below):
            for boxes, colour, width, style in (
                (panel.true_xyxy, TRUE_COLOUR, 1.6, "-"),
                (panel.predicted_xyxy, PREDICTED_COLOUR, 1.6, "--"),
            ):
                for x0, y0, x1, y1 in boxes:
                    ax.add_patch(
                        Rectangle(
                            (x0, y0), x1 - x0, y1 - y0, fill=False, ec="black", lw=width + 1.2, alpha=0.6
                        )
                    )
                    ax.add_patch(
                        Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=width, ls=style)
                    )
            ax.set_xlim(0, side)
            ax.set_ylim(side, 0)
    figure.suptitle(title, fontsize=10, parse_math=False)
    figure.legend(
        handles=[
            Patch(facecolor="none", edgecolor="#888888", label="true box (solid, white)"),
            Patch(
                facecolor="none", edgecolor=PREDICTED_COLOUR, ls="--", label="predicted box (dashed, amber)"
            ),
        ],
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.unfinished")
    figure.savefig(scratch, format="png")
    scratch.replace(file)
    return file

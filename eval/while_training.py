"""Localization of train-fullsup while a network trains, and TensorBoard: scalars, and the same images' maps over time.

Given to `wsol.training.session.train` by the training command. Test images are never looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from eval.boxes.frames import Frame, split_boxes
from eval.maps.network import NetworkMaps
from eval.maps.normalization import score_levels, upsample
from eval.metrics.objects import MaxBoxAcc, MaxBoxAccV2
from eval.protocols import PROTOCOLS
from eval.training_logs import TrainingLog, import_wandb, open_logs
from wsol.errors import UserError
from wsol.loading import ImageReader
from wsol.training.session import train
from wsol.views import resize_rgb

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.models import Classifier
    from wsol.training.config import TrainConfig
    from wsol.training.data import Data

PANEL_IMAGES = 8


def train_observed(config: TrainConfig, arguments: Sequence[str]) -> int:
    """Train as the command line says, localizing train-fullsup in between where it asks for that; the exit code."""
    return train(config, arguments, make_observer=observer_for).exit_code


def observer_for(config: TrainConfig, data: Data) -> Watch | None:
    """What the config asks to be watched; None when nothing is.

    Raises UserError where train-fullsup has no boxes to localize, or the package of a log is not installed.
    """
    if not config.localize_every and not config.tensorboard and not config.log:
        return None
    if config.localize_every and (data.validation is None or not len(data.validation.boxes_xyxy)):
        raise UserError(
            f"--localize-every needs a train-fullsup split with boxes, and dataset '{data.manifest.dataset}' has none; "
            "leave it out"
        )
    if config.tensorboard:
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise UserError(
                "--tensorboard needs the package tensorboard: install the extra `tensorboard`"
            ) from error
    if "wandb" in config.log:
        import_wandb()
    return Watch(config, data)


class Watch:
    """Called after every epoch with its line of the log; an `Observer` of the training loop."""

    def __init__(self, config: TrainConfig, data: Data) -> None:
        self.config = config
        self.data = data
        self._writer: Any = None
        self._logs: list[TrainingLog] | None = None

    def __call__(self, line: Mapping[str, Any], model: Classifier, folder: Path) -> dict[str, Any]:
        epoch = int(line["epoch"])
        found: dict[str, Any] = {}
        every = self.config.localize_every
        if every and (epoch % every == 0 or epoch == self.config.epochs):
            found["localization"], panel = self._localize(model)
            if self.config.tensorboard:
                self._open(folder, epoch).add_image(
                    "score maps of train-fullsup", panel, epoch, dataformats="HWC"
                )
        if self.config.tensorboard:
            writer = self._open(folder, epoch)
            for name, value in _scalars({**line, **found}):
                writer.add_scalar(name, value, epoch)
            writer.flush()
        if self._logs is None:
            self._logs = open_logs(self.config, folder)
        for log in self._logs:
            log.add(epoch, dict(_scalars({**line, **found})))
        return found

    def _open(self, folder: Path, epoch: int) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # optional: the extra `tensorboard`

            # epochs that a killed process had begun to write are purged
            self._writer = SummaryWriter(folder / "tensorboard", purge_step=epoch)
        return self._writer

    def _localize(self, model: Classifier) -> tuple[dict[str, Any], npt.NDArray[np.uint8]]:
        """MaxBoxAcc and MaxBoxAccV2 with thresholds chosen on train-fullsup itself, and a panel of its first maps."""
        split = self.data.validation
        assert split is not None
        device = next(model.parameters()).device
        source = NetworkMaps(
            model, split, self.data.root, frames=["resize"], device=device, description={}, batch_size=64
        )
        frame = Frame.of_channel(PROTOCOLS["maxboxacc"].channel)
        metrics = {"maxboxacc": MaxBoxAcc(resamples=0), "maxboxacc_v2": MaxBoxAccV2(resamples=0)}
        shown: list[npt.NDArray[np.uint8]] = []
        for batch in source.batches(np.arange(len(split))):
            large = np.stack([upsample(np.asarray(m), frame.size_hw) for m in batch.maps["resize"]])
            levels, _ = score_levels(large, "minmax")
            boxes, offsets = split_boxes(split, batch.rows, frame)
            truth = [boxes[a:b] for a, b in itertools.pairwise(offsets)]
            for metric in metrics.values():
                metric.update(levels, truth)
            shown.extend(levels[: PANEL_IMAGES - len(shown)])
        numbers = {name: metric.compute().value for name, metric in metrics.items()}
        return {"split": "train-fullsup", "threshold": "oracle", **numbers}, self._panel(shown, frame.size)

    def _panel(self, levels: list[npt.NDArray[np.uint8]], side: int) -> npt.NDArray[np.uint8]:
        """The first images of train-fullsup above their maps, [2 * side, n * side, 3]."""
        assert self.data.validation is not None
        reader = ImageReader(self.data.validation, self.data.root)
        above = [resize_rgb(reader.read(i), side) for i in range(len(levels))]
        below = [cv2.applyColorMap(m, cv2.COLORMAP_INFERNO)[..., ::-1] for m in levels]
        return np.concatenate([np.concatenate(above, 1), np.concatenate(below, 1)], 0)


def _scalars(line: Mapping[str, Any]) -> list[tuple[str, float]]:
    """(name, value) of every number in a line of the log, nested ones as `group/name`."""
    found = []
    for key, value in line.items():
        if isinstance(value, Mapping):
            found += [(f"{key}/{name}", number) for name, number in _scalars(value)]
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append((key, float(value)))
    return found

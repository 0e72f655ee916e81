"""The record of a run (run.yaml): everything needed to know, and to repeat, what was done."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsol.datasets.catalog import manifests_folder
from wsol.machine.device import describe_device
from wsol.machine.provenance import command_line, git_state, software_versions
from wsol.training.data import TRAIN, VALIDATION, Data
from wsol.training.presets import PRESETS, preset_values

if TYPE_CHECKING:
    import torch

    from wsol.machine.distributed import World
    from wsol.models import Classifier
    from wsol.training.config import TrainConfig


def new_record(
    config: TrainConfig, data: Data, model: Classifier, device: torch.device, world: World
) -> dict[str, Any]:
    """What run.yaml says when a run begins; plain values only. `config` has nothing left at `auto`."""
    given = Path(config.dataset).expanduser()
    folder = given if (given / "manifest.yaml").is_file() else manifests_folder() / config.dataset
    chosen = config.to_dict()
    del chosen["resume"], chosen["config"]
    return {
        "status": "running",
        "started": now(),
        "command": command_line(),
        "config": chosen,
        "preset": _preset_record(config),
        "method": config.make_method().to_dict(),
        "classifier": model.spec.to_dict(),
        "network": model.describe(),
        "dataset": {
            "name": data.manifest.dataset,
            "manifest": str(folder.resolve()),
            "manifest_hash": data.manifest.hash(),
            "root": str(Path(data.root).resolve()),
            "train": {"split": TRAIN, "images": len(data.train)},
            "validation": {"split": VALIDATION, "images": len(data.validation)} if data.validation else None,
            "classes": list(data.classes),
        },
        "seed": config.seed,
        "processes": world.size,
        "device": describe_device(device),
        "versions": software_versions(),
        "git": git_state(),
    }


def _preset_record(config: TrainConfig) -> dict[str, Any] | None:
    """Which preset, where it is from, and which of its values the user's own settings replaced."""
    if config.preset is None:
        return None

    values = preset_values(config.preset, config.dataset, config.arch, config.method)
    replaced = {k: v for k, v in values.items() if getattr(config, k) != v}
    return {"name": config.preset, "source": PRESETS[config.preset], "replaced": replaced}


def now() -> str:
    """The time, UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")

"""The log of a run (log.jsonl): a line an epoch, for programs, and the same in words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.regular import read_bytes
from wsol.files.strict_json import load_json
from wsol.files.typed import check_types
from wsol.training.progress import duration


def sentence(line: dict[str, Any], epochs: int) -> str:
    """A line of the log, for people."""
    found = line["validation"]
    validation = f"  validation {found['top1']:5.1f} %" if found else ""
    scores = line.get("localization") or {}
    names = (("maxboxacc", "MaxBoxAcc"), ("maxboxacc_v2", "V2"))
    localization = "".join(f"  {word} {scores[key]:5.1f}" for key, word in names if key in scores)
    return (
        f"epoch {line['epoch']:3d}/{epochs}  loss {line['train_loss']:.3f}  train {line['train_top1_mixed']:5.1f} %"
        f"{validation}{localization}  {line['images_per_second']:,.0f} images/s  {duration(line['seconds'])}"
        f"  (waited for data {100 * line['waited_for_data']:.0f} %)"
        + (f"  {duration(line['seconds'] * left)} left" if (left := epochs - line["epoch"]) else "")
    )


def append_line(file: Path, line: dict[str, Any]) -> None:
    """Add a line to the log and flush it to the disk."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, allow_nan=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def trim_log(file: Path, epochs: int) -> None:
    """Drop the log's lines after an epoch, and all from the first on that a kill cut short or somebody damaged; those
    of epochs to come are made again."""
    if not file.is_file():
        return
    kept = []
    for number, text in enumerate(read_bytes(file).decode("utf-8", "replace").splitlines(), 1):
        try:
            line = check_types(load_json(text, f"{file}:{number}"), {"epoch": int}, f"{file}:{number}", "")
        except UserError:
            break
        if line["epoch"] > epochs:
            break
        kept.append(text + "\n")
    write_durably(file, "".join(kept))

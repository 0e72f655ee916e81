"""What made a checkpoint or a file of weights, kept inside it, so that it is never taken for another run's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wsol.errors import UserError

MADE_BY = "made_by"
# What may differ when a run is continued: nothing in here changes what is computed, up to a device's rounding
# (`accumulate` may, as long as processes x accumulate stays).
MAY_CHANGE_ON_RESUME = frozenset(
    {
        "accumulate",
        "data_root",
        "workers",
        "cache",
        "device",
        "validate_every",
        "localize_every",
        "tensorboard",
        "log",
        "checkpoint_every_minutes",
        "checkpoint_every_steps",
        "out",
        "resume",
        "config",
    }
)
_PLACES = frozenset({"dataset"})  # as typed; the manifest's hash says which it is


def made_by(config: Mapping[str, Any], manifest_hash: str) -> dict[str, Any]:
    """The settings that decide the weights, and the data: of a resolved config as a run record holds it."""
    chosen = {k: v for k, v in config.items() if k not in MAY_CHANGE_ON_RESUME | _PLACES}
    plain: dict[str, Any] = json.loads(json.dumps({**chosen, "manifest_hash": manifest_hash}))
    return plain


def require_made_by(values: Mapping[str, Any], wanted: Mapping[str, Any], file: str) -> None:
    """`UserError` naming the first settings in which a file differs from the run that it lies in.

    Settings that only one of them knows (an older version's) are passed over, and so is a file that says nothing.
    """
    stated = values.get(MADE_BY, {})
    odd = [k for k in wanted if k in stated and stated[k] != wanted[k]]
    if odd:
        named = ", ".join(f"{k} {stated[k]!r:.40} (the run's record says {wanted[k]!r:.40})" for k in odd[:3])
        raise UserError(f"'{file}' was made with {named}: it is another run's; bring back the run's own file")

"""Ranges of settings, and random draws from them.

lr: {log: [1.0e-5, 1]}          # uniform in the logarithm
cutmix_prob: {linear: [0, 1]}   # uniform; whole numbers where the setting is one
batch_size: {choice: [16, 32]}
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsol.errors import UserError
from wsol.training.config import check_settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

KINDS = ("log", "linear", "choice")
_SEED_BITS = 0xFFFFFFFF


@dataclass(frozen=True)
class Range:
    """The values that a setting may take: bounds (`log`, `linear`) or a list (`choice`), of the setting's own type."""

    kind: str
    values: tuple[Any, ...]

    def distribution(self) -> BaseDistribution:
        """The same for Optuna, which must be installed."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution(self.values)
        low, high = self.values
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=self.kind == "log")
        return FloatDistribution(low, high, log=self.kind == "log")


def is_range(value: Any) -> bool:
    """Whether a value of a YAML file states a range; no setting of training takes a mapping."""
    return isinstance(value, Mapping)


def read_range(name: str, stated: Mapping[Any, Any], place: str) -> Range:
    """A range as YAML states it; `UserError` with the place where it is not one of the setting's values."""
    where = f"{place}.{name}"
    if len(stated) != 1 or next(iter(stated)) not in KINDS:
        raise UserError(
            f"{where}: expected {{log: [low, high]}}, {{linear: [low, high]}} or {{choice: [...]}}, got "
            f"{dict(stated)!r}"
        )
    ((kind, values),) = stated.items()
    if not isinstance(values, list) or not values or (kind != "choice" and len(values) != 2):
        raise UserError(
            f"{where}: expected {kind}: {'[low, high]' if kind != 'choice' else '[one, another]'}, got {values!r}"
        )
    found = [check_settings({name: value}, place)[name] for value in values]
    if kind != "choice":
        plain = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in found)
        if not plain or not found[0] < found[1] or (kind == "log" and found[0] <= 0):
            low = "two numbers above 0" if kind == "log" else "two numbers"
            raise UserError(f"{where}: expected {low}, the lower one first, got {values!r}")
    elif not all(isinstance(v, (int, float, str, bool)) or v is None for v in found):
        raise UserError(f"{where}: a choice is among numbers or words, got {values!r}")
    return Range(kind, tuple(found))


def draws(ranges: Mapping[str, Range], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` random settings, by Optuna's RandomSampler.

    Each setting has draws of its own, from the seed and its name: methods that search the same range meet the same
    values, and a larger count begins with the draws of a smaller one.
    """
    import optuna

    columns = {}
    for name, range_ in ranges.items():
        own = (zlib.crc32(name.encode()) + seed) & _SEED_BITS
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(own))
        distribution = range_.distribution()
        columns[name] = [study.ask({name: distribution}).params[name] for _ in range(count)]
    return [{name: column[k] for name, column in columns.items()} for k in range(count)]

"""Localization protocols as data: what one is, the published ones, and choosing among them by name."""

from eval.protocols.chosen import load_protocols, normalization_variants, protocol_named, select
from eval.protocols.definition import (
    Channel,
    NormalizationName,
    Protocol,
    channels_of,
    differences,
    short_hash,
)
from eval.protocols.published import CONVENTIONAL_THRESHOLD, PROTOCOLS

__all__ = [
    "CONVENTIONAL_THRESHOLD",
    "PROTOCOLS",
    "Channel",
    "NormalizationName",
    "Protocol",
    "channels_of",
    "differences",
    "load_protocols",
    "normalization_variants",
    "protocol_named",
    "select",
    "short_hash",
]

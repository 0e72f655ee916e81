"""Class predictions that stand beside other people's score maps, from a CSV."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.maps.batch import Ranks, ranks_from_logits, unpredicted
from wsol.errors import UserError
from wsol.files.regular import read_bytes

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Split

_FORMS = (
    "a first line 'image_id,rank' (the rank of the true class, 1 for the first), or 'image_id' and one column of "
    "scores a class, named by the classes or in their order"
)


@dataclass(frozen=True)
class Predictions:
    """The rank of the true class, or the scores of all classes, by image id. `sha256` is the file's."""

    source: str
    sha256: str
    values: dict[str, npt.NDArray[np.float64]]
    """[1] for ranks, [K] for scores in the order of the dataset's classes."""
    ranked: bool

    @classmethod
    def read(cls, path: Path, classes: Sequence[str]) -> Predictions:
        """Read a CSV; `classes` are the dataset's names by label. Raises `UserError` for another form, a value that
        is no number, or an image named twice."""
        data = read_bytes(path)
        try:
            rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"'{path}' is not a CSV in UTF-8: {error}; expected {_FORMS}") from error
        head = [name.strip() for name in rows[0]] if rows else []
        columns = head[1:]
        ranked = columns == ["rank"]
        if not head or head[0] != "image_id" or not (ranked or len(columns) == len(classes)):
            raise UserError(
                f"{path}:1: found the columns {', '.join(head[:6]) or '(none)'}{' ...' if len(head) > 6 else ''} "
                f"({len(columns)} behind the first; the dataset has {len(classes)} classes); expected {_FORMS}"
            )
        by_name = not ranked and set(columns) == set(classes)
        order = [columns.index(c) for c in classes] if by_name else list(range(len(columns)))
        values: dict[str, npt.NDArray[np.float64]] = {}
        for number, row in enumerate(rows[1:], start=2):
            if not row:
                continue
            try:
                found = np.array([float(text) for text in row[1:]])[order]
                if len(row) != len(head) or (ranked and not (found[0] >= 1 and found[0] % 1 == 0)):
                    raise ValueError
            except (ValueError, IndexError) as error:
                expected = "a whole rank from 1" if ranked else f"{len(columns)} numbers"
                raise UserError(f"{path}:{number}: expected an image id and {expected}") from error
            if row[0] in values:
                raise UserError(f"{path}:{number}: image '{row[0]}' is named twice")
            values[row[0]] = found
        return cls(str(path), hashlib.sha256(data).hexdigest(), values, ranked)

    def require_all(self, split: Split) -> None:
        """`UserError` where images of a split have no prediction."""
        missing = [image_id for image_id in split.image_ids if image_id not in self.values]
        if missing:
            other = next((i for i in self.values if i not in set(split.image_ids)), None)
            also = f", but '{other}', which is no image of the split," if other else ""
            raise UserError(
                f"'{self.source}' has no prediction for {len(missing)} of {len(split)} images, such as "
                f"'{missing[0]}'{also and also + ' is there'}; predict every image of the split"
            )

    def ranks(self, split: Split, rows: npt.NDArray[np.int64]) -> Ranks:
        """The ranks of some rows of a split; of ranks alone the predicted class is known where it is the true one.
        Nothing is predicted for rows of which one is missing."""
        ids, labels = [split.image_ids[int(r)] for r in rows], split.labels[rows]
        if any(image_id not in self.values for image_id in ids):
            return unpredicted(len(rows))
        values = np.stack([self.values[image_id] for image_id in ids])
        if not self.ranked:
            return ranks_from_logits(values, labels)
        rank = values[:, 0]
        predicted = np.where(rank == 1, labels, -1).astype(np.int32)
        return Ranks(predicted, (rank <= 1).astype(np.int8), (rank <= 5).astype(np.int8))

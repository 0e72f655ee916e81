"""Class names as a page shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORDNET = re.compile(r"^n\d{8}[\s,:_-]+(?=\S)")


def short_names(classes: Sequence[str]) -> list[str]:
    """Names without WordNet id and further synonyms; as they are, where two would become one.

    >>> short_names(["n02123045 tabby, tabby cat", "n02123159, tiger cat", "n1", "red, dark"])
    ['tabby', 'tiger cat', 'n1', 'red, dark']
    >>> short_names(["n02012849 crane", "n03126707 crane"])
    ['n02012849 crane', 'n03126707 crane']
    """
    short = []
    for name in classes:
        words = _WORDNET.sub("", name)
        short.append(words.split(",")[0].strip() if words != name else name)
    return [s if short.count(s) == 1 else name for s, name in zip(short, classes)]

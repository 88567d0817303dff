"""What settings may be: ranges of numbers, both ends allowed, and how texts are written; imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf

NOT_NEGATIVE = (0.0, inf)
AT_LEAST_ONE = (1.0, inf)
A_SHARE = (0.0, 1.0)


@dataclass(frozen=True)
class Grammar:
    """How a text is written, so that a slip is refused before anything runs.

    Attributes:
        pattern: regular expression of all of it; an empty text is always allowed.
        example: one that matches.
    """

    pattern: str
    example: str

    def allows(self, text: str) -> bool:
        """Whether it is written so."""
        return not text or re.fullmatch(self.pattern, text) is not None


_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
FRAMES = Grammar(r"\s*(?:-?\d+)?\s*:\s*(?:-?\d+)?\s*", "0:100")
EXPRESSION = Grammar(rf"(?:[^=,]+=\s*{_NUMBER}\s*(?:,\s*|$))*", "jawOpen=0.6,browInnerUp=1")

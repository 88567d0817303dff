"""Ranges that numbers of settings may lie in, both ends allowed; imports nothing heavy."""

from __future__ import annotations

from math import inf

NOT_NEGATIVE = (0.0, inf)
AT_LEAST_ONE = (1.0, inf)
A_SHARE = (0.0, 1.0)

"""Quantities in Kubernetes' grammar: `250m`, `1.5`, `128Mi`, `1e3`, `2k`.

Source: k8s.io/apimachinery/pkg/api/resource, quantity.go. Negative amounts are refused: nothing
here can be negative.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import Final

PATTERN: Final = r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?"
"""Of the whole text; groups: number, suffix."""
_QUANTITY = re.compile(PATTERN)
_SCALES = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12),
    "P": Fraction(10**15), "E": Fraction(10**18),
    "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30), "Ti": Fraction(2**40),
    "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip
_LARGEST = 2**63 - 1
_LONGEST = 40


def amount(text: str) -> Fraction:
    """Return the exact amount that `text` names.

    Raises ValueError with a message for people if `text` is not a quantity.
    """
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(
            f"{text[:_LONGEST]!r} is not a quantity; write a number with an optional suffix, "
            "as 250m, 1.5, 128Mi or 2G"
        )
    number, suffix = match[1], match[2] or ""
    scale = _SCALES.get(suffix)
    if scale is None:
        scale = Fraction(10) ** int(suffix[1:])
    return Fraction(number) * scale


def _rounded_up(value: Fraction, text: str) -> int:
    whole = -(-value.numerator // value.denominator)
    if whole > _LARGEST:
        raise ValueError(f"{text!r} is larger than any machine; the largest is 2^63 - 1")
    return whole


@lru_cache(maxsize=1024)
def cpu_milli(text: str) -> int:
    """Return thousandths of a CPU, rounded up. Raises ValueError."""
    return _rounded_up(amount(text) * 1000, text)


@lru_cache(maxsize=1024)
def memory_bytes(text: str) -> int:
    """Return bytes, rounded up. Raises ValueError."""
    return _rounded_up(amount(text), text)


def cpu_text(milli: int) -> str:
    """Return the shortest spelling of a CPU amount: `2`, `250m`."""
    return f"{milli}m" if milli % 1000 else str(milli // 1000)


def memory_text(size_bytes: int) -> str:
    """Return the shortest exact spelling in binary units: `128Mi`, `1000`."""
    for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        scale = int(_SCALES[suffix])
        if size_bytes and size_bytes % scale == 0:
            return f"{size_bytes // scale}{suffix}"
    return str(size_bytes)

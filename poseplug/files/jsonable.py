"""Converts values to those that JSON can represent.

json-tricks does not: it writes NaN as it is or refuses it, and warns of every NumPy number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def to_json_values(value: Any) -> Any:
    """Convert NumPy numbers and arrays to Python's own, paths to text, and numbers that are not finite to None.

    Args:
        value: a value, or mappings, lists, tuples and arrays of values.

    Returns:
        Values that any reader of JSON accepts; keys are text, sequences are lists.

    Example:
        >>> to_json_values({'scores': np.array([0.5, np.nan]), 'file': Path('a.jpg')})
        {'scores': [0.5, None], 'file': 'a.jpg'}
    """
    # Most values are numbers of keypoints: asked first, as the instance check of a mapping takes ten times as long.
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): to_json_values(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [to_json_values(v) for v in value]
    if isinstance(value, np.generic):
        return to_json_values(value.item())
    # JSON has no NaN and no infinity, although Python writes them.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def to_json_text(value: Any, indent: int | None = None) -> str:
    """Convert a value to the text of a JSON file, as `to_json_values` converts what JSON cannot represent.

    Args:
        value: as for `to_json_values`.
        indent: spaces of each level; None for a single line.

    Example:
        >>> to_json_text({'scores': np.array([0.5, np.nan]), 'sigma': float('inf')})
        '{"scores": [0.5, null], "sigma": null}'
    """
    try:
        # The encoder finds the values that JSON lacks itself: looking at each number of a video's line takes longer
        # than to write it.
        return json.dumps(value, indent=indent, default=to_json_values, allow_nan=False)
    except (TypeError, ValueError):  # keys that are no text, or numbers that are not finite
        return json.dumps(to_json_values(value), indent=indent)

"""Values as JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from poseplug.files.jsonable import to_json_text, to_json_values


@pytest.mark.parametrize(
    'value',
    [
        {'keypoints': [[1.5, 2, 0.25]], 'file': Path('a.jpg'), 'scores': np.array([0.5, np.nan])},
        {'score': float('inf'), 'nested': [{'x': float('nan')}, (1, None, True)]},
        {3: np.float32(0.5), Path('b.jpg'): np.int64(7)},
    ],
    ids=['arrays', 'not finite', 'keys'],
)
@pytest.mark.parametrize('indent', [None, 1])
def test_the_text_is_that_of_the_converted_values(value, indent):
    assert to_json_text(value, indent) == json.dumps(to_json_values(value), indent=indent)


def test_what_json_cannot_represent_is_an_error():
    with pytest.raises(TypeError, match='not JSON serializable'):
        to_json_text({'value': object()})

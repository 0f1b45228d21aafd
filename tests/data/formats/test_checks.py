"""Problems of labels are found, counted and named."""

import json

import cv2
import numpy as np
import pytest

from poseplug.data.formats.checks import find_label_problems
from poseplug.data.formats.convert import read_labels
from tests.data.formats import label_files


def spoil(content, problem):
    """Change the geckos so that they have one problem."""
    first = content['annotations'][0]
    if problem == 'outside':
        first['keypoints'][0] = 500.0
    elif problem == 'repeat':
        content['annotations'].append({**first, 'id': 99})
    elif problem == 'one position':
        first['keypoints'] = [20.0, 20.0, 2] * 4
    elif problem == 'fractions':
        first['keypoints'] = [0.2, 0.3, 2, 0.4, 0.5, 2, 0.6, 0.7, 2, 0.1, 0.2, 2]
    elif problem == 'category':
        first['category_id'] = 7
    elif problem == 'image that':
        first['image_id'] = 7
    elif problem == 'flag for each':
        first['keypoints'] = first['keypoints'][:-1]
    elif problem == 'without extent':
        first['bbox'][2] = 0
    elif problem == 'another size':
        content['images'][0]['width'] = 121


@pytest.mark.parametrize(
    'problem',
    [
        'outside', 'repeat', 'one position', 'fractions', 'category', 'image that', 'flag for each', 'without extent',
        'another size',
    ],
)  # fmt: skip
def test_each_problem_is_found_once(tmp_path, problem):
    source = label_files.write_coco(tmp_path / 'data')
    assert find_label_problems(read_labels(source)) == []
    file = source / 'annotations' / 'all.json'
    content = json.loads(file.read_text())
    spoil(content, problem)
    file.write_text(json.dumps(content))
    (line,) = find_label_problems(read_labels(source))
    assert line.startswith('1 ')
    assert problem in line


def test_a_missing_and_a_damaged_image_are_found(tmp_path):
    source = label_files.write_coco(tmp_path / 'data')
    (source / 'images' / 'b.png').write_bytes(b'damaged')
    assert any('cannot be read: b.png' in line for line in find_label_problems(read_labels(source)))
    (source / 'images' / 'b.png').unlink()
    assert any('images are not in' in line for line in find_label_problems(read_labels(source)))


def test_every_image_is_compared_with_its_stated_size(tmp_path):
    source = label_files.write_coco(tmp_path / 'data')
    cv2.imwrite(str(source / 'images' / 'b.png'), np.zeros((120, 80, 3), np.uint8))
    (line,) = find_label_problems(read_labels(source))
    assert line == '1 images have another size than the labels state: b.png (120 x 80 stated, 80 x 120 px)'

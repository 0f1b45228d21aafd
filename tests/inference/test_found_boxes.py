"""The boxes of a data set's pictures by a detector: what is written is what the source reads."""

import json
import shutil

import numpy as np
import pytest

from poseplug.datasets.images import read_image
from poseplug.datasets.sources.boxes import Found
from poseplug.datasets.sources.coco import CocoSource
from poseplug.errors import AnnotationError, ConfigError
from poseplug.inference import detectors, found_boxes
from tests.inference.test_detectors import Bright


def config(root, **source):
    return {
        'test_dataloader': {'dataset': {'sources': [dict(type='CocoSource', root=str(root), half='val', **source)]}}
    }


def finder(images):
    """Two boxes in every picture, which its mean colour shifts; nobody in a dark one."""
    found = []
    for image in map(read_image, images):
        shift = image.mean() / 100
        boxes = np.array([[1.25, 2, 31.5, 44], [10, 12, 20, 22.125]]) + shift
        found.append(Found(boxes[: 2 * (shift > 0.5)], np.array([0.9, 0.123456])[: 2 * (shift > 0.5)]))
    return found


@pytest.fixture
def data(people_data, tmp_path):
    """A copy of the embedded set in which nobody is annotated on the first picture for tests."""
    folder = shutil.copytree(people_data, tmp_path / 'people')
    file = folder / 'annotations/person_keypoints_val2017.json'
    content = json.loads(file.read_text())
    first = content['images'][0]['id']
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] != first]
    file.write_text(json.dumps(content))
    return folder


def test_the_source_reads_the_boxes_that_were_written(data, tmp_path):
    pictures = found_boxes.of_config(config(data), 'test')
    found_boxes.write(found_boxes.detect(pictures, finder), tmp_path / 'found.json')
    records, report = CocoSource(data, 'val', boxes=tmp_path / 'found.json').load()
    assert report.kept == 6
    assert not report.dropped
    assert len(records) == 3
    for record in records:
        (found,) = finder([record.path])
        assert np.abs(record.boxes - found.boxes).max() <= 0.0101  # a corner and an extent, rounded
        assert np.allclose(record.box_scores, [0.9, 0.12346])


def test_pictures_of_nobody_count_and_a_file_that_is_still_to_be_written_does_not(data):
    assert len(found_boxes.of_config(config(data), 'test')) == 3
    assert len(found_boxes.of_config(config(data, boxes='found.json'), 'test')) == 3


def test_a_folder_has_the_pictures_of_its_config_by_the_same_numbers(data):
    by_config = found_boxes.of_config(config(data), 'test')
    assert {n: p.name for n, p in found_boxes.of_folder(data / 'val2017').items()} == {
        n: p.name for n, p in by_config.items()
    }


def test_pictures_without_a_number_of_their_own_are_an_error_that_names_them(data, tiny_data, tmp_path):
    with pytest.raises(AnnotationError, match=r"im0001\.jpg has the id 'im0001'"):
        found_boxes.of_folder(tiny_data / 'images')
    one, other = tmp_path / '7.jpg', tmp_path / '007.jpg'
    for file in (one, other):
        file.write_bytes(b'')
    with pytest.raises(AnnotationError, match='have the same number'):
        found_boxes.of_folder(tmp_path)
    with pytest.raises(AnnotationError, match='holds no picture'):
        found_boxes.of_folder(data)
    with pytest.raises(AnnotationError, match='No such file'):
        found_boxes.of_folder(tmp_path / 'nix')


def test_a_result_that_cannot_be_written_is_an_error_that_names_its_file(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(ConfigError, match=r'found\.json: .*; name another file for --out'):
        found_boxes.write([], tmp_path / 'file/found.json')


def test_the_command_writes_the_boxes_of_a_set(command, data, monkeypatch, tmp_path):
    monkeypatch.setattr(detectors, 'read_net', lambda file: (Bright(), (64, 64)))
    out = tmp_path / 'found.json'
    code, told, _ = command('dataset.py', 'detect', data / 'val2017', '--detector', 'x.onnx', '--out', out)
    assert (code, told) == (0, f'written: {out}, 3 boxes in 3 pictures\n')
    rows = json.loads(out.read_text())
    assert {row['category_id'] for row in rows} == {1}
    assert [row['image_id'] for row in rows] == sorted(found_boxes.of_folder(data / 'val2017'))
    told = command('dataset.py', 'detect', data / 'val2017', '--detector', 'x.onnx', '--out', out, '--threshold', 0.95)[
        1
    ]
    assert told == f'written: {out}, 0 boxes in 3 pictures\n'

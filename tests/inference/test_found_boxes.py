"""The boxes of a data set's pictures by a detector: what is written is what the source reads."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from poseplug.datasets.images import read_image
from poseplug.datasets.sources.boxes import Found
from poseplug.datasets.sources.coco import CocoSource
from poseplug.errors import AnnotationError, ConfigError
from poseplug.inference import detectors, found_boxes
from poseplug.sample import Record
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
    found_boxes.write(found_boxes.detect(found_boxes.of_folder(data / 'val2017'), finder), tmp_path / 'found.json')
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
    records = found_boxes.of_config(config(data), 'test')
    by_config = found_boxes.numbered((r.id, r.path) for r in records)
    assert found_boxes.of_folder(data / 'val2017') == by_config


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


def record(number, boxes, areas):
    count = len(boxes)
    joints = np.zeros((count, 17, 2))
    return Record(Path('x'), str(number), joints, joints[..., 0], boxes=np.array(boxes, float), areas=np.array(areas))


def row(number, box):
    return dict(image_id=number, category_id=1, bbox=box, score=0.9)


def test_a_found_box_counts_for_one_person_and_so_that_most_people_have_one():
    people = record(1, [[0, 0, 100, 100], [0, 0, 100, 80], [500, 0, 600, 90]], [9000, 4000, 6000])
    told = 'annotated people with a box of an IoU of 0.5: {} of 3, {} of 2 above 5,000 px²'
    assert found_boxes.recall([people], []) == told.format(0, 0)
    assert found_boxes.recall([people], [row(2, [0, 0, 100, 100])]) == told.format(0, 0)
    both = [row(1, [0, 0, 100, 80]), row(1, [0, 0, 100, 60])]  # the first fits both people, the second (0.6, 0.75) too
    assert found_boxes.recall([people], both) == told.format(2, 1)
    last = [row(1, [500, 0, 60, 90]), row(1, [500, 0, 100, 90])]  # two for the third alone
    assert found_boxes.recall([people], last) == told.format(1, 1)
    assert found_boxes.recall([people], [row(1, [500, 0, 49, 90])]) == told.format(0, 0)  # an IoU of 0.49
    assert found_boxes.recall([record(1, np.zeros((0, 4)), [])], both).endswith('0 of 0, 0 of 0 above 5,000 px²')


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

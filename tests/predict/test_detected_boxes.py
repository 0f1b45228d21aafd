"""A detector's boxes for the images of a data set: what is written is what the source reads."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from poseplug.core.boxes import DetectedBoxes
from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.data.sources.coco import CocoSource
from poseplug.files.images import read_image
from poseplug.predict.detected_boxes import (
    describe_recall,
    detect_boxes,
    index_images_by_id,
    list_numbered_images,
    load_split_records,
    write_detections,
)
from poseplug.testing import create_annotated_record
from tests.predict.detector_families.onnx_files import write_bright_area_file


def build_config(root, **source):
    return {
        'test_dataloader': {
            'dataset': {'sources': [dict(type='CocoSource', data_root=str(root), split='val', **source)]}
        }
    }


def detect(images):
    """Two boxes in every image, shifted by its mean color; none in a dark one."""
    detections = []
    for image in images:
        shift = image.mean() / 100
        count = 2 * (shift > 0.5)
        boxes = np.array([[1.25, 2, 31.5, 44], [10, 12, 20, 22.125]]) + shift
        detections.append(DetectedBoxes(boxes[:count], np.array([0.9, 0.123456])[:count]))
    return detections


@pytest.fixture
def data(multi_person_data, tmp_path):
    """A copy of the embedded set without annotated people in the first test image."""
    folder = shutil.copytree(multi_person_data, tmp_path / 'people')
    file = folder / 'annotations/person_keypoints_val2017.json'
    content = json.loads(file.read_text())
    first = content['images'][0]['id']
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] != first]
    file.write_text(json.dumps(content))
    return folder


def test_the_source_reads_the_boxes_that_were_written(data, tmp_path):
    file = tmp_path / 'detections.json'
    write_detections(detect_boxes(list_numbered_images(data / 'val2017'), detect), file)
    records, report = CocoSource(data, 'val', bbox_file=file).load()
    assert report.kept == 6
    assert not report.dropped
    assert len(records) == 3
    for record in records:
        (detections,) = detect([read_image(record.path)])
        assert np.abs(record.instances.boxes - detections.boxes).max() <= 0.0101  # a corner and an extent, rounded
        assert np.allclose(record.instances.box_scores, [0.9, 0.12346])


def test_images_without_people_are_included_and_a_box_file_is_not_needed(data):
    assert len(load_split_records(build_config(data), 'test')) == 3
    assert len(load_split_records(build_config(data, bbox_file='detections.json'), 'test')) == 3


def test_a_folder_has_the_images_of_its_config_by_the_same_ids(data):
    records = load_split_records(build_config(data), 'test')
    by_config = index_images_by_id((r.id, r.path) for r in records)
    assert list_numbered_images(data / 'val2017') == by_config


def test_images_without_a_unique_number_are_an_error_that_names_them(data, tiny_data, tmp_path):
    with pytest.raises(AnnotationError, match=r"im0001\.jpg has the id 'im0001'"):
        list_numbered_images(tiny_data / 'images')
    one, other = tmp_path / '7.jpg', tmp_path / '007.jpg'
    for file in (one, other):
        file.write_bytes(b'')
    with pytest.raises(AnnotationError, match='have the same image id'):
        list_numbered_images(tmp_path)
    with pytest.raises(AnnotationError, match='holds no image'):
        list_numbered_images(data)
    with pytest.raises(AnnotationError, match='No such file'):
        list_numbered_images(tmp_path / 'nix')


def create_record(image_id, boxes, areas):
    keypoints = np.zeros((len(boxes), 17, 2))
    boxes, areas = np.array(boxes, float), np.array(areas)
    return create_annotated_record(Path('x'), str(image_id), keypoints, keypoints[..., 0], boxes=boxes, areas=areas)


def create_result(image_id, box):
    return dict(image_id=image_id, category_id=1, bbox=box, score=0.9)


def test_a_detected_box_counts_for_one_person_and_as_many_people_as_possible_have_one():
    record = create_record(1, [[0, 0, 100, 100], [0, 0, 100, 80], [500, 0, 600, 90]], [9000, 4000, 6000])
    text = 'annotated people with a box of an IoU of 0.5: {} of 3, {} of 2 above 5,000 px²'
    assert describe_recall([record], []) == text.format(0, 0)
    assert describe_recall([record], [create_result(2, [0, 0, 100, 100])]) == text.format(0, 0)
    # Each box matches both of the first people: the second one with IoUs of 0.6 and 0.75.
    both = [create_result(1, [0, 0, 100, 80]), create_result(1, [0, 0, 100, 60])]
    assert describe_recall([record], both) == text.format(2, 1)
    last = [create_result(1, [500, 0, 60, 90]), create_result(1, [500, 0, 100, 90])]  # two for the third alone
    assert describe_recall([record], last) == text.format(1, 1)
    assert describe_recall([record], [create_result(1, [500, 0, 49, 90])]) == text.format(0, 0)  # an IoU of 0.49
    empty = create_record(1, np.zeros((0, 4)), [])
    assert describe_recall([empty], both).endswith('0 of 0, 0 of 0 above 5,000 px²')


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(ConfigError, match=r'detections\.json: .*; name another file for --out'):
        write_detections([], tmp_path / 'file/detections.json')


def test_the_command_writes_the_boxes_of_a_set(command, data, tmp_path):
    file, out = write_bright_area_file(tmp_path / 'bright.onnx', level=0.0), tmp_path / 'detections.json'
    arguments = ('dataset', 'detect', data / 'val2017', '--detector', file, '--out', out)
    arguments += ('--detector-family', 'CornerBoxes', '--detector-fill', 0)
    code, printed, _ = command(*arguments)
    assert code == 0
    assert printed.splitlines()[0].startswith('detector bright.onnx: CornerBoxes, run by')
    assert printed.splitlines()[1].startswith('detector boxes: 3 in 3 images (0 without). Candidates: 3;')
    assert printed.splitlines()[2:] == [f'written: {out}, 3 boxes in 3 images']
    results = json.loads(out.read_text())
    assert {result['category_id'] for result in results} == {1}
    assert [result['image_id'] for result in results] == sorted(list_numbered_images(data / 'val2017'))
    _, printed, _ = command(*arguments, '--score-threshold', 0.95)
    assert 'boxes: 0 in 3 images (3 without)' in printed
    assert printed.endswith(f'written: {out}, 0 boxes in 3 images\n')


def test_the_command_takes_a_config_by_name(command, data, tmp_path):
    file, out = write_bright_area_file(tmp_path / 'bright.onnx', level=0.0), tmp_path / 'detections.json'
    arguments = ('dataset', 'detect', 'simple_baseline_r50_coco_256x192', '--detector', file, '--out', out)
    arguments += ('--detector-family', 'CornerBoxes', '--detector-fill', 0, '--split', 'val')
    code, printed, error = command(*arguments, '--cfg-options', f'val_dataloader.dataset.sources.0.data_root={data}')
    assert code == 0, error
    assert f'written: {out}, 3 boxes in 3 images' in printed
    assert 'annotated people with a box' in printed

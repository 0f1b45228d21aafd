"""Labels beside predictions on the web page: read from the formats that need no folder, and matched one to one."""

import json

import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.deploy.web_labels import compare_with_labels, read_label_file

NAMES = ['nose', 'left_eye', 'right_eye']


def build_coco(keypoints, names=NAMES, file_name='photos/a.jpg'):
    """A COCO file with an instance for each list of keypoints."""
    annotations = [
        {
            'id': n, 'image_id': 7, 'category_id': 1, 'bbox': [0, 0, 40, 40], 'area': 1600, 'iscrowd': 0,
            'keypoints': row, 'num_keypoints': sum(v > 0 for v in row[2::3]),
        }
        for n, row in enumerate(keypoints, 1)
    ]  # fmt: skip
    category = {'id': 1, 'name': 'person', 'keypoints': names, 'skeleton': []}
    images = [{'id': 7, 'file_name': file_name, 'width': 64, 'height': 64}]
    return {'images': images, 'annotations': annotations, 'categories': [category]}


def read_coco(*keypoints, **options):
    return read_label_file('labels.json', json.dumps(build_coco(keypoints, **options)).encode())


def predict(*rows):
    return [{'keypoints': [[x, y, 0.9] for x, y in row]} for row in rows]


def test_labels_come_by_the_file_name_of_their_image():
    labels = read_coco([10, 20, 2, 14, 18, 1, 0, 0, 0])
    assert labels['format'] == 'COCO keypoints'
    assert labels['images'] == {
        'a.jpg': [{'keypoint_names': NAMES, 'keypoints': [[10, 20, 2], [14, 18, 1], [0, 0, 0]]}]
    }


@pytest.mark.parametrize('name', ['labels.slp', 'labels', '../labels.py', 'labels.yaml'])
def test_a_file_of_another_kind_is_refused_by_its_name(name):
    with pytest.raises(AnnotationError, match=r'the page reads label files that end in .json, .xml, .csv'):
        read_label_file(name, b'{}')


@pytest.mark.parametrize('data', [b'', b'{"images": 3', b'[1, 2]', b'\xff\xfe'])
def test_a_damaged_file_is_named_without_the_folder_of_the_server(data):
    with pytest.raises(AnnotationError, match='labels.json') as error:
        read_label_file('labels.json', data)
    assert '/tmp' not in str(error.value)


def test_labels_without_keypoints_are_an_error():
    with pytest.raises(AnnotationError, match='has no keypoints'):
        read_coco([0, 0, 0, 0, 0, 0, 0, 0, 0])


def test_distances_are_those_of_the_labeled_keypoints():
    labels = read_coco([10, 20, 2, 0, 0, 0, 30, 60, 2])['images']['a.jpg']
    result = compare_with_labels(predict([(13, 24), (1, 1), (30, 60)]), labels, NAMES)
    assert result['distances'] == [[5.0, None, 0.0]]
    assert result['labels'] == [{'instance': 0, 'keypoints': [[10.0, 20.0], None, [30.0, 60.0]]}]
    assert (result['mean_px'], result['pck']) == (2.5, 50.0)  # a tenth of the longer side, 40 px, is 4 px


def test_keypoints_are_found_by_name_whatever_their_order_and_writing():
    labels = read_coco([1, 2, 2, 3, 4, 2], names=['Right-Eye', 'NOSE'])['images']['a.jpg']
    result = compare_with_labels(predict([(3, 4), (9, 9), (1, 2)]), labels, NAMES)
    assert result['distances'] == [[0.0, None, 0.0]]


def test_keypoints_without_names_are_taken_in_their_order():
    labels = [{'keypoint_names': [], 'keypoints': [[1, 1, 2], [2, 2, 2], [3, 3, 2]]}]
    assert compare_with_labels(predict([(1, 1), (2, 2), (3, 3)]), labels, NAMES)['mean_px'] == 0.0


def test_instances_are_matched_one_to_one_and_the_unmatched_count_as_wrong():
    rows = [[0, 0, 2, 10, 0, 2, 10, 10, 2], [50, 50, 2, 60, 50, 2, 60, 60, 2], [90, 90, 2, 99, 90, 2, 99, 99, 2]]
    labels = read_coco(*rows)['images']['a.jpg']
    predicted = predict([(50, 50), (60, 50), (60, 60)], [(0, 0), (10, 0), (10, 10)])
    result = compare_with_labels(predicted, labels, NAMES)
    assert [label['instance'] for label in result['labels']] == [1, 0, None]
    assert (result['mean_px'], result['pck']) == (0.0, 66.7)


def test_without_predictions_nothing_is_right():
    labels = read_coco([0, 0, 2, 10, 0, 2, 10, 10, 2])['images']['a.jpg']
    result = compare_with_labels([], labels, NAMES)
    assert (result['mean_px'], result['pck'], result['distances']) == (None, 0.0, [])


def test_labels_of_other_keypoints_are_an_error():
    labels = [{'keypoint_names': ['tail'], 'keypoints': [[1, 1, 2]]}]
    with pytest.raises(AnnotationError, match='no keypoint of the labels has the name'):
        compare_with_labels(predict([(1, 1), (2, 2), (3, 3)]), labels, NAMES)


def test_a_position_that_is_not_finite_is_not_matched():
    labels = read_coco([10, 20, 2, 14, 18, 2, 20, 20, 2])['images']['a.jpg']
    result = compare_with_labels(predict([(np.nan, np.nan)] * 3), labels, NAMES)
    assert (result['mean_px'], result['pck']) == (None, 0.0)

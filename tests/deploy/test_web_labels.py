"""Labels beside predictions on the web page: read from the formats that need no folder, and matched one to one."""

import json

import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.core.poses import Poses
from poseplug.deploy.web_downloads import pack_image_results
from poseplug.deploy.web_labels import compare_with_labels, read_label_file
from poseplug.registry.skeletons import get_skeleton

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


@pytest.mark.parametrize('name', ['labels.slp', 'labels', '../labels.py', 'labels.yaml', 'labels.xml'])
def test_a_file_of_another_kind_is_refused_by_its_name(name):
    with pytest.raises(AnnotationError, match=r'the page reads label files that end in .json, .csv'):
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


def test_results_that_were_saved_are_read_as_labels_of_the_same_positions():
    skeleton = get_skeleton({'name': 'face', 'keypoints': NAMES})
    poses = Poses(np.array([[[10.25, 20.5], [30.0, 22.0], [26.0, 50.0]]]), np.full((1, 3), 0.9), np.array([0.9]))
    image = {'file': 'a.jpg', 'width': 64, 'height': 64, 'instances': poses.to_dicts()}
    file = pack_image_results({'images': [image]}, skeleton, ['coco'], 0.05)
    labels = read_label_file(file.name, file.data)['images']['a.jpg']
    assert compare_with_labels(poses.to_dicts(), labels, NAMES)['distances'] == [[0.0, 0.0, 0.0]]


def test_a_table_is_read():
    header = 'image,split,width,height,instance,category,box_x,box_y,box_width,box_height,keypoint,x,y,visible'
    rows = [f'a.jpg,,64,64,1,person,0,0,40,40,{name},{10 * n},{20 * n},2' for n, name in enumerate(NAMES)]
    labels = read_label_file('labels.csv', '\n'.join([header, *rows, '']).encode())
    assert labels['images']['a.jpg'][0]['keypoints'] == [[0, 0, 2], [10, 20, 2], [20, 40, 2]]


def test_formats_that_would_open_images_of_this_machine_are_refused(tmp_path):
    shape = {'label': 'nose', 'points': [[1, 2]], 'shape_type': 'point', 'group_id': 0}
    content = {'version': '5.0.1', 'flags': {}, 'shapes': [shape], 'imagePath': '/etc/photo.jpg', 'imageData': None}
    content |= {'imageHeight': 64, 'imageWidth': 64}
    with pytest.raises(AnnotationError, match=r'a.json is of LabelMe.*poseplug dataset convert a.json OUT --to coco'):
        read_label_file('a.json', json.dumps(content).encode())

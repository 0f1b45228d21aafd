"""Conversion writes what a format can hold, counts what it cannot, and nothing outside the new folder."""

import json

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.checks import find_label_problems
from poseplug.data.formats.convert import convert_labels, read_labels

CATEGORY = dict(id=1, name='gecko', keypoints=['nose', 'tail'], skeleton=[[1, 2]])
KEYPOINT_FORMATS = ['csv', 'yolo']


def write_image(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.full((60, 80, 3), 90, np.uint8))


def build_annotation(number, image_id=1, **changes):
    annotation = dict(
        id=number, image_id=image_id, category_id=1, bbox=[10, 10, 30, 30], keypoints=[12, 14, 2, 30, 33, 1]
    )
    return {key: value for key, value in {**annotation, **changes}.items() if value is not None}


def write_coco(folder, annotations, names=('a.jpg',), categories=(CATEGORY,)):
    images = [dict(id=i, file_name=name, width=80, height=60) for i, name in enumerate(names, 1)]
    for name in names:
        write_image(folder / name)
    file = folder / 'labels.json'
    file.write_text(json.dumps(dict(images=images, annotations=annotations, categories=list(categories))))
    return file


def list_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.*'))


@pytest.mark.parametrize('names', [('a.jpg', 'a.png'), ('a.jpg', 'images/a.jpg'), ('a.jpg', 'images/A.jpg')])
def test_images_that_would_share_a_label_file_of_yolo_get_names_of_their_own(tmp_path, names):
    annotations = [build_annotation(1), build_annotation(2, 2, keypoints=[50, 14, 2, 30, 33, 1])]
    labels, report = convert_labels(write_coco(tmp_path / 'data', annotations, names), tmp_path / 'out', 'yolo')
    assert report.lost['names of images whose label files would be one; they got a number'] == 1
    again = read_labels(tmp_path / 'out')
    assert sorted(a['keypoints'][0] for a in again.content['annotations']) == pytest.approx([12, 50], abs=1e-4)


@pytest.mark.parametrize('target', ['coco', *KEYPOINT_FORMATS])
def test_images_outside_the_folder_of_the_labels_are_copied_into_the_new_one(tmp_path, target):
    file = write_coco(tmp_path / 'a' / 'b' / 'data', [build_annotation(1)], ['../../../deep.jpg'])
    before = list_files(tmp_path)
    convert_labels(file, tmp_path / 'out', target)
    assert [name for name in list_files(tmp_path) if not name.startswith('out/')] == before
    (copy,) = (tmp_path / 'out').rglob('*.jpg')
    assert copy.name == 'deep.jpg'
    assert read_labels(tmp_path / 'out').num_instances == 1


@pytest.mark.parametrize('target', KEYPOINT_FORMATS)
def test_a_category_without_keypoints_is_left_out(tmp_path, target):
    others = [dict(id=0, name='animals'), dict(id=2, name='box')]
    annotations = [build_annotation(1), build_annotation(2, category_id=2, keypoints=None)]
    file = write_coco(tmp_path / 'data', annotations, categories=[others[0], CATEGORY, others[1]])
    _, report = convert_labels(file, tmp_path / 'out', target)
    assert report.num_instances == 1
    assert report.lost['instances of categories that are not listed or have no keypoints'] == 1
    assert [c['name'] for c in read_labels(tmp_path / 'out').content['categories']] == ['gecko']


@pytest.mark.parametrize('target', KEYPOINT_FORMATS)
@pytest.mark.parametrize(
    ('changes', 'cause'),
    [
        (dict(category_id=7), 'instances of categories that are not listed or have no keypoints'),
        (dict(image_id=9), 'instances of images that are not listed'),
        (dict(keypoints=None), 'instances without x, y and a flag for each keypoint'),
        (dict(keypoints=[1, 2, 2]), 'instances without x, y and a flag for each keypoint'),
        (dict(keypoints=['a'] * 6), 'instances without x, y and a flag for each keypoint'),
        (dict(keypoints=[0] * 6, bbox=None), 'instances without a box and without labeled keypoints'),
    ],
)
def test_what_a_format_of_keypoints_cannot_hold_is_counted(tmp_path, target, changes, cause):
    file = write_coco(tmp_path / 'data', [build_annotation(1), build_annotation(2, **changes)])
    _, report = convert_labels(file, tmp_path / 'out', target)
    assert report.num_instances == 1
    assert report.lost[cause] == 1


def test_coco_counts_instances_of_images_that_are_not_listed(tmp_path):
    file = write_coco(tmp_path / 'data', [build_annotation(1), build_annotation(2, 9)])
    _, report = convert_labels(file, tmp_path / 'out', 'coco')
    assert (report.num_instances, report.lost['instances of images that are not listed']) == (1, 1)


@pytest.mark.parametrize('target', KEYPOINT_FORMATS)
def test_an_instance_without_a_box_gets_the_one_around_its_keypoints(tmp_path, target):
    convert_labels(write_coco(tmp_path / 'data', [build_annotation(1, bbox=None)]), tmp_path / 'out', target)
    (annotation,) = read_labels(tmp_path / 'out').content['annotations']
    # 18 x 19 px around the keypoints, and a tenth of 19 px, at least 2 px, on each side
    assert annotation['bbox'] == pytest.approx([10, 12, 22, 23], abs=1e-4)


@pytest.mark.parametrize('target', KEYPOINT_FORMATS)
def test_keypoints_without_names_are_numbered(tmp_path, target):
    file = write_coco(tmp_path / 'data', [build_annotation(1)], categories=[dict(id=1, name='gecko')])
    convert_labels(file, tmp_path / 'out', target)
    assert read_labels(tmp_path / 'out').content['categories'][0]['keypoints'] == ['keypoint_1', 'keypoint_2']


@pytest.mark.parametrize('target', KEYPOINT_FORMATS)
def test_labels_without_keypoints_or_image_sizes_are_refused(tmp_path, target):
    file = write_coco(tmp_path / 'a', [build_annotation(1, keypoints=None)], categories=[dict(id=1, name='box')])
    with pytest.raises(AnnotationError, match='no category has keypoints'):
        convert_labels(file, tmp_path / 'out', target)
    file = write_coco(tmp_path / 'b', [build_annotation(1)])
    file.write_text(file.read_text().replace('"width": 80, ', ''))
    with pytest.raises(AnnotationError, match=r'image a\.jpg has no width and height'):
        convert_labels(file, tmp_path / 'out', target)


@pytest.mark.parametrize('key', ['images', 'annotations'])
def test_repeated_ids_are_problems(tmp_path, key):
    file = write_coco(tmp_path / 'data', [build_annotation(1), build_annotation(2, 2)], ['a.jpg', 'b.jpg'])
    content = json.loads(file.read_text())
    content[key][1]['id'] = 1
    file.write_text(json.dumps(content))
    assert f'1 {key} have the id of another one: id 1' in find_label_problems(read_labels(file))


def test_a_number_of_cvat_that_is_none_is_an_error_with_its_line(tmp_path):
    points = '<points label="nose" points="1,2"/>'
    image = f'<image id="0" name="a.jpg" width="wide" height="60"><skeleton label="g">{points}</skeleton></image>'
    write_image(tmp_path / 'a.jpg')
    (tmp_path / 'annotations.xml').write_text(f'<annotations>\n{image}</annotations>')
    with pytest.raises(AnnotationError, match="line 2: width of <image> is a whole number; found 'wide'"):
        read_labels(tmp_path)


def test_an_empty_table_of_deeplabcut_is_an_error(tmp_path):
    (tmp_path / 'CollectedData_me.csv').touch()
    with pytest.raises(AnnotationError, match='the first lines name scorer, bodyparts and coords'):
        read_labels(tmp_path)


def test_all_labels_of_an_unreadable_image_of_label_studio_are_counted(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    results = [
        dict(id=name, type='keypointlabels', value=dict(x=10, y=10, keypointlabels=[name])) for name in ('nose', 'tail')
    ]
    task = dict(id=1, data=dict(image='/upload/a.jpg'), annotations=[dict(result=results)])
    (tmp_path / 'tasks.json').write_text(json.dumps([task]))
    assert read_labels(tmp_path).num_labels == 2


@pytest.mark.parametrize('indices', ["['1', '0']", '[1.0, 0.0]', '[true, false]', '[0, 0]'])
def test_flip_indices_of_yolo_are_whole_numbers_in_pairs(tmp_path, indices):
    convert_labels(write_coco(tmp_path / 'data', [build_annotation(1)]), tmp_path / 'out', 'yolo')
    file = tmp_path / 'out' / 'data.yaml'
    file.write_text(file.read_text().replace('flip_idx: [0, 1]', f'flip_idx: {indices}'))
    with pytest.raises(AnnotationError, match='flip_idx names for each of the 2 keypoints'):
        read_labels(tmp_path / 'out')

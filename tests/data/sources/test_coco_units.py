"""Units of COCO files: keypoints in fractions or percents beside boxes in px, and odd values that are kept."""

import json

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.sources.coco import CocoSource
from poseplug.data.sources.crowdpose import CrowdPoseSource
from poseplug.skeletons.coco import COCO

FILE = 'annotations/person_keypoints_train2017.json'
WIDTH, HEIGHT = 640, 480


def make_content(count=3) -> dict:
    """One person per image: keypoints on the diagonal of a box from (300, 200) to (380, 280)."""
    diagonal = np.linspace(0.1, 0.9, 17)
    points = np.stack([300 + 80 * diagonal, 200 + 80 * diagonal, np.full(17, 2)], axis=1)
    person = dict(category_id=1, iscrowd=0, bbox=[300, 200, 80, 80], area=3392.0)
    return dict(
        images=[dict(id=n, file_name=f'{n}.png', width=WIDTH, height=HEIGHT) for n in range(1, count + 1)],
        annotations=[
            dict(person, id=10 * n, image_id=n, keypoints=points.ravel().tolist()) for n in range(1, count + 1)
        ],
        categories=[dict(id=1, name='person', keypoints=list(COCO.keypoints), skeleton=[])],
    )


@pytest.fixture
def read(tmp_path):
    """A function that writes a content and black images, and reads it: records and notes."""

    def write_and_read(content, source=CocoSource):
        for image in content['images']:
            (tmp_path / 'images').mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / 'images' / image['file_name']), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        (tmp_path / 'file.json').write_text(json.dumps(content))
        records, report = source(tmp_path, ann_file='file.json', image_folder='images').load()
        return records, report.notes

    return write_and_read


def scale_keypoints(annotation, x_factor, y_factor):
    points = np.reshape(annotation['keypoints'], (-1, 3)).astype(float)
    annotation['keypoints'] = (points * [x_factor, y_factor, 1]).ravel().tolist()


def test_keypoints_of_one_annotation_in_fractions_are_refused_by_its_id(read):
    content = make_content()
    scale_keypoints(content['annotations'][1], 1 / WIDTH, 1 / HEIGHT)
    with pytest.raises(AnnotationError, match=r'annotation 2 \(id 20\): its keypoints .* as fractions of the image'):
        read(content)


def test_keypoints_in_percent_are_refused_with_what_fits(read):
    content = make_content()
    for annotation in content['annotations']:
        scale_keypoints(annotation, 100 / WIDTH, 100 / HEIGHT)
    with pytest.raises(AnnotationError, match='as percent of the image, 100 % lie in them. Convert them to px'):
        read(content)


def test_keypoints_of_small_people_near_the_corner_are_px(read):
    content = make_content()
    for annotation in content['annotations']:
        annotation['bbox'] = [0, 0, 9, 9]
        points = np.tile([1.0, 1.4, 2.0], (17, 1))
        annotation['keypoints'] = points.ravel().tolist()
    content['annotations'][0]['keypoints'] = np.tile([5.0, 6.0, 2.0], (17, 1)).ravel().tolist()
    records, _ = read(content)
    assert records[1].instances.keypoints[0, 0].tolist() == pytest.approx([1.0, 1.4])


def test_labeled_keypoints_at_the_origin_and_boxes_of_other_people_are_counted(read):
    content = make_content()
    content['annotations'][0]['keypoints'][:6] = [0, 0, 2, 0, 0, 1]
    content['annotations'][1]['bbox'] = [10, 10, 20, 20]
    records, notes = read(content)
    assert [len(record.instances) for record in records] == [1, 1, 1]
    assert '2 keypoints labeled at exactly (0, 0), where exporters put those that are not labeled' in notes
    assert '1 instances most of whose keypoints lie outside their box' in notes


def make_crowd(crowd_index, num_keypoints=12) -> dict:
    content = make_content()
    names = ['shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle']
    keypoints = [f'{side}_{name}' for name in names for side in ('left', 'right')]
    content['categories'][0]['keypoints'] = [*keypoints, 'head', 'neck']
    for image, annotation in zip(content['images'], content['annotations'], strict=True):
        image['crowdIndex'] = crowd_index
        annotation.update(keypoints=annotation['keypoints'][:42], num_keypoints=num_keypoints)
    return content


def test_a_crowd_index_in_percent_or_below_0_is_refused_and_one_above_1_read(read):
    with pytest.raises(AnnotationError, match='crowdIndex is above 1 in most images.*divide percents by 100'):
        read(make_crowd(45.0), CrowdPoseSource)
    with pytest.raises(AnnotationError, match='crowdIndex is a number from 0 on; found -0.5'):
        read(make_crowd(-0.5), CrowdPoseSource)
    content = make_crowd(0.3)
    content['images'][0]['crowdIndex'] = 3.02  # the largest of the official validation file
    assert [record.crowd_index for record in read(content, CrowdPoseSource)[0]] == [3.02, 0.3, 0.3]


def test_a_number_of_keypoints_below_0_counts_as_absent_and_one_above_the_labeled_ones_is_reported(read):
    records, notes = read(make_crowd(0.3, num_keypoints=-1), CrowdPoseSource)
    assert {int(record.instances.stated_counts[0]) for record in records} == {-1}
    assert '3 annotations with num_keypoints below 0, read as absent' in notes
    assert (
        '3 instances whose num_keypoints contradicts their keypoints' in read(make_crowd(0.3, 15), CrowdPoseSource)[1]
    )
    assert not read(make_crowd(0.3, 12), CrowdPoseSource)[1]

"""CrowdPose in the layout of its official files."""

import json

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.core.sample import Record
from poseplug.data.sources.crowdpose import CrowdPoseSource
from poseplug.skeletons.crowdpose import CROWDPOSE
from poseplug.skeletons.lsp import LSP

FILE_KEYPOINTS = (
    'left_shoulder', 'right_shoulder', 'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip',
    'right_hip', 'left_knee', 'right_knee', 'left_ankle', 'right_ankle', 'head', 'neck',
)  # fmt: skip


def make_content(head_name='head') -> dict:
    """Two images of 60 x 50 px with one person each; keypoint k of the first is at x = 10 + k, y = 20 + k."""
    keypoints = [v for k in range(14) for v in (10 + k, 20 + k, 2)]
    names = [*FILE_KEYPOINTS[:12], head_name, 'neck']
    annotation = dict(category_id=1, iscrowd=0, num_keypoints=14, keypoints=keypoints, bbox=[5, 10, 70, 30])
    return {
        'images': [
            dict(id=100 + i, file_name=f'{100 + i}.jpg', width=60, height=50, crowdIndex=crowd_index)
            for i, crowd_index in enumerate((0.05, 0.9))
        ],
        'annotations': [dict(id=1 + i, image_id=100 + i, **annotation) for i in range(2)],
        'categories': [dict(supercategory='person', id=1, name='person', keypoints=names, skeleton=[])],
    }


@pytest.fixture
def write_dataset(tmp_path):
    """A function that writes a content and black images; returns the data set's folder."""

    def write(content, split='train'):
        for name in ('annotations', 'images'):
            (tmp_path / name).mkdir(exist_ok=True)
        for image in content['images']:
            cv2.imwrite(str(tmp_path / 'images' / image['file_name']), np.zeros((50, 60, 3), np.uint8))
        (tmp_path / f'annotations/crowdpose_{split}.json').write_text(json.dumps(content))
        return tmp_path

    return write


@pytest.mark.parametrize('split', ['train', 'val', 'trainval', 'test'])
def test_every_split_has_its_file(write_dataset, split):
    records, report = CrowdPoseSource(write_dataset(make_content(), split), split).load()
    assert ([r.id for r in records], report.kept, report.notes) == (['100', '101'], 2, [])


def test_images_carry_their_crowd_index(write_dataset):
    assert [r.crowd_index for r in CrowdPoseSource(write_dataset(make_content())).load()[0]] == [0.05, 0.9]


def test_an_image_may_have_no_crowd_index(write_dataset):
    content = make_content()
    del content['images'][0]['crowdIndex']
    indices = [r.crowd_index for r in CrowdPoseSource(write_dataset(content)).load()[0]]
    assert indices == pytest.approx([np.nan, 0.9], nan_ok=True)


def test_areas_are_0_53_of_the_whole_box_whatever_the_file_says(write_dataset):
    content = make_content()
    content['annotations'][0]['area'] = 5.0
    records, report = CrowdPoseSource(write_dataset(content)).load()
    assert [r.instances.areas[0] for r in records] == pytest.approx([0.53 * 70 * 30] * 2)
    assert records[0].instances.boxes.tolist() == [[5, 10, 60, 40]]
    assert report.notes == []


@pytest.mark.parametrize('head_name', ['head', 'top_head', 'head_top'])
def test_the_top_of_the_head_has_several_names_in_files(write_dataset, head_name):
    record = CrowdPoseSource(write_dataset(make_content(head_name))).load()[0][0]
    assert record.instances.keypoints[0, CROWDPOSE.index('head_top')].tolist() == [22, 32]


def test_another_order_of_keypoints_is_read_by_name_and_other_names_are_refused(write_dataset):
    content = make_content()
    content['categories'][0]['keypoints'].reverse()
    expected = CrowdPoseSource(write_dataset(make_content())).load()[0][0].instances.keypoints
    records, report = CrowdPoseSource(write_dataset(content)).load()
    assert np.array_equal(records[0].instances.keypoints, expected[:, ::-1])
    assert 'stand in another order (keypoint 1 is' in str(report)
    content['categories'][0]['keypoints'][0] = 'tail'
    with pytest.raises(AnnotationError, match='is the 14 keypoints left_shoulder, .* it lacks neck; .* them tail'):
        CrowdPoseSource(write_dataset(content)).load()


def test_its_keypoints_are_those_of_lsp_by_name(write_dataset):
    record = CrowdPoseSource(write_dataset(make_content())).load()[0][0]
    mapped: Record = record.map_to_skeleton(CROWDPOSE, LSP)
    assert (mapped.instances.visible == 2).all()
    assert mapped.instances.keypoints[0, LSP.index('right_ankle')].tolist() == [10 + 11, 20 + 11]
    assert mapped.instances.keypoints[0, LSP.index('neck')].tolist() == [10 + 13, 20 + 13]


def test_a_crowd_index_that_is_no_number_is_refused(write_dataset):
    content = make_content()
    content['images'][1]['crowdIndex'] = float('nan')
    with pytest.raises(AnnotationError, match='image 2 .id 101.: crowdIndex is a finite number; found nan'):
        CrowdPoseSource(write_dataset(content)).load()

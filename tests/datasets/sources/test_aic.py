"""AI Challenger in the layout of its official files, and every defect of one."""

import json
import re

import cv2
import numpy as np
import pytest

from poseplug.datasets.sources.aic import AICSource
from poseplug.errors import AnnotationError
from poseplug.skeletons.aic import AIC

FILE, FOLDER = 'keypoint_train_annotations_20170909.json', 'keypoint_train_images_20170902'


def joints(flag=1) -> list:
    """Joint k at x = 10 + k, y = 20 + k."""
    return [v for k in range(14) for v in (10 + k, 20 + k, flag)]


def content() -> list:
    """Two pictures of 60 x 50 px: two people on the first, one on the second."""
    return [
        dict(url='http://x/a.jpg', image_id='a', human_annotations=dict(human2=[20, 5, 40, 45], human1=[5, 10, 25, 40]),
             keypoint_annotations=dict(human1=joints(), human2=joints(2))),
        dict(url='http://x/b.jpg', image_id='b', human_annotations=dict(human1=[-3, 10, 25, 40]),
             keypoint_annotations=dict(human1=joints())),
    ]  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def made(content, file=FILE, folder=FOLDER, names=('a.jpg', 'b.jpg')):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            cv2.imwrite(str(tmp_path / folder / name), np.zeros((50, 60, 3), np.uint8))
        (tmp_path / file).write_text(json.dumps(content))
        return tmp_path

    return made


def test_one_record_a_picture_with_boxes_and_joints_matched_by_the_persons_name(write):
    records, report = AICSource(write(content())).load()
    assert ([r.id for r in records], report.kept, report.total) == (['a', 'b'], 3, 3)
    assert records[0].boxes.tolist() == [[5, 10, 25, 40], [20, 5, 40, 45]]
    assert records[0].keypoints[0, AIC.index('right_elbow')].tolist() == [11, 21]
    assert records[0].keypoints[0, AIC.index('neck')].tolist() == [23, 33]
    assert [r.numbers.tolist() for r in records] == [[1, 2], [3]]


def test_areas_are_the_boxes(write):
    records, _ = AICSource(write(content())).load()
    assert [r.areas.tolist() for r in records] == [[600, 800], [750]]


def test_flags_1_2_and_3_are_visible_occluded_and_not_labelled(write):
    made = content()
    made[0]['keypoint_annotations']['human1'][:9] = [7, 8, 1, 7, 8, 2, 7, 8, 3]
    record = AICSource(write(made)).load()[0][0]
    assert record.visible[:, :4].tolist() == [[2, 1, 0, 2], [1, 1, 1, 1]]
    assert record.keypoints[0, :3].tolist() == [[7, 8], [7, 8], [0, 0]]


def test_the_validation_half_has_its_own_names(write):
    file, folder = 'keypoint_validation_annotations_20170911.json', 'keypoint_validation_images_20170911'
    assert len(AICSource(write(content(), file, folder), 'val').load()[0]) == 2


def test_people_without_joints_or_box_are_counted_and_their_place_is_ignored(write):
    made = content()
    made[0]['keypoint_annotations']['human2'] = joints(3)
    made[1]['human_annotations']['human1'] = [20, 10, 20, 40]
    records, report = AICSource(write(made)).load()
    assert dict(report.dropped) == {'without a labelled joint (ignored regions)': 1, 'with a box of no extent': 1}
    assert (report.kept, len(records), records[0].ignore.tolist()) == (1, 1, [[20, 5, 40, 45]])


def test_missing_pictures_can_be_dropped_and_are_counted(write):
    folder = write(content(), names=('b.jpg',))
    with pytest.raises(AnnotationError, match='image a.jpg is missing'):
        AICSource(folder).load()
    records, report = AICSource(folder, missing='drop').load()
    assert ([r.id for r in records], dict(report.dropped)) == (['b'], {'with their picture missing': 2})


def test_a_file_in_cocos_format_is_read_too(write):
    people = [dict(id=5, image_id=1, category_id=1, bbox=[5, 10, 20, 30], area=100, keypoints=joints(2))]
    images = [dict(id=1, file_name='a.jpg', width=60, height=50)]
    made = dict(images=images, annotations=people, categories=[dict(id=1, name='person')])
    (record,), _ = AICSource(write(made, 'aic.json', 'photos'), annotations='aic.json', images='photos').load()
    assert (record.areas.tolist(), record.boxes.tolist()) == ([100], [[5, 10, 25, 40]])
    assert record.keypoints[0, AIC.index('right_elbow')].tolist() == [11, 21]


def spoiled(change):
    made = content()
    return change(made) or made


DEFECTS = {
    'text': ('text', 'each picture is an entry of a list'),
    'no object': (['a'], "picture 1 is an object with names; found 'a'"),
    'flag 0': (spoiled(lambda m: m[1]['keypoint_annotations'].update(human1=joints(0))),
               "picture 2 (image_id 'b'), human1: the flag of joint 'right_shoulder' is 1, 2 or 3; found 0"),
    '13 joints': (spoiled(lambda m: m[1]['keypoint_annotations'].update(human1=joints()[3:])),
                  'keypoints is 42 finite numbers, x, y and flag of 14 joints; found a list of 39'),
    'NaN': (spoiled(lambda m: m[1]['keypoint_annotations'].update(human1=[float('nan'), *joints()[1:]])),
            'keypoints is 42 finite numbers'),
    'infinite box': (spoiled(lambda m: m[1]['human_annotations'].update(human1=[0, 0, float('inf'), 1])),
                     'bbox is 4 finite numbers, x, y of two corners; found [0, 0, inf, 1]'),
    'no box': (spoiled(lambda m: m[1]['human_annotations'].pop('human1') and None),
               "picture 2 (image_id 'b'): human_annotations is of the people in keypoint_annotations, ['human1']"),
    'list of people': (spoiled(lambda m: m[1].update(human_annotations=[])),
                       'human_annotations is an object with one entry a person; found []'),
    'name': (spoiled(lambda m: m[1].update(image_id='../b')), 'image_id is a name inside the folder of the pictures'),
    'no name': (spoiled(lambda m: m[1].pop('image_id') and None), 'picture 2: image_id is the name of a picture'),
    'twice': (spoiled(lambda m: m[1].update(image_id='a')), 'image_id is different from that of picture 1'),
}  # fmt: skip


@pytest.mark.parametrize('defect', DEFECTS)
def test_every_defect_is_an_error_that_names_it(write, defect):
    made, told = DEFECTS[defect]
    with pytest.raises(AnnotationError, match=re.escape(told)) as error:
        AICSource(write(made)).load()
    assert FILE in str(error.value)


def test_a_file_of_nobody_gives_nobody(write):
    records, report = AICSource(write([])).load()
    assert (records, report.total) == ([], 0)


def test_a_half_that_does_not_exist_is_an_error():
    with pytest.raises(AnnotationError, match="aic: half is one of train, val; got 'test'"):
        AICSource(half='test')

"""AI Challenger in the layout of its official files, and every defect of one."""

import json
import re

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.sources.aic import AICSource
from poseplug.skeletons.aic import AIC

FILE, FOLDER = 'keypoint_train_annotations_20170909.json', 'keypoint_train_images_20170902'


def make_keypoints(flag=1) -> list:
    """Keypoint k at x = 10 + k, y = 20 + k."""
    return [v for k in range(14) for v in (10 + k, 20 + k, flag)]


def make_content() -> list:
    """Two images of 60 x 50 px: two people on the first, one on the second."""
    return [
        dict(
            url='http://x/a.jpg',
            image_id='a',
            human_annotations=dict(human2=[20, 5, 40, 45], human1=[5, 10, 25, 40]),
            keypoint_annotations=dict(human1=make_keypoints(), human2=make_keypoints(2)),
        ),
        dict(
            url='http://x/b.jpg',
            image_id='b',
            human_annotations=dict(human1=[-3, 10, 25, 40]),
            keypoint_annotations=dict(human1=make_keypoints()),
        ),
    ]


@pytest.fixture
def write_dataset(tmp_path):
    """A function that writes a content and black images; returns the data set's folder."""

    def write(content, file=FILE, folder=FOLDER, names=('a.jpg', 'b.jpg')):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            cv2.imwrite(str(tmp_path / folder / name), np.zeros((50, 60, 3), np.uint8))
        (tmp_path / file).write_text(json.dumps(content))
        return tmp_path

    return write


def test_one_record_per_image_with_boxes_and_keypoints_matched_by_the_persons_name(write_dataset):
    records, report = AICSource(write_dataset(make_content())).load()
    assert ([r.id for r in records], report.kept, report.total) == (['a', 'b'], 3, 3)
    assert records[0].instances.boxes.tolist() == [[5, 10, 25, 40], [20, 5, 40, 45]]
    assert records[0].instances.keypoints[0, AIC.index('right_elbow')].tolist() == [11, 21]
    assert records[0].instances.keypoints[0, AIC.index('neck')].tolist() == [23, 33]
    assert [r.instances.annotation_ids.tolist() for r in records] == [[1, 2], [3]]


def convert_to_coco(content, size=(60, 50)) -> dict:
    """The same people in COCO's format, where flags are 2, 1 and 0 and a box is x, y, width, height."""
    images, annotations = [], []
    for n, image in enumerate(content, start=1):
        images.append(dict(id=n, file_name=f'{image["image_id"]}.jpg', width=size[0], height=size[1]))
        for name, (x1, y1, x2, y2) in image['human_annotations'].items():
            rows = np.array(image['keypoint_annotations'][name]).reshape(-1, 3)
            rows[:, 2] = np.array([0, 2, 1, 0])[rows[:, 2]]
            person = dict(id=len(annotations) + 1, image_id=n, category_id=1, keypoints=rows.ravel().tolist())
            annotations.append({**person, 'bbox': [x1, y1, x2 - x1, y2 - y1]})
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])


def list_areas(records) -> list[float]:
    """The areas of all people and ignored regions."""
    regions = [area for r in records for area in r.ignored.areas.tolist()]
    return sorted([area for r in records for area in r.instances.areas.tolist()] + regions)


@pytest.mark.parametrize('file_areas', [None, 5.0])
def test_a_person_has_one_area_whatever_the_format_of_the_file(write_dataset, file_areas):
    """Boxes that reach beyond the image and ignored people included; areas of the file are not those of AIC's rule."""
    content = make_content()
    content[1]['human_annotations']['human2'] = [30, 20, 80, 70]
    content[1]['keypoint_annotations']['human2'] = make_keypoints(3)
    coco = convert_to_coco(content)
    for annotation in coco['annotations'] if file_areas else ():
        annotation['area'] = file_areas
    official, _ = AICSource(write_dataset(content)).load()
    folder = write_dataset(coco, 'aic.json', 'photos')
    converted, report = AICSource(folder, ann_file='aic.json', image_folder='photos').load()
    assert list_areas(official) == list_areas(converted) == [600, 800, 840, 2500]
    assert all(r.instances.has_area.all() for r in (*official, *converted))
    assert not any('area' in note for note in report.notes)


def test_areas_are_the_boxes(write_dataset):
    records, _ = AICSource(write_dataset(make_content())).load()
    assert [r.instances.areas.tolist() for r in records] == [[600, 800], [28 * 30]]


def test_flags_1_2_and_3_are_visible_occluded_and_not_labeled(write_dataset):
    content = make_content()
    content[0]['keypoint_annotations']['human1'][:9] = [7, 8, 1, 7, 8, 2, 7, 8, 3]
    record = AICSource(write_dataset(content)).load()[0][0]
    assert record.instances.visible[:, :4].tolist() == [[2, 1, 0, 2], [1, 1, 1, 1]]
    assert record.instances.keypoints[0, :3].tolist() == [[7, 8], [7, 8], [0, 0]]


def test_the_validation_split_has_other_names(write_dataset):
    file, folder = 'keypoint_validation_annotations_20170911.json', 'keypoint_validation_images_20170911'
    assert len(AICSource(write_dataset(make_content(), file, folder), 'val').load()[0]) == 2


def test_persons_without_keypoints_or_box_are_counted_and_their_box_is_ignored(write_dataset):
    content = make_content()
    content[0]['keypoint_annotations']['human2'] = make_keypoints(3)
    content[1]['human_annotations']['human1'] = [20, 10, 20, 40]
    records, report = AICSource(write_dataset(content)).load()
    assert dict(report.dropped) == {'without labeled keypoints (ignored regions)': 1, 'with a box of no extent': 1}
    assert (report.kept, len(records), records[0].ignored.boxes.tolist()) == (1, 1, [[20, 5, 40, 45]])


def test_missing_images_can_be_dropped_and_are_counted(write_dataset):
    folder = write_dataset(make_content(), names=('b.jpg',))
    with pytest.raises(AnnotationError, match='image a.jpg is missing'):
        AICSource(folder).load()
    records, report = AICSource(folder, missing_images='drop').load()
    assert ([r.id for r in records], dict(report.dropped)) == (['b'], {'with a missing image': 2})


def test_a_file_in_cocos_format_is_read_too(write_dataset):
    keypoints = make_keypoints(2)
    annotation = dict(id=5, image_id=1, category_id=1, bbox=[5, 10, 20, 30], area=100, keypoints=keypoints)
    images = [dict(id=1, file_name='a.jpg', width=60, height=50)]
    content = dict(images=images, annotations=[annotation], categories=[dict(id=1, name='person')])
    folder = write_dataset(content, 'aic.json', 'photos')
    (record,), _ = AICSource(folder, ann_file='aic.json', image_folder='photos').load()
    assert (record.instances.areas.tolist(), record.instances.boxes.tolist()) == ([600], [[5, 10, 25, 40]])
    assert record.instances.keypoints[0, AIC.index('right_elbow')].tolist() == [11, 21]


def change_second_image(**changes) -> list:
    """The content with other values for some keys of the second image; None removes a key."""
    content = make_content()
    for key, value in changes.items():
        if value is None:
            del content[1][key]
        else:
            content[1][key] = value
    return content


DEFECTS = {
    'text': ('text', 'each image is an entry of a list'),
    'no object': (['a'], "image 1 is an object with names; found 'a'"),
    'flag 0': (
        change_second_image(keypoint_annotations=dict(human1=make_keypoints(0))),
        "image 2 (image_id 'b'), human1: the flag of keypoint 'right_shoulder' is 1, 2 or 3; found 0",
    ),
    '13 keypoints': (
        change_second_image(keypoint_annotations=dict(human1=make_keypoints()[3:])),
        'keypoints is 42 finite numbers, x, y and flag of 14 keypoints; found 39 values',
    ),
    'NaN': (
        change_second_image(keypoint_annotations=dict(human1=[float('nan'), *make_keypoints()[1:]])),
        'keypoints is 42 finite numbers',
    ),
    'infinite box': (
        change_second_image(human_annotations=dict(human1=[0, 0, float('inf'), 1])),
        'bbox is 4 finite numbers, x, y of two corners; found [0, 0, inf, 1]',
    ),
    'no box': (
        change_second_image(human_annotations={}),
        "image 2 (image_id 'b'): human_annotations is of the persons in keypoint_annotations, ['human1']",
    ),
    'list of people': (
        change_second_image(human_annotations=[]),
        'human_annotations is an object with one entry per person; found []',
    ),
    'name': (change_second_image(image_id='../b'), 'image_id is a name inside the folder of the images'),
    'no name': (change_second_image(image_id=None), 'image 2: image_id is the name of an image'),
    'twice': (change_second_image(image_id='a'), 'image_id is different from that of image 1'),
}


@pytest.mark.parametrize('defect', DEFECTS)
def test_every_defect_is_an_error_that_names_it(write_dataset, defect):
    content, message = DEFECTS[defect]
    with pytest.raises(AnnotationError, match=re.escape(message)) as error:
        AICSource(write_dataset(content)).load()
    assert FILE in str(error.value)


def test_an_empty_file_has_no_records(write_dataset):
    records, report = AICSource(write_dataset([])).load()
    assert (records, report.total) == ([], 0)


def test_a_split_that_does_not_exist_is_an_error():
    with pytest.raises(AnnotationError, match="aic: split is one of train, val; got 'test'"):
        AICSource(split='test')


def test_links_out_of_the_folder_are_read_where_asked(write_dataset, tmp_path):
    root = write_dataset(make_content())
    image, elsewhere = root / FOLDER / 'a.jpg', tmp_path / 'elsewhere.jpg'
    image.rename(elsewhere)
    image.symlink_to(elsewhere)
    with pytest.raises(AnnotationError, match='pass follow_links=True'):
        AICSource(root).load()
    kept = AICSource(root, follow_links=True).load()[1].kept
    elsewhere.replace(image)
    assert kept == AICSource(root).load()[1].kept > 0

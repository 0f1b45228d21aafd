"""COCO's format: the real files, made ones, and the 36 defects with the verdicts of docs/reference/messages.md."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.sources.coco import CocoSource
from poseplug.data.sources.coco_format import CocoReader
from poseplug.data.synthetic import write_coco
from poseplug.files.json_file import describe_json_value
from poseplug.skeletons.coco import COCO
from poseplug.testing.samples import list_record_values

PAGE = Path(__file__).parents[3] / 'docs/reference/messages.md'
K = len(COCO)
SIZE = (100, 80)  # width, height of the made images
FILE = 'annotations/person_keypoints_train2017.json'


def make_annotation(annotation_id: int, image_id: int, box=(20, 10, 40, 60), flag=2) -> dict:
    """An annotation whose keypoints are along the box's diagonal."""
    x, y, w, h = box
    fractions = np.linspace(0.1, 0.9, K)
    keypoints = np.column_stack([x + fractions * w, y + fractions * h, np.full(K, flag)]).ravel().tolist()
    return dict(
        id=annotation_id,
        image_id=image_id,
        category_id=1,
        iscrowd=0,
        bbox=[*box],
        area=900.0,
        num_keypoints=K,
        keypoints=keypoints,
    )


def make_content() -> dict:
    """Three people on three images; defects are put into the third image and annotation."""
    return {
        'images': [dict(id=i, file_name=f'{i}.jpg', width=SIZE[0], height=SIZE[1]) for i in (1, 2, 3)],
        'annotations': [make_annotation(11, 1), make_annotation(12, 2), make_annotation(13, 3)],
        'categories': [dict(id=1, name='person', keypoints=list(COCO.keypoints))],
    }


@pytest.fixture
def write_dataset(tmp_path):
    """A function that writes a content, or bytes, as the official file, with gray images; returns the folder."""

    def write(content, image_ids=(1, 2, 3)) -> Path:
        folder = tmp_path / 'coco'
        for name in ('annotations', 'train2017'):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for i in image_ids:
            cv2.imwrite(str(folder / f'train2017/{i}.jpg'), np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / FILE).write_bytes(text)
        return folder

    return write


def read(folder, **settings):
    return CocoSource(folder, 'train', **settings).load()


# --- the real files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('split', 'num_images', 'num_instances', 'crowds', 'unlabeled', 'occluded_percent'), [
    ('train', 90, 267, 5, 56, 6.7), ('val', 92, 428, 1, 17, 9.4),
])  # fmt: skip
def test_the_real_subset_has_its_instances(
    real_data, split, num_images, num_instances, crowds, unlabeled, occluded_percent
):
    records, report = CocoSource(real_data / 'coco', split).load()
    total = num_instances + crowds + unlabeled
    assert (len(records), report.kept, report.total) == (num_images, num_instances, total)
    assert dict(report.dropped) == {
        'crowds (ignored regions)': crowds, 'without labeled keypoints (ignored regions)': unlabeled,
    }  # fmt: skip
    assert [note for note in report.notes if 'of null' not in note] == []
    assert sum(len(r.ignored.boxes) for r in records) == crowds + unlabeled
    visible = np.concatenate([r.instances.visible for r in records])
    assert round(100 * (visible == 1).sum() / visible.size, 1) == occluded_percent
    assert all(r.path.is_file() for r in records)


def test_the_real_numbers_are_those_of_the_file(real_data):
    content = json.loads((real_data / 'coco/annotations/person_keypoints_val2017.json').read_text())
    by_id = {annotation['id']: annotation for annotation in content['annotations']}
    for record in CocoSource(real_data / 'coco', 'val').load()[0]:
        for n, annotation_id in enumerate(record.instances.annotation_ids):
            annotation = by_id[annotation_id]
            assert str(annotation['image_id']) == record.id
            keypoints = np.reshape(annotation['keypoints'], (K, 3))
            labeled = keypoints[:, 2] > 0
            assert record.instances.visible[n].tolist() == keypoints[:, 2].tolist()
            assert record.instances.keypoints[n][labeled] == pytest.approx(keypoints[labeled, :2], abs=1e-3)
            x, y, w, h = annotation['bbox']
            assert record.instances.boxes[n] == pytest.approx([x, y, x + w, y + h], abs=0.02)
            assert record.instances.areas[n] == annotation['area']


# --- made files -------------------------------------------------------------------------------------------------------


def test_the_synthetic_set_in_cocos_layout_is_read(tmp_path):
    folder = write_coco(tmp_path / 'synthetic', num_train=3, num_val=2)
    for split, count in (('train', 3), ('val', 2)):
        records, report = CocoSource(folder, split).load()
        assert len(records) == count
        assert report.kept == report.total == sum(len(r.instances) for r in records)
        assert [note for note in report.notes if 'of null' not in note] == []


def test_a_box_is_two_corners_clipped_to_the_image_and_its_area_the_files(write_dataset):
    content = make_content()
    content['annotations'][0]['bbox'] = [-10, 70, 60.5, 60]
    record = read(write_dataset(content))[0][0]
    assert record.instances.boxes.tolist() == [[0, 70, 50.5, 80]]
    assert (record.instances.areas.tolist(), record.instances.annotation_ids.tolist(), record.id) == ([900], [11], '1')


def test_unlabeled_keypoints_have_no_position(write_dataset):
    content = make_content()
    content['annotations'][0]['keypoints'][:6] = [33.0, 44.0, 0, 5.5, 6.5, 1]
    content['annotations'][0]['num_keypoints'] = K - 1
    record = read(write_dataset(content))[0][0]
    assert record.instances.keypoints[0, :2].tolist() == [[0, 0], [5.5, 6.5]]
    assert record.instances.visible[0, :3].tolist() == [0, 1, 2]


def test_crowds_and_unlabeled_instances_are_ignored_regions(write_dataset):
    content = make_content()
    unlabeled = dict(keypoints=[0] * 3 * K, num_keypoints=0)
    content['annotations'] += [
        {**make_annotation(14, 1, box=(0, 0, 50, 50)), **unlabeled, 'iscrowd': 1},
        {**make_annotation(15, 1, box=(60, 10, 20, 20)), **unlabeled},
    ]
    records, report = read(write_dataset(content))
    assert records[0].ignored.boxes.tolist() == [[0, 0, 50, 50], [60, 10, 80, 30]]
    assert (records[0].ignored.areas.tolist(), records[0].ignored.crowds.tolist()) == ([900, 900], [True, False])
    assert (len(records[0].instances), report.kept, report.total) == (1, 3, 5)


def test_the_labeled_keypoints_and_the_segmentation_of_a_crowd_are_those_of_its_region(write_dataset):
    content = make_content()
    triangle = [[10.0, 10, 40, 10, 10, 40]]
    content['annotations'][0]['segmentation'] = triangle
    content['annotations'].append({**make_annotation(14, 1), 'iscrowd': 1, 'segmentation': triangle})
    (record, *_), _ = read(write_dataset(content), segmentations=True)
    np.testing.assert_allclose(record.ignored.keypoints[0][:, :2], record.instances.keypoints[0], rtol=1e-6)
    assert (record.ignored.keypoints[0][:, 2] == 2).all()
    assert record.instances.segmentations[0] is not None
    assert record.ignored.segmentations[0] is not None
    (record, *_), _ = read(write_dataset(content))
    assert record.instances.segmentations[0] is None


def test_an_annotation_of_an_image_that_the_file_does_not_list_is_dropped(write_dataset):
    content = make_content()
    content['images'] = content['images'][:1]
    _, report = read(write_dataset(content))
    assert (report.kept, sum(report.dropped.values())) == (1, 2)


def test_an_image_may_have_one_pixel_and_not_less(write_dataset):
    content = make_content()
    for width, height, wrong in ((1, 1, None), (0.5, 1, 'width'), (1, 0, 'height')):
        content['images'].append(dict(id=9, file_name='1.jpg', width=width, height=height))
        if wrong:
            with pytest.raises(AnnotationError, match=f'image 4 .*: {wrong} is at least 1 pixel'):
                read(write_dataset(content), num_size_checks=0)
        else:
            assert len(read(write_dataset(content), num_size_checks=0, keep_empty=True)[0]) == 4
        content['images'].pop()


def test_a_reader_by_itself_names_the_file(write_dataset):
    content = make_content()
    content['annotations'][2]['area'] = 'large'
    folder = write_dataset(content)
    with pytest.raises(AnnotationError, match=f'^{folder / FILE}: annotation 3'):
        CocoReader(COCO, 'coco').read_with_sizes(folder / FILE, folder / 'train2017')
    _, _, sizes = CocoReader(COCO, 'coco').read_with_sizes(write_dataset(make_content()) / FILE, folder / 'train2017')
    assert sizes == dict.fromkeys((1, 2, 3), SIZE)


@pytest.mark.parametrize('keypoints', [5, 'abc', {}])
def test_keypoints_that_are_no_list_are_refused_by_name(write_dataset, keypoints):
    content = make_content()
    content['annotations'][1]['keypoints'] = keypoints
    with pytest.raises(AnnotationError, match='annotation 2 .*: keypoints is 51 finite numbers'):
        read(write_dataset(content))


def test_instances_with_too_few_keypoints_are_counted_and_ignored(write_dataset):
    content = make_content()
    content['annotations'][1]['keypoints'][3 * 4 :] = [0] * 3 * (K - 4)
    content['annotations'][1]['num_keypoints'] = 4
    records, report = read(write_dataset(content), min_keypoints=5, keep_empty=True)
    assert dict(report.dropped) == {'with fewer than 5 labeled keypoints (ignored regions)': 1}
    assert (len(records[1].instances), records[1].ignored.boxes.tolist()) == (0, [[20, 10, 60, 70]])


def test_images_without_instances_are_records_with_keep_empty(write_dataset):
    content = make_content()
    del content['annotations'][1]
    assert [r.id for r in read(write_dataset(content))[0]] == ['1', '3']
    records = read(write_dataset(content), keep_empty=True)[0]
    assert [(r.id, r.instances.keypoints.shape) for r in records] == [
        ('1', (1, K, 2)),
        ('2', (0, K, 2)),
        ('3', (1, K, 2)),
    ]


def test_an_instance_without_an_area_gets_0_53_of_the_box(write_dataset):
    content = make_content()
    del content['annotations'][0]['area']
    content['annotations'][1]['area'] = 0
    records, report = read(write_dataset(content))
    assert [r.instances.areas[0] for r in records] == pytest.approx([0.53 * 2400, 0.53 * 2400, 900])
    assert report.notes == ['2 instances without an area, for which 0.53 of the box counts']


def test_files_and_folders_may_be_named(write_dataset, tmp_path):
    folder = write_dataset(make_content())
    (folder / FILE).rename(tmp_path / 'people.json')
    (folder / 'train2017').rename(folder / 'photos')
    records, _ = CocoSource(folder, ann_file=tmp_path / 'people.json', image_folder='photos').load()
    assert len(records) == 3


def test_missing_images_can_be_dropped_and_are_counted(write_dataset):
    folder = write_dataset(make_content(), image_ids=(1, 3))
    with pytest.raises(AnnotationError, match=r'image 2.jpg is missing in .*train2017; 2 of 3 found'):
        read(folder)
    records, report = read(folder, missing_images='drop')
    assert ([r.id for r in records], dict(report.dropped)) == (['1', '3'], {'with a missing image': 1})


def test_images_may_be_in_folders_below(write_dataset):
    content = make_content()
    content['images'][1]['file_name'] = 'more/2.jpg'
    folder = write_dataset(content)
    (folder / 'train2017/more').mkdir()
    (folder / 'train2017/2.jpg').rename(folder / 'train2017/more/2.jpg')
    assert read(folder)[0][1].path == folder / 'train2017/more/2.jpg'


@pytest.mark.parametrize('link_is_folder', [False, True])
def test_a_link_must_not_lead_out_of_the_folder_of_the_images(write_dataset, tmp_path, link_is_folder):
    content = make_content()
    content['images'][1]['file_name'] = 'more/2.jpg' if link_is_folder else '2.jpg'
    folder = write_dataset(content)
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    (folder / 'train2017/2.jpg').rename(elsewhere / '2.jpg')
    link, target = ('more', elsewhere) if link_is_folder else ('2.jpg', elsewhere / '2.jpg')
    (folder / 'train2017' / link).symlink_to(target)
    with pytest.raises(AnnotationError, match=f'{link} is a link that leads out of .*train2017'):
        read(folder)
    (folder / 'train2017' / link).unlink()
    (folder / 'train2017/1b.jpg').symlink_to(folder / 'train2017/1.jpg')
    content['images'][1]['file_name'] = '1b.jpg'
    assert len(read(write_dataset(content, image_ids=(1, 3)))[0]) == 3


def test_boxes_of_two_corners_in_the_annotations_are_refused(write_dataset):
    content = make_content()
    content['annotations'] = [{**make_annotation(n, 1 + n % 3), 'bbox': [50 + n, 40, 90, 75]} for n in range(12)]
    with pytest.raises(AnnotationError, match=r"its boxes are not 'xywh'.*read as 'xyxy'.*100 % fit"):
        read(write_dataset(content))


# --- a detector's boxes -----------------------------------------------------------------------------------------------


def write_detections(folder, *detections):
    """Write (image id, box, score) as a result file; returns the setting that reads it."""
    rows = [dict(image_id=i, category_id=1, bbox=[*box], score=score) for i, box, score in detections]
    (folder / 'detections.json').write_text(json.dumps(rows))
    return dict(bbox_file='detections.json')


def test_records_of_detections_carry_boxes_and_scores_and_the_annotations_of_their_image(write_dataset):
    folder = write_dataset(make_content())
    detections = [(1, (10, 10, 30, 40), 0.9), (1, (50, 10, 30, 40), 0.4), (2, (0, 0, 20, 20), 0.05)]
    records, report = read(folder, **write_detections(folder, *detections), bbox_score_thr=0.1)
    record, *others = records
    assert [(r.instances.boxes.shape, r.ground_truth.instances.annotation_ids.tolist()) for r in others] == [
        ((0, 4), [12]),
        ((0, 4), [13]),
    ]
    assert (record.instances.boxes.tolist(), record.instances.box_scores.tolist()) == (
        [[10, 10, 40, 50], [50, 10, 80, 50]],
        [0.9, 0.4],
    )
    assert (record.instances.keypoints.shape, record.instances.visible.any()) == ((2, K, 2), False)
    assert record.ground_truth.instances.annotation_ids.tolist() == [11]
    assert record.ground_truth.instances.boxes.tolist() == [[20, 10, 60, 70]]
    assert (report.kept, dict(report.dropped)) == (2, {'with a score below 0.1': 1})
    assert report.notes[0] == '2 annotated instances on images without a box are missed'
    assert '3 of 3 instances kept' in report.notes[1]


def test_putting_one_instance_first_keeps_boxes_and_scores_together(write_dataset):
    folder = write_dataset(make_content())
    setting = write_detections(folder, (1, (1, 2, 3, 4), 0.9), (1, (5, 6, 7, 8), 0.4))
    record = read(folder, **setting)[0][0].put_first(1)
    assert (record.instances.boxes[0].tolist(), record.instances.box_scores.tolist()) == ([5, 6, 12, 14], [0.4, 0.9])


def test_the_annotated_boxes_as_detections_give_the_annotated_instances(real_data, tmp_path):
    content = json.loads((real_data / 'coco/annotations/person_keypoints_val2017.json').read_text())
    rows = [dict(image_id=a['image_id'], category_id=1, bbox=a['bbox'], score=1.0) for a in content['annotations']]
    (tmp_path / 'detections.json').write_text(json.dumps(rows))
    annotated_records, _ = CocoSource(real_data / 'coco', 'val').load()
    records, report = CocoSource(real_data / 'coco', 'val', bbox_file=tmp_path / 'detections.json').load()
    assert (len(records), report.kept) == (92, 446)
    for record, annotated in zip(records, annotated_records, strict=True):
        np.testing.assert_equal(list_record_values(record.ground_truth), list_record_values(annotated))
        assert {*map(tuple, annotated.instances.boxes)} <= {*map(tuple, record.instances.boxes)}


# --- the 36 defects ---------------------------------------------------------------------------------------------------

ANNOTATION, IMAGE = ('annotations', 2), ('images', 2)
REMOVED = object()


def set_value(item, key, value):
    """A defect: a value of the third annotation or image, or of the file, is another one, or removed."""

    def change(content):
        target = content[item[0]][item[1]] if item else content
        if value is REMOVED:
            del target[key]
        else:
            target[key] = value(target[key]) if callable(value) else value
        return content

    return change


def set_keypoint_number(index, value):
    """A defect: one of the numbers x, y, flag, x, y, flag, ... of the third annotation is another one."""
    return set_value(ANNOTATION, 'keypoints', lambda numbers: [*numbers[:index], value, *numbers[index + 1 :]])


REJECT, DROP, WARN = 'reject', 'drop and count', 'keep and warn'

DEFECTS = {
    'a box of NaN': (REJECT, set_value(ANNOTATION, 'bbox', [20, float('nan'), 40, 60]), 'bbox is 4 finite numbers'),
    'an infinite box': (REJECT, set_value(ANNOTATION, 'bbox', [20, 10, float('inf'), 60]), 'bbox is 4 finite numbers'),
    'a keypoint at NaN': (REJECT, set_keypoint_number(3, float('nan')), 'keypoints is 51 finite numbers'),
    'an area of NaN': (REJECT, set_value(ANNOTATION, 'area', float('nan')), 'area is a finite number; found nan'),
    'a number beyond every image (1e300)': (REJECT, set_keypoint_number(4, 1e300), 'keypoints is 51 finite numbers'),
    '16 keypoints where 17 are expected': (
        REJECT,
        set_value(ANNOTATION, 'keypoints', lambda numbers: numbers[:48]),
        'keypoints is 51 finite numbers, x, y and flag of 17',
    ),
    'a flag of -1': (REJECT, set_keypoint_number(2, -1), "the flag of keypoint 'nose' is 0, 1 or 2; found -1"),
    'a flag of 7': (REJECT, set_keypoint_number(5, 7), "the flag of keypoint 'left_eye' is 0, 1 or 2; found 7"),
    'a keypoint far outside the image': (
        WARN,
        set_keypoint_number(0, 5000.0),
        '1 keypoints outside the image, counted as not labeled',
    ),
    'two annotations of one id': (REJECT, set_value(ANNOTATION, 'id', 12), 'id is different from that of annotation 2'),
    'a width that contradicts the image': (
        REJECT,
        set_value(IMAGE, 'width', 140),
        '140 x 80 px are stated, the file has 100 x 80',
    ),
    'a file_name with ..': (
        REJECT,
        set_value(IMAGE, 'file_name', '../3.jpg'),
        'file_name is a name inside the folder',
    ),
    'an absolute file_name': (
        REJECT,
        set_value(IMAGE, 'file_name', '/tmp/3.jpg'),
        'file_name is a name inside the folder',
    ),
    'no categories': (
        WARN,
        set_value(None, 'categories', REMOVED),
        "the keypoints are taken for those of 'coco' in order",
    ),
    'a category of another name': (
        REJECT,
        set_value(('categories', 0), 'name', 'cat'),
        "no category is 'person'; it has ['cat']",
    ),
    'an empty box': (DROP, set_value(ANNOTATION, 'bbox', [20, 10, 0, 0]), 'with a box of no extent'),
    'a negative box': (DROP, set_value(ANNOTATION, 'bbox', [20, 10, -5, 60]), 'with a box of no extent'),
    'a box outside the image': (
        DROP,
        set_value(ANNOTATION, 'bbox', [300, 10, 40, 60]),
        'with a box outside the image',
    ),
    'no box': (DROP, set_value(ANNOTATION, 'bbox', REMOVED), 'without a box'),
    'no keypoints': (
        DROP,
        set_value(ANNOTATION, 'keypoints', REMOVED),
        'without labeled keypoints (ignored regions)',
    ),
    'num_keypoints 0 of 17 keypoints': (
        WARN,
        set_value(ANNOTATION, 'num_keypoints', 0),
        '1 instances whose num_keypoints contradicts their keypoints',
    ),
    'two images of one id': (REJECT, set_value(IMAGE, 'id', 2), 'id is different from that of image 2'),
    'an image_id that no image has': (DROP, set_value(ANNOTATION, 'image_id', 99), 'of images that are not listed'),
    'a width of 0': (REJECT, set_value(IMAGE, 'width', 0), 'width is at least 1 pixel; found 0'),
    'an empty set': (
        WARN,
        lambda content: {**content, 'images': [], 'annotations': []},
        'no instances are annotated',
    ),
    'no images': (
        REJECT,
        set_value(None, 'images', REMOVED),
        "it has no 'images', only annotations, categories",
    ),
    'no annotations': (
        REJECT,
        set_value(None, 'annotations', REMOVED),
        "it has no 'annotations', only images, categories",
    ),
    'no width': (REJECT, set_value(IMAGE, 'width', REMOVED), 'width is a number of pixels; found nothing'),
    'no file_name': (
        REJECT,
        set_value(IMAGE, 'file_name', REMOVED),
        'file_name is the name of an image in its folder; found nothing',
    ),
    'text that is no number': (
        REJECT,
        set_value(ANNOTATION, 'bbox', ['20 px', 10, 40, 60]),
        "y, width and height; found ['20 px', 10, 40, 60]",
    ),
    'null for a box': (DROP, set_value(ANNOTATION, 'bbox', None), 'without a box'),
    'null for an image_id': (
        REJECT,
        set_value(ANNOTATION, 'image_id', None),
        'image_id is a whole number; found None',
    ),
    'an annotation that is a list': (
        REJECT,
        lambda content: {**content, 'annotations': [[]]},
        'annotation 1 is an object with names; found []',
    ),
    'a list instead of the whole': (
        REJECT,
        lambda content: [content],
        'format is an object with images, annotations and categories',
    ),
    'a file that is cut': (
        REJECT,
        lambda content: json.dumps(content).encode()[:-500],
        'is not a readable JSON file (',
    ),
    'a file that is no JSON': (
        REJECT,
        lambda _: b'<html>404 Not Found</html>',
        'is not a readable JSON file (',
    ),
}


def list_defects(verdict):
    return [name for name, (defect_verdict, *_) in DEFECTS.items() if defect_verdict == verdict]


def test_there_are_36_defects():
    assert len(DEFECTS) == 36


@pytest.mark.parametrize('defect', list_defects(REJECT))
def test_a_rejected_defect_is_an_error_that_names_the_file_and_the_row(write_dataset, defect):
    _, change, message = DEFECTS[defect]
    with pytest.raises(AnnotationError, match=re.escape(message)) as error:
        read(write_dataset(change(make_content())))
    assert 'person_keypoints_train2017.json' in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('defect', list_defects(DROP))
def test_a_dropped_defect_is_counted_under_its_cause(write_dataset, defect):
    _, change, cause = DEFECTS[defect]
    records, report = read(write_dataset(change(make_content())))
    assert (report.kept, dict(report.dropped), report.total) == (2, {cause: 1}, 3)
    assert [r.id for r in records] == ['1', '2']
    assert [note for note in report.notes if 'of null' not in note] == []


@pytest.mark.parametrize('defect', list_defects(WARN))
def test_a_tolerated_defect_is_noted_in_the_report(write_dataset, defect):
    _, change, note = DEFECTS[defect]
    records, report = read(write_dataset(change(make_content())))
    assert len(report.notes) == 1
    assert note in report.notes[0]
    assert report.kept == report.total == sum(len(r.instances) for r in records) == (0 if 'empty' in defect else 3)


def test_the_page_lists_every_defect_with_its_verdict_and_message():
    table = PAGE.read_text().partition('## COCO-format files')[2].partition('\n## ')[0]
    rows = [re.split(r' \| ', line.strip('| ')) for line in table.splitlines() if line.startswith('| ')][1:]
    listed = {defect: (verdict, message.strip('`')) for defect, verdict, message in rows}
    assert listed == {defect: (verdict, message) for defect, (verdict, _, message) in DEFECTS.items()}


def test_the_region_of_a_dropped_instance_is_ignored(write_dataset):
    for defect in ('an empty box', 'no box', 'no keypoints', 'a negative box'):
        records, _ = read(write_dataset(DEFECTS[defect][1](make_content())), keep_empty=True)
        expected = (20, 10, 60, 70) if defect == 'no keypoints' else (24, 16, 56, 64)
        assert tuple(records[2].ignored.boxes[0]) == pytest.approx(expected)


@pytest.mark.parametrize('name', ['..', 'a/../../3.jpg', r'..\3.jpg', r'C:\3.jpg', r'\\host\3.jpg', '3\0.jpg', '', 7])
def test_no_file_name_leads_out_of_its_folder(write_dataset, name):
    with pytest.raises(AnnotationError, match='image 3 .id 3.: file_name is'):
        read(write_dataset(set_value(IMAGE, 'file_name', name)(make_content())))


@pytest.mark.parametrize(
    'text', [b'', b'[' * 100_000, b'\xff\xfe', b'{"images": [], "annotations": 1' + b'0' * 5000 + b'}']
)
def test_no_text_ends_in_another_error(write_dataset, text):
    with pytest.raises(AnnotationError, match=FILE.rpartition('/')[2]):
        read(write_dataset(text))


STRANGE_VALUES = (
    1, 2, 5, 30, 60.5, 0.25, 1, 2, 40, None, True, 'x', -1, 0, 1e308, -1e300, 10**400, float('nan'), float('inf'), [],
    {}, [[]], [None], '\ud800',
)  # fmt: skip


def test_a_damaged_file_is_read_right_or_refused(write_dataset):
    """1,500 files, each with one or two values replaced or removed, at any depth."""
    rng = np.random.default_rng(0)
    folder = write_dataset(make_content())
    counts = {'read': 0, 'refused': 0}
    for _ in range(1500):
        content = make_content()
        for _ in range(rng.integers(1, 3)):
            mutate(content, rng)
        (folder / FILE).write_text(json.dumps(content))
        try:
            records, report = read(folder, num_size_checks=0)
        except AnnotationError:
            counts['refused'] += 1
            continue
        counts['read'] += 1
        assert report.kept == sum(len(r.instances) for r in records)
        assert all(r.instances.keypoints.shape[1:] == (K, 2) for r in records)
        assert all(
            np.isfinite(v).all()
            for r in records
            for v in (r.instances.keypoints, r.instances.boxes, r.instances.areas, r.ignored.boxes)
        )
        assert all((r.instances.boxes[:, 2:] > r.instances.boxes[:, :2]).all() for r in records)
    assert min(counts.values()) > 100


def mutate(value, rng):
    """Change something at a random depth of a list or an object."""
    keys = list(range(len(value))) if isinstance(value, list) else list(value)
    if not keys:
        return
    key = keys[rng.integers(len(keys))]
    if isinstance(value[key], list | dict) and rng.random() < 0.8:
        mutate(value[key], rng)
    elif rng.random() < 0.1:
        del value[key]
    else:
        value[key] = STRANGE_VALUES[rng.integers(len(STRANGE_VALUES))]


def test_errors_of_settings_say_what_is_allowed(write_dataset):
    with pytest.raises(AnnotationError, match=r'split is one of train, val; got .dev.'):
        CocoSource(write_dataset(make_content()), 'dev')
    with pytest.raises(AnnotationError, match='min_keypoints is 1 or more; got 0'):
        read(write_dataset(make_content()), min_keypoints=0)


def test_a_file_that_is_no_image_is_left_to_the_decoder(write_dataset):
    """Sizes are compared when the file is read; an image without one says nothing against the annotations."""
    folder = write_dataset(make_content())
    (folder / 'train2017/2.jpg').write_bytes(b'no image')
    records, report = read(folder)
    assert len(records) == report.kept == 3


def test_lists_too_deep_to_be_written_out_are_described_in_words():
    value = []
    for _ in range(100_000):
        value = [value]
    assert describe_json_value(value) == 'lists within lists'

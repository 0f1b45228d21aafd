"""COCO's format: the real files, made ones, and the 36 defects with the verdicts of docs/bad_input.md."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.datasets.sources.coco import CocoSource
from poseplug.datasets.sources.json_file import told
from poseplug.datasets.synthetic import write_coco
from poseplug.errors import AnnotationError
from poseplug.skeletons.coco import COCO

PAGE = Path(__file__).parents[3] / 'docs/bad_input.md'
K = len(COCO)
SIZE = (100, 80)  # width, height of the made pictures
FILE = 'annotations/person_keypoints_train2017.json'


def person(number: int, picture: int, box=(20, 10, 40, 60), flag=2) -> dict:
    """An annotation whose joints stand along the box's diagonal."""
    x, y, w, h = box
    share = np.linspace(0.1, 0.9, K)
    keypoints = np.column_stack([x + share * w, y + share * h, np.full(K, flag)]).ravel().tolist()
    return dict(id=number, image_id=picture, category_id=1, iscrowd=0, bbox=[*box], area=900.0, num_keypoints=K,
                keypoints=keypoints)  # fmt: skip


def content() -> dict:
    """Three people on three pictures; defects spoil the third, whose picture and whose annotation are number 3."""
    return {
        'images': [dict(id=i, file_name=f'{i}.jpg', width=SIZE[0], height=SIZE[1]) for i in (1, 2, 3)],
        'annotations': [person(11, 1), person(12, 2), person(13, 3)],
        'categories': [dict(id=1, name='person', keypoints=list(COCO.joints))],
    }


@pytest.fixture
def coco_like(tmp_path):
    """A function that writes a content, or bytes, as the official file, with grey pictures; returns the root."""

    def write(made, pictures=(1, 2, 3)) -> Path:
        folder = tmp_path / 'coco'
        for name in ('annotations', 'train2017'):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for i in pictures:
            cv2.imwrite(str(folder / f'train2017/{i}.jpg'), np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
        text = made if isinstance(made, bytes) else json.dumps(made).encode()
        (folder / FILE).write_bytes(text)
        return folder

    return write


def read(folder, **settings):
    return CocoSource(folder, 'train', **settings).load()


# --- the real files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('half', 'pictures', 'people', 'crowds', 'jointless', 'occluded'), [
    ('train', 90, 267, 5, 56, 6.7), ('val', 92, 428, 1, 17, 9.4),
])  # fmt: skip
def test_the_real_subset_has_its_people(real_data, half, pictures, people, crowds, jointless, occluded):
    records, report = CocoSource(real_data / 'coco', half).load()
    assert (len(records), report.kept, report.total) == (pictures, people, people + crowds + jointless)
    assert dict(report.dropped) == {
        'that are crowds (ignored regions)': crowds, 'without a labelled joint (ignored regions)': jointless,
    }  # fmt: skip
    assert report.notes == []
    assert sum(len(r.ignore) for r in records) == crowds + jointless
    visible = np.concatenate([r.visible for r in records])
    assert round(100 * (visible == 1).sum() / visible.size, 1) == occluded
    assert all(r.path.is_file() for r in records)


def test_the_real_numbers_are_those_of_the_file(real_data):
    raw = json.loads((real_data / 'coco/annotations/person_keypoints_val2017.json').read_text())
    by_id = {a['id']: a for a in raw['annotations']}
    for record in CocoSource(real_data / 'coco', 'val').load()[0]:
        for n, number in enumerate(record.numbers):
            given = by_id[number]
            assert str(given['image_id']) == record.id
            joints = np.reshape(given['keypoints'], (K, 3))
            known = joints[:, 2] > 0
            assert record.visible[n].tolist() == joints[:, 2].tolist()
            assert record.keypoints[n][known] == pytest.approx(joints[known, :2], abs=1e-3)
            x, y, w, h = given['bbox']
            assert record.boxes[n] == pytest.approx([x, y, x + w, y + h], abs=0.02)
            assert record.areas[n] == given['area']


# --- made files -------------------------------------------------------------------------------------------------------


def test_the_embedded_set_in_cocos_layout_is_read(tmp_path):
    folder = write_coco(tmp_path / 'made', train=3, val=2)
    for half, count in (('train', 3), ('val', 2)):
        records, report = CocoSource(folder, half).load()
        assert len(records) == count
        assert report.kept == report.total == sum(len(r.keypoints) for r in records)
        assert report.notes == []


def test_a_box_is_two_corners_cut_at_the_border_and_its_area_the_files(coco_like):
    made = content()
    made['annotations'][0]['bbox'] = [-10, 70, 60.5, 60]
    record = read(coco_like(made))[0][0]
    assert record.boxes.tolist() == [[0, 70, 50.5, 80]]
    assert (record.areas.tolist(), record.numbers.tolist(), record.id) == ([900], [11], '1')


def test_joints_without_a_label_have_no_position(coco_like):
    made = content()
    made['annotations'][0]['keypoints'][:6] = [33.0, 44.0, 0, 5.5, 6.5, 1]
    made['annotations'][0]['num_keypoints'] = K - 1
    record = read(coco_like(made))[0][0]
    assert record.keypoints[0, :2].tolist() == [[0, 0], [5.5, 6.5]]
    assert record.visible[0, :3].tolist() == [0, 1, 2]


def test_crowds_and_people_without_joints_are_regions_to_ignore(coco_like):
    made = content()
    crowd = dict(person(14, 1, box=(0, 0, 50, 50)), iscrowd=1, keypoints=[0] * 3 * K, num_keypoints=0)
    nobody = dict(person(15, 1, box=(60, 10, 20, 20)), keypoints=[0] * 3 * K, num_keypoints=0)
    made['annotations'] += [crowd, nobody]
    records, report = read(coco_like(made))
    assert records[0].ignore.tolist() == [[0, 0, 50, 50], [60, 10, 80, 30]]
    assert (records[0].ignore_areas.tolist(), records[0].ignore_crowds.tolist()) == ([900, 900], [True, False])
    assert (len(records[0].keypoints), report.kept, report.total) == (1, 3, 5)


def test_people_with_too_few_joints_are_counted_and_ignored(coco_like):
    made = content()
    made['annotations'][1]['keypoints'][3 * 4 :] = [0] * 3 * (K - 4)
    made['annotations'][1]['num_keypoints'] = 4
    records, report = read(coco_like(made), min_joints=5, empty=True)
    assert dict(report.dropped) == {'with fewer than 5 labelled joints (ignored regions)': 1}
    assert (len(records[1].keypoints), records[1].ignore.tolist()) == (0, [[20, 10, 60, 70]])


def test_pictures_without_people_are_records_where_asked_for(coco_like):
    made = content()
    del made['annotations'][1]
    assert [r.id for r in read(coco_like(made))[0]] == ['1', '3']
    records = read(coco_like(made), empty=True)[0]
    assert [(r.id, r.keypoints.shape) for r in records] == [('1', (1, K, 2)), ('2', (0, K, 2)), ('3', (1, K, 2))]


def test_a_person_without_an_area_gets_0_53_of_the_box(coco_like):
    made = content()
    del made['annotations'][0]['area']
    made['annotations'][1]['area'] = 0
    records, report = read(coco_like(made))
    assert [r.areas[0] for r in records] == pytest.approx([0.53 * 2400, 0.53 * 2400, 900])
    assert report.notes == ['2 people without an area, for whom 0.53 of the box counts']


def test_files_and_folders_may_be_named(coco_like, tmp_path):
    folder = coco_like(content())
    (folder / FILE).rename(tmp_path / 'people.json')
    (folder / 'train2017').rename(folder / 'photos')
    records, _ = CocoSource(folder, annotations=tmp_path / 'people.json', images='photos').load()
    assert len(records) == 3


def test_missing_pictures_can_be_dropped_and_are_counted(coco_like):
    folder = coco_like(content(), pictures=(1, 3))
    with pytest.raises(AnnotationError, match=r'image 2.jpg is missing in .*train2017; 2 of 3 found'):
        read(folder)
    records, report = read(folder, missing='drop')
    assert ([r.id for r in records], dict(report.dropped)) == (['1', '3'], {'with their picture missing': 1})


def test_pictures_may_lie_in_folders_below(coco_like):
    made = content()
    made['images'][1]['file_name'] = 'more/2.jpg'
    folder = coco_like(made)
    (folder / 'train2017/more').mkdir()
    (folder / 'train2017/2.jpg').rename(folder / 'train2017/more/2.jpg')
    assert read(folder)[0][1].path == folder / 'train2017/more/2.jpg'


@pytest.mark.parametrize('whole', [False, True])
def test_a_link_must_not_lead_out_of_the_folder_of_the_pictures(coco_like, tmp_path, whole):
    made = content()
    made['images'][1]['file_name'] = 'more/2.jpg' if whole else '2.jpg'
    folder = coco_like(made)
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    (folder / 'train2017/2.jpg').rename(elsewhere / '2.jpg')
    link, target = ('more', elsewhere) if whole else ('2.jpg', elsewhere / '2.jpg')
    (folder / 'train2017' / link).symlink_to(target)
    with pytest.raises(AnnotationError, match=f'{link} is a link that leads out of .*train2017'):
        read(folder)
    (folder / 'train2017' / link).unlink()
    (folder / 'train2017/1b.jpg').symlink_to(folder / 'train2017/1.jpg')
    made['images'][1]['file_name'] = '1b.jpg'
    assert len(read(coco_like(made, pictures=(1, 3)))[0]) == 3


def test_boxes_of_two_corners_in_the_annotations_are_refused(coco_like):
    made = content()
    made['annotations'] = [dict(person(n, 1 + n % 3), bbox=[50 + n, 40, 90, 75]) for n in range(12)]
    with pytest.raises(AnnotationError, match=r"its boxes are not 'xywh'.*read as 'xyxy'.*100 % fit"):
        read(coco_like(made))


# --- a detector's boxes -----------------------------------------------------------------------------------------------


def detections(folder, *boxes):
    found = [dict(image_id=i, category_id=1, bbox=[*box], score=score) for i, box, score in boxes]
    (folder / 'found.json').write_text(json.dumps(found))
    return dict(boxes='found.json')


def test_records_of_found_people_carry_boxes_and_scores_and_the_truth_of_their_picture(coco_like):
    folder = coco_like(content())
    given = detections(folder, (1, (10, 10, 30, 40), 0.9), (1, (50, 10, 30, 40), 0.4), (2, (0, 0, 20, 20), 0.05))
    records, report = read(folder, **given, least_score=0.1)
    record, *others = records
    assert [(r.boxes.shape, r.truth.numbers.tolist()) for r in others] == [((0, 4), [12]), ((0, 4), [13])]
    assert (record.boxes.tolist(), record.box_scores.tolist()) == ([[10, 10, 40, 50], [50, 10, 80, 50]], [0.9, 0.4])
    assert (record.keypoints.shape, record.visible.any()) == ((2, K, 2), False)
    assert record.truth.numbers.tolist() == [11]
    assert record.truth.boxes.tolist() == [[20, 10, 60, 70]]
    assert (report.kept, dict(report.dropped)) == (2, {'with a score below 0.1': 1})
    assert report.notes[0] == '2 annotated people on pictures without a box are missed'
    assert '3 of 3 people kept' in report.notes[1]


def test_one_person_first_keeps_boxes_and_scores_together(coco_like):
    folder = coco_like(content())
    record = read(folder, **detections(folder, (1, (1, 2, 3, 4), 0.9), (1, (5, 6, 7, 8), 0.4)))[0][0].led_by(1)
    assert (record.boxes[0].tolist(), record.box_scores.tolist()) == ([5, 6, 12, 14], [0.4, 0.9])


def test_the_annotated_boxes_as_found_ones_give_the_annotated_people(real_data, tmp_path):
    raw = json.loads((real_data / 'coco/annotations/person_keypoints_val2017.json').read_text())
    found = [dict(image_id=a['image_id'], category_id=1, bbox=a['bbox'], score=1.0) for a in raw['annotations']]
    (tmp_path / 'found.json').write_text(json.dumps(found))
    truth, _ = CocoSource(real_data / 'coco', 'val').load()
    records, report = CocoSource(real_data / 'coco', 'val', boxes=tmp_path / 'found.json').load()
    assert (len(records), report.kept) == (92, 446)
    for record, annotated in zip(records, truth, strict=True):
        np.testing.assert_equal(vars(record.truth), vars(annotated))
        assert {*map(tuple, annotated.boxes)} <= {*map(tuple, record.boxes)}


# --- the 36 defects ---------------------------------------------------------------------------------------------------

ANNOTATION, PICTURE = ('annotations', 2), ('images', 2)
GONE = object()


def put(place, key, value):
    """A defect: a value of the third annotation or picture, or of the file, is another one, or gone."""

    def spoil(made):
        target = made[place[0]][place[1]] if place else made
        if value is GONE:
            del target[key]
        else:
            target[key] = value(target[key]) if callable(value) else value
        return made

    return spoil


def joint(place, value):
    return put(ANNOTATION, 'keypoints', lambda k: [*k[:place], value, *k[place + 1 :]])


def wholly(make):
    """A defect of the whole file."""
    return make


REJECT, DROP, WARN = 'reject', 'drop and count', 'keep and warn'

DEFECTS = {
    'a box of NaN': (REJECT, put(ANNOTATION, 'bbox', [20, float('nan'), 40, 60]), 'bbox is 4 finite numbers'),
    'an infinite box': (REJECT, put(ANNOTATION, 'bbox', [20, 10, float('inf'), 60]), 'bbox is 4 finite numbers'),
    'a joint at NaN': (REJECT, joint(3, float('nan')), 'keypoints is 51 finite numbers'),
    'an area of NaN': (REJECT, put(ANNOTATION, 'area', float('nan')), 'area is a finite number; found nan'),
    'a number beyond every picture (1e300)': (REJECT, joint(4, 1e300), 'keypoints is 51 finite numbers'),
    '16 joints where 17 are expected': (
        REJECT, put(ANNOTATION, 'keypoints', lambda k: k[:48]), 'keypoints is 51 finite numbers, x, y and flag of 17',
    ),
    'a flag of -1': (REJECT, joint(2, -1), "the flag of joint 'nose' is 0, 1 or 2; found -1"),
    'a flag of 7': (REJECT, joint(5, 7), "the flag of joint 'left_eye' is 0, 1 or 2; found 7"),
    'a joint far outside the picture': (
        WARN, joint(0, 5000.0), '1 joints outside their picture, which a dataset counts as not labelled',
    ),
    'two annotations of one id': (REJECT, put(ANNOTATION, 'id', 12), 'id is different from that of annotation 2'),
    'a width that contradicts the picture': (
        REJECT, put(PICTURE, 'width', 140), 'picture 3.jpg is 140 x 80 px but the file in',
    ),
    'a file_name with ..': (REJECT, put(PICTURE, 'file_name', '../3.jpg'), 'file_name is a name inside the folder'),
    'an absolute file_name': (REJECT, put(PICTURE, 'file_name', '/tmp/3.jpg'), 'file_name is a name inside the folder'),
    'no categories': (WARN, put(None, 'categories', GONE), "the joints are taken for those of 'coco' in order"),
    'a category of another name': (
        REJECT, put(('categories', 0), 'name', 'cat'), "no category is 'person'; it has ['cat']",
    ),
    'an empty box': (DROP, put(ANNOTATION, 'bbox', [20, 10, 0, 0]), 'with a box of no extent'),
    'a negative box': (DROP, put(ANNOTATION, 'bbox', [20, 10, -5, 60]), 'with a box of no extent'),
    'a box outside the picture': (
        DROP, put(ANNOTATION, 'bbox', [300, 10, 40, 60]), 'with a box outside their picture',
    ),
    'no box': (DROP, put(ANNOTATION, 'bbox', GONE), 'without a box'),
    'no keypoints': (DROP, put(ANNOTATION, 'keypoints', GONE), 'without a labelled joint (ignored regions)'),
    'num_keypoints 0 of 17 joints': (
        WARN, put(ANNOTATION, 'num_keypoints', 0), '1 people whose num_keypoints contradicts their joints, which count',
    ),
    'two pictures of one id': (REJECT, put(PICTURE, 'id', 2), 'id is different from that of picture 2'),
    'an image_id that no picture has': (
        DROP, put(ANNOTATION, 'image_id', 99), 'of pictures that the file does not list',
    ),
    'a width of 0': (REJECT, put(PICTURE, 'width', 0), 'width is 1 pixel at least; found 0'),
    'an empty set': (WARN, wholly(lambda m: {**m, 'images': [], 'annotations': []}), 'nobody is annotated'),
    'no images': (REJECT, put(None, 'images', GONE), "it has no 'images', only annotations, categories"),
    'no annotations': (REJECT, put(None, 'annotations', GONE), "it has no 'annotations', only images, categories"),
    'no width': (REJECT, put(PICTURE, 'width', GONE), 'width is a number of pixels; found nothing'),
    'no file_name': (
        REJECT, put(PICTURE, 'file_name', GONE), 'file_name is the name of a picture in its folder; found nothing',
    ),
    'a number as text': (
        REJECT, put(ANNOTATION, 'bbox', ['20', 10, 40, 60]), "y, width and height; found ['20', 10, 40, 60]",
    ),
    'null for a box': (REJECT, put(ANNOTATION, 'bbox', None), 'x, y, width and height; found None'),
    'null for an image_id': (REJECT, put(ANNOTATION, 'image_id', None), 'image_id is a whole number; found None'),
    'an annotation that is a list': (
        REJECT, wholly(lambda m: {**m, 'annotations': [[]]}), 'annotation 1 is an object with names; found []',
    ),
    'a list instead of the whole': (
        REJECT, wholly(lambda m: [m]), 'format is an object with images, annotations and categories',
    ),
    'a file that is cut': (REJECT, wholly(lambda m: json.dumps(m).encode()[:-500]), 'is not a readable JSON file ('),
    'a file that is no JSON': (
        REJECT, wholly(lambda m: b'<html>404 Not Found</html>'), 'is not a readable JSON file (',
    ),
}  # fmt: skip


def test_there_are_36_defects():
    assert len(DEFECTS) == 36


@pytest.mark.parametrize('defect', [d for d, (verdict, *_) in DEFECTS.items() if verdict == REJECT])
def test_a_rejected_defect_is_an_error_that_names_the_file_and_the_row(coco_like, defect):
    _, spoil, message = DEFECTS[defect]
    with pytest.raises(AnnotationError, match=re.escape(message)) as error:
        read(coco_like(spoil(content())))
    assert 'person_keypoints_train2017.json' in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('defect', [d for d, (verdict, *_) in DEFECTS.items() if verdict == DROP])
def test_a_dropped_defect_is_counted_under_its_cause(coco_like, defect):
    _, spoil, cause = DEFECTS[defect]
    records, report = read(coco_like(spoil(content())))
    assert (report.kept, dict(report.dropped), report.total) == (2, {cause: 1}, 3)
    assert [r.id for r in records] == ['1', '2']
    assert report.notes == []


@pytest.mark.parametrize('defect', [d for d, (verdict, *_) in DEFECTS.items() if verdict == WARN])
def test_a_kept_defect_is_told(coco_like, defect):
    _, spoil, note = DEFECTS[defect]
    records, report = read(coco_like(spoil(content())))
    assert len(report.notes) == 1
    assert note in report.notes[0]
    assert report.kept == report.total == sum(len(r.keypoints) for r in records) == (0 if 'empty' in defect else 3)


def test_the_page_lists_every_defect_with_its_verdict_and_message():
    table = PAGE.read_text().partition('## COCO-format files')[2].partition('\n## ')[0]
    rows = [re.split(r' \| ', line.strip('| ')) for line in table.splitlines() if line.startswith('| ')][1:]
    listed = {defect: (verdict, message.strip('`')) for defect, verdict, message in rows}
    assert listed == {defect: (verdict, message) for defect, (verdict, _, message) in DEFECTS.items()}


def test_where_somebody_was_dropped_the_place_is_ignored(coco_like):
    for defect in ('an empty box', 'no box', 'no keypoints', 'a negative box'):
        records, _ = read(coco_like(DEFECTS[defect][1](content())), empty=True)
        x1, y1, x2, y2 = records[2].ignore[0]
        assert (x1, y1, x2, y2) == pytest.approx((20, 10, 60, 70) if defect == 'no keypoints' else (24, 16, 56, 64))


@pytest.mark.parametrize('name', ['..', 'a/../../3.jpg', r'..\3.jpg', r'C:\3.jpg', r'\\host\3.jpg', '3\0.jpg', '', 7])
def test_no_file_name_leads_out_of_its_folder(coco_like, name):
    with pytest.raises(AnnotationError, match='picture 3 .id 3.: file_name is'):
        read(coco_like(put(PICTURE, 'file_name', name)(content())))


@pytest.mark.parametrize(
    'text', [b'', b'[' * 100_000, b'\xff\xfe', b'{"images": [], "annotations": 1' + b'0' * 5000 + b'}']
)
def test_no_text_ends_in_another_error(coco_like, text):
    with pytest.raises(AnnotationError, match=FILE.rpartition('/')[2]):
        read(coco_like(text))


STRANGE = (
    1,
    2,
    5,
    30,
    60.5,
    0.25,
    1,
    2,
    40,
    None,
    True,
    'x',
    -1,
    0,
    1e308,
    -1e300,
    10**400,
    float('nan'),
    float('inf'),
    [],
    {},
    [[]],
    [None],
    '\ud800',
)


def test_a_spoiled_file_is_read_right_or_refused(coco_like):
    """1,500 files, each with one or two values replaced or removed, at any depth."""
    rng = np.random.default_rng(0)
    folder = coco_like(content())
    ends = {'read': 0, 'refused': 0}
    for _ in range(1500):
        made = content()
        for _ in range(rng.integers(1, 3)):
            mutate(made, rng)
        (folder / FILE).write_text(json.dumps(made))
        try:
            records, report = read(folder, sizes=0)
        except AnnotationError:
            ends['refused'] += 1
            continue
        ends['read'] += 1
        assert report.kept == sum(len(r.keypoints) for r in records)
        assert all(r.keypoints.shape[1:] == (K, 2) for r in records)
        assert all(np.isfinite(v).all() for r in records for v in (r.keypoints, r.boxes, r.areas, r.ignore))
        assert all((r.boxes[:, 2:] > r.boxes[:, :2]).all() for r in records)
    assert min(ends.values()) > 100


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
        value[key] = STRANGE[rng.integers(len(STRANGE))]


def test_settings_that_mean_nothing_say_what_they_may_be(coco_like):
    with pytest.raises(AnnotationError, match=r'half is one of train, val; got .dev.'):
        CocoSource(coco_like(content()), 'dev')
    with pytest.raises(AnnotationError, match='min_joints is 1 or more; got 0'):
        read(coco_like(content()), min_joints=0)


def test_a_picture_that_is_none_is_left_to_whoever_decodes_it(coco_like):
    """Sizes are compared when the file is read; a picture without one says nothing against the annotations."""
    folder = coco_like(content())
    (folder / 'train2017/2.jpg').write_bytes(b'no picture')
    records, report = read(folder)
    assert len(records) == report.kept == 3


def test_lists_too_deep_to_be_written_out_are_told_in_words():
    value = []
    for _ in range(100_000):
        value = [value]
    assert told(value) == 'lists within lists'

"""Files in (nearly) COCO's format: forms of exporters, keypoints of one's own, and real files of many data sets."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError, PoseplugError
from poseplug.data.sources.coco import CocoSource
from poseplug.data.sources.coco_categories import describe_skeleton_of_category

NAMES = ['snout', 'left_ear', 'right_ear', 'tail']
FILE = 'annotations/person_keypoints_train2017.json'
REAL = Path(os.environ.get('POSEPLUG_DATA', Path(__file__).parents[4] / 'shared/data')) / 'formats/coco_style'


def make_annotation(number: int, **changes) -> dict:
    x = np.column_stack([[30, 40, 50, 55], [20, 30, 40, 60], np.full(4, 2)]).astype(float)
    values = dict(id=10 * number, image_id=number, category_id=1, bbox=[20, 10, 40, 60], area=900.0, iscrowd=0)
    return {**values, 'num_keypoints': 4, 'keypoints': x.ravel().tolist(), **changes}


def make_content(change=None, **category) -> dict:
    """Three dogs on three images; `change` is made in every annotation."""
    annotations = [make_annotation(i) for i in (1, 2, 3)]
    for annotation in annotations:
        annotation.update(change(annotation) if change else {})
    dog = dict(id=1, name='Dog', keypoints=NAMES, skeleton=[[1, 2], [1, 3], [3, 4]])
    images = [dict(id=i, file_name=f'{i}.png', width=100, height=80) for i in (1, 2, 3)]
    return dict(images=images, annotations=annotations, categories=[{**dog, **category}])


@pytest.fixture
def read(tmp_path):
    """A function that writes a content with gray images, and reads it by settings; returns records and report."""

    def write_and_read(content, **settings):
        for name in ('annotations', 'train2017'):
            (tmp_path / name).mkdir(exist_ok=True)
        for i in (1, 2, 3):
            cv2.imwrite(str(tmp_path / f'train2017/{i}.png'), np.full((80, 100, 3), 90, np.uint8))
        (tmp_path / FILE).write_text(json.dumps(content))
        return CocoSource(tmp_path, **{'category': 'dog', **settings}).load()

    return write_and_read


def split_triples(annotation):
    values = annotation['keypoints']
    return [values[i : i + 3] for i in range(0, len(values), 3)]


@pytest.mark.parametrize(('change', 'note'), [
    (lambda a: dict(keypoints=split_triples(a)), '3 annotations with keypoints as a list per keypoint'),
    (lambda a: dict(keypoints=[a['keypoints']]), '3 annotations with keypoints within a further list'),
    (lambda a: dict(bbox=[a['bbox']]), '3 annotations with bbox within a further list'),
    (lambda a: dict(num_keypoints=4.0), '3 annotations with num_keypoints as a number with a decimal point'),
    (lambda a: dict(image_id=float(a['image_id'])), 'image_id as a number with a decimal point'),
    (lambda a: dict(iscrowd=False), 'iscrowd of true or false, read as 1 or 0'),
    (lambda a: dict(area=None), '3 annotations with area of null, read as absent'),
    (lambda a: dict(num_keypoints=None), 'num_keypoints of null, read as absent'),
    (lambda a: dict(image_id=str(a['image_id'])), '3 annotations with image_id as text'),
    (lambda a: dict(bbox=['20', '10.0', 40, '60']), '3 annotations with bbox as text'),
    (lambda a: dict(keypoints=list(map(str, a['keypoints']))), '3 annotations with keypoints as text'),
])  # fmt: skip
def test_a_form_whose_meaning_is_certain_is_read_as_cocos_and_counted(read, change, note):
    expected = read(make_content())[0]
    records, report = read(make_content(change))
    assert report.kept == 3
    assert note in str(report)
    for record, other in zip(records, expected, strict=True):
        assert np.array_equal(record.instances.keypoints, other.instances.keypoints)
        assert np.array_equal(record.instances.boxes, other.instances.boxes)


@pytest.mark.parametrize('missing', [float('nan'), None])
def test_a_position_that_is_missing_where_nothing_is_labeled_is_no_keypoint(read, missing):
    change = lambda a: dict(keypoints=[missing, missing, 0, *a['keypoints'][3:]], num_keypoints=3)  # noqa: E731
    records, report = read(make_content(change))
    assert records[0].instances.visible[0].tolist() == [0, 2, 2, 2]
    assert records[0].instances.keypoints[0, 0].tolist() == [0, 0]
    assert 'of null or NaN where not labeled' in str(report)
    with pytest.raises(AnnotationError, match='12 finite numbers'):
        read(make_content(lambda a: dict(keypoints=[missing, missing, 2, *a['keypoints'][3:]])))


def test_an_annotation_that_is_written_twice_counts_once(read):
    content = make_content()
    content['annotations'].append(dict(content['annotations'][0]))
    _, report = read(content)
    assert (report.kept, report.total) == (3, 4)
    assert report.dropped == {'that repeat another annotation of their id': 1}
    content['annotations'][-1]['area'] = 5.0
    with pytest.raises(AnnotationError, match='id is different from that of annotation 1'):
        read(content)


def test_an_empty_box_is_an_absent_one(read):
    records, report = read(make_content(lambda a: dict(bbox=[])))
    absent, _ = read(make_content(lambda a: dict(bbox=None)))
    assert np.array_equal(records[0].instances.boxes, absent[0].instances.boxes)
    assert '3 annotations with an empty bbox, read as absent' in str(report)


def test_an_image_that_is_listed_under_two_ids_is_reported(read):
    content = make_content()
    content['images'].append(dict(content['images'][0], id=7))
    _, report = read(content)
    assert '1 images are listed again under another id, such as 1.png' in str(report)


@pytest.mark.parametrize(('change', 'message'), [
    (lambda a: dict(keypoints=[v for i, v in enumerate(a['keypoints']) if i % 3 < 2]), '8 numbers are x and y alone'),
    (lambda a: dict(keypoints=[v[:2] for v in split_triples(a)]), 'it has 4 lists of 2 numbers'),
    (lambda a: dict(keypoints=a['keypoints'][:9]), 'these are 3 keypoints'),
    (lambda a: dict(num_keypoints=3.5), 'num_keypoints is a whole number; found 3.5'),
    (lambda a: dict(iscrowd='no'), "iscrowd is 0 or 1; found 'no'"),
    (lambda a: dict(keypoints=[v / 100 if i % 3 < 2 else v for i, v in enumerate(a['keypoints'])]),
     'its 12 labeled keypoints all lie within 2 px, and its boxes are 60 px large'),
    (lambda a: dict(area=0.24), 'its areas are all at most 1 px²'),
    (lambda a: dict(area='900,5'), "area is a finite number; found '900,5'"),
    (lambda a: dict(bbox=[0.2, 0.125, 0.4, 0.75]), 'its 3 boxes all lie within 2 px: they are fractions of the image'),
])  # fmt: skip
def test_a_form_of_uncertain_meaning_is_refused_by_what_it_is(read, change, message):
    with pytest.raises(AnnotationError, match=message) as raised:
        read(make_content(change))
    assert 'found a list.' not in str(raised.value)


def test_names_compare_without_case_blanks_and_hyphens_and_order(read):
    content = make_content(keypoints=['Snout', 'Right-Ear', 'Left Ear', 'TAIL'])
    fields = dict(name='dog', keypoints=NAMES, sigmas=[0.05] * 4)
    records, report = read(content, skeleton=fields)
    assert records[0].instances.keypoints[0].tolist() == [[30, 20], [50, 40], [40, 30], [55, 60]]
    assert 'keypoint 2 is Right-Ear, not left_ear): read by name' in str(report)
    with pytest.raises(AnnotationError, match='it lacks tail; it has beside them paw'):
        read(make_content(keypoints=[*NAMES[:3], 'paw']), skeleton=fields)


def test_the_skeleton_of_the_file_is_reported_line_by_line(read, tmp_path):
    records, report = read(make_content())
    source = CocoSource(tmp_path, category='DOG')
    assert source.skeleton.keypoints == tuple(NAMES)
    assert source.skeleton.limbs == (('snout', 'left_ear'), ('snout', 'right_ear'), ('right_ear', 'tail'))
    assert source.skeleton.flip_pairs == (('left_ear', 'right_ear'),)
    assert source.skeleton.sigmas == (0.05,) * 4
    assert records[0].instances.keypoints.shape == (1, 4, 2)
    for line in ("skeleton 'Dog' from the file: 4 keypoints", '3 limbs, whose numbers count from 1',
                 'flip pairs from the names: left_ear - right_ear', 'no sigmas: 0.05 for each keypoint'):  # fmt: skip
        assert line in str(report)


def test_the_lines_on_a_skeleton_have_its_pairs_its_sigmas_and_eight_names(tmp_path):
    names = [f'{side}_{part}' for part in 'abcdefg' for side in ('left', 'right')]
    for count, end in ((8, 'right_d'), (10, 'right_d, ...')):
        category = dict(name='Crab', keypoints=names[:count], sigmas=[0.1] * count)
        skeleton, lines = describe_skeleton_of_category(tmp_path / 'a.json', category)
        assert skeleton.sigmas == (0.1,) * count
        assert lines[0] == f"skeleton 'Crab' from the file: {count} keypoints {', '.join(names[:7])}, {end}"
        assert lines[2].startswith('flip pairs from the names: left_a - right_a, left_b - right_b, left_c - right_c')
        assert lines[3] == 'sigmas from the file'


def test_flip_pairs_of_converted_labels_count_more_than_names(tmp_path, caplog):
    """YOLO's flip_idx is kept as flip_indices; names such as keypoint_0 say nothing about sides."""
    caplog.set_level('INFO', logger='poseplug')
    category = dict(name='crab', keypoints=['left_a', 'right_a', 'c', 'd'], flip_indices=[0, 1, 3, 2])
    skeleton, lines = describe_skeleton_of_category(tmp_path / 'a.json', category)
    assert skeleton.flip_pairs == (('c', 'd'),)
    assert lines[2] == 'flip pairs from the file: c - d'
    category = dict(name='crab', keypoints=['left_a', 'right_a'])
    assert describe_skeleton_of_category(tmp_path / 'a.json', category)[0].flip_pairs == (('left_a', 'right_a'),)
    assert 'has no flip_pairs' not in caplog.text  # the line on the flip pairs says it
    with pytest.raises(
        AnnotationError, match=r"'crab': flip_indices exchange its 2 keypoints in pairs; found \[1, 1\]"
    ):
        describe_skeleton_of_category(tmp_path / 'a.json', dict(category, flip_indices=[1, 1]))


@pytest.mark.parametrize('name', ['dog.json', 'dog.yaml'])
def test_a_skeleton_may_be_a_file(read, tmp_path, name):
    text = json.dumps(dict(keypoints=NAMES, sigmas=[0.1] * 4))  # YAML as well
    (tmp_path / name).write_text(text)
    read(make_content())
    assert CocoSource(tmp_path, skeleton=name).skeleton.sigmas == (0.1,) * 4


@pytest.mark.parametrize(('category', 'message'), [
    (dict(skeleton=[[1, 5]]), 'skeleton has pairs of 1 to 4; found 1 to 5'),
    (dict(skeleton='all'), 'skeleton is a list of pairs of keypoints'),
    (dict(keypoints=['a', 'b', 'c', 'A']), "'a' and 'A' are the same"),
    (dict(keypoints=[]), 'names no keypoints; set skeleton='),
])  # fmt: skip
def test_a_category_that_describes_no_skeleton_is_refused(read, category, message):
    with pytest.raises(AnnotationError, match=message):
        read(make_content(**category))


def test_several_categories_are_read_together_where_their_keypoints_agree(read):
    content = make_content()
    content['categories'].append({**content['categories'][0], 'id': 2, 'name': 'wolf'})
    content['annotations'][2]['category_id'] = 2
    assert read(content, category=None, skeleton='file')[1].kept == 3
    assert read(content, category=['dog', 'wolf'])[1].kept == 3
    assert read(content, category='wolf')[1].dropped == {'of another category': 2}
    content['categories'][1]['keypoints'] = ['beak']
    content['annotations'][2]['keypoints'] = [30.0, 20.0, 2]
    assert read(content, category='dog')[1].kept == 2
    with pytest.raises(AnnotationError, match=r"keypoints of their own: 'Dog' \(4\), 'wolf' \(1\)\. Set category="):
        read(content, category=None, skeleton='file')


def test_keypoints_of_ones_own_are_refused_with_the_setting_that_reads_them(read):
    with pytest.raises(AnnotationError, match="no category is 'person'.*category='NAME' and skeleton='file'"):
        read(make_content(), category=None)


def test_an_instance_without_a_box_has_the_one_around_its_keypoints(read):
    content = make_content()
    del content['annotations'][0]['bbox']
    records, report = read(content)
    assert report.kept == 3
    assert records[0].instances.has_box.tolist() == [False]
    assert records[0].instances.boxes.tolist() == [[30, 20, 55, 60]]


def test_links_out_of_the_folder_are_read_where_asked(read, tmp_path):
    read(make_content())
    (tmp_path / 'cache').mkdir()
    (tmp_path / 'train2017/1.png').rename(tmp_path / 'cache/1.png')
    (tmp_path / 'train2017/1.png').symlink_to(tmp_path / 'cache/1.png')
    with pytest.raises(AnnotationError, match='pass follow_links=True'):
        CocoSource(tmp_path, category='dog').load()
    assert CocoSource(tmp_path, category='dog', follow_links=True).load()[1].kept == 3


# file: (settings, instances kept, instances in all), or (settings, message)
REAL_FILES = {
    '300w/test_300w.json': (dict(skeleton='face68'), 2, 2),
    'aic/test_aic.json': (dict(skeleton='file'), 9, 9),
    'animalpose/test_animalpose.json': (dict(skeleton='file'), 2, 2),
    'ap10k/test_ap10k.json': (dict(skeleton='file'), 2, 2),
    'coco/test_coco.json': ({}, 12, 14),
    'coco/test_coco_wholebody.json': ({}, 12, 14),
    'coco/test_keypoint_partition_metric.json': ({}, 'found 399 values'),
    'crowdpose/test_crowdpose.json': (dict(skeleton='file'), 'skeleton has pairs of 1 to 14; found 6 to 17'),
    'deepfasion2/deepfasion2.json': (dict(skeleton='file'), 2, 2),
    'freihand/test_freihand.json': (dict(skeleton='file'), 8, 8),
    'halpe/test_halpe.json': (dict(skeleton='halpe136'), 'image 000000000785.jpg is missing'),
    'humanart/test_humanart.json': (dict(skeleton='coco', image_folder='..'), 'is missing'),
    'macaque/test_macaque.json': (dict(skeleton='file'), 2, 2),
    'mpii/test_mpii.json': ({}, "COCO's format is an object"),
    'mpii/test_mpii_trb.json': (dict(skeleton='file'), 5, 5),
    'ochuman/test_ochuman.json': (dict(skeleton='file'), 5, 5),
    'onehand10k/test_onehand10k.json': (dict(skeleton='file'), 4, 4),
    'posetrack18/annotations/test_posetrack18_val.json': (dict(skeleton='file', image_folder='..'), 14, 14),
}


@pytest.mark.parametrize('name', REAL_FILES)
def test_a_real_file_is_read_with_counts_or_refused_for_a_reason_that_is_true(name):
    file = REAL / name
    if not file.is_file():
        pytest.skip(f'no {name} in the data folder (POSEPLUG_DATA)')
    settings, *expected = REAL_FILES[name]
    settings = dict(data_root=file.parent, ann_file=file.name, image_folder='.') | settings
    if isinstance(expected[0], str):
        with pytest.raises(PoseplugError, match=expected[0]):
            CocoSource(**settings).load()
        return
    records, report = CocoSource(**settings).load()
    assert [report.kept, report.total] == expected
    assert sum(len(record.instances) for record in records) == report.kept

"""Every format reads the same geckos, and says which labels it drops."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.data.formats.base import LabeledImages, list_flip_indices
from poseplug.data.formats.checks import find_label_problems
from poseplug.data.formats.convert import convert_labels, find_label_format, read_labels
from tests.data.formats import label_files, object_files
from tests.data.formats.label_files import GECKOS, KEYPOINTS

WRITERS = {
    'coco': label_files.write_coco,
    'labelme': label_files.write_labelme,
    'cvat': label_files.write_cvat,
    'label_studio': label_files.write_label_studio,
    'deeplabcut': label_files.write_deeplabcut,
    'via': label_files.write_via,
    'loose points of cvat': label_files.write_loose_cvat,
    'darwin': object_files.write_darwin,
    'supervisely': object_files.write_supervisely,
    'datumaro': object_files.write_datumaro,
    'ndjson': object_files.write_ndjson,
}
WITHOUT_BOXES = ('cvat', 'deeplabcut')
WITHOUT_OCCLUSION = ('deeplabcut',)


def list_instances(labels: LabeledImages) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """The image, box and keypoints of every instance, with the keypoints in the order of KEYPOINTS."""
    names = {image['id']: Path(image['file_name']).name for image in labels.content['images']}
    categories = {category['id']: category['keypoints'] for category in labels.content['categories']}
    instances = []
    for annotation in labels.content['annotations']:
        order = [categories[annotation['category_id']].index(keypoint) for keypoint in KEYPOINTS]
        keypoints = np.reshape(annotation['keypoints'], (-1, 3))[order]
        instances.append((names[annotation['image_id']], np.array(annotation['bbox']), keypoints))
    return instances


def list_expected() -> list[tuple[str, np.ndarray, np.ndarray]]:
    return [(name, np.array(box), np.array(points)) for name, geckos in GECKOS.items() for box, points in geckos]


@pytest.mark.parametrize('name', WRITERS)
def test_reads_the_same_instances(tmp_path, name):
    labels = read_labels(WRITERS[name](tmp_path / 'data'))
    assert labels.format_name == find_label_format(tmp_path / 'data').title
    assert labels.num_labels == labels.num_instances == 3
    assert [category['name'] for category in labels.content['categories']] == ['gecko']
    for found, expected in zip(list_instances(labels), list_expected(), strict=True):
        assert found[0] == expected[0]
        np.testing.assert_allclose(found[2][:, :2], expected[2][:, :2], atol=1e-9)
        flags = np.minimum(expected[2][:, 2] * 2, 2) if name in WITHOUT_OCCLUSION else expected[2][:, 2]
        assert found[2][:, 2].tolist() == flags.tolist()
        if name not in WITHOUT_BOXES:
            np.testing.assert_allclose(found[1], expected[1], atol=1e-9)


@pytest.mark.parametrize('name', WITHOUT_BOXES)
def test_a_missing_box_encloses_the_keypoints_within_the_image(tmp_path, name):
    labels = read_labels(WRITERS[name](tmp_path / 'data'))
    box = labels.content['annotations'][0]['bbox']
    # The keypoints of the first gecko span 12 to 44 and 14 to 36 px; a tenth of 32 px is added on each side.
    np.testing.assert_allclose(box, [12 - 3.2, 14 - 3.2, 32 + 6.4, 22 + 6.4])
    assert 'instances without a box' in labels.notes[0]
    for annotation in labels.content['annotations']:
        x, y, width, height = annotation['bbox']
        assert x >= 0
        assert y >= 0
        assert x + width <= label_files.SIZE[0]
        assert y + height <= label_files.SIZE[1]


@pytest.mark.parametrize('target', ['coco', 'yolo', 'csv'])
@pytest.mark.parametrize('name', WRITERS)
def test_converts_to_what_reads_back_the_same(tmp_path, name, target):
    source = WRITERS[name](tmp_path / 'data')
    before, report = convert_labels(source, tmp_path / 'out', target)
    after = read_labels(tmp_path / 'out')
    assert report.num_instances == 3
    assert after.format_name == find_label_format(tmp_path / 'out', target).title
    assert not after.dropped
    for one, other in zip(list_instances(before), list_instances(after), strict=True):
        assert one[0] == other[0]
        np.testing.assert_allclose(one[1], other[1], atol=1e-6)
        np.testing.assert_allclose(one[2], other[2], atol=1e-6)


def test_what_a_format_cannot_hold_is_counted(tmp_path):
    source = label_files.write_coco(tmp_path / 'data')
    file = source / 'annotations' / 'all.json'
    content = json.loads(file.read_text())
    content['annotations'][0] |= dict(area=500.0, segmentation=[[10, 10, 20, 10, 20, 20]])
    content['annotations'][1]['iscrowd'] = 1
    content['annotations'][2]['keypoints'][0] = 130.0  # the image is 120 px wide
    file.write_text(json.dumps(content))
    _, report = convert_labels(source, tmp_path / 'out', 'yolo')
    assert report.num_instances == 2
    assert dict(report.lost) == {
        'crowds': 1,
        "values of 'area'": 1,
        "values of 'segmentation'": 1,
        'keypoints outside their image': 1,
        'limbs of the skeleton': 1,
    }


def test_a_whole_round_trip_keeps_categories_flips_and_splits(tmp_path):
    source = label_files.write_coco(tmp_path / 'data')
    content = json.loads((source / 'annotations' / 'all.json').read_text())
    content['images'][1]['split'] = 'val'
    (source / 'annotations' / 'all.json').write_text(json.dumps(content))
    convert_labels(source, tmp_path / 'yolo', 'yolo')
    convert_labels(tmp_path / 'yolo', tmp_path / 'coco', 'coco')
    assert sorted(f.name for f in (tmp_path / 'coco' / 'annotations').iterdir()) == ['train.json', 'val.json']
    again = read_labels(tmp_path / 'coco')
    assert [image['split'] for image in again.content['images']] == ['train', 'val']
    category = again.content['categories'][0]
    assert (category['name'], category['keypoints']) == ('gecko', KEYPOINTS)
    assert category['flip_indices'] == [0, 2, 1, 3]


@pytest.mark.parametrize('parent', ['', 'images/'])
def test_the_layout_of_coco_itself_is_read_by_file_and_by_folder(tmp_path, parent):
    """person_keypoints_SPLIT.json in 'annotations', and each split's images in a folder of its own."""
    content = label_files.build_coco_content()
    (tmp_path / 'annotations').mkdir()
    for image, split in zip(content['images'], ('train2017', 'val2017'), strict=True):
        folder = tmp_path / f'{parent}{split}'
        label_files.write_images(folder)
        annotations = [a for a in content['annotations'] if a['image_id'] == image['id']]
        part = {**content, 'images': [image], 'annotations': annotations}
        file = tmp_path / 'annotations' / f'person_keypoints_{split}.json'
        file.write_text(json.dumps(part))
        labels = read_labels(file)
        assert labels.image_folder == folder
        assert find_label_problems(labels) == []
    labels = read_labels(tmp_path)
    assert [labels.image_folder / image['file_name'] for image in labels.content['images']] == [
        tmp_path / f'{parent}train2017/a.png',
        tmp_path / f'{parent}val2017/b.png',
    ]
    assert find_label_problems(labels) == []


def test_nothing_is_overwritten(tmp_path):
    source = label_files.write_coco(tmp_path / 'data')
    before = {file: file.read_bytes() for file in source.rglob('*') if file.is_file()}
    with pytest.raises(AnnotationError, match='not an empty folder'):
        convert_labels(source, source, 'yolo')
    assert {file: file.read_bytes() for file in source.rglob('*') if file.is_file()} == before


def test_unknown_files_and_formats_are_refused(tmp_path):
    (tmp_path / 'notes.txt').write_text('hello')
    with pytest.raises(AnnotationError, match='in none of the formats that are known: .*yolo'):
        read_labels(tmp_path)
    with pytest.raises(AnnotationError, match='no such file'):
        read_labels(tmp_path / 'absent')
    with pytest.raises(ConfigError, match='closest'):
        find_label_format(tmp_path, 'yollo')
    with pytest.raises(AnnotationError, match='can be read but not written'):
        convert_labels(label_files.write_coco(tmp_path / 'data'), tmp_path / 'out', 'labelme')


@pytest.mark.parametrize('name', WRITERS)
def test_labels_of_missing_images_are_dropped_and_counted(tmp_path, name):
    if name == 'coco':
        pytest.skip('checked when a COCO file is read for training')
    source = WRITERS[name](tmp_path / 'data')
    next(source.rglob('a.png')).unlink()
    labels = read_labels(source)
    assert labels.num_instances == 1
    assert {label.cause for label in labels.dropped} == {'whose image is not in its folder'}
    assert all(label.file.exists() and label.position for label in labels.dropped)


# their files state the sizes of images, so that the images are not opened
SIZED_FORMATS = ('coco', 'csv', 'cvat', 'loose points of cvat')


@pytest.mark.parametrize('name', [name for name in WRITERS if name not in SIZED_FORMATS])
def test_labels_of_unreadable_images_are_dropped_and_counted(tmp_path, name):
    source = WRITERS[name](tmp_path / 'data')
    next(source.rglob('a.png')).write_bytes(b'no image')
    labels = read_labels(source)
    assert labels.num_instances == 1
    assert {label.cause for label in labels.dropped} == {'whose image cannot be read'}


def test_flips_follow_from_the_names_where_the_format_does_not_state_them():
    assert list_flip_indices(dict(keypoints=KEYPOINTS)) == [0, 2, 1, 3]
    assert list_flip_indices(dict(keypoints=KEYPOINTS, flip_indices=[0, 1, 2, 3])) == [0, 1, 2, 3]


# --- LabelMe ----------------------------------------------------------------------------------------------------------


def test_labelme_points_without_groups_go_to_the_box_that_contains_them(tmp_path):
    source = label_files.write_labelme(tmp_path / 'data')
    file = source / 'a.json'
    content = json.loads(file.read_text())
    for shape in content['shapes']:
        shape['group_id'] = None
    content['shapes'].append(dict(label='tail', points=[[55, 5]], group_id=None, shape_type='point'))
    file.write_text(json.dumps(content))
    labels = read_labels(source)
    found, expected = list_instances(labels), list_expected()
    np.testing.assert_array_equal(found[0][2], expected[0][2])
    np.testing.assert_array_equal(found[1][2], expected[1][2])
    assert [(label.file.name, label.position) for label in labels.dropped] == [
        ('a.json', f'shape {len(content["shapes"])}')
    ]


def test_labelme_drops_shapes_that_are_no_labels(tmp_path):
    source = label_files.write_labelme(tmp_path / 'data')
    file = source / 'b.json'
    content = json.loads(file.read_text())
    content['shapes'] += [
        dict(label='leaf', points=[[1, 1], [5, 5]], shape_type='circle'),
        dict(label='', points=[[1, 1]], shape_type='point'),
        dict(label='snout', points=[['x', 1]], shape_type='point'),
        dict(label='snout', points=[[41, 11]], group_id=0, shape_type='point'),
    ]
    file.write_text(json.dumps(content))
    causes = [label.cause for label in read_labels(source).dropped]
    assert len(causes) == 4
    assert "of type 'circle'" in causes[0]
    assert causes[1:] == ['without a label', 'without points of two numbers', 'which is a second keypoint of its name']


@pytest.mark.parametrize('image_folder', ['data', 'elsewhere'])
def test_labelme_files_in_a_folder_of_their_own_find_the_images_that_are_named(tmp_path, image_folder):
    """As `poseplug predict --format labelme` writes them: labels/, with the images above it or anywhere else."""
    source = label_files.write_labelme(tmp_path / 'data')
    images, labels = tmp_path / image_folder, tmp_path / 'data/labels'
    images.mkdir(exist_ok=True)
    labels.mkdir()
    for file in sorted(source.iterdir()):
        if file.suffix == '.json':
            file.rename(labels / file.name)
        elif file.is_file():
            file.rename(images / file.name)
    read = read_labels(labels, image_folder=images)
    assert not read.dropped
    for found, expected in zip(list_instances(read), list_expected(), strict=True):
        np.testing.assert_array_equal(found[2], expected[2])


# --- CVAT -------------------------------------------------------------------------------------------------------------


def test_cvat_names_the_line_of_a_dropped_label(tmp_path):
    source = label_files.write_cvat(tmp_path / 'data')
    file = source / 'annotations.xml'
    lines = file.read_text().splitlines()
    where = next(i for i, line in enumerate(lines) if line.startswith('<skeleton'))
    lines[where:where] = ['<box label="rock" xtl="1" ytl="1" xbr="9" ybr="9"></box>']
    file.write_text('\n'.join(lines))
    (dropped,) = read_labels(source).dropped
    assert dropped.position == f'line {where + 1}'
    assert 'box' in dropped.cause


def test_cvat_refuses_entities(tmp_path):
    source = label_files.write_cvat(tmp_path / 'data')
    file = source / 'annotations.xml'
    entities = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    file.write_text(file.read_text().replace('<annotations>', f'{entities}<annotations>', 1))
    with pytest.raises(AnnotationError, match='DOCTYPE'):
        read_labels(source)


def test_cvat_reads_the_frames_of_a_video(tmp_path):
    label_files.write_images(tmp_path / 'images')
    (tmp_path / 'images' / 'a.png').rename(tmp_path / 'images' / 'frame_000003.PNG')
    text = (
        '<annotations><meta><task><original_size><width>120</width><height>80</height></original_size></task></meta>\n'
        '<track id="5" label="gecko"><skeleton frame="3" outside="0">\n'
        '<points label="snout" outside="0" occluded="1" points="10,20"></points></skeleton>\n'
        '<skeleton frame="4" outside="1"></skeleton></track></annotations>'
    )
    (tmp_path / 'annotations.xml').write_text(text)
    (annotation,) = read_labels(tmp_path).content['annotations']
    assert annotation['keypoints'] == [10, 20, 1]
    assert annotation['track_id'] == 5


# --- Label Studio -----------------------------------------------------------------------------------------------------


def test_label_studio_relations_connect_keypoints_and_boxes(tmp_path):
    source = label_files.write_label_studio(tmp_path / 'data')
    file = source / 'export.json'
    tasks = json.loads(file.read_text())
    for task in tasks:
        results = task['annotations'][0]['result']
        relations = [
            dict(type='relation', from_id=r['id'], to_id=r.pop('parentID')) for r in results if 'parentID' in r
        ]
        task['annotations'][0]['result'] = results + relations
    file.write_text(json.dumps(tasks))
    labels = read_labels(source)
    assert not labels.dropped
    for found, expected in zip(list_instances(labels), list_expected(), strict=True):
        np.testing.assert_allclose(found[2], expected[2], atol=1e-9)


# --- YOLO -------------------------------------------------------------------------------------------------------------


def test_yolo_labels_with_two_numbers_per_keypoint(tmp_path):
    label_files.write_images(tmp_path / 'images' / 'train')
    (tmp_path / 'labels' / 'train').mkdir(parents=True)
    (tmp_path / 'labels' / 'train' / 'a.txt').write_text('0 0.5 0.5 0.5 0.5 0.25 0.5 0 0\n')
    (tmp_path / 'data.yaml').write_text('train: images/train\nval: images/train\nkpt_shape: [2, 2]\nnames: [gecko]\n')
    labels = read_labels(tmp_path)
    assert labels.content['categories'][0]['keypoints'] == ['keypoint_0', 'keypoint_1']
    assert labels.content['annotations'][0]['keypoints'] == [30, 40, 2, 0, 0, 0]
    assert labels.content['annotations'][0]['bbox'] == [30, 20, 60, 40]


@pytest.mark.parametrize(
    ('line', 'cause'),
    [
        ('0 0.5 0.5 0.5', 'with 4 numbers; 17 are expected'),
        ('7' + ' 0.5' * 4 + ' 0.5 0.5 2' * 4, 'of class 7, which data.yaml does not name'),
        ('0' + ' 0.5' * 4 + ' 60 40 2' * 4, 'with positions outside 0 to 1'),
        ('0' + ' 0.5' * 4 + ' 0.5 0.5 3' * 4, 'with a flag other than 0, 1 or 2'),
        ('0' + ' nan' * 4 + ' 0.5 0.5 2' * 4, 'with a number that is not finite'),
        ('x' + ' 0.5' * 4 + ' 0.5 0.5 2' * 4, 'with a word that is no number'),
    ],
)
def test_yolo_lines_that_are_wrong_are_dropped_by_their_line(tmp_path, line, cause):
    convert_labels(label_files.write_coco(tmp_path / 'data'), tmp_path / 'yolo', 'yolo')
    file = tmp_path / 'yolo' / 'labels' / 'train' / 'a.txt'
    file.write_text(file.read_text() + line + '\n')
    labels = read_labels(tmp_path / 'yolo')
    assert labels.num_instances == 3
    assert [(d.file.name, d.position, d.cause) for d in labels.dropped] == [('a.txt', 'line 3', cause)]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('kpt_shape: [4, 4]', 'kpt_shape is'),
        ('flip_idx: [1, 2, 0, 3]', 'flip_idx names'),
        ('flip_idx: [0, 1]', 'flip_idx names'),
        ('names: 3', 'names is a list'),
    ],
)
def test_yolo_descriptions_that_contradict_themselves_are_refused(tmp_path, line, message):
    convert_labels(label_files.write_coco(tmp_path / 'data'), tmp_path / 'yolo', 'yolo')
    file = tmp_path / 'yolo' / 'data.yaml'
    key = line.partition(':')[0]
    kept = [
        text for text in file.read_text().splitlines() if not text.startswith(key) and not text.startswith("  0: '")
    ]
    file.write_text(
        '\n'.join([*kept, line, *([] if key == 'names' else ['names: [gecko]'])]).replace('names:\nkpt', 'kpt')
    )
    with pytest.raises(AnnotationError, match=message):
        read_labels(tmp_path / 'yolo')


# --- DeepLabCut -------------------------------------------------------------------------------------------------------


def test_deeplabcut_bodyparts_of_no_animal_are_a_category_of_their_own(tmp_path):
    source = label_files.write_deeplabcut(tmp_path / 'data')
    file = next(source.rglob('*.csv'))
    text = file.read_text().replace('two', 'single')
    file.write_text(text)
    labels = read_labels(source)
    assert [category['name'] for category in labels.content['categories']] == ['gecko', 'gecko_single']
    assert labels.num_instances == 3


def test_deeplabcut_tables_of_two_scorers_are_refused(tmp_path):
    source = label_files.write_deeplabcut(tmp_path / 'data')
    file = next(source.rglob('*.csv'))
    shutil.copyfile(file, file.with_name('CollectedData_you.csv'))
    with pytest.raises(AnnotationError, match='CollectedData_me.csv, CollectedData_you.csv'):
        read_labels(source)


def test_coco_files_are_found_beside_another_json_file_of_the_folder(tmp_path):
    from poseplug.data.synthetic import write_coco

    root = write_coco(tmp_path / 'coco', num_train=1, num_val=1)
    (root / 'dataset.json').write_text('{"seed": 0}')
    assert find_label_format(root).name == 'coco'
    assert {image['split'] for image in read_labels(root).content['images']} == {
        'person_keypoints_train2017',
        'person_keypoints_val2017',
    }

"""Exports as they come after a change of the system, of folders, or of the labeler: read as the plain ones are."""

import copy
import json
import shutil

import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.checks import find_label_problems
from poseplug.data.formats.convert import convert_labels, find_label_format, read_labels
from poseplug.data.formats.image_names import locate_image
from poseplug.data.formats.spellings import merge_spellings
from tests.data.formats import label_files


def replace_text(file, *pairs):
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)


def change_json(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def list_instances(labels):
    """The instances with keypoints by name, whatever the order of the names."""
    categories = {category['id']: category for category in labels.content['categories']}
    listed = []
    for annotation in labels.content['annotations']:
        category = categories[annotation['category_id']]
        table = np.array(annotation['keypoints']).reshape(-1, 3).round(4).tolist()
        points = dict(sorted(zip(map(str.lower, category['keypoints']), table, strict=True)))
        listed.append((category['name'].lower(), annotation['image_id'], points))
    return listed


@pytest.fixture
def yolo(tmp_path):
    """The geckos as a YOLO-pose folder with the parts train and val."""
    source = label_files.write_coco(tmp_path / 'coco')
    change_json(source / 'annotations' / 'all.json', lambda c: c['images'][1].update(split='val'))
    change_json(source / 'annotations' / 'all.json', lambda c: c['images'][0].update(split='train'))
    convert_labels(source, tmp_path / 'yolo', 'yolo')
    assert read_labels(tmp_path / 'yolo').num_instances == 3
    return tmp_path / 'yolo'


def rename_labels(folder):
    (folder / 'labels').rename(folder / 'Labels')


def rename_a_label_file(folder):
    (folder / 'labels' / 'train' / 'a.txt').rename(folder / 'labels' / 'train' / 'A.TXT')


def add_notes_of_macos(folder):
    for kind, name in (('images', '._a.png'), ('labels', '._a.txt')):
        (folder / kind / 'train' / name).write_bytes(b'\x00\x05\x16\x07\xb0')


def encode_as_utf16(folder):
    file = folder / 'labels' / 'train' / 'a.txt'
    file.write_text(file.read_text(), encoding='utf-16')


@pytest.mark.parametrize(
    'change',
    [
        lambda folder: replace_text(folder / 'data.yaml', ('\nval: ', '\nvalidation: ')),
        lambda folder: replace_text(folder / 'data.yaml', ('\nval: ', '\nvalid: ')),
        lambda folder: replace_text(folder / 'data.yaml', ("\n  0: 'gecko'", "\n  '0': gecko")),
        lambda folder: replace_text(folder / 'data.yaml', ('images/train', 'Images/Train')),
        rename_labels,
        rename_a_label_file,
        add_notes_of_macos,
        encode_as_utf16,
    ],
)
def test_yolo_folders_of_other_systems_and_exporters(yolo, change):
    expected = list_instances(read_labels(yolo))
    change(yolo)
    labels = read_labels(yolo)
    assert list_instances(labels) == expected
    assert [image['split'] for image in labels.content['images']] == ['train', 'val']
    assert (labels.dropped, find_label_problems(labels)) == ([], [])


def test_yolo_classes_without_names_are_called_by_their_number(yolo):
    replace_text(yolo / 'data.yaml', ("names:\n  0: 'gecko'\n", 'nc: 2\n'))
    names = [category['name'] for category in read_labels(yolo).content['categories']]
    assert names == ['class_0', 'class_1']


def test_two_descriptions_of_a_yolo_folder_are_refused_by_name(yolo):
    for name in ('first.yaml', 'second.yaml'):
        shutil.copy(yolo / 'data.yaml', yolo / name)
    (yolo / 'data.yaml').unlink()
    with pytest.raises(AnnotationError, match=r'\(first\.yaml, second\.yaml\); name the one to read'):
        read_labels(yolo)


@pytest.mark.parametrize('change', [
    lambda c: c.update(imagePath='A.PNG'),
    lambda c: c.update(imagePath='a.jpg'),
    lambda c: c.update(imagePath=None),
    lambda c: [s.update(group_id=float(s['group_id'])) for s in c['shapes'][::2]],
    lambda c: [s.update(group_id=f'{s["group_id"]}') for s in c['shapes'][::2]],
    lambda c: [s.update(group_id='') for s in c['shapes']],
    lambda c: c['shapes'][1].update(label='Snout'),
    lambda c: c['shapes'][0].update(label='Gecko'),
])  # fmt: skip
def test_labelme_files_of_other_systems_and_labelers(tmp_path, change):
    source = label_files.write_labelme(tmp_path / 'data')
    expected = list_instances(read_labels(source))
    change_json(source / 'a.json', change)
    labels = read_labels(source)
    assert list_instances(labels) == expected
    assert labels.dropped == []


def test_a_labelme_polygon_without_a_type_is_a_box(tmp_path):
    source = label_files.write_labelme(tmp_path / 'data')
    change_json(source / 'a.json', lambda c: c['shapes'][0].update(shape_type=None))
    labels = read_labels(source)
    assert (labels.dropped, labels.content['annotations'][0]['bbox']) == ([], [10, 10, 40, 30])


def test_a_labelme_image_of_another_size_than_was_labeled_is_a_problem(tmp_path):
    source = label_files.write_labelme(tmp_path / 'data')
    change_json(source / 'a.json', lambda c: c.update(imageWidth=240, imageHeight=160))
    (problem,) = find_label_problems(read_labels(source))
    assert problem == '1 images have another size than the labels state: a.png (240 x 160 stated, 120 x 80 px)'


def test_a_labelme_group_that_is_no_value_is_dropped(tmp_path):
    source = label_files.write_labelme(tmp_path / 'data')
    change_json(source / 'a.json', lambda c: c['shapes'][0].update(group_id=[1]))
    assert [label.cause for label in read_labels(source).dropped] == ['whose group_id is neither a number nor a text']


@pytest.mark.parametrize('name', ['A.PNG', 'job_7/a.png', 'day1\\a.png', 'C:\\set\\a.png', '/home/me/set/a.png'])
def test_cvat_images_with_other_folders_and_in_another_case(tmp_path, name):
    source = label_files.write_cvat(tmp_path / 'data')
    expected = list_instances(read_labels(source))
    replace_text(source / 'annotations.xml', ('name="a.png"', f'name="{name}"'))
    labels = read_labels(source)
    assert list_instances(labels) == expected
    assert f'1 images have another name than in the labels, the first is images/a.png for {name}' in labels.notes


def test_cvat_frames_without_a_stated_size_have_that_of_their_image(tmp_path):
    source = label_files.write_cvat(tmp_path / 'data')
    replace_text(source / 'annotations.xml', (' width="120" height="80"', ''))
    labels = read_labels(source)
    assert [(image['width'], image['height']) for image in labels.content['images']] == [label_files.SIZE] * 2
    assert find_label_problems(labels) == []


@pytest.mark.parametrize('address', [
    's3://bucket/a%20folder/a.png', 'https://host/x/a.png?X-Amz-Signature=b&d=1', 'gs://bucket/A.PNG',
    '/data/local-files/?d=my/images/a.png', '/data/local-files/?d=C%3A%5Cdata%5Ca.png',
    ['/data/upload/7/1a2b3c4d-a.png'],
])  # fmt: skip
def test_label_studio_images_at_every_kind_of_address(tmp_path, address):
    source = label_files.write_label_studio(tmp_path / 'data')
    expected = list_instances(read_labels(source))
    change_json(source / 'export.json', lambda tasks: tasks[0].update(data={'text': 'a gecko', 'image': address}))
    labels = read_labels(source)
    assert list_instances(labels) == expected
    assert labels.dropped == []


def test_a_label_studio_image_as_text_is_missing(tmp_path):
    source = label_files.write_label_studio(tmp_path / 'data')
    change_json(
        source / 'export.json', lambda tasks: tasks[0].update(data={'image': 'data:image/png;base64,' + 'A' * 999})
    )
    labels = read_labels(source)
    assert (labels.num_instances, len(labels.dropped)) == (1, 9)
    assert all(len(line) < 300 for line in labels.describe())


def add_second_annotation(tasks, **changes):
    first = tasks[0]['annotations'][0]
    second = {**copy.deepcopy(first), 'id': 99, 'result': first['result'][:3], **changes}
    tasks[0]['annotations'].append(second)
    return first


def prefer_ground_truth(tasks):
    add_second_annotation(tasks, ground_truth=False)['ground_truth'] = True


def prefer_later(tasks):
    add_second_annotation(tasks, updated_at='2023-05-02T10:00:00Z')['updated_at'] = '2024-05-02T10:00:00Z'


def cancel_second(tasks):
    add_second_annotation(tasks, was_cancelled=True)


@pytest.mark.parametrize(('change', 'cause'), [
    (prefer_ground_truth, 'of another annotation of its task, of which the ground truth counts, else the latest'),
    (prefer_later, 'of another annotation of its task, of which the ground truth counts, else the latest'),
    (cancel_second, 'of an annotation that was cancelled'),
])  # fmt: skip
def test_the_annotation_of_a_label_studio_task_that_counts(tmp_path, change, cause):
    source = label_files.write_label_studio(tmp_path / 'data')
    expected = list_instances(read_labels(source))
    change_json(source / 'export.json', change)
    labels = read_labels(source)
    assert list_instances(labels) == expected
    assert [label.cause for label in labels.dropped] == [cause] * 3


def test_label_studio_choices_say_what_is_occluded_and_rotated_images_are_dropped(tmp_path):
    source = label_files.write_label_studio(tmp_path / 'data')

    def add_choices(tasks):
        results = tasks[1]['annotations'][0]['result']
        results.append(dict(id='g00', type='choices', value={'choices': ['Occluded']}))
        results.append(dict(id='page', type='choices', value={'choices': ['good']}))
        for result in tasks[0]['annotations'][0]['result']:
            result['image_rotation'] = 90

    change_json(source / 'export.json', add_choices)
    labels = read_labels(source)
    assert labels.num_instances == 1
    assert labels.content['annotations'][0]['keypoints'][:3] == pytest.approx([40, 10, 1])
    assert {label.cause for label in labels.dropped} == {'on an image that was rotated for labeling'}


def test_a_label_studio_polygon_gives_the_box(tmp_path):
    source = label_files.write_label_studio(tmp_path / 'data')

    def draw_polygon(tasks):
        result = tasks[1]['annotations'][0]['result'][0]
        x, y, w, h = (result['value'][key] for key in ('x', 'y', 'width', 'height'))
        points = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
        result.update(type='polygonlabels', value=dict(points=points, polygonlabels=['gecko']))

    change_json(source / 'export.json', draw_polygon)
    labels = read_labels(source)
    assert labels.content['annotations'][2]['bbox'] == pytest.approx([30, 5, 60, 70])
    assert labels.dropped == []


def test_deeplabcut_copies_for_training_are_not_read_twice(tmp_path):
    source = label_files.write_deeplabcut(tmp_path / 'data')
    expected = list_instances(read_labels(source))
    copies = source / 'training-datasets' / 'iteration-0' / 'UnaugmentedDataSet_gecko'
    shutil.copytree(source / 'labeled-data' / 'clip', copies)
    assert list_instances(read_labels(source)) == expected
    assert list_instances(read_labels(source / 'config.yaml')) == expected


def test_bodyparts_that_two_videos_spell_differently_are_one(tmp_path):
    source = label_files.write_deeplabcut(tmp_path / 'data')
    shutil.copytree(source / 'labeled-data' / 'clip', source / 'labeled-data' / 'other')
    table = source / 'labeled-data' / 'other' / 'CollectedData_me.csv'
    table.write_text(table.read_text().replace('left_paw', 'Left Paw').replace('clip', 'other'))
    labels = read_labels(source)
    (category,) = labels.content['categories']
    assert category['keypoints'] == label_files.KEYPOINTS
    assert labels.notes[0] == "1 names are spelled in several ways and were merged: 'Left Paw' into 'left_paw'"
    assert [a['keypoints'] for a in labels.content['annotations'][:3]] == [
        a['keypoints'] for a in labels.content['annotations'][3:]
    ]


def test_names_that_one_instance_has_both_of_stay_two_keypoints(tmp_path):
    source = label_files.write_labelme(tmp_path / 'data')
    change_json(
        source / 'a.json',
        lambda c: c['shapes'].append({**c['shapes'][1], 'label': 'Snout', 'points': [[50, 50]]}),
    )
    (category,) = read_labels(source).content['categories']
    assert {'snout', 'Snout'} <= set(category['keypoints'])


@pytest.mark.parametrize('name', ['A.PNG', 'D:\\set\\a.png', 'other/a.png'])
def test_single_coco_images_with_another_name_are_located(tmp_path, name):
    source = label_files.write_coco(tmp_path / 'data')
    change_json(source / 'annotations' / 'all.json', lambda c: c['images'][0].update(file_name=name))
    labels = read_labels(source)
    assert [image['file_name'] for image in labels.content['images']] == ['a.png', 'b.png']
    assert len(labels.notes) == 1


def test_an_image_is_not_taken_for_another_one_of_its_name(tmp_path):
    source = label_files.write_coco(tmp_path / 'data')
    change_json(source / 'annotations' / 'all.json', lambda c: c['images'][0].update(file_name='other/b.png'))
    assert any('are not in' in problem for problem in find_label_problems(read_labels(source)))
    source = label_files.write_cvat(tmp_path / 'cvat')
    replace_text(source / 'annotations.xml', ('name="a.png"', 'name="gone/b.png"'))
    with pytest.raises(AnnotationError, match=r'image gone/b\.png is missing, and images/b\.png is another one'):
        read_labels(source)


def test_names_of_images_without_their_first_folders(tmp_path):
    for name in ('a.jpg', 'day1/b.jpg', 'images/c.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    located = {
        name: locate_image(tmp_path, [name]) for name in ('x/a.jpg', '../../a.jpg', 'C:\\set\\day1\\b.jpg', 'd.jpg')
    }
    assert located == {'x/a.jpg': 'a.jpg', '../../a.jpg': 'a.jpg', 'C:\\set\\day1\\b.jpg': 'day1/b.jpg', 'd.jpg': None}
    assert locate_image(tmp_path, ['c.jpg'], ('', 'images')) == 'images/c.jpg'
    assert locate_image(tmp_path, ['A' * 5000]) is None


@pytest.mark.parametrize('depth', ['archive', 'archive/task 7'])
def test_labels_below_the_named_folder_are_named(tmp_path, depth):
    label_files.write_cvat(tmp_path / 'data' / depth)
    with pytest.raises(AnnotationError, match=rf'the labels are not here, .* name .*{depth} \(CVAT XML\)'):
        find_label_format(tmp_path / 'data')


def test_notes_of_macos_are_no_labels(tmp_path):
    source = label_files.write_coco(tmp_path / 'data')
    (source / 'annotations' / '._all.json').write_bytes(b'\x00\x05\x16\x07')
    assert read_labels(source).num_instances == 3


def test_coordinates_without_a_label_are_not_added_to_a_merged_keypoint():
    content = dict(
        categories=[dict(id=1, name='paw', keypoints=['Snout', 'snout'], skeleton=[])],
        annotations=[
            dict(category_id=1, keypoints=[10, 20, 2, 7, 7, 0]),
            dict(category_id=1, keypoints=[0, 0, 0, 30, 40, 1]),
        ],
    )
    assert merge_spellings(content) == ["1 names are spelled in several ways and were merged: 'snout' into 'Snout'"]
    assert [annotation['keypoints'] for annotation in content['annotations']] == [[10, 20, 2], [30, 40, 1]]

"""The same geckos, as other programs lay out files of the formats that are read."""

import json
import shutil
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.checks import find_label_problems
from poseplug.data.formats.convert import convert_labels, read_labels
from poseplug.data.formats.stated_split import read_stated_split
from tests.data.formats import label_files
from tests.data.formats.test_formats import list_expected, list_instances


def check_geckos(labels, atol=1e-6):
    """The labels are all geckos, in any order, with images that are there."""
    assert not labels.dropped
    assert find_label_problems(labels) == []
    found = sorted(list_instances(labels), key=lambda item: item[2].tolist())
    for one, other in zip(found, sorted(list_expected(), key=lambda item: item[2].tolist()), strict=True):
        np.testing.assert_allclose(one[2], other[2], atol=atol)


# --- LabelMe ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('path', ['..\\photos\\{}', '../photos/{}'])
def test_labelme_finds_the_image_where_its_path_leads(tmp_path, path):
    source = label_files.write_labelme(tmp_path / 'labels')
    (tmp_path / 'photos').mkdir()
    for file in source.glob('*.png'):
        shutil.move(file, tmp_path / 'photos' / file.name)
    for file in source.glob('*.json'):
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, 'imagePath': path.format(file.with_suffix('.png').name)}))
    labels = read_labels(source)
    check_geckos(labels)
    assert labels.image_folder == tmp_path / 'photos'
    convert_labels(source, tmp_path / 'out', 'yolo')  # a name that leads out of a folder would be written outside
    assert sorted(file.name for file in tmp_path.iterdir()) == ['labels', 'out', 'photos']


def test_labelme_images_in_a_folder_that_is_named(tmp_path):
    source = label_files.write_labelme(tmp_path / 'labels')
    (tmp_path / 'elsewhere').mkdir()
    for file in source.glob('*.png'):
        shutil.move(file, tmp_path / 'elsewhere' / file.name)
    check_geckos(read_labels(source, image_folder=tmp_path / 'elsewhere'))
    labels = read_labels(source)
    assert labels.num_instances == 0
    assert f'the first is {source / "a.png"}' in labels.notes[-1]


def test_labelme_images_inside_the_label_files_are_written_out(command, tmp_path):
    source = label_files.write_labelme(tmp_path / 'labels')
    for file in source.glob('*.json'):
        image = file.with_suffix('.png')
        content = {**json.loads(file.read_text()), 'imageData': b64encode(image.read_bytes()).decode()}
        file.write_text(json.dumps(content))
        image.unlink()
    labels = read_labels(source)
    assert {label.cause for label in labels.dropped} == {
        'whose image is inside the label file alone (poseplug dataset convert and init write it out)'
    }
    convert_labels(source, tmp_path / 'coco', 'coco')
    check_geckos(read_labels(tmp_path / 'coco'))
    code, out, _ = command('dataset', 'verify', source)
    assert code == 0
    assert 'LabelMe folder, 2 images, 3 instances' in out


# --- YOLO-pose --------------------------------------------------------------------------------------------------------


@pytest.fixture
def yolo(tmp_path):
    convert_labels(label_files.write_coco(tmp_path / 'coco'), tmp_path / 'yolo', 'yolo')
    return tmp_path / 'yolo'


def replace_lines(file: Path, starts: tuple[str, ...], lines: list[str]) -> None:
    """Replace the lines that start with some words."""
    text = [line for line in file.read_text().splitlines() if not line.startswith(starts)]
    file.write_text('\n'.join([*lines, *text, '']))


def test_roboflow_names_folders_beside_the_file_and_a_part_for_tests_that_is_not_there(yolo):
    for split, name in (('train', 'a'), ('valid', 'b')):
        for kind, suffix in (('images', 'png'), ('labels', 'txt')):
            (yolo / split / kind).mkdir(parents=True, exist_ok=True)
            shutil.move(yolo / kind / 'train' / f'{name}.{suffix}', yolo / split / kind)
    paths = ['train: ../train/images', 'val: ../valid/images', 'test: ../test/images']
    replace_lines(yolo / 'data.yaml', ('train', 'val'), paths)
    labels = read_labels(yolo)
    check_geckos(labels)
    assert read_stated_split(labels.content['images']).names == ['train', 'val']


def test_cvat_lists_the_images_with_another_first_folder(yolo):
    replace_lines(yolo / 'data.yaml', ('train', 'val'), ['path: .', 'train: train.txt'])
    (yolo / 'train.txt').write_text('data/images/train/a.png\ndata/images/train/b.png\n')
    check_geckos(read_labels(yolo))


def test_absolute_paths_of_another_machine_are_those_beside_the_file(yolo):
    paths = ['path: /home/nobody/geckos', 'train: [/home/nobody/geckos/images/train]']
    replace_lines(yolo / 'data.yaml', ('train', 'val'), paths)
    check_geckos(read_labels(yolo))


def test_a_yaml_file_of_another_name_is_found_by_its_key(yolo):
    (yolo / 'data.yaml').rename(yolo / 'gecko-pose.yaml')
    (yolo / 'other.yaml').write_text('a: !tag b\n')
    check_geckos(read_labels(yolo))


def test_label_files_without_an_image_and_images_without_a_label_file_are_counted(yolo):
    (yolo / 'images/train/a.png').rename(yolo / 'images/train/c.png')
    (yolo / 'labels/train/classes.txt').write_text('gecko\n')
    labels = read_labels(yolo)
    assert labels.num_instances == 1
    assert [(label.file.name, label.position) for label in labels.dropped] == [('a.txt', 'line 1'), ('a.txt', 'line 2')]
    assert '1 images have no label file and count as images without instances' in labels.notes


# --- COCO -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'name', ['images\\{}', '/home/nobody/geckos/images/{}', 'C:\\geckos\\{}', '../../upload/1/{}', 'geckos/{}']
)
@pytest.mark.parametrize('folder', ['images', 'data'])
def test_coco_names_with_the_folders_of_another_machine(tmp_path, name, folder):
    label_files.write_images(tmp_path / folder)
    content = label_files.build_coco_content()
    for image in content['images']:
        image['file_name'] = name.format(image['file_name'])
    (tmp_path / 'result.json').write_text(json.dumps(content))
    labels = read_labels(tmp_path)
    check_geckos(labels)
    assert [Path(image['file_name']).name for image in labels.content['images']] == ['a.png', 'b.png']


def test_roboflow_writes_a_category_without_keypoints_first(tmp_path):
    for split in ('train', 'valid'):
        label_files.write_images(tmp_path / split)
        content = label_files.build_coco_content()
        content['categories'].insert(0, dict(id=0, name='geckos-poses', supercategory='none'))
        (tmp_path / split / '_annotations.coco.json').write_text(json.dumps(content))
    labels = read_labels(tmp_path)
    assert labels.num_instances == 6
    assert labels.describe()[1].startswith('  gecko: 6 instances, 4 keypoints: snout')
    assert read_stated_split(labels.content['images']).count_images('val') == 2


# --- others -----------------------------------------------------------------------------------------------------------


def test_lightning_pose_has_one_table_of_all_videos(tmp_path):
    source = label_files.write_deeplabcut(tmp_path / 'data')
    shutil.move(next(source.rglob('CollectedData_me.csv')), source / 'CollectedData.csv')
    assert read_labels(source).num_instances == 3


def test_label_studio_counts_what_an_earlier_annotation_of_a_task_holds(tmp_path):
    source = label_files.write_label_studio(tmp_path / 'data')
    tasks = json.loads((source / 'export.json').read_text())
    tasks[1]['annotations'] *= 2
    (source / 'export.json').write_text(json.dumps(tasks))
    labels = read_labels(source)
    assert labels.num_instances == 3
    assert len(labels.dropped) == 4  # the box and the three labeled keypoints of the second image
    assert {label.position for label in labels.dropped} == {'task 2 (id 2)'}


def test_cvat_counts_the_boxes_of_tracks(tmp_path):
    source = label_files.write_cvat(tmp_path / 'data')
    file = source / 'annotations.xml'
    track = '<track id="0" label="rock"><box frame="0" xtl="1" ytl="1" xbr="9" ybr="9"></box></track>'
    file.write_text(file.read_text().replace('</annotations>', f'{track}\n</annotations>'))
    labels = read_labels(source)
    assert labels.num_instances == 3
    assert [label.cause for label in labels.dropped] == ['of type box, which is not part of a skeleton']


def test_a_shape_of_cvat_with_several_points_is_an_instance(tmp_path):
    label_files.write_images(tmp_path)
    points = ['1,2;3,4;5,6', '7,8;9,10;11,12', '1,2']
    shapes = '\n'.join(f'<points label="gecko" occluded="0" points="{each}"></points>' for each in points)
    box = '<box label="gecko" xtl="1" ytl="1" xbr="9" ybr="9"></box>'
    text = f'<annotations><image name="a.png" width="120" height="80">\n{shapes}\n{box}</image></annotations>'
    (tmp_path / 'annotations.xml').write_text(text)
    labels = read_labels(tmp_path)
    assert labels.content['categories'][0]['keypoints'] == ['keypoint_1', 'keypoint_2', 'keypoint_3']
    assert [a['keypoints'][:6] for a in labels.content['annotations']] == [[1, 2, 2, 3, 4, 2], [7, 8, 2, 9, 10, 2]]
    assert [(label.position, label.cause) for label in labels.dropped] == [
        ('line 4', 'with 1 points; most shapes of the file have 3'),
        ('line 5', 'which is a box beside shapes of several points'),
    ]


def test_cvat_without_skeletons_and_points_is_refused(tmp_path):
    (tmp_path / 'annotations.xml').write_text('<annotations><image name="a.png"></image></annotations>')
    with pytest.raises(AnnotationError, match='no label is a skeleton, and no image has points'):
        read_labels(tmp_path)


def test_the_exported_annotations_of_via_are_read_and_their_faults_counted(tmp_path):
    source = label_files.write_via(tmp_path / 'data')
    file = source / 'via_project.json'
    images = json.loads(file.read_text())['_via_img_metadata']
    regions = images['b.png123']['regions']
    regions += [
        dict(shape_attributes=dict(name='circle', cx=1, cy=2, r=3), region_attributes=dict(name='stone')),
        dict(shape_attributes=dict(name='point', cx=1, cy=2), region_attributes={}),
    ]
    file.write_text(json.dumps(images))
    labels = read_labels(source)
    assert labels.num_instances == 3
    assert [(label.position, label.cause) for label in labels.dropped] == [
        ('b.png, region 5', 'without a point, a rectangle or a polygon'),
        ('b.png, region 6', 'without an attribute that names it'),
    ]
    (source / 'images/b.png').unlink()
    assert len(read_labels(source).dropped) == 6
    del images['a.png123']['regions']
    file.write_text(json.dumps({'_via_img_metadata': images}))
    with pytest.raises(AnnotationError, match='image 1 has no filename and regions'):
        read_labels(source)

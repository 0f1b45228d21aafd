"""Labels that come twice are refused by file and line, or counted: none overwrites another."""

import json

import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.convert import convert_labels, read_labels
from tests.data.formats import label_files


@pytest.fixture
def table(tmp_path):
    """The geckos as a table."""
    convert_labels(label_files.write_coco(tmp_path / 'data'), tmp_path / 'csv', 'csv')
    return tmp_path / 'csv' / 'labels.csv'


def append_changed_line(file, line, *changes):
    """Append a copy of a line, counted from 1, in which texts are replaced; returns the number of the new line."""
    lines = file.read_text().splitlines()
    text = lines[line - 1]
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text('\n'.join([*lines, text, '']))
    return len(lines) + 1


def test_a_keypoint_that_a_table_has_twice_is_refused_by_both_lines(table):
    line = append_changed_line(table, 3, ('20.0,30.0', '25.0,30.0'))
    with pytest.raises(AnnotationError, match=rf"labels.csv, line {line}: keypoint 'left_paw' .* in line 3, too"):
        read_labels(table)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ([('10.0,10.0,40.0,30.0', '10.0,10.0,40.0,31.0'), ('snout', 'ear')], 'another box in an earlier line'),
        ([('120,80', '120,81')], 'a.png has height 81 here and 80 before'),
        ([('a.png,,', 'a.png,val,')], 'a.png has split val here and None before'),
    ],
)
def test_rows_of_a_table_that_contradict_each_other_are_refused(table, changes, message):
    line = append_changed_line(table, 2, *changes)
    with pytest.raises(AnnotationError, match=f'line {line}: .*{message}'):
        read_labels(table)


def test_yolo_names_of_keypoints_that_differ_by_class_are_refused(tmp_path):
    convert_labels(label_files.write_coco(tmp_path / 'data'), tmp_path / 'yolo', 'yolo')
    file = tmp_path / 'yolo' / 'data.yaml'
    file.write_text(f"{file.read_text()}  1: ['a', 'b', 'c', 'd']\n")
    with pytest.raises(AnnotationError, match='kpt_names are the same for every class'):
        read_labels(tmp_path / 'yolo')


def test_yaml_that_names_a_class_twice_is_refused(tmp_path):
    convert_labels(label_files.write_coco(tmp_path / 'data'), tmp_path / 'yolo', 'yolo')
    file = tmp_path / 'yolo' / 'data.yaml'
    file.write_text(file.read_text().replace("names:\n  0: 'gecko'", "names:\n  0: 'gecko'\n  0: 'newt'"))
    with pytest.raises(
        AnnotationError, match=r'data.yaml is not a readable YAML file \(line \d+ names the key .0. of line \d+ again'
    ):
        read_labels(tmp_path / 'yolo')


def test_json_that_names_a_key_twice_is_refused(tmp_path):
    source = label_files.write_labelme(tmp_path / 'data')
    file = source / 'a.json'
    file.write_text(file.read_text().replace('"flags": {}', '"imagePath": "b.png", "flags": {}', 1))
    with pytest.raises(AnnotationError, match="a.json is not a readable JSON file .*names the key 'imagePath' twice"):
        read_labels(source)


def test_two_labelme_files_of_one_image_are_refused(tmp_path):
    source = label_files.write_labelme(tmp_path / 'data')
    (source / 'copy.json').write_bytes((source / 'a.json').read_bytes())
    with pytest.raises(AnnotationError, match='copy.json: imagePath names a.png, as a.json does'):
        read_labels(source)


def test_an_image_that_cvat_lists_twice_is_refused_by_both_lines(tmp_path):
    source = label_files.write_cvat(tmp_path / 'data')
    file = source / 'annotations.xml'
    file.write_text(file.read_text().replace('name="b.png"', 'name="a.png"'))
    with pytest.raises(AnnotationError, match=r'annotations.xml, line \d+: image .*a.png comes again, after line \d+'):
        read_labels(source)


def test_an_image_with_two_rows_of_deeplabcut_is_refused_by_both_lines(tmp_path):
    source = label_files.write_deeplabcut(tmp_path / 'data')
    file = next(source.rglob('*.csv'))
    last = len(file.read_text().splitlines())
    line = append_changed_line(file, last)
    with pytest.raises(AnnotationError, match=f'b.png has 2 rows, {last} and {line}'):
        read_labels(source)


def test_boxes_of_label_studio_without_an_id_or_of_one_id_are_all_counted(tmp_path):
    source = label_files.write_label_studio(tmp_path / 'data')
    file = source / 'export.json'
    tasks = json.loads(file.read_text())
    results = tasks[0]['annotations'][0]['result']
    boxes = [result for result in results if result['type'] == 'rectanglelabels']
    assert len(boxes) == 2
    for result in results:  # the boxes of the two geckos do not overlap, so that positions decide
        result.pop('id')
        result.pop('parentID', None)
    file.write_text(json.dumps(tasks))
    labels = read_labels(source)
    assert (labels.num_instances, labels.dropped) == (3, [])
    for box in boxes:
        box['id'] = 'same'
    file.write_text(json.dumps(tasks))
    labels = read_labels(source)
    assert 'whose id same is that of another box' in [label.cause for label in labels.dropped]

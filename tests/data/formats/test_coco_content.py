"""All commands read COCO's object in the forms in which training does, and say beforehand what training refuses."""

import copy
import json

import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.checks import find_label_problems
from poseplug.data.formats.convert import read_labels
from poseplug.data.formats.label_choice import choose_labels
from poseplug.data.sources.label_files import LabelSource, find_label_refusal
from poseplug.starter.project import create_project
from tests.data.formats import label_files

EXPECTED = label_files.build_coco_content()


@pytest.fixture
def write(tmp_path):
    """Writes the geckos after a change of their object, and returns the file."""
    source = label_files.write_coco(tmp_path / 'data')
    file = source / 'annotations' / 'all.json'

    def write_changed(change):
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))
        return file

    return write_changed


def change_annotations(key, change):
    def change_content(content):
        for annotation in content['annotations']:
            annotation[key] = change(annotation[key])

    return change_content


def split_triples(values):
    return [values[i : i + 3] for i in range(0, len(values), 3)]


def remove_keys(list_name, *keys):
    def change_content(content):
        for item in content[list_name]:
            for key in keys:
                del item[key]

    return change_content


@pytest.mark.parametrize(
    ('change', 'note'),
    [
        (change_annotations('keypoints', split_triples), '3 annotations with keypoints as a list per keypoint'),
        (change_annotations('image_id', str), '3 annotations with image_id as text'),
        (change_annotations('category_id', str), '3 annotations with category_id as text'),
        (change_annotations('bbox', lambda box: list(map(str, box))), '3 annotations with bbox as text'),
        (change_annotations('iscrowd', bool), '3 annotations with iscrowd of true or false, read as 1 or 0'),
        (remove_keys('annotations', 'id'), '3 annotations without an id: they are numbered in the order of the file'),
        (remove_keys('annotations', 'category_id'), "3 annotations without a category: the file has one, 'gecko'"),
        (remove_keys('images', 'width', 'height'), '2 images without width and height: those of the image files'),
    ],
)
def test_other_forms_are_read_and_counted(write, tmp_path, change, note):
    file = write(change)
    labels = read_labels(file)
    assert labels.content['annotations'] == EXPECTED['annotations']
    assert labels.content['images'] == EXPECTED['images']
    assert labels.notes == [note]
    assert (find_label_problems(labels), find_label_refusal(labels)) == ([], '')
    assert create_project(file, tmp_path / 'project').config.is_file()


def test_an_annotation_that_is_written_twice_is_dropped_and_counted(write):
    labels = read_labels(write(lambda c: c['annotations'].append(copy.deepcopy(c['annotations'][0]))))
    assert (labels.num_instances, labels.num_labels) == (3, 4)
    assert [label.cause for label in labels.dropped] == ['which repeats another annotation of its id']


def test_objects_with_a_box_alone_are_no_problem(write):
    def add_tree(content):
        content['categories'].append(dict(id=9, name='tree'))
        content['annotations'].append(dict(id=50, image_id=1, category_id=9, bbox=[1, 1, 5, 5]))

    labels = read_labels(write(add_tree))
    assert '  tree: 1 instances, 0 keypoints: without names' in labels.describe()
    assert find_label_problems(labels) == []


@pytest.mark.parametrize('names', ['snout,left_paw,right_paw,tail', [{'name': 'snout'}]])
def test_keypoints_of_a_category_that_are_no_names_are_refused(write, names):
    with pytest.raises(AnnotationError, match=r"all\.json: category 'gecko': keypoints is a list of names; found"):
        read_labels(write(lambda c: c['categories'][0].update(keypoints=names)))


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        (lambda c: c['images'][0].pop('file_name'), '1 images have no file_name: id 1'),
        (lambda c: c['annotations'][0]['keypoints'].__setitem__(2, 3), 'a flag other than 0, 1 or 2: annotation 1'),
        (lambda c: c['annotations'][0].pop('id'), '1 annotations have no id'),
        (lambda c: c['annotations'][0].update(bbox=[1, 2, 'a', 4]), 'no list of x, y, width and height: annotation 1'),
    ],
)
def test_each_fault_is_called_by_what_it_is(write, change, problem):
    assert any(problem in line for line in find_label_problems(read_labels(write(change))))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c['categories'][0].update(keypoints=['snout', 'Snout', 'right_paw', 'tail']), 'are the same'),
        (lambda c: c['categories'][0].update(skeleton=[[1, 9]]), 'skeleton has pairs of 1 to 4; found 1 to 9'),
        (lambda c: c['annotations'][0]['keypoints'].__setitem__(2, True), 'keypoints is 12 finite numbers'),
    ],
)
def test_verify_says_what_training_refuses(write, command, change, message):
    file = write(change)
    assert message in find_label_refusal(read_labels(file))
    with pytest.raises(AnnotationError):
        LabelSource(file).load()
    code, out, _ = command('dataset', 'verify', file)
    assert code == 1
    assert f'ERROR: training refuses these labels: {file}' in out
    assert 'no problems found' not in out


def test_categories_with_the_same_keypoints_in_another_order_and_case_are_one_task(write):
    def add_newts(content):
        names = ['Tail', 'Snout', 'Left Paw', 'right-paw']
        content['categories'].append(dict(id=2, name='newt', keypoints=names, skeleton=[[1, 2]]))
        annotation = content['annotations'][2]
        annotation['category_id'] = 2
        annotation['keypoints'] = annotation['keypoints'][9:] + annotation['keypoints'][:9]

    labels = choose_labels(read_labels(write(add_newts)))
    assert [category['keypoints'] for category in labels.content['categories']] == [label_files.KEYPOINTS] * 2
    assert labels.content['annotations'][2]['keypoints'] == EXPECTED['annotations'][2]['keypoints']
    assert [category['skeleton'] for category in labels.content['categories']] == [[[1, 4]]] * 2


def test_splits_whose_categories_differ_in_other_keys_are_one_data_set(write):
    file = write(lambda content: None)
    other = {**EXPECTED, 'categories': [{**EXPECTED['categories'][0], 'supercategory': 'animals'}]}
    file.rename(file.with_name('train.json'))
    file.with_name('val.json').write_text(json.dumps(other))
    assert read_labels(file.parent.parent).num_instances == 6

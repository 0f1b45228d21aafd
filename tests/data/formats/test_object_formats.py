"""V7 Darwin, Supervisely, Datumaro and Ultralytics NDJSON: what belongs to one instance, and what is dropped."""

import json
from collections import Counter
from pathlib import Path

import pytest

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.convert import read_labels
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.data.formats.labeled_objects import LabeledObject, ObjectGrouper
from tests.data.formats import object_files
from tests.data.formats.label_files import KEYPOINTS, write_images

LABEL_FILES = {  # of the image a.png, with two geckos
    'darwin': 'releases/latest/annotations/a.json',
    'supervisely': 'train/ann/a.png.json',
    'datumaro': 'annotations/default.json',
    'ndjson': 'geckos.ndjson',
}


def write_labels(name, folder):
    return getattr(object_files, f'write_{name}')(folder)


def change_json(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def count_dropped(labels):
    return dict(Counter(label.cause for label in labels.dropped))


@pytest.fixture
def collector(tmp_path):
    write_images(tmp_path)
    return LabelCollector('test', tmp_path, tmp_path)


def group_objects(collector, *objects):
    """The instances of an image of some objects, as (category, box, labeled keypoints), and the causes of dropping."""
    grouper = ObjectGrouper(collector)
    grouper.add_objects(Path('labels.json'), collector.add_image('a.png', Path('labels.json'), ['']), objects)
    labels = grouper.finish_labels()
    names = {category['id']: category for category in labels.content['categories']}
    instances = []
    for annotation in labels.content['annotations']:
        category = names[annotation['category_id']]
        labeled = [k for k, flag in zip(category['keypoints'], annotation['keypoints'][2::3], strict=True) if flag]
        instances.append((category['name'], annotation['bbox'], labeled))
    return instances, [label.cause for label in labels.dropped]


@pytest.mark.parametrize('name', LABEL_FILES)
@pytest.mark.parametrize('is_file', [False, True])
def test_a_file_and_its_folder_are_read(tmp_path, name, is_file):
    folder = write_labels(name, tmp_path / 'data')
    if name == 'supervisely':
        path = folder / 'meta.json' if is_file else folder / 'train'
        num_instances = 3 if is_file else 2
    else:
        path = folder / LABEL_FILES[name] if is_file else folder
        num_instances = 2 if is_file and name == 'darwin' else 3
    labels = read_labels(path)
    assert (labels.num_labels, labels.num_instances) == (num_instances, num_instances)


@pytest.mark.parametrize('name', LABEL_FILES)
@pytest.mark.parametrize('is_missing', [True, False], ids=['missing', 'unreadable'])
def test_labels_without_their_image_are_counted(tmp_path, name, is_missing):
    folder = write_labels(name, tmp_path / 'data')
    for image in folder.rglob('a.png'):
        image.unlink() if is_missing else image.write_bytes(b'no image')
    labels = read_labels(folder)
    assert labels.num_instances == 1
    # Each of the two geckos of the image is one label, or a skeleton and a box.
    num_dropped = 2 if name == 'ndjson' else 4
    cause = 'whose image is not in its folder' if is_missing else 'whose image cannot be read'
    assert count_dropped(labels) == {cause: num_dropped}
    assert any('images are missing' in note for note in labels.notes) == is_missing


@pytest.mark.parametrize(('name', 'key'), [('supervisely', 'train'), ('datumaro', 'default'), ('ndjson', 'train')])
def test_the_split_is_that_of_the_files(tmp_path, name, key):
    assert read_labels(write_labels(name, tmp_path / 'data')).content['images'][0]['split'] == key


@pytest.mark.parametrize('name', ['supervisely', 'datumaro'])
def test_limbs_are_those_of_the_definition(tmp_path, name):
    (category,) = read_labels(write_labels(name, tmp_path / 'data')).content['categories']
    assert category['skeleton'] == [[1, 4]]


# --- what belongs to one instance -------------------------------------------------------------------------------------

SNOUT, TAIL = {'snout': (12.0, 14.0, 2)}, {'tail': (44.0, 36.0, 1)}


def test_objects_of_one_group_are_one_instance(collector):
    instances, causes = group_objects(
        collector,
        LabeledObject('1', 'gecko', SNOUT, group=7),
        LabeledObject('2', 'gecko', {}, [60, 20, 50, 40], group=7),  # wherever it lies
        LabeledObject('3', '', TAIL, group=7),
        LabeledObject('4', '', TAIL, group=7),
        LabeledObject('5', 'gecko', {}, [0, 0, 9, 9], group=7),
    )
    assert instances == [('gecko', [60, 20, 50, 40], ['snout', 'tail'])]
    assert causes == ['which repeats a keypoint of its instance', 'which is a second box of its instance']


def test_a_box_belongs_to_the_only_skeleton_that_lies_in_it(collector):
    around, elsewhere, of_tree = [10, 10, 40, 30], [60, 20, 50, 40], [5, 5, 100, 70]
    instances, causes = group_objects(
        collector,
        LabeledObject('1', 'gecko', {}, around),
        LabeledObject('2', 'gecko', {}, elsewhere),
        LabeledObject('3', 'tree', {}, of_tree),
        LabeledObject('4', 'gecko', SNOUT | TAIL),
    )
    assert sorted(instances) == [
        ('gecko', around, ['snout', 'tail']),
        ('gecko', elsewhere, []),
        ('tree', of_tree, []),
    ]
    assert causes == []


def test_a_box_around_two_skeletons_is_an_instance_of_its_own(collector):
    instances, _ = group_objects(
        collector,
        LabeledObject('1', 'gecko', SNOUT),
        LabeledObject('2', 'gecko', TAIL),
        LabeledObject('3', 'gecko', {}, [10, 10, 40, 30]),
    )
    assert [labeled for _, _, labeled in instances] == [['snout'], ['tail'], []]


def test_a_single_keypoint_belongs_to_the_box_around_it(collector):
    instances, causes = group_objects(
        collector,
        LabeledObject('1', 'gecko', {}, [10, 10, 40, 30]),
        LabeledObject('2', 'gecko', {}, [30, 10, 50, 40]),
        LabeledObject('3', '', SNOUT),
        LabeledObject('4', '', TAIL),  # in both boxes
    )
    assert [labeled for _, _, labeled in instances] == [['snout'], []]
    assert causes == ['without a group, in none or several of the boxes']


def test_single_keypoints_alone_are_one_instance(collector):
    instances, _ = group_objects(collector, LabeledObject('1', '', SNOUT), LabeledObject('2', '', TAIL))
    assert [(category, labeled) for category, _, labeled in instances] == [('object', ['snout', 'tail'])]


# --- faults of each format --------------------------------------------------------------------------------------------


def test_faults_of_darwin_are_counted(tmp_path):
    folder = object_files.write_darwin(tmp_path / 'data')

    def change(content):
        first, *_ = content['annotations']
        content['annotations'] += [
            dict(first, skeleton=dict(nodes=[dict(name='snout', x='left', y=3)])),
            dict(name='gecko', frames={'0': {}}),
            dict(name='branch', line=dict(path=[])),
            dict(name='night', tag={}),
            dict(skeleton=dict(nodes=[])),
        ]

    change_json(folder / LABEL_FILES['darwin'], change)
    labels = read_labels(folder)
    assert labels.num_instances == 3
    assert count_dropped(labels) == {
        'without finite numbers where its x and y are expected': 1,
        'of a video; export its frames as images': 1,
        'which is neither a skeleton, a keypoint nor a box': 1,
        'without the name of a class': 1,
    }
    assert str(labels.dropped[0]).startswith(f'{folder / LABEL_FILES["darwin"]}, annotation 5: ')


def test_a_single_keypoint_of_darwin_is_named_by_its_class_and_belongs_to_the_box_around_it(tmp_path):
    folder = object_files.write_darwin(tmp_path / 'data')

    def change(content):
        box, point = dict(x=20, y=10, w=60, h=40), dict(x=30.5, y=21, occluded=True)
        content['annotations'] = [
            dict(name='newt', bounding_box=box),
            dict(name='snout', keypoint=point),
            dict(name='tail', keypoint=dict(point, x=70)),
        ]

    change_json(folder / LABEL_FILES['darwin'], change)
    content = read_labels(folder / LABEL_FILES['darwin']).content
    (category,), (annotation,) = content['categories'], content['annotations']
    assert (category['name'], category['keypoints']) == ('newt', ['snout', 'tail'])
    assert (annotation['bbox'], annotation['keypoints']) == ([20, 10, 60, 40], [30.5, 21, 1, 70, 21, 1])


def test_an_image_of_darwin_is_located_by_any_of_its_names(tmp_path):
    folder = object_files.write_darwin(tmp_path / 'data')
    file = folder / LABEL_FILES['darwin']
    named = dict(name='a.png', path='/week 1', slots=[])
    for item in (named, dict(named, name='x.png', filename='a.png'), dict(original_filename='a.png')):
        change_json(file, lambda content, item=item: content.update(item=item))
        (image,) = read_labels(file).content['images']
        assert Path(image['file_name']).name == 'a.png'


def test_version_1_of_darwin_is_read(tmp_path):
    folder = object_files.write_darwin(tmp_path / 'data')

    def change(content):
        content['image'] = dict(filename=content.pop('item')['name'], width=120, height=80)
        content['dataset'] = content.pop('version')

    for file in folder.rglob('*.json'):
        change_json(file, change)
    assert read_labels(folder).num_instances == 3


def test_faults_of_supervisely_are_counted(tmp_path):
    folder = object_files.write_supervisely(tmp_path / 'data')

    def change(content):
        graph = content['objects'][0]
        content['objects'] += [
            dict(graph, nodes={'id-9': dict(loc=[1, 2])}),
            dict(graph, classTitle='newt'),
            dict(graph, geometryType='bitmap'),
        ]

    change_json(folder / LABEL_FILES['supervisely'], change)
    labels = read_labels(folder)
    assert labels.num_instances == 3
    assert count_dropped(labels) == {
        'without finite numbers where its positions are expected': 1,
        'of class newt, which meta.json does not define': 1,
        "of type 'bitmap', neither a graph, a rectangle nor a point": 1,
    }
    assert {label.position for label in labels.dropped} == {'object 5', 'object 6', 'object 7'}


def test_faults_of_datumaro_are_counted(tmp_path):
    folder = object_files.write_datumaro(tmp_path / 'data')

    def change(content):
        annotations = content['items'][0]['annotations']
        annotations += [
            dict(annotations[0], elements=[dict(type='points', label_id=1, points=[1, None])]),
            dict(annotations[1], type='polygon'),
            dict(annotations[1], type='label'),
            dict(type='points', label_id=1, points=[1, 2, 3, 4]),
        ]

    change_json(folder / LABEL_FILES['datumaro'], change)
    labels = read_labels(folder)
    assert labels.num_instances == 3
    assert count_dropped(labels) == {
        'without a label and finite numbers where they are expected': 1,
        "of type 'polygon', neither a skeleton, points nor a box": 1,
        'of points that categories.points does not name': 1,
    }


def test_occlusion_of_datumaro_is_an_attribute_or_a_flag_for_each_point(tmp_path):
    folder = object_files.write_datumaro(tmp_path / 'data')

    def change(content):
        points = [10, 20, 30, 40, 50, 60, 70, 80]
        whole = dict(type='points', label_id=0, points=points, visibility=[2, 2, 0, 1], group=1)
        hidden = dict(whole, attributes=dict(occluded=True), group=2)
        content['items'] = [dict(content['items'][0], annotations=[whole, hidden, dict(whole, visibility=[2, 2])])]

    change_json(folder / LABEL_FILES['datumaro'], change)
    labels = read_labels(folder)
    assert [a['keypoints'][2::3] for a in labels.content['annotations']] == [[2, 2, 0, 1], [1, 1, 0, 1]]
    assert count_dropped(labels) == {'without a label and finite numbers where they are expected': 1}


def test_an_image_of_datumaro_is_located_by_its_path_or_its_id(tmp_path):
    folder = object_files.write_datumaro(tmp_path / 'data')
    file = folder / LABEL_FILES['datumaro']
    for item_id, media in (('another', dict(path='a.png')), ('a', {})):
        change_json(file, lambda c, i=item_id, m=media: c['items'][0].update(id=i, image=m))
        assert [Path(image['file_name']).name for image in read_labels(folder).content['images']] == ['a.png', 'b.png']


def test_points_of_datumaro_with_named_points_are_an_instance(tmp_path):
    folder = object_files.write_datumaro(tmp_path / 'data')

    def change(content):
        for item in content['items']:
            for annotation in item['annotations']:
                elements = annotation.pop('elements', [])
                if elements:
                    points = [v for element in elements for v in element['points']]
                    flags = [flag for element in elements for flag in element['visibility']]
                    annotation.update(type='points', points=points, visibility=flags)

    before = read_labels(folder).content['annotations']
    change_json(folder / LABEL_FILES['datumaro'], change)
    assert read_labels(folder).content['annotations'] == before


def test_the_number_of_keypoints_of_ndjson_follows_from_its_instances(tmp_path):
    file = object_files.write_ndjson(tmp_path / 'data') / 'geckos.ndjson'
    description, *lines = file.read_text().splitlines()
    content = json.loads(description)
    del content['kpt_shape']
    file.write_text('\n'.join([json.dumps(content), *lines]))
    labels = read_labels(file)
    assert labels.num_instances == 3
    assert labels.content['categories'][0]['keypoints'] == KEYPOINTS
    file.write_text('\n'.join([json.dumps(content), json.dumps(dict(file='a.png', annotations={}))]))
    with pytest.raises(AnnotationError, match=r'line 1 has no kpt_shape; add kpt_shape: \[number of keypoints, 2 or 3'):
        read_labels(file)


def test_faults_of_ndjson_are_counted(tmp_path):
    file = object_files.write_ndjson(tmp_path / 'data') / 'geckos.ndjson'
    description, first, *others = file.read_text().splitlines()
    image = json.loads(first)
    good = image['annotations']['pose'][0]
    image['annotations']['pose'] += [good[:-1], [3, *good[1:]], [*good[:-1], 'x'], None]
    file.write_text('\n'.join([description, json.dumps(image), *others]))
    labels = read_labels(file)
    assert labels.num_instances == 3
    assert count_dropped(labels) == {
        'with 16 numbers; 17 are expected': 1,
        'of class 3, which has no name': 1,
        'with a word that is no number': 1,
        'with 0 numbers; 17 are expected': 1,
    }
    assert labels.dropped[0].position == 'line 2, instance 3'
    file.write_text('\n'.join([description, '{"file": ']))
    with pytest.raises(AnnotationError, match='line 2 is no JSON'):
        read_labels(file)


def test_files_without_keypoints_are_refused(tmp_path):
    folder = object_files.write_darwin(tmp_path / 'data')

    def change(content):
        content['annotations'] = [a for a in content['annotations'] if 'skeleton' not in a]

    for file in folder.rglob('*.json'):
        change_json(file, change)
    with pytest.raises(AnnotationError, match='no label has keypoints; a skeleton is needed'):
        read_labels(folder)

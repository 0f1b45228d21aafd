"""FLIC from files in the official layout, and every defect of one."""

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from poseplug.core.errors import AnnotationError
from poseplug.data.sources.flic import FLICSource
from poseplug.files.matlab import read_matlab_structs
from poseplug.skeletons.flic import FLIC

LABELED_COLUMNS = (0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16)  # of the 29
FIELDS = ('poselet_hit_idx', 'moviename', 'coords', 'filepath', 'imgdims', 'currframe', 'torsobox', 'istrain', 'istest')


def make_coords(faces_camera=True) -> np.ndarray:
    """(2, 29) in px counted from 1: labeled column k at y = 10 k, left on the right side if the person faces us."""
    coords = np.full((2, 29), np.nan)
    side = np.array([1, 1, 1, -1, -1, -1, 1, -1, 1, -1, 0]) * (1 if faces_camera else -1)
    coords[:, LABELED_COLUMNS] = 50 + 20 * side, 10 * np.arange(11) + 1
    return coords


def make_example(name='film-0001.jpg', coords=None, train=1, **fields):
    values = dict(
        poselet_hit_idx=np.arange(3),
        moviename='film',
        coords=make_coords() if coords is None else coords,
        filepath=name,
        imgdims=np.array([120, 100, 3]),
        currframe=7.0,
        torsobox=np.array([31.0, 11.0, 71.0, 111.0]),
        istrain=np.bool_(train),
        istest=np.bool_(not train),
    )
    return {**values, **fields}


@pytest.fixture
def write_examples(tmp_path):
    """A function that writes examples, one struct each, and a gray image for each name; returns the folder."""

    def write(*examples, compressed=True):
        (tmp_path / 'images').mkdir(exist_ok=True)
        fields = [field for field in FIELDS if all(field in example for example in examples)]
        structs = np.zeros((1, len(examples)), dtype=[(field, object) for field in fields])
        for i, values in enumerate(examples):
            for field in fields:
                structs[0, i][field] = values[field]
            if isinstance(values['filepath'], str) and '/' not in values['filepath']:
                cv2.imwrite(str(tmp_path / 'images' / values['filepath']), np.full((120, 100, 3), 90, np.uint8))
        savemat(tmp_path / 'examples.mat', {'examples': structs}, do_compression=compressed)
        return tmp_path

    return write


@pytest.mark.parametrize('compressed', [True, False])
def test_the_nine_keypoints_are_the_labeled_columns_without_the_eyes_counted_from_0(write_examples, compressed):
    (record,), _ = FLICSource(write_examples(make_example(), compressed=compressed)).load()
    columns = [0, 1, 2, 3, 4, 5, 6, 7, 10]  # of the eleven labeled columns, all but the two eyes
    assert record.instances.keypoints[0, :, 1].tolist() == [10 * k for k in columns]
    assert record.instances.keypoints[0, FLIC.index('head')].tolist() == [49, 100]
    assert (record.instances.visible == 2).all()


def test_left_and_right_of_a_person_from_behind_are_named_as_from_the_front(write_examples):
    (front,), _ = FLICSource(write_examples(make_example())).load()
    (back,), _ = FLICSource(write_examples(make_example(coords=make_coords(faces_camera=False)))).load()
    assert front.instances.keypoints[0, FLIC.index('left_shoulder')].tolist() == [69, 0]
    assert back.instances.keypoints[0, FLIC.index('left_shoulder')].tolist() == [69, 30]  # the file's right shoulder
    for a, b in FLIC.flip_pairs:
        for record in (front, back):
            assert record.instances.keypoints[0, FLIC.index(a), 0] > record.instances.keypoints[0, FLIC.index(b), 0]


def test_scale_and_center_follow_from_the_torso_box(write_examples):
    """A box of 100 px from y = 10 (counted from 0): scale 1.1, and a center 30 % down."""
    (record,), _ = FLICSource(write_examples(make_example())).load()
    assert record.instances.scales[0] == pytest.approx(1.1)
    assert record.instances.centers[0] == pytest.approx([50, 40])


def test_the_split_is_what_the_file_says_of_each_example(write_examples):
    folder = write_examples(make_example('a.jpg'), make_example('b.jpg', train=0), make_example('c.jpg', train=0))
    loaded = {split: FLICSource(folder, split=split).load() for split in ('train', 'test', 'all')}
    assert {split: [r.id for r in records] for split, (records, _) in loaded.items()} == {
        'train': ['a.jpg'], 'test': ['b.jpg', 'c.jpg'], 'all': ['a.jpg', 'b.jpg', 'c.jpg'],
    }  # fmt: skip
    assert str(loaded['test'][1]) == f'{folder}/examples.mat: 2 of 2 instances kept; dropped: none'


def test_two_persons_in_one_image_are_one_record(write_examples):
    examples = [make_example('a.jpg'), make_example('b.jpg'), make_example('a.jpg', make_coords(False))]
    records, report = FLICSource(write_examples(*examples)).load()
    assert [(r.id, len(r.instances), len(r.instances.scales), len(r.instances.centers)) for r in records] == [
        ('a.jpg', 2, 2, 2), ('b.jpg', 1, 1, 1),
    ]  # fmt: skip
    assert report.kept == 3


def test_a_missing_image_is_an_error_or_a_counted_drop(write_examples):
    folder = write_examples(make_example('a.jpg'), make_example('b.jpg'))
    (folder / 'images/b.jpg').unlink()
    with pytest.raises(AnnotationError, match='examples.mat: image b.jpg is missing in .*; 1 of 2 found. Restore it'):
        FLICSource(folder).load()
    records, report = FLICSource(folder, missing_images='drop').load()
    assert [r.id for r in records] == ['a.jpg']
    assert dict(report.dropped) == {'with a missing image': 1}


def make_ten_keypoints():
    coords = make_coords()
    coords[:, 0] = np.nan
    return coords


THREE_ROWS = np.vstack([make_coords(), make_coords()[:1]])
DEFECTS = {
    'ten keypoints': (
        make_example(coords=make_ten_keypoints()),
        r'record 1 \(film-0001.jpg\): coords is .* 11 labeled columns',
    ),
    'no keypoints': (make_example(coords=np.zeros((0, 0))), 'coords is .* 11 labeled columns'),
    'text for keypoints': (make_example(coords='none'), 'coords is .* 11 labeled columns'),
    'three rows': (make_example(coords=THREE_ROWS), 'coords is .* 11 labeled columns'),
    'half a box': (
        make_example(torsobox=np.array([1.0, 2.0])), r'torsobox is x1, y1, x2, y2 .*found \[\[1.0, 2.0\]\]',
    ),
    'a flat box': (make_example(torsobox=np.array([1.0, 5.0, 9.0, 5.0])), 'torsobox is .* with y2 over y1'),
    'a box of NaN': (make_example(torsobox=np.full(4, np.nan)), 'torsobox is x1'),
    'flag 2': (make_example(istrain=2.0), 'istrain is 0 or 1; found'),
    'a number for a name': (make_example(name=3.0), 'filepath is the name of an image'),
    'a name elsewhere': (make_example(name='../a.jpg'), "filepath is the name of an image; found '../a.jpg'"),
}  # fmt: skip


@pytest.mark.parametrize('defect', DEFECTS)
def test_every_defect_is_an_error_that_names_file_record_and_field(write_examples, defect):
    example, message = DEFECTS[defect]
    with pytest.raises(AnnotationError, match=message) as error:
        FLICSource(write_examples(example), split='train').load()
    assert 'examples.mat' in str(error.value)


def test_the_error_of_other_structs_names_the_absent_field(write_examples):
    example = {field: value for field, value in make_example().items() if field != 'torsobox'}
    with pytest.raises(AnnotationError, match="have no field 'torsobox'; they have .*coords"):
        FLICSource(write_examples(example)).load()


def test_a_file_of_numbers_is_no_file_of_examples(tmp_path):
    savemat(tmp_path / 'examples.mat', {'examples': np.ones(3)})
    with pytest.raises(AnnotationError, match="its 'examples' is no array of structs"):
        FLICSource(tmp_path).load()


def test_the_error_of_an_absent_set_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv('POSEPLUG_DATA', str(tmp_path))
    with pytest.raises(AnnotationError, match="no examples.mat in .*flic. Get 'FLIC' of Sapp & Taskar"):
        FLICSource().load()


def test_a_split_that_does_not_exist_is_an_error():
    with pytest.raises(AnnotationError, match="split is 'train', 'test' or 'all'; got 'third'"):
        FLICSource(split='third')


def test_structs_are_read_as_they_were_written(write_examples):
    file = write_examples(make_example('a.jpg'), make_example('b.jpg', imgdims={'inner': 1})) / 'examples.mat'
    first, second = read_matlab_structs(file, 'examples')
    assert list(first) == list(FIELDS)
    assert (first['filepath'], first['moviename'], first['currframe'].tolist()) == ('a.jpg', 'film', [[7.0]])
    assert np.array_equal(first['coords'], make_coords(), equal_nan=True)
    assert second['imgdims'] is None  # a struct within


@pytest.mark.parametrize('compressed', [True, False])
def test_a_damaged_file_is_read_or_refused(write_examples, compressed):
    """300 files with 1 to 10 bytes changed or cut: structs, or our own error."""
    file = write_examples(make_example('a.jpg'), make_example('b.jpg'), compressed=compressed) / 'examples.mat'
    data, rng = file.read_bytes(), np.random.default_rng(2)
    num_refused = 0
    for trial in range(300):
        damaged = bytearray(data[: rng.integers(len(data))] if trial % 5 == 0 else data)
        for offset in rng.integers(0, len(damaged), rng.integers(1, 11)) if damaged else []:
            damaged[offset] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            assert all(isinstance(s, dict) for s in read_matlab_structs(file, 'examples'))
        except AnnotationError:
            num_refused += 1
    assert 30 < num_refused < 300

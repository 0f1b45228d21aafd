"""FLIC from files in the official layout, and every defect of one."""

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from poseplug.datasets.sources.flic import FLICSource
from poseplug.datasets.sources.matlab import read_structs
from poseplug.errors import AnnotationError
from poseplug.skeletons.flic import FLIC

KNOWN = (0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16)  # which of the 29 columns are labelled
FIELDS = ('poselet_hit_idx', 'moviename', 'coords', 'filepath', 'imgdims', 'currframe', 'torsobox', 'istrain', 'istest')


def body(front=True) -> np.ndarray:
    """(2, 29) in pixels counted from 1: labelled column k at y = 10 k, left at the right if front."""
    coords = np.full((2, 29), np.nan)
    side = np.array([1, 1, 1, -1, -1, -1, 1, -1, 1, -1, 0]) * (1 if front else -1)
    coords[:, KNOWN] = 50 + 20 * side, 10 * np.arange(11) + 1
    return coords


def example(name='film-0001.jpg', coords=None, train=1, **others):
    values = dict(
        poselet_hit_idx=np.arange(3), moviename='film', coords=body() if coords is None else coords, filepath=name,
        imgdims=np.array([120, 100, 3]), currframe=7.0, torsobox=np.array([31.0, 11.0, 71.0, 111.0]),
        istrain=np.bool_(train), istest=np.bool_(not train),
    )  # fmt: skip
    return {**values, **others}


@pytest.fixture
def flic_like(tmp_path):
    """A function that writes examples, one struct each, and a grey picture for each name; returns the folder."""

    def write(*examples, without=(), compressed=True):
        (tmp_path / 'images').mkdir(exist_ok=True)
        fields = [f for f in FIELDS if all(f in e for e in examples)]
        made = np.zeros((1, len(examples)), dtype=[(f, object) for f in fields])
        for i, values in enumerate(examples):
            for f in fields:
                made[0, i][f] = values[f]
            if isinstance(values['filepath'], str) and '/' not in values['filepath'] not in without:
                cv2.imwrite(str(tmp_path / 'images' / values['filepath']), np.full((120, 100, 3), 90, np.uint8))
        savemat(tmp_path / 'examples.mat', {'examples': made}, do_compression=compressed)
        return tmp_path

    return write


@pytest.mark.parametrize('compressed', [True, False])
def test_the_nine_joints_are_the_labelled_columns_without_the_eyes_counted_from_0(flic_like, compressed):
    (record,), _ = FLICSource(flic_like(example(), compressed=compressed)).load()
    rows = [0, 1, 2, 3, 4, 5, 6, 7, 10]  # of the eleven labelled columns, all but the two eyes
    assert record.keypoints[0, :, 1].tolist() == [10 * k for k in rows]
    assert record.keypoints[0, FLIC.index('head')].tolist() == [49, 100]
    assert (record.visible == 2).all()


def test_who_is_seen_from_behind_is_named_as_if_seen_from_the_front(flic_like):
    (front,), _ = FLICSource(flic_like(example())).load()
    (back,), _ = FLICSource(flic_like(example(coords=body(front=False)))).load()
    assert front.keypoints[0, FLIC.index('left_shoulder')].tolist() == [69, 0]
    assert back.keypoints[0, FLIC.index('left_shoulder')].tolist() == [69, 30]  # the file's right shoulder
    for a, b in FLIC.swaps:
        for record in (front, back):
            assert record.keypoints[0, FLIC.index(a), 0] > record.keypoints[0, FLIC.index(b), 0]


def test_scale_and_position_follow_from_the_torso_box(flic_like):
    """A box of 100 px from y = 10 (counted from 0): scale 1.1, and a position 30 % down."""
    (record,), _ = FLICSource(flic_like(example())).load()
    assert record.scales[0] == pytest.approx(1.1)
    assert record.centers[0] == pytest.approx([50, 40])


def test_half_is_what_the_file_says_of_each_example(flic_like):
    folder = flic_like(example('a.jpg'), example('b.jpg', train=0), example('c.jpg', train=0))
    found = {h: FLICSource(folder, half=h).load() for h in ('train', 'test', 'all')}
    assert {h: [r.id for r in records] for h, (records, _) in found.items()} == {
        'train': ['a.jpg'], 'test': ['b.jpg', 'c.jpg'], 'all': ['a.jpg', 'b.jpg', 'c.jpg'],
    }  # fmt: skip
    assert str(found['test'][1]) == f'{folder}/examples.mat: 2 of 2 people kept; dropped: none'


def test_two_people_of_one_picture_are_one_record(flic_like):
    records, report = FLICSource(flic_like(example('a.jpg'), example('b.jpg'), example('a.jpg', body(False)))).load()
    assert [(r.id, len(r.keypoints), len(r.scales), len(r.centers)) for r in records] == [
        ('a.jpg', 2, 2, 2), ('b.jpg', 1, 1, 1),
    ]  # fmt: skip
    assert report.kept == 3


def test_a_missing_picture_is_an_error_or_a_counted_drop(flic_like):
    folder = flic_like(example('a.jpg'), example('b.jpg'))
    (folder / 'images/b.jpg').unlink()
    with pytest.raises(AnnotationError, match='examples.mat: image b.jpg is missing in .*; 1 of 2 found. Restore it'):
        FLICSource(folder).load()
    records, report = FLICSource(folder, missing='drop').load()
    assert [r.id for r in records] == ['a.jpg']
    assert dict(report.dropped) == {'with their picture missing': 1}


def ten():
    coords = body()
    coords[:, 0] = np.nan
    return coords


DEFECTS = {
    'ten joints': (example(coords=ten()), r'record 1 \(film-0001.jpg\): coords is .* 11 labelled columns'),
    'no joints': (example(coords=np.zeros((0, 0))), 'coords is .* 11 labelled columns'),
    'text for joints': (example(coords='none'), 'coords is .* 11 labelled columns'),
    'three rows': (example(coords=np.vstack([body(), body()[:1]])), 'coords is .* 11 labelled columns'),
    'half a box': (example(torsobox=np.array([1.0, 2.0])), r'torsobox is x1, y1, x2, y2 .*found \[\[1.0, 2.0\]\]'),
    'a flat box': (example(torsobox=np.array([1.0, 5.0, 9.0, 5.0])), 'torsobox is .* with y2 over y1'),
    'a box of NaN': (example(torsobox=np.full(4, np.nan)), 'torsobox is x1'),
    'flag 2': (example(istrain=2.0), 'istrain is 0 or 1; found'),
    'a number for a name': (example(name=3.0), 'filepath is the name of a picture'),
    'a name elsewhere': (example(name='../a.jpg'), "filepath is the name of a picture; found '../a.jpg'"),
}


@pytest.mark.parametrize('defect', DEFECTS)
def test_every_defect_is_an_error_that_names_file_record_and_field(flic_like, defect):
    given, told = DEFECTS[defect]
    with pytest.raises(AnnotationError, match=told) as error:
        FLICSource(flic_like(given), half='train').load()
    assert 'examples.mat' in str(error.value)


def test_a_file_of_other_structs_is_told_which_field_it_lacks(flic_like):
    given = {k: v for k, v in example().items() if k != 'torsobox'}
    with pytest.raises(AnnotationError, match="have no field 'torsobox'; they have .*coords"):
        FLICSource(flic_like(given)).load()


def test_a_file_of_numbers_is_no_file_of_examples(tmp_path):
    savemat(tmp_path / 'examples.mat', {'examples': np.ones(3)})
    with pytest.raises(AnnotationError, match="its 'examples' is no array of structs"):
        FLICSource(tmp_path).load()


def test_an_absent_set_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv('POSEPLUG_DATA', str(tmp_path))
    with pytest.raises(AnnotationError, match="no examples.mat in .*flic. Get 'FLIC' of Sapp & Taskar"):
        FLICSource().load()


def test_a_half_that_does_not_exist_is_an_error():
    with pytest.raises(AnnotationError, match="half is 'train', 'test' or 'all'; got 'third'"):
        FLICSource(half='third')


def test_structs_are_read_as_they_were_written(flic_like):
    file = flic_like(example('a.jpg'), example('b.jpg', imgdims={'inner': 1})) / 'examples.mat'
    first, second = read_structs(file, 'examples')
    assert list(first) == list(FIELDS)
    assert (first['filepath'], first['moviename'], first['currframe'].tolist()) == ('a.jpg', 'film', [[7.0]])
    assert np.array_equal(first['coords'], body(), equal_nan=True)
    assert second['imgdims'] is None  # a struct within


@pytest.mark.parametrize('compressed', [True, False])
def test_a_damaged_file_is_read_or_refused(flic_like, compressed):
    """300 files with 1 to 10 bytes changed or cut: structs, or our own error."""
    file = flic_like(example('a.jpg'), example('b.jpg'), compressed=compressed) / 'examples.mat'
    data, rng = file.read_bytes(), np.random.default_rng(2)
    refused = 0
    for trial in range(300):
        mutant = bytearray(data[: rng.integers(len(data))] if trial % 5 == 0 else data)
        for place in rng.integers(0, len(mutant), rng.integers(1, 11)) if mutant else []:
            mutant[place] = rng.integers(256)
        file.write_bytes(mutant)
        try:
            assert all(isinstance(s, dict) for s in read_structs(file, 'examples'))
        except AnnotationError:
            refused += 1
    assert 30 < refused < 300

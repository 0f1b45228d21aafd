"""MPII in the layouts of its JSON files and of the official MATLAB file, and every defect of one."""

import json
import re

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from poseplug.datasets.sources.mpii import OFFICIAL, MPIISource
from poseplug.errors import AnnotationError
from poseplug.skeletons.mpii import MPII


def person(image='a.jpg', **more) -> dict:
    """Joint k at x = 11 + k, y = 21 + 2 k, counted from 1."""
    joints = [[11.0 + k, 21.0 + 2 * k] for k in range(16)]
    return dict(dict(image=image, center=[31.0, 41.0], scale=0.5, joints=joints, joints_vis=[1] * 16), **more)


def content() -> list:
    """Two people on a.jpg, one on b.jpg."""
    return [person(), person('b.jpg', scale=0.7), person(center=[51.0, 21.0])]


@pytest.fixture
def write(tmp_path):
    """A function that writes the split of a half and grey pictures of 60 x 70 px; returns the root."""

    def made(content, file='annot/train.json', names=('a.jpg', 'b.jpg')):
        for folder in ('images', 'annot', 'annotations'):
            (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            cv2.imwrite(str(tmp_path / 'images' / name), np.zeros((70, 60, 3), np.uint8))
        (tmp_path / file).write_text(json.dumps(content))
        return tmp_path

    return made


def ground(people, head=(6.0, 8.0), moved=0.0) -> dict:
    """The arrays of gt_valid.mat for the people of a split: head rectangles of one size, joints, nothing missing."""
    joints = np.array([p['joints'] for p in people])
    corners = np.array([[5.0, 5.0], [5.0 + head[0], 5.0 + head[1]]])
    return dict(
        headboxes_src=np.repeat(corners[..., None], len(people), axis=2),
        pos_gt_src=joints.transpose(1, 2, 0) + moved,
        jnt_missing=np.zeros((16, len(people))),
        SC_BIAS=0.6,
    )


def point(k, x, y, visible):
    return dict(x=float(x), y=float(y), id=float(k), is_visible=visible)


def structs(rows, fields):
    """A MATLAB struct array of a row for each dict; absent fields are empty."""
    made = np.zeros((1, len(rows)), dtype=[(f, object) for f in fields])
    for i, row in enumerate(rows):
        for f in fields:
            made[0, i][f] = row.get(f, np.zeros((0, 0)))
    return made


def rect(points, scale=0.5, position=(31, 41), head=(1, 2, 4, 6)):
    """One entry of annorect."""
    made = dict(zip(('x1', 'y1', 'x2', 'y2'), map(float, head), strict=True))
    if points:
        made['annopoints'] = {'point': structs(points, ('x', 'y', 'id', 'is_visible'))}
    if scale:
        made |= dict(scale=scale, objpos=dict(x=float(position[0]), y=float(position[1])))
    return made


FIELDS = ('x1', 'y1', 'x2', 'y2', 'annopoints', 'scale', 'objpos')


def official(*pictures, train=None) -> dict:
    """RELEASE of pictures (name, entries of annorect)."""
    rows = [dict(image=dict(name=name), annorect=structs(rects, FIELDS) if rects else np.zeros((0, 0)),
                 frame_sec=1.0, vididx=2.0) for name, rects in pictures]  # fmt: skip
    flags = np.ones((1, len(pictures))) if train is None else np.array([train], dtype=float)
    cells = np.empty((len(pictures), 1), dtype=object)
    cells[:] = 1.0
    return {'RELEASE': dict(annolist=structs(rows, ('image', 'annorect', 'frame_sec', 'vididx')), img_train=flags,
                            version='12', single_person=cells)}  # fmt: skip


SOME = [point(9, 30, 10, ''), point(0, 21, 61, 1.0), point(5, 22, 62, np.zeros((0, 0))), point(10, 23, 33, '0')]


# --- the JSON files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('half', 'file'), [
    ('train', 'annot/train.json'), ('train', 'annotations/mpii_train.json'),
    ('val', 'annot/valid.json'), ('val', 'annotations/mpii_val.json'), ('trainval', 'annot/trainval.json'),
])  # fmt: skip
def test_both_usual_layouts_are_found(write, half, file):
    records, report = MPIISource(write(content(), file), half).load()
    assert ([r.id for r in records], report.kept, report.file.name) == (['a.jpg', 'b.jpg'], 3, file.split('/')[1])


def test_joints_and_position_count_from_0_and_the_scale_is_the_files(write):
    records, _ = MPIISource(write(content())).load()
    assert records[0].keypoints[0, MPII.index('head_top')].tolist() == [10 + 9, 20 + 18]
    assert records[0].centers.tolist() == [[30, 40], [50, 20]]
    assert records[1].scales == pytest.approx([0.7])
    assert [r.numbers.tolist() for r in records] == [[1, 3], [2]]


def test_a_joint_of_flag_0_is_not_labelled_and_its_position_nothing(write):
    made = [person(joints=[[-1.0, -1.0], *person()['joints'][1:]], joints_vis=[0, *[1] * 15])]
    (record,), _ = MPIISource(write(made)).load()
    assert record.visible[0].tolist() == [0] + [2] * 15
    assert record.keypoints[0, 0].tolist() == [0, 0]


def test_people_who_cannot_be_placed_or_have_no_joint_are_counted(write):
    made = [*content(), person(center=[-1, -1]), person(scale=-1), person(joints_vis=[0] * 16)]
    _, report = MPIISource(write(made)).load()
    assert dict(report.dropped) == {'without a position or a scale': 2, 'without a labelled joint': 1}
    assert (report.kept, report.total) == (3, 6)


def test_missing_pictures_can_be_dropped_and_are_counted(write):
    folder = write(content(), names=('b.jpg',))
    with pytest.raises(AnnotationError, match=r'image a.jpg is missing in .*images; 1 of 2 found'):
        MPIISource(folder).load()
    records, report = MPIISource(folder, missing='drop').load()
    assert ([r.id for r in records], dict(report.dropped)) == (['b.jpg'], {'with their picture missing': 2})


def test_head_sizes_are_0_6_of_the_rectangles_diagonal(write):
    folder = write(content(), 'annot/valid.json')
    savemat(folder / 'annot/gt_valid.mat', ground(content()))
    records, report = MPIISource(folder, 'val').load()
    assert [r.heads.tolist() for r in records] == [[6, 6], [6]]
    assert report.notes == []


def test_without_head_rectangles_there_are_no_head_sizes_and_it_is_told(write):
    records, report = MPIISource(write(content(), 'annot/valid.json'), 'val').load()
    assert records[0].heads is None
    assert 'no head sizes, which PCKh needs: there is no annotations/mpii_gt_val.mat or annot/gt' in report.notes[0]


def test_head_rectangles_of_other_people_are_refused(write):
    folder = write(content(), 'annot/valid.json')
    savemat(folder / 'annot/gt_valid.mat', ground(content()[:2]))
    with pytest.raises(
        AnnotationError, match=r'gt_valid.mat: headboxes_src has shape \(2, 2, 2\), but .* has 3 people'
    ):
        MPIISource(folder, 'val').load()
    savemat(folder / 'annot/gt_valid.mat', ground(content(), moved=30))
    with pytest.raises(AnnotationError, match='gt_valid.mat: its joints, pos_gt_src, are not those of'):
        MPIISource(folder, 'val').load()
    savemat(folder / 'annot/gt_valid.mat', ground(content(), head=(0.0, 0.0)))
    with pytest.raises(AnnotationError, match='the head rectangle of person 1 has no extent'):
        MPIISource(folder, 'val').load()


DEFECTS = {
    'an object': ({}, 'each person is an entry of a list'),
    '15 joints': ([person(joints=person()['joints'][1:])],
                  "person 1 (image 'a.jpg'): joints is 32 finite numbers, x and y of 16 joints; found a list of 30"),
    'NaN': ([person(joints=[[float('nan'), 1.0], *person()['joints'][1:]])], 'joints is 32 finite numbers'),
    'three numbers': ([person(joints=[[1.0, 2.0, 3.0]] * 16)], 'joints is 32 finite numbers'),
    'flag 2': ([person(), person(joints_vis=[2] + [1] * 15)],
               "person 2 (image 'a.jpg'): the flag of joint 'right_ankle' is 0 or 1; found 2"),
    'no flags': ([{k: v for k, v in person().items() if k != 'joints_vis'}], 'joints_vis is 16 flags, one a joint;'),
    'no scale': ([person(scale=None)], 'scale is a finite number; found None'),
    'text': ([person(center=['31', 41])], "center is 2 finite numbers, x and y; found ['31', 41]"),
    'infinite': ([person(center=[float('inf'), 41])], 'center is 2 finite numbers, x and y; found [inf, 41]'),
    'outside': ([person('../a.jpg')], 'image is a name inside the folder of the pictures'),
    'no name': ([person(None)], 'image is the name of a picture in its folder; found None'),
}  # fmt: skip


@pytest.mark.parametrize('defect', DEFECTS)
def test_every_defect_is_an_error_that_names_it(write, defect):
    made, told = DEFECTS[defect]
    with pytest.raises(AnnotationError, match=re.escape(told)) as error:
        MPIISource(write(made)).load()
    assert 'train.json' in str(error.value)


def test_a_file_of_nobody_gives_nobody(write):
    records, report = MPIISource(write([])).load()
    assert (records, report.total) == ([], 0)


def test_an_absent_set_says_how_to_get_it(tmp_path):
    with pytest.raises(AnnotationError, match=r"no annotations/mpii_train.json in .*Get 'MPII Human Pose'"):
        MPIISource(tmp_path).load()


def test_a_half_that_does_not_exist_is_an_error():
    with pytest.raises(AnnotationError, match="mpii: half is one of train, val, trainval; got 'test'"):
        MPIISource(half='test')


# --- the official file ------------------------------------------------------------------------------------------------


@pytest.fixture
def release(write):
    """A function that writes RELEASE; returns the root."""

    def made(content, compressed=True):
        folder = write([])
        (folder / 'annot/train.json').unlink()
        savemat(folder / OFFICIAL, content, do_compression=compressed)
        return folder

    return made


@pytest.mark.parametrize('compressed', [True, False])
def test_the_official_file_gives_joints_by_their_ids_counted_from_0(release, compressed):
    folder = release(official(('a.jpg', [rect(SOME), rect(SOME[:2], 1.5)]), ('b.jpg', [rect(SOME)])), compressed)
    records, report = MPIISource(folder, 'trainval').load()
    assert ([r.id for r in records], report.kept, report.notes) == (['a.jpg', 'b.jpg'], 3, [])
    record = records[0]
    for joint, x, y in (('head_top', 29, 9), ('right_ankle', 20, 60), ('left_ankle', 21, 61), ('right_wrist', 22, 32)):
        assert record.keypoints[0, MPII.index(joint)].tolist() == [x, y]
    assert (record.centers.tolist(), record.scales.tolist()) == ([[30, 40]] * 2, [0.5, 1.5])
    assert record.heads == pytest.approx([3, 3])


def test_in_the_official_file_0_is_occluded_and_an_empty_flag_visible(release):
    (record,), _ = MPIISource(release(official(('a.jpg', [rect(SOME)]))), 'trainval').load()
    wanted = {'head_top': 2, 'right_ankle': 2, 'left_ankle': 2, 'right_wrist': 1}
    assert {j: v for j, v in zip(MPII.joints, record.visible[0], strict=True) if v} == wanted


def test_pictures_for_testing_and_people_without_joints_are_not_annotated(release):
    pictures = (('a.jpg', [rect([]), rect(SOME)]), ('b.jpg', [rect(SOME)]), ('c.jpg', []))
    records, report = MPIISource(release(official(*pictures, train=(1, 0, 1))), 'trainval').load()
    assert ([r.id for r in records], report.total) == (['a.jpg'], 1)


def test_people_without_a_position_are_counted(release):
    _, report = MPIISource(release(official(('a.jpg', [rect(SOME), rect(SOME, scale=0)]))), 'trainval').load()
    assert dict(report.dropped) == {'without a position or a scale': 1}


OFFICIAL_DEFECTS = {
    'no RELEASE': ({'OTHER': 1.0}, "has no array 'RELEASE'"),
    'not a struct': ({'RELEASE': 1.0}, 'is not a readable MATLAB 5 file'),
    'flags of other pictures': (
        official(('a.jpg', [rect(SOME)]), train=(1, 1)), "its 'annolist' has 1 pictures, its 'img_train' 2",
    ),
    'id 16': (official(('a.jpg', [rect([point(16, 1, 1, 1.0)])])), 'a joint of id 16'),
    'NaN': (official(('a.jpg', [rect([point(1, np.nan, 1, 1.0)])])), 'joints is 32 finite numbers'),
    'no head': (official(('a.jpg', [rect(SOME, head=(1, 1, 1, 1))])), 'the head rectangle of person 1 has no extent'),
    'a way out': (official(('../a.jpg', [rect(SOME)])), 'image is a name inside the folder of the pictures'),
}  # fmt: skip


@pytest.mark.parametrize('defect', OFFICIAL_DEFECTS)
def test_every_defect_of_the_official_file_is_an_error_that_names_it(release, defect):
    made, told = OFFICIAL_DEFECTS[defect]
    with pytest.raises(AnnotationError, match=re.escape(told)) as error:
        MPIISource(release(made), 'trainval').load()
    assert OFFICIAL in str(error.value)


def test_a_spoiled_official_file_is_read_right_or_refused(release):
    """300 files with 1 to 20 bytes changed: records without a bad number, or our own error."""
    rng = np.random.default_rng(0)
    for compressed in (False, True):
        folder = release(official(('a.jpg', [rect(SOME), rect(SOME)]), ('b.jpg', [rect(SOME)])), compressed)
        data = (folder / OFFICIAL).read_bytes()
        for _ in range(150):
            mutant = bytearray(data)
            for place in rng.integers(0, len(data), rng.integers(1, 20)):
                mutant[place] = rng.integers(256)
            (folder / OFFICIAL).write_bytes(mutant)
            try:
                records, _ = MPIISource(folder, 'trainval').load()
            except AnnotationError:
                continue
            assert all(np.isfinite(v).all() for r in records for v in (r.keypoints, r.centers, r.scales, r.heads))


def test_a_release_whose_joints_have_no_flags_has_visible_ones(release):
    points = [{k: v for k, v in one.items() if k != 'is_visible'} for one in SOME]
    entry = {**rect(SOME), 'annopoints': {'point': structs(points, ('x', 'y', 'id'))}}
    (record,), _ = MPIISource(release(official(('a.jpg', [entry]))), 'trainval').load()
    assert sorted(record.visible[0]) == [0] * 12 + [2] * 4

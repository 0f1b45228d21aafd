"""MPII in the layouts of its JSON files and of the official MATLAB file, and every defect of one."""

import json
import re

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from poseplug.core.errors import AnnotationError
from poseplug.data.sources.mpii import MPII_OFFICIAL_FILE, MPIISource
from poseplug.skeletons.mpii import MPII

POSITIONS = [[11.0 + k, 21.0 + 2 * k] for k in range(16)]  # counted from 1


def make_person(image='a.jpg', **entries) -> dict:
    """An entry of a JSON file, whose keypoints are all labeled."""
    defaults = dict(image=image, center=[31.0, 41.0], scale=0.5, joints=POSITIONS, joints_vis=[1] * 16)
    return {**defaults, **entries}


def make_content() -> list:
    """Two people on a.jpg, one on b.jpg."""
    return [make_person(), make_person('b.jpg', scale=0.7), make_person(center=[51.0, 21.0])]


@pytest.fixture
def write_dataset(tmp_path):
    """A function that writes the file of a split and black images of 60 x 70 px; returns the data set's folder."""

    def write(content, file='annot/train.json', names=('a.jpg', 'b.jpg')):
        for folder in ('images', 'annot', 'annotations'):
            (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            cv2.imwrite(str(tmp_path / 'images' / name), np.zeros((70, 60, 3), np.uint8))
        (tmp_path / file).write_text(json.dumps(content))
        return tmp_path

    return write


def make_headbox_arrays(persons, head_size=(6.0, 8.0), keypoint_shift=0.0) -> dict:
    """The arrays of gt_valid.mat for the people of a split, with head boxes of one size."""
    keypoints = np.array([person['joints'] for person in persons])
    corners = np.array([[5.0, 5.0], [5.0 + head_size[0], 5.0 + head_size[1]]])
    return dict(
        headboxes_src=np.repeat(corners[..., None], len(persons), axis=2),
        pos_gt_src=keypoints.transpose(1, 2, 0) + keypoint_shift,
        jnt_missing=np.zeros((16, len(persons))),
        SC_BIAS=0.6,
    )


def make_point(k, x, y, is_visible):
    return dict(x=float(x), y=float(y), id=float(k), is_visible=is_visible)


def make_structs(rows, fields):
    """A MATLAB struct array with one row per dict; absent fields are empty."""
    structs = np.zeros((1, len(rows)), dtype=[(field, object) for field in fields])
    for i, row in enumerate(rows):
        for field in fields:
            structs[0, i][field] = row.get(field, np.zeros((0, 0)))
    return structs


def make_annorect(points, scale=0.5, position=(31, 41), head=(1, 2, 4, 6)):
    """One entry of annorect."""
    entry = dict(zip(('x1', 'y1', 'x2', 'y2'), map(float, head), strict=True))
    if points:
        entry['annopoints'] = {'point': make_structs(points, ('x', 'y', 'id', 'is_visible'))}
    if scale:
        entry |= dict(scale=scale, objpos=dict(x=float(position[0]), y=float(position[1])))
    return entry


ANNORECT_FIELDS = ('x1', 'y1', 'x2', 'y2', 'annopoints', 'scale', 'objpos')


def make_release(*images, train_flags=None) -> dict:
    """RELEASE of images (name, entries of annorect)."""
    rows = []
    for name, entries in images:
        annorect = make_structs(entries, ANNORECT_FIELDS) if entries else np.zeros((0, 0))
        rows.append(dict(image=dict(name=name), annorect=annorect, frame_sec=1.0, vididx=2.0))
    annolist = make_structs(rows, ('image', 'annorect', 'frame_sec', 'vididx'))
    img_train = np.ones((1, len(images))) if train_flags is None else np.array([train_flags], dtype=float)
    cells = np.empty((len(images), 1), dtype=object)
    cells[:] = 1.0
    return {'RELEASE': dict(annolist=annolist, img_train=img_train, version='12', single_person=cells)}


FOUR_POINTS = [
    make_point(9, 30, 10, ''),
    make_point(0, 21, 61, 1.0),
    make_point(5, 22, 62, np.zeros((0, 0))),
    make_point(10, 23, 33, '0'),
]


# --- the JSON files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('split', 'file'), [
    ('train', 'annot/train.json'), ('train', 'annotations/mpii_train.json'),
    ('val', 'annot/valid.json'), ('val', 'annotations/mpii_val.json'), ('trainval', 'annot/trainval.json'),
])  # fmt: skip
def test_files_are_read_in_both_usual_layouts(write_dataset, split, file):
    records, report = MPIISource(write_dataset(make_content(), file), split).load()
    assert ([r.id for r in records], report.kept, report.file.name) == (['a.jpg', 'b.jpg'], 3, file.split('/')[1])


def test_keypoints_and_center_count_from_0_and_the_scale_is_the_files(write_dataset):
    records, _ = MPIISource(write_dataset(make_content())).load()
    assert records[0].instances.keypoints[0, MPII.index('head_top')].tolist() == [10 + 9, 20 + 18]
    assert records[0].instances.centers.tolist() == [[30, 40], [50, 20]]
    assert records[1].instances.scales == pytest.approx([0.7])
    assert [r.instances.annotation_ids.tolist() for r in records] == [[1, 3], [2]]


def test_a_keypoint_of_flag_0_is_not_labeled_and_has_no_position(write_dataset):
    content = [make_person(joints=[[-1.0, -1.0], *POSITIONS[1:]], joints_vis=[0, *[1] * 15])]
    (record,), _ = MPIISource(write_dataset(content)).load()
    assert record.instances.visible[0].tolist() == [0] + [2] * 15
    assert record.instances.keypoints[0, 0].tolist() == [0, 0]


def test_persons_without_position_or_keypoints_are_counted(write_dataset):
    content = [
        *make_content(),
        make_person(center=[-1, -1]),
        make_person(scale=-1),
        make_person(joints_vis=[0] * 16),
    ]
    _, report = MPIISource(write_dataset(content)).load()
    assert dict(report.dropped) == {'without a position or a scale': 2, 'without labeled keypoints': 1}
    assert (report.kept, report.total) == (3, 6)


def test_missing_images_can_be_dropped_and_are_counted(write_dataset):
    folder = write_dataset(make_content(), names=('b.jpg',))
    with pytest.raises(AnnotationError, match=r'image a.jpg is missing in .*images; 1 of 2 found'):
        MPIISource(folder).load()
    records, report = MPIISource(folder, missing_images='drop').load()
    assert ([r.id for r in records], dict(report.dropped)) == (['b.jpg'], {'with a missing image': 2})


def test_head_sizes_are_0_6_of_the_diagonal_of_the_head_box(write_dataset):
    folder = write_dataset(make_content(), 'annot/valid.json')
    savemat(folder / 'annot/gt_valid.mat', make_headbox_arrays(make_content()))
    records, report = MPIISource(folder, 'val').load()
    assert [r.instances.head_sizes.tolist() for r in records] == [[6, 6], [6]]
    assert report.notes == []


def test_without_head_boxes_there_are_no_head_sizes_and_the_report_says_so(write_dataset):
    records, report = MPIISource(write_dataset(make_content(), 'annot/valid.json'), 'val').load()
    assert np.isnan(records[0].instances.head_sizes).all()
    assert 'no head sizes, which PCKh needs: there is no annotations/mpii_gt_val.mat or annot/gt' in report.notes[0]


def test_head_boxes_of_other_persons_are_refused(write_dataset):
    folder = write_dataset(make_content(), 'annot/valid.json')
    file = folder / 'annot/gt_valid.mat'
    savemat(file, make_headbox_arrays(make_content()[:2]))
    message = r'gt_valid.mat: headboxes_src has shape \(2, 2, 2\), but .* has 3 people'
    with pytest.raises(AnnotationError, match=message):
        MPIISource(folder, 'val').load()
    savemat(file, make_headbox_arrays(make_content(), keypoint_shift=30))
    with pytest.raises(AnnotationError, match='gt_valid.mat: its keypoints, pos_gt_src, are not those of'):
        MPIISource(folder, 'val').load()
    savemat(file, make_headbox_arrays(make_content(), head_size=(0.0, 0.0)))
    with pytest.raises(AnnotationError, match='the head box of person 1 has no extent'):
        MPIISource(folder, 'val').load()


DEFECTS = {
    'an object': ({}, 'each person is an entry of a list'),
    '15 keypoints': (
        [make_person(joints=POSITIONS[1:])],
        "person 1 (image 'a.jpg'): joints is 32 finite numbers, x and y of 16 keypoints; found 30 values",
    ),
    'NaN': ([make_person(joints=[[float('nan'), 1.0], *POSITIONS[1:]])], 'joints is 32 finite numbers'),
    'three numbers': ([make_person(joints=[[1.0, 2.0, 3.0]] * 16)], 'joints is 32 finite numbers'),
    'flag 2': (
        [make_person(), make_person(joints_vis=[2] + [1] * 15)],
        "person 2 (image 'a.jpg'): the flag of keypoint 'right_ankle' is 0 or 1; found 2",
    ),
    'no flags': (
        [{k: v for k, v in make_person().items() if k != 'joints_vis'}],
        'joints_vis is 16 flags, one per keypoint;',
    ),
    'no scale': ([make_person(scale=None)], 'scale is a finite number; found None'),
    'text': ([make_person(center=['31', 41])], "center is 2 finite numbers, x and y; found ['31', 41]"),
    'infinite': ([make_person(center=[float('inf'), 41])], 'center is 2 finite numbers, x and y; found [inf, 41]'),
    'outside': ([make_person('../a.jpg')], 'image is a name inside the folder of the images'),
    'no name': ([make_person(None)], 'image is the name of an image in its folder; found None'),
}


@pytest.mark.parametrize('defect', DEFECTS)
def test_every_defect_is_an_error_that_names_it(write_dataset, defect):
    content, message = DEFECTS[defect]
    with pytest.raises(AnnotationError, match=re.escape(message)) as error:
        MPIISource(write_dataset(content)).load()
    assert 'train.json' in str(error.value)


def test_an_empty_file_has_no_records(write_dataset):
    records, report = MPIISource(write_dataset([])).load()
    assert (records, report.total) == ([], 0)


def test_the_error_of_an_absent_set_says_how_to_get_it(tmp_path):
    with pytest.raises(AnnotationError, match=r"no annotations/mpii_train.json in .*Get 'MPII Human Pose'"):
        MPIISource(tmp_path).load()


def test_a_split_that_does_not_exist_is_an_error():
    with pytest.raises(AnnotationError, match="mpii: split is one of train, val, trainval; got 'test'"):
        MPIISource(split='test')


# --- the official file ------------------------------------------------------------------------------------------------


@pytest.fixture
def write_release(write_dataset):
    """A function that writes RELEASE; returns the data set's folder."""

    def write(content, compressed=True):
        folder = write_dataset([])
        (folder / 'annot/train.json').unlink()
        savemat(folder / MPII_OFFICIAL_FILE, content, do_compression=compressed)
        return folder

    return write


@pytest.mark.parametrize('compressed', [True, False])
def test_the_official_file_has_keypoints_by_their_ids_counted_from_0(write_release, compressed):
    first_image = ('a.jpg', [make_annorect(FOUR_POINTS), make_annorect(FOUR_POINTS[:2], 1.5)])
    release = make_release(first_image, ('b.jpg', [make_annorect(FOUR_POINTS)]))
    records, report = MPIISource(write_release(release, compressed), 'trainval').load()
    assert ([r.id for r in records], report.kept, report.notes) == (['a.jpg', 'b.jpg'], 3, [])
    record = records[0]
    for name, x, y in (('head_top', 29, 9), ('right_ankle', 20, 60), ('left_ankle', 21, 61), ('right_wrist', 22, 32)):
        assert record.instances.keypoints[0, MPII.index(name)].tolist() == [x, y]
    assert (record.instances.centers.tolist(), record.instances.scales.tolist()) == ([[30, 40]] * 2, [0.5, 1.5])
    assert record.instances.head_sizes == pytest.approx([3, 3])


def test_in_the_official_file_0_is_occluded_and_an_empty_flag_visible(write_release):
    release = make_release(('a.jpg', [make_annorect(FOUR_POINTS)]))
    (record,), _ = MPIISource(write_release(release), 'trainval').load()
    expected = {'head_top': 2, 'right_ankle': 2, 'left_ankle': 2, 'right_wrist': 1}
    assert {name: v for name, v in zip(MPII.keypoints, record.instances.visible[0], strict=True) if v} == expected


def test_test_images_and_persons_without_keypoints_are_not_annotated(write_release):
    images = (
        ('a.jpg', [make_annorect([]), make_annorect(FOUR_POINTS)]),
        ('b.jpg', [make_annorect(FOUR_POINTS)]),
        ('c.jpg', []),
    )
    folder = write_release(make_release(*images, train_flags=(1, 0, 1)))
    records, report = MPIISource(folder, 'trainval').load()
    assert ([r.id for r in records], report.total) == (['a.jpg'], 1)


def test_persons_without_a_position_are_counted(write_release):
    release = make_release(('a.jpg', [make_annorect(FOUR_POINTS), make_annorect(FOUR_POINTS, scale=0)]))
    _, report = MPIISource(write_release(release), 'trainval').load()
    assert dict(report.dropped) == {'without a position or a scale': 1}
    entry = make_annorect(FOUR_POINTS)
    del entry['scale']
    _, report = MPIISource(write_release(make_release(('a.jpg', [entry]))), 'trainval').load()
    assert dict(report.dropped) == {'without a position or a scale': 1}


OFFICIAL_DEFECTS = {
    'no RELEASE': ({'OTHER': 1.0}, "has no array 'RELEASE'"),
    'not a struct': ({'RELEASE': 1.0}, 'is not a readable MATLAB 5 file'),
    'flags of other images': (
        make_release(('a.jpg', [make_annorect(FOUR_POINTS)]), train_flags=(1, 1)),
        "its 'annolist' has 1 images, its 'img_train' 2",
    ),
    'id 16': (make_release(('a.jpg', [make_annorect([make_point(16, 1, 1, 1.0)])])), 'a keypoint of id 16'),
    'NaN': (make_release(('a.jpg', [make_annorect([make_point(1, np.nan, 1, 1.0)])])), 'joints is 32 finite numbers'),
    'no head': (
        make_release(('a.jpg', [make_annorect(FOUR_POINTS, head=(1, 1, 1, 1))])),
        'the head box of person 1 has no extent',
    ),
    'no second head': (
        make_release(('a.jpg', [make_annorect(FOUR_POINTS), make_annorect(FOUR_POINTS, head=(1, 1, 1, 1))])),
        'the head box of person 2 has no extent: [1.0, 1.0, 1.0, 1.0]',
    ),
    'a name outside': (
        make_release(('../a.jpg', [make_annorect(FOUR_POINTS)])),
        'image is a name inside the folder of the images',
    ),
}


@pytest.mark.parametrize('defect', OFFICIAL_DEFECTS)
def test_every_defect_of_the_official_file_is_an_error_that_names_it(write_release, defect):
    release, message = OFFICIAL_DEFECTS[defect]
    with pytest.raises(AnnotationError, match=re.escape(message)) as error:
        MPIISource(write_release(release), 'trainval').load()
    assert MPII_OFFICIAL_FILE in str(error.value)


def test_a_damaged_official_file_is_read_right_or_refused(write_release):
    """300 files with 1 to 20 bytes changed: records without a bad number, or our own error."""
    rng = np.random.default_rng(0)
    entry = make_annorect(FOUR_POINTS)
    for compressed in (False, True):
        folder = write_release(make_release(('a.jpg', [entry, entry]), ('b.jpg', [entry])), compressed)
        data = (folder / MPII_OFFICIAL_FILE).read_bytes()
        for _ in range(150):
            damaged = bytearray(data)
            for offset in rng.integers(0, len(data), rng.integers(1, 20)):
                damaged[offset] = rng.integers(256)
            (folder / MPII_OFFICIAL_FILE).write_bytes(damaged)
            try:
                records, _ = MPIISource(folder, 'trainval').load()
            except AnnotationError:
                continue
            assert all(
                np.isfinite(v).all()
                for r in records
                for v in (r.instances.keypoints, r.instances.centers, r.instances.scales, r.instances.head_sizes)
            )


def test_keypoints_of_a_release_without_flags_are_visible(write_release):
    points = [{k: v for k, v in point.items() if k != 'is_visible'} for point in FOUR_POINTS]
    entry = {**make_annorect(FOUR_POINTS), 'annopoints': {'point': make_structs(points, ('x', 'y', 'id'))}}
    (record,), _ = MPIISource(write_release(make_release(('a.jpg', [entry]))), 'trainval').load()
    assert sorted(record.instances.visible[0]) == [0] * 12 + [2] * 4


def test_links_out_of_the_folder_are_read_where_asked(write_dataset, tmp_path):
    root = write_dataset(make_content())
    image, elsewhere = root / 'images' / 'a.jpg', tmp_path / 'elsewhere.jpg'
    image.rename(elsewhere)
    image.symlink_to(elsewhere)
    with pytest.raises(AnnotationError, match='pass follow_links=True'):
        MPIISource(root).load()
    kept = MPIISource(root, follow_links=True).load()[1].kept
    elsewhere.replace(image)
    assert kept == MPIISource(root).load()[1].kept > 0

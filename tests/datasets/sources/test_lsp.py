"""Leeds Sports Pose and its extended set: the real files, and every defect of a file."""

import json

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from poseplug.datasets.sources.lsp import LSPETSource, LSPSource
from poseplug.errors import AnnotationError
from poseplug.skeletons.lsp import LSP


def joints(count=6) -> np.ndarray:
    """(3, 14, count) in LSP's order: an upright person of known size, x and y counted from 1, nothing occluded."""
    rng = np.random.default_rng(0)
    made = np.zeros((3, 14, count))
    made[:2] = rng.uniform(10, 90, (2, 14, count))
    return made


def extended(count=6) -> np.ndarray:
    """(14, 3, count) in LSPET's order, all labelled."""
    return np.concatenate([joints(count)[:2], np.ones((1, 14, count))]).transpose(1, 0, 2)


def named_extended(folder):
    """LSPET's five-digit names for the pictures."""
    for file in sorted((folder / 'images').iterdir()):
        file.rename(file.with_name(f'im0{file.name[2:]}'))
    return folder


# --- the real files ---------------------------------------------------------------------------------------------------


def test_the_real_lsp_has_its_thousand_and_thousand(real_data):
    train, test = (LSPSource(real_data / 'lsp', half=half).load() for half in ('train', 'test'))
    assert [(len(r), report.kept, report.total) for r, report in (train, test)] == [(1000, 1000, 1000)] * 2
    assert (train[0][0].id, train[0][-1].id) == ('im0001.jpg', 'im1000.jpg')
    assert (test[0][0].id, test[0][-1].id) == ('im1001.jpg', 'im2000.jpg')
    assert all(r.path.is_file() for r in test[0][:5])


def test_of_the_real_lsp_joints_7_3_percent_are_occluded_and_all_are_labelled(real_data):
    records, _ = LSPSource(real_data / 'lsp').load()
    visible = np.concatenate([r.visible for r in records])
    assert set(np.unique(visible)) == {1, 2}
    assert round(100 * (visible == 1).mean(), 1) == 7.3


def test_the_real_files_count_from_1_and_records_from_0(real_data):
    raw = loadmat(real_data / 'lsp/joints.mat')['joints']
    record = LSPSource(real_data / 'lsp').load()[0][41]
    assert record.keypoints[0] == pytest.approx(raw[:2, :, 41].T - 1, abs=1e-4)
    raw = loadmat(real_data / 'lspet/joints.mat')['joints']
    record = LSPETSource(real_data / 'lspet').load()[0][17]
    labelled = raw[:, 2, 17] == 1
    assert record.keypoints[0][labelled] == pytest.approx(raw[labelled, :2, 17] - 1, abs=1e-4)


def test_an_origin_of_0_moves_every_joint_by_one_pixel(real_data):
    one, zero = (LSPSource(real_data / 'lsp', half='test', origin=origin).load()[0][7] for origin in (1, 0))
    assert zero.keypoints == pytest.approx(one.keypoints + 1, abs=1e-4)


def test_the_real_lspet_has_400_and_its_flag_is_the_other_way_round(real_data):
    records, report = LSPETSource(real_data / 'lspet').load()
    raw = loadmat(real_data / 'lspet/joints.mat')['joints']
    assert (len(records), report.total) == (400, 400)
    visible = np.concatenate([r.visible for r in records])
    assert set(np.unique(visible)) == {0, 2}
    assert (visible > 0).sum() == (raw[:, 2] == 1).sum()
    assert all((r.keypoints[r.visible == 0] == 0).all() for r in records)


def test_in_the_real_sets_names_are_right(real_data):
    """Most people have heads above ankles, nearly all have ankles nearer to knees: a wrong axis order shows here."""
    for records, _ in (LSPSource(real_data / 'lsp').load(), LSPETSource(real_data / 'lspet').load()):
        known = [r.keypoints[0] for r in records if (r.visible > 0).all()]
        points = np.stack(known)
        place = LSP.index
        above = points[:, place('head_top'), 1] < points[:, place('right_ankle'), 1]
        shin = np.linalg.norm(points[:, place('right_ankle')] - points[:, place('right_knee')], axis=-1)
        whole = np.linalg.norm(points[:, place('right_ankle')] - points[:, place('head_top')], axis=-1)
        assert above.mean() > 0.6
        assert (shin < whole).mean() > 0.95


def test_a_real_lspet_person_stands_at_the_middle_of_the_labelled_joints(real_data):
    for record in LSPETSource(real_data / 'lspet').load()[0][:20]:
        points = record.keypoints[0][record.visible[0] > 0]
        assert record.centers[0] == pytest.approx((points.min(0) + points.max(0)) / 2)


def test_real_scales_fit_the_visible_joints_into_304_of_368_px(real_data):
    for records, _ in (LSPSource(real_data / 'lsp').load(), LSPETSource(real_data / 'lspet').load()):
        for record in records:
            span = np.ptp(record.keypoints[0][record.visible[0] > 0], axis=0).max()
            assert span * (41 / 35) / record.scales[0] < 304.01


# --- made files -------------------------------------------------------------------------------------------------------


def test_a_scale_is_the_head_of_a_person_whose_limbs_are_all_usual(lsp_like):
    """All people alike but in size: every limb says the same, so the scale is the neck-head length over 35 px."""
    body = joints(1)[:2, :, 0]
    sizes = np.array([0.25, 0.5, 1.0])
    made = np.zeros((3, 14, 3))
    made[:2] = body[..., None] * sizes
    records = LSPSource(lsp_like(made)).load()[0]
    head = np.linalg.norm(body[:, LSP.index('head_top')] - body[:, LSP.index('neck')])
    spans = np.ptp(body, axis=1).max() * sizes * (41 / 35) / 304
    assert [r.scales[0] for r in records] == pytest.approx(np.maximum(head * sizes / 35, spans), rel=1e-4)


def test_lsp_marks_occluded_joints_and_lspet_labelled_ones(lsp_like):
    made = joints()
    made[2, 3, 0] = 1
    record = LSPSource(lsp_like(made)).load()[0][0]
    assert record.visible[0].tolist() == [2, 2, 2, 1] + [2] * 10
    made = extended()
    made[3, 2, 0] = 0
    record = LSPETSource(named_extended(lsp_like(made))).load()[0][0]
    assert record.visible[0].tolist() == [2, 2, 2, 0] + [2] * 10


def test_a_position_that_is_not_labelled_may_be_anything(lsp_like):
    made = extended()
    made[3, :, 0] = (np.nan, -1e9, 0)
    record = LSPETSource(named_extended(lsp_like(made))).load()[0][0]
    assert record.keypoints[0, 3].tolist() == [0, 0]


def test_half_is_for_training_unless_the_set_says_otherwise(lsp_like):
    folder = lsp_like(joints(6))
    assert [len(LSPSource(folder, half=h).load()[0]) for h in ('train', 'test', 'all')] == [3, 3, 6]
    (folder / 'dataset.json').write_text(json.dumps({'train': 5}))
    assert [len(LSPSource(folder, half=h).load()[0]) for h in ('train', 'test', 'all')] == [5, 1, 6]
    assert LSPSource(folder, half='test').load()[0][0].id == 'im0006.jpg'


@pytest.mark.parametrize('text', ['{"train": 7}', '{"train": "most"}', '[]', '{', '{}'])
def test_a_set_that_says_it_wrongly_is_an_error(lsp_like, text):
    folder = lsp_like(joints(6))
    (folder / 'dataset.json').write_text(text)
    with pytest.raises(AnnotationError, match="dataset.json: 'train' is a number of pictures, 0 to 6; found"):
        LSPSource(folder).load()


def test_observer_centric_labels_have_a_skeleton_of_their_own(lsp_like):
    folder = lsp_like(joints())
    assert LSPSource(folder).skeleton.centric == 'person'
    assert LSPSource(folder, labels='observer').skeleton.centric == 'observer'


def test_missing_pictures_can_be_dropped_and_are_counted(lsp_like):
    folder = lsp_like(joints(6), pictures=4)
    records, report = LSPSource(folder, missing='drop').load()
    assert [r.id for r in records] == [f'im000{i}.jpg' for i in (1, 2, 3, 4)]
    assert str(report) == f'{folder}/joints.mat: 4 of 6 people kept; dropped: 2 with their picture missing'


def test_people_without_a_labelled_joint_are_dropped_and_counted(lsp_like):
    made = extended()
    made[:, 2, 1] = 0
    _, report = LSPETSource(named_extended(lsp_like(made))).load()
    assert (report.kept, dict(report.dropped)) == (5, {'without a labelled joint': 1})


def spoiled(change) -> np.ndarray:
    made = joints()
    change(made)
    return made


DEFECTS = {
    'picture missing': (
        dict(made=joints(6), pictures=4),
        'image im0005.jpg is missing in .*; 4 of 6 found. Restore it',
    ),
    'no joints': (dict(made=joints(), name='points'), "joints.mat has no array 'joints'"),
    'transposed': (dict(made=joints().T), r'joints has shape \(6, 14, 3\), but LSP writes \(3, 14, pictures\)'),
    'flat': (dict(made=joints()[..., 0]), r'joints has shape \(3, 14\)'),
    'one joint too few': (dict(made=joints()[:, :13]), r'joints has shape \(3, 13, 6\)'),
    'NaN': (
        dict(made=spoiled(lambda j: j.__setitem__((0, 2, 4), np.nan))),
        r"record 5 \(im0005.jpg\): joint 'right_hip' has a position that is not a finite number",
    ),
    'infinite': (dict(made=spoiled(lambda j: j.__setitem__((1, 0, 0), np.inf))), r"record 1 .*'right_ankle'"),
    'flag 2': (
        dict(made=spoiled(lambda j: j.__setitem__((2, 0, 0), 2))),
        "record 1: the third number of joint 'right_ankle' is a flag, 0 or 1; found 2",
    ),
    'flag NaN': (dict(made=spoiled(lambda j: j.__setitem__((2, 0, 0), np.nan))), 'is a flag, 0 or 1; found nan'),
    'text': (dict(made=np.full((3, 14, 2), 'x', dtype=object)), "its 'joints' holds no numbers"),
}


@pytest.mark.parametrize('defect', DEFECTS)
def test_every_defect_of_the_file_is_an_error_that_names_it(lsp_like, defect):
    given, told = DEFECTS[defect]
    folder = lsp_like(given['made'], **{k: v for k, v in given.items() if k != 'made'})
    with pytest.raises(AnnotationError, match=told) as error:
        LSPSource(folder).load()
    assert 'joints.mat' in str(error.value)


@pytest.mark.parametrize('length', [0, 10, 128, 300, 1500])
def test_a_cut_file_is_an_error_that_names_it(lsp_like, length):
    file = lsp_like(joints(20)) / 'joints.mat'
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(AnnotationError, match='joints.mat (is not a readable MATLAB 5 file|has no array)'):
        LSPSource(file.parent).load()


def test_a_spoiled_file_is_read_right_or_refused(lsp_like):
    """200 files with 1 to 20 bytes changed, compressed or not: records without a bad number, or our own error."""
    rng = np.random.default_rng(0)
    folder = lsp_like(joints())
    for compressed in (False, True):
        savemat(folder / 'joints.mat', {'joints': joints()}, do_compression=compressed)
        data = (folder / 'joints.mat').read_bytes()
        for _ in range(100):
            mutant = bytearray(data)
            for place in rng.integers(0, len(data), rng.integers(1, 20)):
                mutant[place] = rng.integers(256)
            (folder / 'joints.mat').write_bytes(mutant)
            try:
                records, _ = LSPSource(folder).load()
            except AnnotationError:
                continue
            assert all(np.isfinite(r.keypoints).all() and np.isfinite(r.scales).all() for r in records)


def test_an_absent_set_says_where_it_was_looked_for_how_to_get_it_and_what_needs_no_download(tmp_path, monkeypatch):
    monkeypatch.setenv('POSEPLUG_DATA', str(tmp_path))
    with pytest.raises(AnnotationError) as error:
        LSPSource().load()
    told = str(error.value)
    assert f'no joints.mat in {tmp_path}/lsp' in told
    assert "Get 'LSP dataset' of Johnson & Everingham" in told
    assert 'POSEPLUG_DATA=FOLDER_ABOVE_lsp' in told
    assert 'demo/quickstart.sh' in told


@pytest.mark.parametrize(('setting', 'told'), [
    (dict(half='third'), "half is 'train', 'test' or 'all'; got 'third'"),
    (dict(labels='obsever'), "labels are 'person' or 'observer'; got 'obsever'"),
])  # fmt: skip
def test_a_setting_that_does_not_exist_is_an_error(setting, told):
    with pytest.raises(AnnotationError, match=told):
        LSPSource(**setting)


def test_a_file_of_nobody_gives_nobody(lsp_like):
    records, report = LSPSource(lsp_like(np.zeros((3, 14, 0)), pictures=0)).load()
    assert (records, report.total) == ([], 0)


def test_missing_is_error_or_drop(lsp_like):
    with pytest.raises(AnnotationError, match="missing is 'error' or 'drop'; got 'ignore'"):
        LSPSource(lsp_like(joints()), missing='ignore').load()

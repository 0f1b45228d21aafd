"""Leeds Sports Pose and its extended set: the real files, and every defect of a file."""

import json

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from poseplug.core.errors import AnnotationError
from poseplug.data.sources.lsp import LSPETSource, LSPSource
from poseplug.skeletons.lsp import LSP


def make_lsp_array(count=6) -> np.ndarray:
    """(3, 14, count) in LSP's order: random positions, x and y counted from 1, nothing occluded."""
    rng = np.random.default_rng(0)
    values = np.zeros((3, 14, count))
    values[:2] = rng.uniform(10, 90, (2, 14, count))
    return values


def make_lspet_array(count=6) -> np.ndarray:
    """(14, 3, count) in LSPET's order, all labeled."""
    return np.concatenate([make_lsp_array(count)[:2], np.ones((1, 14, count))]).transpose(1, 0, 2)


def rename_images_as_lspet(folder):
    """Give the images of a folder LSPET's five-digit names; returns the folder."""
    for file in sorted((folder / 'images').iterdir()):
        file.rename(file.with_name(f'im0{file.name[2:]}'))
    return folder


# --- the real files ---------------------------------------------------------------------------------------------------


def test_the_real_lsp_has_1000_training_and_1000_test_images(real_data):
    train, test = (LSPSource(real_data / 'lsp', split=split).load() for split in ('train', 'test'))
    assert [(len(r), report.kept, report.total) for r, report in (train, test)] == [(1000, 1000, 1000)] * 2
    assert (train[0][0].id, train[0][-1].id) == ('im0001.jpg', 'im1000.jpg')
    assert (test[0][0].id, test[0][-1].id) == ('im1001.jpg', 'im2000.jpg')
    assert all(r.path.is_file() for r in test[0][:5])


def test_of_the_real_lsp_keypoints_7_3_percent_are_occluded_and_all_are_labeled(real_data):
    records, _ = LSPSource(real_data / 'lsp').load()
    visible = np.concatenate([r.instances.visible for r in records])
    assert set(np.unique(visible)) == {1, 2}
    assert round(100 * (visible == 1).mean(), 1) == 7.3


def test_the_real_files_count_from_1_and_records_from_0(real_data):
    values = loadmat(real_data / 'lsp/joints.mat')['joints']
    record = LSPSource(real_data / 'lsp').load()[0][41]
    assert record.instances.keypoints[0] == pytest.approx(values[:2, :, 41].T - 1, abs=1e-4)
    values = loadmat(real_data / 'lspet/joints.mat')['joints']
    record = LSPETSource(real_data / 'lspet').load()[0][17]
    labeled = values[:, 2, 17] == 1
    assert record.instances.keypoints[0][labeled] == pytest.approx(values[labeled, :2, 17] - 1, abs=1e-4)


def test_an_origin_of_0_moves_every_keypoint_by_one_pixel(real_data):
    one, zero = (LSPSource(real_data / 'lsp', split='test', pixel_origin=origin).load()[0][7] for origin in (1, 0))
    assert zero.instances.keypoints == pytest.approx(one.instances.keypoints + 1, abs=1e-4)


def test_the_real_lspet_has_9000_images_and_its_flag_is_the_other_way_round(real_data):
    """The first 9,000 of the published 10,000."""
    records, report = LSPETSource(real_data / 'lspet').load()
    values = loadmat(real_data / 'lspet/joints.mat')['joints']
    assert (len(records), report.total) == (9000, 9000)
    visible = np.concatenate([r.instances.visible for r in records])
    assert set(np.unique(visible)) == {0, 2}
    assert (visible > 0).sum() == (values[:, 2] == 1).sum()
    assert all((r.instances.keypoints[r.instances.visible == 0] == 0).all() for r in records)


def test_in_the_real_sets_names_are_right(real_data):
    """Most heads are above the ankles, nearly all ankles nearer to knees: a wrong axis order would show here."""
    for records, _ in (LSPSource(real_data / 'lsp').load(), LSPETSource(real_data / 'lspet').load()):
        keypoints = np.stack([r.instances.keypoints[0] for r in records if (r.instances.visible > 0).all()])
        head, knee, ankle = (keypoints[:, LSP.index(name)] for name in ('head_top', 'right_knee', 'right_ankle'))
        shin_lengths, body_lengths = np.linalg.norm(ankle - knee, axis=-1), np.linalg.norm(ankle - head, axis=-1)
        assert (head[:, 1] < ankle[:, 1]).mean() > 0.6
        assert (shin_lengths < body_lengths).mean() > 0.95


def test_a_real_lspet_person_is_at_the_center_of_the_labeled_keypoints(real_data):
    for record in LSPETSource(real_data / 'lspet').load()[0][:20]:
        points = record.instances.keypoints[0][record.instances.visible[0] > 0]
        assert record.instances.centers[0] == pytest.approx((points.min(0) + points.max(0)) / 2)


def test_real_scales_fit_the_visible_keypoints_into_304_of_368_px(real_data):
    for records, _ in (LSPSource(real_data / 'lsp').load(), LSPETSource(real_data / 'lspet').load()):
        for record in records:
            span = np.ptp(record.instances.keypoints[0][record.instances.visible[0] > 0], axis=0).max()
            assert span * (41 / 35) / record.instances.scales[0] < 304.01


# --- made files -------------------------------------------------------------------------------------------------------


def test_a_scale_is_the_head_of_a_person_whose_limbs_are_all_usual(write_lsp_like):
    """All people are the same but for their size: every limb gives one scale, the neck-head length over 35 px."""
    body = make_lsp_array(1)[:2, :, 0]
    sizes = np.array([0.25, 0.5, 1.0])
    values = np.zeros((3, 14, 3))
    values[:2] = body[..., None] * sizes
    records = LSPSource(write_lsp_like(values)).load()[0]
    head = np.linalg.norm(body[:, LSP.index('head_top')] - body[:, LSP.index('neck')])
    spans = np.ptp(body, axis=1).max() * sizes * (41 / 35) / 304
    assert [r.instances.scales[0] for r in records] == pytest.approx(np.maximum(head * sizes / 35, spans), rel=1e-4)


def test_lsp_marks_occluded_keypoints_and_lspet_labeled_ones(write_lsp_like):
    values = make_lsp_array()
    values[2, 3, 0] = 1
    record = LSPSource(write_lsp_like(values)).load()[0][0]
    assert record.instances.visible[0].tolist() == [2, 2, 2, 1] + [2] * 10
    values = make_lspet_array()
    values[3, 2, 0] = 0
    record = LSPETSource(rename_images_as_lspet(write_lsp_like(values))).load()[0][0]
    assert record.instances.visible[0].tolist() == [2, 2, 2, 0] + [2] * 10


def test_a_position_that_is_not_labeled_may_be_anything(write_lsp_like):
    values = make_lspet_array()
    values[3, :, 0] = (np.nan, -1e9, 0)
    record = LSPETSource(rename_images_as_lspet(write_lsp_like(values))).load()[0][0]
    assert record.instances.keypoints[0, 3].tolist() == [0, 0]


def test_half_is_for_training_unless_the_set_says_otherwise(write_lsp_like):
    folder = write_lsp_like(make_lsp_array(6))
    splits = ('train', 'test', 'all')
    assert [len(LSPSource(folder, split=split).load()[0]) for split in splits] == [3, 3, 6]
    (folder / 'dataset.json').write_text(json.dumps({'train': 5}))
    assert [len(LSPSource(folder, split=split).load()[0]) for split in splits] == [5, 1, 6]
    assert LSPSource(folder, split='test').load()[0][0].id == 'im0006.jpg'


@pytest.mark.parametrize('text', ['{"train": 7}', '{"train": "most"}', '[]', '{', '{}'])
def test_an_impossible_number_of_training_images_is_an_error(write_lsp_like, text):
    folder = write_lsp_like(make_lsp_array(6))
    (folder / 'dataset.json').write_text(text)
    with pytest.raises(AnnotationError, match="dataset.json: 'train' is a number of images, 0 to 6; found"):
        LSPSource(folder).load()


def test_observer_centric_labels_have_another_skeleton(write_lsp_like):
    folder = write_lsp_like(make_lsp_array())
    assert LSPSource(folder).skeleton.centric == 'person'
    assert LSPSource(folder, label_centric='observer').skeleton.centric == 'observer'


def test_missing_images_can_be_dropped_and_are_counted(write_lsp_like):
    folder = write_lsp_like(make_lsp_array(6), num_images=4)
    records, report = LSPSource(folder, missing_images='drop').load()
    assert [r.id for r in records] == [f'im000{i}.jpg' for i in (1, 2, 3, 4)]
    assert str(report) == f'{folder}/joints.mat: 4 of 6 instances kept; dropped: 2 with a missing image'


def test_persons_without_labeled_keypoints_are_dropped_and_counted(write_lsp_like):
    values = make_lspet_array()
    values[:, 2, 1] = 0
    _, report = LSPETSource(rename_images_as_lspet(write_lsp_like(values))).load()
    assert (report.kept, dict(report.dropped)) == (5, {'without labeled keypoints': 1})


def make_array_with(index, value) -> np.ndarray:
    values = make_lsp_array()
    values[index] = value
    return values


DEFECTS = {
    'missing image': (
        dict(values=make_lsp_array(6), num_images=4),
        'image im0005.jpg is missing in .*; 4 of 6 found. Restore it',
    ),
    'no array': (dict(values=make_lsp_array(), name='points'), "joints.mat has no array 'joints'"),
    'transposed': (
        dict(values=make_lsp_array().T),
        r'joints has shape \(6, 14, 3\), but LSP writes \(3, 14, images\)',
    ),
    'flat': (dict(values=make_lsp_array()[..., 0]), r'joints has shape \(3, 14\)'),
    'one keypoint too few': (dict(values=make_lsp_array()[:, :13]), r'joints has shape \(3, 13, 6\)'),
    'NaN': (
        dict(values=make_array_with((0, 2, 4), np.nan)),
        r"record 5 \(im0005.jpg\): keypoint 'right_hip' has a position that is not a finite number",
    ),
    'infinite': (dict(values=make_array_with((1, 0, 0), np.inf)), r"record 1 .*'right_ankle'"),
    'flag 2': (
        dict(values=make_array_with((2, 0, 0), 2)),
        "record 1: the third number of keypoint 'right_ankle' is a flag, 0 or 1; found 2",
    ),
    'flag NaN': (dict(values=make_array_with((2, 0, 0), np.nan)), 'is a flag, 0 or 1; found nan'),
    'text': (dict(values=np.full((3, 14, 2), 'x', dtype=object)), "its 'joints' holds no numbers"),
}


@pytest.mark.parametrize('defect', DEFECTS)
def test_every_defect_of_the_file_is_an_error_that_names_it(write_lsp_like, defect):
    settings, message = DEFECTS[defect]
    folder = write_lsp_like(settings['values'], **{k: v for k, v in settings.items() if k != 'values'})
    with pytest.raises(AnnotationError, match=message) as error:
        LSPSource(folder).load()
    assert 'joints.mat' in str(error.value)


@pytest.mark.parametrize('length', [0, 10, 128, 300, 1500])
def test_a_cut_file_is_an_error_that_names_it(write_lsp_like, length):
    file = write_lsp_like(make_lsp_array(20)) / 'joints.mat'
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(AnnotationError, match='joints.mat (is not a readable MATLAB 5 file|has no array)'):
        LSPSource(file.parent).load()


def test_a_damaged_file_is_read_right_or_refused(write_lsp_like):
    """200 files with 1 to 20 bytes changed, compressed or not: records without a bad number, or our own error."""
    rng = np.random.default_rng(0)
    folder = write_lsp_like(make_lsp_array())
    for compressed in (False, True):
        savemat(folder / 'joints.mat', {'joints': make_lsp_array()}, do_compression=compressed)
        data = (folder / 'joints.mat').read_bytes()
        for _ in range(100):
            damaged = bytearray(data)
            for offset in rng.integers(0, len(data), rng.integers(1, 20)):
                damaged[offset] = rng.integers(256)
            (folder / 'joints.mat').write_bytes(damaged)
            try:
                records, _ = LSPSource(folder).load()
            except AnnotationError:
                continue
            assert all(
                np.isfinite(r.instances.keypoints).all() and np.isfinite(r.instances.scales).all() for r in records
            )


def test_the_error_of_an_absent_set_says_where_it_was_searched_how_to_get_it_and_what_needs_no_download(
    tmp_path, monkeypatch
):
    monkeypatch.setenv('POSEPLUG_DATA', str(tmp_path))
    with pytest.raises(AnnotationError) as error:
        LSPSource().load()
    message = str(error.value)
    assert f'no joints.mat in {tmp_path}/lsp' in message
    assert "Get 'LSP dataset' of Johnson & Everingham" in message
    assert 'POSEPLUG_DATA=FOLDER_ABOVE_lsp' in message
    assert 'demo/quickstart.sh' in message


@pytest.mark.parametrize(('setting', 'message'), [
    (dict(split='third'), "split is one of train, test, all, val, train_without_val; got 'third'"),
    (dict(label_centric='obsever'), "label_centric is 'person' or 'observer'; got 'obsever'"),
])  # fmt: skip
def test_a_setting_that_does_not_exist_is_an_error(setting, message):
    with pytest.raises(AnnotationError, match=message):
        LSPSource(**setting)


def test_an_empty_file_has_no_records(write_lsp_like):
    records, report = LSPSource(write_lsp_like(np.zeros((3, 14, 0)), num_images=0)).load()
    assert (records, report.total) == ([], 0)


def test_missing_images_is_error_or_drop(write_lsp_like):
    with pytest.raises(AnnotationError, match="missing_images is 'error' or 'drop'; got 'ignore'"):
        LSPSource(write_lsp_like(make_lsp_array()), missing_images='ignore').load()


# --- validation images ------------------------------------------------------------------------------------------------


def test_validation_and_training_without_it_are_the_training_images(real_data):
    for source, num_val, num_train in ((LSPSource, 200, 1000), (LSPETSource, 800, 9000)):
        parts = [source(split=split).load()[0] for split in ('val', 'train_without_val')]
        val, rest = ({record.id for record in records} for records in parts)
        assert (len(val), len(rest)) == (num_val, num_train - num_val)
        assert not val & rest
        training = source(split='train' if source is LSPSource else 'all').load()[0]
        assert val | rest == {record.id for record in training}


def test_validation_images_are_those_of_the_list_as_far_as_the_set_has_them(write_lsp_like):
    folder = write_lsp_like(make_lsp_array(12))
    val, rest = (
        [record.id for record in LSPSource(folder, split=split).load()[0]] for split in ('val', 'train_without_val')
    )
    assert val == ['im0002.jpg']  # the list begins with 2, 12, 15
    assert rest == [f'im{n:04d}.jpg' for n in (1, 3, 4, 5, 6)]  # 7 to 12 are for testing

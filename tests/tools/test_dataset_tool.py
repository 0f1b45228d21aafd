"""poseplug dataset: what verify reports, what browse draws, and how a data set is prepared."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from poseplug.core.geometry import transform_points
from poseplug.core.sample import SampleKey
from poseplug.data.dataset import PoseDataset
from poseplug.data.sources.lsp import LSPETSource, LSPSource
from poseplug.inspect import verify
from poseplug.inspect.browse import draw_sample_image
from poseplug.skeletons.lsp import LSP
from poseplug.testing import change_record


@pytest.fixture
def data_copy(tiny_data, tmp_path) -> Path:
    """A copy of the tiny data set that a test may damage."""
    import shutil

    return shutil.copytree(tiny_data, tmp_path / 'copy')


def config_arguments(root, folder) -> list[str]:
    """The arguments for the smallest config on a folder in LSP's layout."""
    sources = {p: [dict(type='LSPSource', data_root=str(folder), split=p)] for p in ('train', 'test')}
    options = [f'{p}_dataloader.dataset.sources={s!r}' for p, s in sources.items()]
    return [str(root / 'configs/cpm/cpm_synthetic.py'), '--cfg-options', *options]


def change_labels(folder, change) -> None:
    joints = loadmat(folder / 'joints.mat')['joints']
    change(joints)
    savemat(folder / 'joints.mat', {'joints': joints})


# --- verify -----------------------------------------------------------------------------------------------------------


def test_a_valid_data_set_is_counted_and_exits_with_0(command, root, tiny_data):
    code, out, _ = command('dataset', 'verify', *config_arguments(root, tiny_data))
    assert code == 0
    assert f'train: LSPSource data_root={tiny_data} split=train' in out
    assert f'{tiny_data}/joints.mat: 10 of 10 instances kept; dropped: none' in out
    assert f'{tiny_data}/joints.mat: 4 of 4 instances kept' in out
    assert '140 labeled' in out
    assert out.endswith('no problems found\n')


def test_unreadable_images_are_named_and_exit_with_1(command, root, data_copy):
    (data_copy / 'images/im0002.jpg').write_bytes(b'not an image.')
    (data_copy / 'images/im0013.jpg').write_bytes(b'')
    code, out, _ = command('dataset', 'verify', *config_arguments(root, data_copy))
    assert code == 1
    assert f'PROBLEM      unreadable: {data_copy}/images/im0002.jpg: 13 bytes that are not a whole image' in out
    assert f'PROBLEM      unreadable: {data_copy}/images/im0013.jpg: 0 bytes' in out


def test_a_missing_data_set_is_the_error_of_its_source(command, root, tmp_path):
    code, _, error = command('dataset', 'verify', *config_arguments(root, tmp_path / 'nowhere'))
    assert code == 2
    assert f'lsp: no joints.mat in {tmp_path}/nowhere. Get' in error


def test_keypoints_far_outside_are_counted_and_named(command, root, data_copy):
    change_labels(data_copy, lambda joints: joints[:, 12, :10].__iadd__(5000))
    change_labels(data_copy, lambda joints: joints.__setitem__((2, slice(None), slice(None)), 0))
    code, out, _ = command('dataset', 'verify', *config_arguments(root, data_copy))
    assert code == 1
    assert '10 outside the image: im0001.jpg neck (' in out
    assert '7.1 % of the keypoints lie outside their image' in out


def test_an_image_in_training_and_test_set_is_found_by_its_pixels(command, root, data_copy):
    (data_copy / 'images/im0012.jpg').write_bytes((data_copy / 'images/im0003.jpg').read_bytes())
    code, out, _ = command('dataset', 'verify', *config_arguments(root, data_copy))
    assert code == 1
    assert f'ERROR: 1 images are both in a training and in a test set: {data_copy}/images/im0003.jpg is' in out


def test_instances_at_a_single_position_are_named(command, root, data_copy):
    change_labels(data_copy, lambda joints: joints.__setitem__((slice(0, 2), slice(None), 4), 20))
    code, out, _ = command('dataset', 'verify', *config_arguments(root, data_copy))
    assert code == 1
    assert '1 instances have all their keypoints at one position: im0005.jpg' in out


@pytest.fixture(scope='module')
def real_records(real_data):
    return LSPSource(real_data / 'lsp').load()[0], LSPETSource(real_data / 'lspet').load()[0]


def find_problems(records, skeleton=LSP) -> list[str]:
    return list(verify.find_left_right_problems(verify.measure_left_right(records, skeleton), skeleton.centric))


def exchange_sides(records, *parts):
    """The records with left and right of some parts exchanged."""
    order = np.arange(14)
    for part in parts:
        pair = [LSP.index(f'{side}_{part}') for side in ('left', 'right')]
        order[pair] = pair[::-1]
    return [
        change_record(r, keypoints=r.instances.keypoints[:, order], visible=r.instances.visible[:, order])
        for r in records
    ]


def test_left_and_right_of_the_real_data_sets_are_plausible_and_most_people_face_the_camera(real_records):
    for records in real_records:
        assert find_problems(records) == []
        assert 0.6 < verify.measure_left_right(records, LSP).front_facing_fraction < 0.8


def test_exchanged_hips_elbows_or_sides_of_the_real_data_set_are_found(real_records):
    records = real_records[0]
    assert 'shoulders and hips disagree on left and right in 9' in find_problems(exchange_sides(records, 'hip'))[0]
    assert 'of elbows and knees lie nearer' in find_problems(exchange_sides(records, 'elbow', 'knee'))[0]


def test_labels_that_follow_the_person_are_not_the_observers(real_records):
    observer = replace(LSP, centric='observer')
    problems = find_problems(real_records[0], observer)
    assert 'should be observer-centric, but left and right lie the other way around in 31' in problems[0]


def test_labels_that_follow_the_observer_are_not_the_persons(real_records):
    records = []
    for record in real_records[0][:200]:
        is_front_facing = verify.measure_left_right([record], LSP).front_facing_fraction >= 0.5
        records += exchange_sides([record], 'shoulder', 'hip') if is_front_facing else [record]
    assert any('should be person-centric' in problem for problem in find_problems(records))
    assert not any('should be' in problem for problem in find_problems(records, replace(LSP, centric='observer')))


def test_a_person_upside_down_is_judged_in_the_frame_of_the_torso(real_records):
    rotated = [change_record(r, keypoints=-r.instances.keypoints) for r in real_records[0][:300]]
    assert verify.measure_left_right(rotated, LSP) == verify.measure_left_right(real_records[0][:300], LSP)


# --- browse -----------------------------------------------------------------------------------------------------------


def test_a_sheet_shows_the_requested_number_of_samples(command, root, tiny_data, tmp_path):
    out = ('--out', tmp_path / 'a/sheet.jpg', '--num-samples', 5)
    code, _, _ = command('dataset', 'browse', *config_arguments(root, tiny_data), *out)
    assert code == 0
    assert cv2.imread(str(tmp_path / 'a/sheet.jpg')).shape == (320 + 20 + 2 * 4, 5 * (320 + 4) + 4, 3)


@pytest.mark.parametrize('options', [('--raw',), ('--split', 'test'), ('--epoch', '3')])
def test_sheets_with_other_options_differ(command, root, tiny_data, tmp_path, options):
    arguments = (*config_arguments(root, tiny_data), '--num-samples', 4, '--out')
    command('dataset', 'browse', *arguments, tmp_path / 'first.png')
    assert command('dataset', 'browse', *arguments, tmp_path / 'second.png', *options)[0] == 0
    first, second = (cv2.imread(str(tmp_path / f'{n}.png')) for n in ('first', 'second'))
    assert first.shape != second.shape or (first != second).mean() > 0.1


def test_keypoints_are_drawn_at_their_positions_in_the_input(tiny_data):
    """A sheet's drawing minus the plain input is the skeleton: every keypoint inside lies on it."""
    pipeline = [dict(type='LetterboxImage'), dict(type='RandomScaleRotate'), dict(type='Warp')]
    source = dict(type='LSPSource', data_root=str(tiny_data))
    sample = PoseDataset(source, pipeline, 'lsp', input_size=(480, 480))[SampleKey(0, 2)]
    changed = (draw_sample_image(sample) != sample.inputs[0]).any(axis=-1)
    points = transform_points(sample.image_to_input, sample.keypoints[0]).round().astype(int)
    inside = ((points >= 0) & (points < 480)).all(axis=1) & (sample.visible[0] > 0)
    assert inside.sum() > 10
    assert changed[points[inside, 1], points[inside, 0]].all()


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--out', 'sheet.txt'), "sheet.txt: the suffix '.txt' is not an image format; use .jpg or .png"),
    (('--out', 'sheet.jpg', '--split', 'val'), "has no 'val_dataloader', which this command needs"),
    (('--out', 'sheet.jpg', '--num-samples', '0'), 'a sheet shows at least one sample; got 0'),
])  # fmt: skip
def test_a_sheet_that_cannot_be_drawn_is_an_error(command, root, tiny_data, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, error = command('dataset', 'browse', *config_arguments(root, tiny_data), *arguments)
    assert code == 2
    assert message in error


# --- prepare ----------------------------------------------------------------------------------------------------------


def test_the_synthetic_data_set_has_an_eighth_of_test_images(command, tmp_path):
    code, out, bar = command('dataset', 'prepare', 'synthetic', '--out', tmp_path / 'made', '--num-images', 8)
    assert (code, out) == (0, f'written: {tmp_path}/made\n')
    assert 'rendering images 8/8' in bar
    about = json.loads((tmp_path / 'made/dataset.json').read_text())
    assert (about['count'], about['train'], about['seed']) == (8, 7, 0)
    assert len(LSPSource(tmp_path / 'made', split='test').load()[0]) == 1


def test_the_synthetic_data_set_is_written_in_cocos_layout_too(command, tmp_path):
    options = ('--format', 'coco', '--num-images', 3, '--num-train', 1, '--seed', 5)
    assert command('dataset', 'prepare', 'synthetic', '--out', tmp_path / 'made', *options)[0] == 0
    assert len(list((tmp_path / 'made/train2017').iterdir())) == 1
    assert len(list((tmp_path / 'made/val2017').iterdir())) == 2


def test_a_data_set_that_is_present_is_checked(command, tiny_data):
    code, out, _ = command('dataset', 'prepare', 'lsp', '--data-root', tiny_data)
    assert code == 0
    assert out.startswith(f'lsp is in {tiny_data}: 14 images\n{tiny_data}/joints.mat: 14 of 14 instances kept')


@pytest.mark.parametrize(('name', 'hint'), [
    ('lsp', "Get 'LSP dataset'"), ('lspet', "Get 'LSP extended training dataset'"), ('flic', "Get 'FLIC'"),
])  # fmt: skip
def test_a_missing_data_set_is_an_error_that_says_how_to_get_it(command, tmp_path, monkeypatch, name, hint):
    monkeypatch.setenv('POSEPLUG_DATA', str(tmp_path))
    code, _, error = command('dataset', 'prepare', name)
    assert code == 2
    assert hint in error
    assert f'in {tmp_path}/{name}' in error


@pytest.mark.parametrize(('arguments', 'message'), [
    (('mpii3d',), "there is no data set 'mpii3d' to prepare; known: synthetic, 300w, 300wlp, HumanArt, LaPa, aflw, "
     'aic, animalpose, ap10k, atrw, coco,'),
    (('synthetic',), 'prepare synthetic needs --out DIR'),
])  # fmt: skip
def test_a_data_set_that_cannot_be_prepared_is_an_error(command, arguments, message):
    code, _, error = command('dataset', 'prepare', *arguments)
    assert code == 2
    assert message in error


NO_SOURCES = dict(type='PoseDataset', sources=[], pipeline=[], skeleton='lsp')


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('settings.yaml', 'images: 5\nfolder: a\n', "nothing reads 'images'"),
        ('settings.json', '{"images": 5}', "nothing reads 'images'"),
        ('skeleton.py', 'skeleton = "lsp"\n', 'names no data: a config has train_dataloader, '),
        ('loader.py', 'train_dataloader = dict(batch_size=4)\n', 'train_dataloader needs dataset'),
        ('no_source.py', f'test_dataloader = dict(dataset={NO_SOURCES})\n', 'this file has test_dataloader. Name a'),
    ],
)
@pytest.mark.parametrize('words', [('dataset', 'verify'), ('doctor',)], ids=['verify', 'doctor'])
def test_a_file_that_names_no_data_is_an_error(command, tmp_path, name, content, message, words):
    (tmp_path / name).write_text(content)
    code, out, err = command(*words, tmp_path / name)
    assert code == 2
    assert message in err
    assert 'no problems found' not in out


@pytest.mark.parametrize(('options', 'message'), [
    (('--to', 'webdataset', '--jpeg-quality', '80'), '--jpeg-quality and --max-resolution are for crops'),
    (('--shard-megabytes', '8'), '--shard-megabytes is for --to webdataset'),
])  # fmt: skip
def test_a_setting_of_the_other_kind_of_pack_is_refused(command, tmp_path, options, message):
    code, _, error = command('dataset', 'pack', 'cpm_synthetic', '--out', tmp_path / 'pack', *options)
    assert (code, message in error) == (2, True)
    assert not (tmp_path / 'pack').exists()

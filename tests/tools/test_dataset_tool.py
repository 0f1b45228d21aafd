"""tools/dataset.py: what is found wrong, what is drawn, and how a set is prepared."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from poseplug.datasets import verify
from poseplug.datasets.browse import drawn
from poseplug.datasets.dataset import PoseDataset
from poseplug.datasets.sources.lsp import LSPETSource, LSPSource
from poseplug.geometry import apply
from poseplug.sample import Draw
from poseplug.skeletons.lsp import LSP


@pytest.fixture
def own_data(tiny_data, tmp_path) -> Path:
    """A copy of the tiny data set that a test may spoil."""
    import shutil

    return shutil.copytree(tiny_data, tmp_path / 'own')


def config(root, folder) -> list[str]:
    """The arguments for the smallest config on a folder in LSP's layout."""
    sources = {p: [dict(type='LSPSource', root=str(folder), half=p)] for p in ('train', 'test')}
    options = [f'{p}_dataloader.dataset.sources={s!r}' for p, s in sources.items()]
    return [str(root / 'configs/cpm/cpm_synthetic.py'), '--cfg-options', *options]


def relabelled(folder, change) -> None:
    joints = loadmat(folder / 'joints.mat')['joints']
    change(joints)
    savemat(folder / 'joints.mat', {'joints': joints})


# --- verify -----------------------------------------------------------------------------------------------------------


def test_a_sound_set_is_counted_and_exits_with_0(command, root, tiny_data):
    code, out, _ = command('dataset.py', 'verify', *config(root, tiny_data))
    assert code == 0
    assert f'train: LSPSource root={tiny_data} half=train' in out
    assert f'{tiny_data}/joints.mat: 10 of 10 people kept; dropped: none' in out
    assert f'{tiny_data}/joints.mat: 4 of 4 people kept' in out
    assert '140 labelled' in out
    assert out.endswith('nothing is wrong\n')


def test_unreadable_pictures_are_named_and_exit_with_1(command, root, own_data):
    (own_data / 'images/im0002.jpg').write_bytes(b'not a picture')
    (own_data / 'images/im0013.jpg').write_bytes(b'')
    code, out, _ = command('dataset.py', 'verify', *config(root, own_data))
    assert code == 1
    assert f'WRONG        unreadable: {own_data}/images/im0002.jpg: 13 bytes that are not a whole picture' in out
    assert f'WRONG        unreadable: {own_data}/images/im0013.jpg: 0 bytes' in out


def test_a_missing_set_is_the_error_of_its_source(command, root, tmp_path):
    code, _, told = command('dataset.py', 'verify', *config(root, tmp_path / 'nowhere'))
    assert code == 2
    assert f'lsp: no joints.mat in {tmp_path}/nowhere. Get' in told


def test_joints_far_outside_are_counted_and_named(command, root, own_data):
    relabelled(own_data, lambda joints: joints[:, 12, :10].__iadd__(5000))
    relabelled(own_data, lambda joints: joints.__setitem__((2, slice(None), slice(None)), 0))
    code, out, _ = command('dataset.py', 'verify', *config(root, own_data))
    assert code == 1
    assert '10 outside the picture: im0001.jpg neck (' in out
    assert '7.1 % of the joints lie outside their picture' in out


def test_a_picture_to_train_and_to_test_on_is_found_by_its_pixels(command, root, own_data):
    (own_data / 'images/im0012.jpg').write_bytes((own_data / 'images/im0003.jpg').read_bytes())
    code, out, _ = command('dataset.py', 'verify', *config(root, own_data))
    assert code == 1
    assert f'WRONG: 1 pictures are both trained and tested on: {own_data}/images/im0003.jpg is' in out


def test_people_in_a_single_point_are_named(command, root, own_data):
    relabelled(own_data, lambda joints: joints.__setitem__((slice(0, 2), slice(None), 4), 20))
    code, out, _ = command('dataset.py', 'verify', *config(root, own_data))
    assert code == 1
    assert '1 people have all their joints in one point: im0005.jpg' in out


@pytest.fixture(scope='module')
def real(real_data):
    return LSPSource(real_data / 'lsp').load()[0], LSPETSource(real_data / 'lspet').load()[0]


def found(records, skeleton=LSP) -> list[str]:
    return list(verify.side_problems(verify.sides(records, skeleton), skeleton.centric))


def exchanged(records, *parts):
    """The records with left and right of some parts exchanged."""
    order = np.arange(14)
    for part in parts:
        pair = [LSP.index(f'{side}_{part}') for side in ('left', 'right')]
        order[pair] = pair[::-1]
    return [replace(r, keypoints=r.keypoints[:, order], visible=r.visible[:, order]) for r in records]


def test_left_and_right_of_the_real_sets_are_plausible_and_most_people_are_seen_from_the_front(real):
    for records in real:
        assert found(records) == []
        assert 0.6 < verify.sides(records, LSP).front < 0.8


def test_exchanged_hips_elbows_or_sides_of_the_real_set_are_found(real):
    records = real[0]
    assert 'shoulders and hips disagree on left and right in 9' in found(exchanged(records, 'hip'))[0]
    assert 'of elbows and knees lie nearer' in found(exchanged(records, 'elbow', 'knee'))[0]


def test_labels_that_follow_the_person_are_not_the_observers(real):
    observer = replace(LSP, centric='observer')
    assert 'said to be observer-centric, but left and right lie the other way in 31' in found(real[0], observer)[0]


def test_labels_that_follow_the_observer_are_not_the_persons(real):
    records = [r if verify.sides([r], LSP).front < 0.5 else exchanged([r], 'shoulder', 'hip')[0] for r in real[0][:200]]
    assert any('said to be person-centric' in told for told in found(records))
    assert not any('said to be' in told for told in found(records, replace(LSP, centric='observer')))


def test_a_person_on_the_head_is_judged_in_the_frame_of_the_torso(real):
    turned = [replace(r, keypoints=-r.keypoints) for r in real[0][:300]]
    assert verify.sides(turned, LSP) == verify.sides(real[0][:300], LSP)


# --- browse -----------------------------------------------------------------------------------------------------------


def test_a_sheet_shows_as_many_samples_as_asked_for(command, root, tiny_data, tmp_path):
    code, _, _ = command(
        'dataset.py', 'browse', *config(root, tiny_data), '--out', tmp_path / 'a/sheet.jpg', '--count', 5
    )
    assert code == 0
    assert cv2.imread(str(tmp_path / 'a/sheet.jpg')).shape == (320 + 20 + 2 * 4, 5 * (320 + 4) + 4, 3)


@pytest.mark.parametrize('options', [('--raw',), ('--split', 'test'), ('--epoch', '3')])
def test_sheets_of_other_kinds_differ(command, root, tiny_data, tmp_path, options):
    arguments = (*config(root, tiny_data), '--count', 4, '--out')
    command('dataset.py', 'browse', *arguments, tmp_path / 'one.png')
    assert command('dataset.py', 'browse', *arguments, tmp_path / 'two.png', *options)[0] == 0
    one, two = (cv2.imread(str(tmp_path / f'{n}.png')) for n in ('one', 'two'))
    assert one.shape != two.shape or (one != two).mean() > 0.1


def test_joints_are_drawn_where_the_matrix_puts_them(tiny_data):
    """A sheet's drawing minus the plain input is the skeleton: every joint in sight lies on it."""
    pipeline = [dict(type='PlacePicture'), dict(type='RandomScaleRotate'), dict(type='Warp')]
    source = dict(type='LSPSource', root=str(tiny_data))
    sample = PoseDataset(source, pipeline, 'lsp', input_size=(480, 480))[Draw(0, 2)]
    changed = (drawn(sample) != sample.inputs[0]).any(axis=-1)
    points = apply(sample.matrix, sample.keypoints[0]).round().astype(int)
    seen = ((points >= 0) & (points < 480)).all(axis=1) & (sample.visible[0] > 0)
    assert seen.sum() > 10
    assert changed[points[seen, 1], points[seen, 0]].all()


@pytest.mark.parametrize(('arguments', 'told'), [
    (('--out', 'sheet.txt'), 'sheet.txt: no picture format of that name; use .jpg or .png'),
    (('--out', 'sheet.jpg', '--split', 'val'), "has no 'val_dataloader', which this command needs"),
    (('--out', 'sheet.jpg', '--count', '0'), 'a sheet shows at least one sample; got 0'),
])  # fmt: skip
def test_a_sheet_that_cannot_be_is_told(command, root, tiny_data, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    code, _, error = command('dataset.py', 'browse', *config(root, tiny_data), *arguments)
    assert code == 2
    assert told in error


# --- prepare ----------------------------------------------------------------------------------------------------------


def test_the_embedded_set_is_written_with_an_eighth_to_test_on(command, tmp_path):
    code, out, bar = command('dataset.py', 'prepare', 'synthetic', '--out', tmp_path / 'made', '--count', 8)
    assert (code, out) == (0, f'written: {tmp_path}/made\n')
    assert 'drawing people 8/8' in bar
    about = json.loads((tmp_path / 'made/dataset.json').read_text())
    assert (about['count'], about['train'], about['seed']) == (8, 7, 0)
    assert len(LSPSource(tmp_path / 'made', half='test').load()[0]) == 1


def test_the_embedded_set_comes_in_cocos_layout_too(command, tmp_path):
    options = ('--format', 'coco', '--count', 3, '--train', 1, '--seed', 5)
    assert command('dataset.py', 'prepare', 'synthetic', '--out', tmp_path / 'made', *options)[0] == 0
    assert len(list((tmp_path / 'made/train2017').iterdir())) == 1
    assert len(list((tmp_path / 'made/val2017').iterdir())) == 2


def test_a_set_that_is_there_is_checked(command, tiny_data):
    code, out, _ = command('dataset.py', 'prepare', 'lsp', '--root', tiny_data)
    assert code == 0
    assert out.startswith(f'lsp is in {tiny_data}: 14 pictures\n{tiny_data}/joints.mat: 14 of 14 people kept')


@pytest.mark.parametrize(('name', 'how'), [
    ('lsp', "Get 'LSP dataset'"), ('lspet', "Get 'LSP extended training dataset'"), ('flic', "Get 'FLIC'"),
])  # fmt: skip
def test_a_set_that_is_not_there_says_how_to_get_it(command, tmp_path, monkeypatch, name, how):
    monkeypatch.setenv('POSEPLUG_DATA', str(tmp_path))
    code, _, told = command('dataset.py', 'prepare', name)
    assert code == 2
    assert how in told
    assert f'in {tmp_path}/{name}' in told


@pytest.mark.parametrize(('arguments', 'told'), [
    (('mpii3d',), "there is no data set 'mpii3d' to prepare; known: synthetic, aic, coco, crowdpose, flic, lsp, lspet"),
    (('synthetic',), 'prepare synthetic needs --out DIR'),
])  # fmt: skip
def test_a_set_that_cannot_be_prepared_is_told(command, arguments, told):
    code, _, error = command('dataset.py', 'prepare', *arguments)
    assert code == 2
    assert told in error

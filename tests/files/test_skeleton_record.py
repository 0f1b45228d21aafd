"""Files of weights say which keypoints they predict, and are refused for others."""

import json
import logging

import pytest
import torch

from poseplug.config.build import build_model, build_teacher
from poseplug.config.saved import format_runnable_config
from poseplug.core.errors import CheckpointError
from poseplug.core.skeleton import Skeleton
from poseplug.engine import launch
from poseplug.engine.weight_init import init_weights
from poseplug.files.skeleton_record import (
    check_keypoints,
    describe_skeleton,
    read_skeleton_record,
    warn_of_unnamed_keypoints,
)
from poseplug.files.weights import get_skeleton_record, load_checkpoint, load_weights
from poseplug.predict.model_loading import load_model
from poseplug.predict.predictor import Predictor
from poseplug.predict.shipped_model import SHIPPED_MODEL_DIR, package_model
from poseplug.registry.skeletons import get_skeleton

LSP = get_skeleton('lsp')
SMALL = Skeleton('small', ('nose', 'left_eye', 'right_eye'), flip_pairs=(('left_eye', 'right_eye'),), sigmas=(0.1,) * 3)


def test_a_skeleton_is_read_as_it_was_written():
    record = read_skeleton_record(json.dumps(describe_skeleton(SMALL)))
    assert record == read_skeleton_record(describe_skeleton(SMALL))
    assert (record.name, record.keypoints) == ('small', SMALL.keypoints)
    assert (record.flip_pairs, record.sigmas, record.centric) == (SMALL.flip_pairs, SMALL.sigmas, 'person')


@pytest.mark.parametrize('content', [None, '', 'no JSON', '[]', {}, {'keypoints': []}, 3])
def test_what_is_no_description_is_none(content):
    assert read_skeleton_record(content) is None


def change(**changes):
    return read_skeleton_record({**describe_skeleton(SMALL), **changes})


@pytest.mark.parametrize(('record', 'message'), [
    (change(keypoints=['nose', 'right_eye', 'left_eye']),
     r"^FILE predicts the keypoints of 'small', which .* the config's skeleton 'small': keypoint 1 is "
     r'right_eye in the file, left_eye in the config; keypoint 2 is left_eye in the file, right_eye in the config'),
    (change(keypoints=['nose', 'left_eye']),
     '2 keypoints in the file, 3 in the config; keypoint 2 is none in the file, right_eye in the config'),
    (change(keypoints=['nose', 'left_eye', 'right_eye', 'tail']), 'keypoint 3 is tail in the file, none in the config'),
    (change(keypoints=list('abc')), 'keypoint 2 is c in the file, right_eye in the config. Use .* --map-keypoints'),
    (change(centric='observer'), 'was trained on observer-centric labels, and the skeleton .* is person-centric'),
    (change(flip_pairs=[]), 'flip pairs .*: only in the file none, only in the config left_eye and right_eye'),
    (change(flip_pairs=[['nose', 'left_eye']]), 'only in the file left_eye and nose, only in the config left_eye'),
])  # fmt: skip
def test_a_difference_is_refused_by_name(record, message):
    with pytest.raises(CheckpointError, match=message):
        check_keypoints(record, SMALL, 'FILE')


@pytest.mark.parametrize('record', [
    change(),
    change(keypoints=['Nose', 'Left Eye', 'right-eye'], flip_pairs=[['Right-Eye', 'left eye']]),
    change(flip_pairs=None, sigmas=None, centric=None),
])  # fmt: skip
def test_equal_keypoints_are_accepted_in_any_spelling(record, caplog):
    check_keypoints(record, SMALL, 'FILE')
    assert not caplog.records


def test_other_sigmas_and_a_file_without_names_are_warnings(caplog):
    check_keypoints(change(sigmas=[0.1, 0.2, 0.1]), SMALL, 'FILE')
    assert "FILE was trained with other sigmas than the skeleton 'small' has (left_eye: 0.2, here 0.1)" in caplog.text
    check_keypoints(None, SMALL, 'FILE')
    warn_of_unnamed_keypoints(SMALL, 'FILE')
    assert "FILE does not say which keypoints it predicts; they are taken to be those of 'small': nose" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


# --- weights of runs --------------------------------------------------------------------------------------------------


def reverse_skeleton(name='reversed'):
    settings = describe_skeleton(LSP)
    return dict(name=name, keypoints=settings['keypoints'][::-1], flip_pairs=settings['flip_pairs'],
                torso=LSP.torso, sigmas=(0.1,) * len(LSP))  # fmt: skip


@pytest.fixture
def configs(tiny_config):
    """The tiny config, and the same for the reversed keypoints."""
    other = tiny_config()
    other.skeleton = reverse_skeleton()
    return tiny_config(), other


def test_weights_of_another_order_are_refused_wherever_they_are_loaded(configs, tmp_path):
    cfg, other = configs
    launch.train(cfg, tmp_path / 'run')
    assert get_skeleton_record(load_checkpoint(tmp_path / 'run')).keypoints == LSP.keypoints
    (tmp_path / 'other.py').write_text(format_runnable_config(other))
    message = "predicts the keypoints of 'lsp', which are not those of the config's skeleton 'reversed': keypoint 0 is "
    uses = {
        'test': lambda: launch.test(other, tmp_path / 'run'),
        'predict': lambda: Predictor(other, tmp_path / 'run'),
        'load_model': lambda: load_model(other, tmp_path / 'run'),
        'init': lambda: launch.train(other, tmp_path / 'new', init=str(tmp_path / 'run')),
        'init of the head': lambda: launch.train(with_init(other, tmp_path / 'run'), tmp_path / 'new2'),
        'resume': lambda: launch.train(other, tmp_path / 'run', resume=True),
        'teacher': lambda: build_teacher(dict(config=tmp_path / 'other.py', weights=tmp_path / 'run')),
        'package': lambda: package_model(tmp_path / 'other.py', tmp_path / 'run', tmp_path),
    }
    for name, use in uses.items():
        with pytest.raises(CheckpointError, match=message):
            print(name, use())


def with_init(cfg, file):
    cfg = type(cfg)(cfg.to_dict(), filename=cfg.filename)
    cfg.init = dict(head=str(file))
    return cfg


def test_weights_of_another_order_are_taken_by_name_where_asked(configs, tmp_path):
    """Both models predict the same for each keypoint."""
    cfg, other = configs
    launch.train(cfg, tmp_path)
    poses = launch.test(cfg, tmp_path).predictions[0][1].keypoints
    mapped = launch.test(other, tmp_path, map_keypoints=True).predictions[0][1].keypoints
    torch.testing.assert_close(torch.as_tensor(mapped), torch.as_tensor(poses).flip(1))
    started = launch.run_training(other, tmp_path / 'new', init=str(tmp_path), map_keypoints=True)
    assert started.iter == 6


def test_keypoints_that_the_weights_lack_cannot_be_taken_by_name(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path)
    other = tiny_config()
    other.skeleton = dict(name='other', keypoints=[*LSP.keypoints[:-2], 'tail', 'ear'])
    with pytest.raises(
        CheckpointError, match="lacks 2 keypoints of the skeleton 'other': tail, ear. Train them: .*init"
    ):
        load_weights(build_model(other), tmp_path, map_keypoints=True)
    torch.save(build_model(other).state_dict(), tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match='does not say which keypoints it predicts, so they cannot be taken by'):
        load_weights(build_model(other), tmp_path / 'weights.pth', map_keypoints=True)


def test_a_run_for_as_many_other_keypoints_begins_with_those_of_the_same_name(tiny_config, tmp_path, caplog):
    launch.train(tiny_config(), tmp_path)
    other = tiny_config()
    names = ['tail', *LSP.keypoints[2:], 'ear']
    other.skeleton = dict(name='other', keypoints=names)
    model, start = build_model(other), build_model(other)
    model.load_state_dict(start.state_dict())
    with caplog.at_level(logging.INFO):
        init_weights(model, str(tmp_path))
    assert f'carried over by name: {", ".join(names[1:-1])}; new keypoints: tail, ear' in caplog.text
    saved = load_checkpoint(tmp_path)['state_dict']
    bias = next(name for name in saved if saved[name].shape == (len(LSP) + 1,))
    torch.testing.assert_close(model.state_dict()[bias][1:13], saved[bias][2:14])
    torch.testing.assert_close(model.state_dict()[bias][[0, 13]], start.state_dict()[bias][[0, 13]])


def test_packaged_weights_carry_their_keypoints(caplog):
    content = load_checkpoint(SHIPPED_MODEL_DIR / 'cpm_lsp_lite.safetensors')
    assert get_skeleton_record(content).keypoints == LSP.keypoints
    load_model('cpm_lsp_lite', device='cpu')
    assert not caplog.records


def test_names_in_mmposes_form_are_left_to_the_conversion_which_compares_them(tiny_config, tmp_path):
    model, file = build_model(tiny_config()), tmp_path / 'trained_elsewhere.pth'
    names = dict(enumerate(reversed(LSP.keypoints)))
    meta = dict(dataset_meta=dict(dataset_name='other', keypoint_id2name=names))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), file)
    message = rf'names its keypoints as MMPose does \(head_top, neck, .*poseplug convert {file} CONFIG --out FILE'
    with pytest.raises(CheckpointError, match=message):
        load_weights(model, file)

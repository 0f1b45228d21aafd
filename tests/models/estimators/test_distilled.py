import copy

import pytest
import torch
from torch.testing import assert_close

from poseplug.config.build import build_model
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.models.estimators.distilled import DistilledTopDown
from poseplug.models.estimators.top_down import TopDown

PARTS = dict(
    backbone=dict(type='CPMTrunk', num_trunks=1, channels=(4, 5, 6), kernel_sizes=(3, 3, 3), init_std=None),
    head=dict(type='HeatmapHead'),
)


def codec_config(**settings):
    return dict(type='Heatmap', input_size=(32, 32), stride=8, sigma_px=8.0, **settings)


def build_teacher(**settings) -> TopDown:
    torch.manual_seed(1)
    return TopDown('lsp', codec_config(**settings), **PARTS)


def build_student(**settings) -> DistilledTopDown:
    torch.manual_seed(0)
    return DistilledTopDown('lsp', codec_config(), **{'teacher': build_teacher(), **settings}, **PARTS)


@pytest.fixture
def batch():
    from tests.models.estimators.test_multi_top_down import create_batch

    result = create_batch('lsp', 'lsp')
    result.keypoints, result.visible = result.keypoints[:, :, :14], result.visible[:, :, :14]
    return result


def test_the_distillation_loss_is_the_weighted_distance_of_the_heatmaps(batch):
    net = build_student(distill_weight=3.0)
    teacher_heatmaps = net.criterion.teacher.predict_last_stage(batch)['heatmap']
    student_heatmaps = net.network(batch.images[:, 0])[-1]['heatmap']
    assert_close(net.losses(batch)['loss_distill'], 3 * (teacher_heatmaps - student_heatmaps).square().mean())


def test_a_student_with_its_teachers_weights_has_no_distillation_loss(batch):
    net = build_student()
    net.load_state_dict(build_teacher().state_dict())
    assert float(net.losses(batch)['loss_distill'].detach()) == 0


def test_the_teacher_is_neither_trained_nor_saved(batch):
    net = build_student().train()
    teacher = net.criterion.teacher.estimator
    initial = {n: v.clone() for n, v in teacher.state_dict().items()}
    torch.stack(list(net.losses(batch).values())).sum().backward()
    assert not teacher.training
    assert all(p.grad is None for p in teacher.parameters())
    assert set(net.state_dict()) == set(build_teacher().state_dict())
    assert len(list(net.parameters())) == len(list(build_teacher().parameters()))
    for name, value in teacher.state_dict().items():
        assert_close(value, initial[name])


def test_a_teacher_of_other_fields_is_an_error():
    with pytest.raises(MismatchError, match=r'teacher predicts .*15.*the student .*14'):
        build_student(teacher=build_teacher(background=True))


def test_a_teacher_without_weights_is_an_error():
    with pytest.raises(ConfigError, match=r'dict\(config=FILE, weights=FILE\)'):
        build_student(teacher=dict(config='some.py'))
    student = dict(type='DistilledTopDown', codec=codec_config(), teacher=dict(config='some.py'), **PARTS)
    with pytest.raises(ConfigError, match=r'dict\(config=FILE, weights=FILE\)'):
        build_model(dict(skeleton='lsp', model=student))


def test_a_copy_of_a_student_shares_its_teacher():
    net = build_student()
    assert copy.deepcopy(net).criterion.teacher is net.criterion.teacher

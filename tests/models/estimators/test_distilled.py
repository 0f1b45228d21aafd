import pytest
import torch
from torch.testing import assert_close

from poseplug.errors import ConfigError, MismatchError
from poseplug.models.estimators.distilled import DistilledTopDown
from poseplug.models.estimators.top_down import TopDown

PARTS = dict(
    backbone=dict(type='CPMTrunk', trunks=1, channels=(4, 5, 6), kernels=(3, 3, 3), init_std=None),
    head=dict(type='HeatmapHead'),
)


def codec(**settings):
    return dict(type='Heatmap', input_size=(32, 32), stride=8, sigma=8.0, **settings)


def teacher(**settings) -> TopDown:
    torch.manual_seed(1)
    return TopDown('lsp', codec(**settings), **PARTS)


def student(**settings) -> DistilledTopDown:
    torch.manual_seed(0)
    return DistilledTopDown('lsp', codec(), **{'teacher': teacher(), **settings}, **PARTS)


@pytest.fixture
def batch():
    from tests.models.estimators.test_multi_top_down import batch

    made = batch('lsp', 'lsp')
    made.keypoints, made.visible = made.keypoints[:, :, :14], made.visible[:, :, :14]
    return made


def test_the_teachers_share_is_the_distance_of_the_maps(batch):
    net = student(share=3.0)
    shown = net.teacher(batch.images[:, 0])[-1]['heatmap']
    guessed = net(batch.images[:, 0])[-1]['heatmap']
    assert_close(net.losses(batch)['loss_teacher'], 3 * (shown - guessed).square().mean())


def test_a_student_like_its_teacher_has_nothing_to_learn_from_it(batch):
    net = student()
    net.load_state_dict(teacher().state_dict())
    assert float(net.losses(batch)['loss_teacher'].detach()) == 0


def test_the_teacher_is_neither_trained_nor_saved(batch):
    net = student().train()
    before = {n: v.clone() for n, v in net.teacher.state_dict().items()}
    torch.stack(list(net.losses(batch).values())).sum().backward()
    assert not net.teacher.training
    assert all(p.grad is None for p in net.teacher.parameters())
    assert set(net.state_dict()) == set(teacher().state_dict())
    assert len(list(net.parameters())) == len(list(teacher().parameters()))
    for name, value in net.teacher.state_dict().items():
        assert_close(value, before[name])


def test_a_teacher_of_other_maps_is_told():
    with pytest.raises(MismatchError, match=r'teacher predicts .*15.*the student .*14'):
        student(teacher=teacher(background=True))


def test_a_teacher_without_weights_is_told():
    with pytest.raises(ConfigError, match=r'a teacher is dict\(config=FILE, weights=FILE\)'):
        student(teacher=dict(config='some.py'))

"""The learning rates of OpenPose's optimizer, part by part."""

import pytest
import torch

from poseplug.config.load import load_config
from poseplug.core.weight_names import weight_name
from poseplug.engine.optim import build_param_groups
from poseplug.models.estimators.top_down import TopDown

LATER, FIRST, TRUNK = 'head.steps.2.paf.0.0', 'head.steps.0.heatmap.1', 'backbone.vgg.0.0.0'


@pytest.fixture(scope='module')
def rates(request):
    """The learning rate and the weight decay of every parameter, by name."""
    path = request.config.rootpath / 'configs/_base_/schedules/openpose.py'
    optim_wrapper = load_config(path).optim_wrapper
    with torch.device('meta'):
        net = TopDown(
            skeleton='mpii15',
            codec=dict(type='PAF', input_size=(48, 48)),
            backbone=dict(type='CPMVGGTrunk', vgg_channels=(4, 4, 4, 4), extra_channels=(4,)),
            head=dict(type='OpenPoseHead', num_stages=12, first_layers=((3, 4),), later_layers=((7, 4),)),
        )
    names = {parameter: weight_name(name) for name, parameter in net.named_parameters()}
    groups = build_param_groups(
        net, optim_wrapper.paramwise_cfg.rules, optim_wrapper.optimizer.lr, optim_wrapper.optimizer.weight_decay
    )
    return {names[p]: (g['lr'], g['weight_decay']) for g in groups for p in g['params']}


@pytest.mark.parametrize(
    ('part', 'rate'), [(TRUNK, 4e-5), (FIRST, 4e-5), (LATER, 1.6e-4), ('head.steps.11.paf.1', 1.6e-4)]
)
def test_weights_decay_and_stages_after_the_first_learn_four_times_as_fast(rates, part, rate):
    assert rates[f'{part}.weight'] == pytest.approx((rate, 5e-4))


@pytest.mark.parametrize(('part', 'rate'), [(TRUNK, 8e-5), (FIRST, 8e-5), (LATER, 3.2e-4)])
def test_biases_learn_twice_as_fast_as_their_weights_without_decay(rates, part, rate):
    assert rates[f'{part}.bias'] == pytest.approx((rate, 0))

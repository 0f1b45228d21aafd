"""Every family of models, at a reduced width, overfits eight real images. It takes minutes: pytest -m slow."""

import pytest
import torch

from poseplug.config.load import load_config
from poseplug.engine import launch
from poseplug.engine.overfit import build_overfit_config

RESNET = dict(type='ResNet', depth=18, base_channels=16)
MSRA = dict(type='MSRAHeatmap', input_size=(192, 192), sigma_px=8.0)  # at 128 px its cells are too coarse for PCK@0.1
KL = dict(type='KLDivergence')
FAMILIES = {
    'hourglass': dict(codec=MSRA),
    'hourglass with DARK': dict(codec=dict(type='DARKHeatmap')),
    'SimpleBaseline': dict(codec=MSRA, backbone=RESNET, head=dict(type='DeconvHead', deconv_out_channels=32)),
    'HRNet': dict(
        codec=MSRA,
        backbone=dict(type='HRNet', width=18, num_modules=(1, 1, 1), num_blocks=1),
        head=dict(type='HeatmapHead'),
    ),
    'CPN': dict(
        codec=dict(type='CPNHeatmap', coarse_min_visibility=1, kernel_sizes=(9, 7, 5, 5), input_size=(192, 192)),
        backbone=RESNET,
        head=dict(type='CPNHead', channels=32),
        loss=[*[dict(type='MeanSquaredError', loss_weight=0.125)] * 4, dict(type='OHKMLoss', topk=8)],
    ),
    'ViTPose': dict(
        codec=dict(type='UDPHeatmap', sigma_px=8.0),
        backbone=dict(type='ViT', embed_dim=96, depth=4, num_heads=4, drop_path_rate=0.0),
        head=dict(type='DeconvHead', deconv_out_channels=32),
    ),
    'SimCC': dict(
        codec=dict(type='SimCC'), backbone=RESNET, head=dict(type='SimCCHead', deconv_out_channels=32), loss=KL
    ),
    'RTMPose': dict(
        codec=dict(type='SimCC', sigma=4.0, normalize=False),
        backbone=dict(type='CSPNeXt', widen_factor=0.25, deepen_factor=0.33),
        head=dict(type='RTMCCHead', hidden_dims=128, query_dims=64),
        loss=dict(type='KLDivergence', beta=10.0, label_softmax=True),
    ),
    'integral regression': dict(codec=dict(type='Integral'), backbone=RESNET, head=dict(type='IntegralHead')),
    'regression': dict(
        codec=dict(type='Regression'), backbone=RESNET, head=dict(type='RegressionHead'), loss=dict(type='SmoothL1Loss')
    ),
    'RLE': dict(
        codec=dict(type='RLERegression'), backbone=RESNET, head=dict(type='RLEHead'), loss=dict(type='RLELoss')
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('family', FAMILIES)
def test_a_family_overfits_eight_images(family, real_data, root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('POSEPLUG_DATA', str(real_data))
    parts = FAMILIES[family]
    options = {f'model.{name}': part for name, part in parts.items()}
    options['model.codec'] = {'input_size': (128, 128), **parts['codec']}
    cfg = load_config(root / 'configs/hourglass/hourglass1_lsp_128.py', {**options, 'overfit_steps': 400})
    torch.manual_seed(0)
    runner = launch.run_training(build_overfit_config(cfg, 8), tmp_path / 'run')
    scores = runner.val_loop.result.values
    with capsys.disabled():
        print(f'\n{family}: PCK@0.1 {scores["PCK@0.1"]}, PCK@0.2 {scores["PCK@0.2"]}')
    assert scores['PCK@0.1'] >= 95

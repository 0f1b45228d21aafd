import pytest
import torch

import poseplug
from poseplug.config.build import build_model
from poseplug.core.errors import CheckpointError, ConfigError


def test_a_model_is_loaded_by_its_name_in_evaluation_mode():
    model = poseplug.load_model('cpm_lsp_lite', device='cpu')
    assert not model.training
    assert 'cpm_lsp_lite' in poseplug.list_models('cpm*')
    assert poseplug.list_models('hrnet_*', with_weights=True) == []
    assert 'hrnet-w32' in poseplug.list_models('hrnet*', with_weights=True)


def test_the_shipped_model_is_loaded_without_a_name():
    shipped = poseplug.load_model('cpm_efficientnet_lsp', device='cpu').state_dict()
    default = poseplug.load_model(device='cpu').state_dict()
    assert all(torch.equal(tensor, default[name]) for name, tensor in shipped.items())


def test_a_config_is_loaded_with_its_checkpoint(tiny_config, tmp_path):
    cfg = tiny_config()
    expected = build_model(cfg).state_dict()
    torch.save({'state_dict': expected}, tmp_path / 'weights.pth')
    model = poseplug.load_model(cfg, tmp_path / 'weights.pth', device='cpu')
    assert not model.training
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(CheckpointError, match=r'other\.pth'):
        poseplug.load_model(cfg, tmp_path / 'other.pth')


def test_a_model_without_weights_is_an_error_that_lists_those_that_have_some(tiny_config):
    for model in ('cpm_lsp_light', tiny_config()):
        with pytest.raises(
            ConfigError, match=r'no weights of its own: .* installed: cpm_efficientnet_lsp, cpm_lsp_lite'
        ):
            poseplug.load_model(model)

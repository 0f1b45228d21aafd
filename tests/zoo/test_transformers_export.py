"""ViTPose for transformers: names and shapes of its VitPose (5.24), the settings, and the way back."""

import json

import pytest
import torch
from safetensors.torch import load_file

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.zoo.mmpose import convert_state_dict
from poseplug.zoo.transformers_export import export_transformers_folder, join_attention_projections

LAYER = 'backbone.encoder.layer.0.'
SMALL = {
    'model.backbone': dict(embed_dim=32, depth=1, num_heads=2, drop_path_rate=0.0),
    'model.codec.input_size': (96, 128),
}
# As transformers lists them for one layer of 32 channels at 96x128 px, beside those of the head.
EXPECTED = {
    'backbone.embeddings.position_embeddings': (1, 49, 32),
    'backbone.embeddings.patch_embeddings.projection.weight': (32, 3, 16, 16),
    'backbone.embeddings.patch_embeddings.projection.bias': (32,),
    **{f'{LAYER}attention.attention.{part}.weight': (32, 32) for part in ('query', 'key', 'value')},
    **{f'{LAYER}attention.attention.{part}.bias': (32,) for part in ('query', 'key', 'value')},
    f'{LAYER}attention.output.dense.weight': (32, 32),
    f'{LAYER}attention.output.dense.bias': (32,),
    f'{LAYER}mlp.fc1.weight': (128, 32),
    f'{LAYER}mlp.fc1.bias': (128,),
    f'{LAYER}mlp.fc2.weight': (32, 128),
    f'{LAYER}mlp.fc2.bias': (32,),
    **{f'{LAYER}layernorm_{name}.{kind}': (32,) for name in ('before', 'after') for kind in ('weight', 'bias')},
    **{f'backbone.layernorm.{kind}': (32,) for kind in ('weight', 'bias')},
}
CLASSIC_HEAD = {
    'head.deconv1.weight': (32, 256, 4, 4),
    'head.deconv2.weight': (256, 256, 4, 4),
    **{
        f'head.batchnorm{i}.{kind}': (256,)
        for i in (1, 2)
        for kind in ('weight', 'bias', 'running_mean', 'running_var')
    },
    **{f'head.batchnorm{i}.num_batches_tracked': () for i in (1, 2)},
    'head.conv.weight': (17, 256, 1, 1),
    'head.conv.bias': (17,),
}
SIMPLE_HEAD = {'head.conv.weight': (17, 32, 3, 3), 'head.conv.bias': (17,)}


@pytest.mark.parametrize(
    ('config', 'head'),
    [('vitpose_s_coco_256x192', CLASSIC_HEAD), ('vitpose_s_coco_256x192_simple', SIMPLE_HEAD)],
    ids=['classic', 'simple'],
)
def test_a_folder_has_what_transformers_expects_and_converts_back(config, head, tmp_path):
    model = build_model(load_config(config, SMALL))
    weights, settings, processor = export_transformers_folder(model, tmp_path / 'w.pth', tmp_path / 'hub')
    state = load_file(weights)
    assert {name: tuple(value.shape) for name, value in state.items()} == {**EXPECTED, **head}
    back, report = convert_state_dict(model, state)
    assert report.layout == "transformers' VitPose"
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())
    described = json.loads(settings.read_text())
    assert described['use_simple_decoder'] == (head is SIMPLE_HEAD)
    assert described['id2label']['16'] == 'right_ankle'
    backbone = described['backbone_config']
    assert (backbone['hidden_size'], backbone['num_hidden_layers'], backbone['num_attention_heads']) == (32, 1, 2)
    assert backbone['image_size'] == [128, 96]
    assert json.loads(processor.read_text())['size'] == {'height': 128, 'width': 96}


def test_the_first_of_the_joined_rows_are_those_of_queries():
    parts = {f'a.attention.attention.{part}.weight': torch.full((2, 1), i) for i, part in enumerate(('query', 'key'))}
    assert join_attention_projections(parts)['a.attention.attention.query.weight'].tolist() == [[0], [0]]  # no values
    parts['a.attention.attention.value.weight'] = torch.full((2, 1), 2)
    joined = join_attention_projections(parts)
    assert joined['a.attention.attention.qkv.weight'].flatten().tolist() == [0, 0, 1, 1, 2, 2]
    assert len(joined) == 1


def test_other_networks_and_full_folders_are_refused(tmp_path):
    model = build_model(load_config('simple_baseline_r50_coco_256x192', {'model.backbone.depth': 18}))
    with pytest.raises(CheckpointError, match=r"w\.pth has backbone\.conv1\.weight, which transformers' VitPose has"):
        export_transformers_folder(model, tmp_path / 'w.pth', tmp_path / 'new')
    (tmp_path / 'file').touch()
    with pytest.raises(ConfigError, match='the folder is not empty'):
        export_transformers_folder(model, tmp_path / 'w.pth', tmp_path)

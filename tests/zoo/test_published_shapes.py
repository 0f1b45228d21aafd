"""Networks of MMPose's zoo: the names and shapes of every weight convert to the model of a config here.

The names and shapes are those of ../shared/zoo/mmpose_shapes.json.gz; no weights are needed.
"""

import gzip
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.zoo.mmpose import convert_state_dict

ROOT = Path(__file__).parents[2]
SHAPES = Path(os.environ.get('POSEPLUG_GOLDEN', ROOT.parent / 'shared/golden')).parent / 'zoo/mmpose_shapes.json.gz'
COCO = 'configs/body_2d_keypoint/topdown_heatmap/coco/td-hm_'
MPII = 'configs/body_2d_keypoint/topdown_heatmap/mpii/td-hm_'
YOLOX = 'configs/body_2d_keypoint/yoloxpose/coco/yoloxpose_'
RTMW = 'configs/wholebody_2d_keypoint/rtmpose/cocktail14/rtmw-'
YOLOX_TINY = {
    'model.codec.input_size': (416, 416),
    'model.backbone.widen_factor': 0.375,
    'model.neck.out_channels': 96,
    'model.head.feat_channels': 96,
}
YOLOX_LARGE = {
    'model.backbone.widen_factor': 1.0,
    'model.backbone.deepen_factor': 1.0,
    'model.neck.out_channels': 256,
    'model.neck.num_csp_blocks': 3,
    'model.head.feat_channels': 256,
}
SIZE_384 = {'model.codec.input_size': (288, 384)}
# MMPose's config -> the config here, and what changes in its model
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    COCO + 'mspn50_8xb32-210e_coco-256x192': ('mspn/mspn50_coco_256x192', {}),
    COCO + '2xmspn50_8xb32-210e_coco-256x192': ('mspn/mspn50_2stages_coco_256x192', {}),
    COCO + '3xmspn50_8xb32-210e_coco-256x192': ('mspn/mspn50_3stages_coco_256x192', {}),
    COCO + '4xmspn50_8xb32-210e_coco-256x192': ('mspn/mspn50_4stages_coco_256x192', {}),
    COCO + 'rsn18_8xb32-210e_coco-256x192': ('rsn/rsn18_coco_256x192', {}),
    COCO + 'rsn50_8xb32-210e_coco-256x192': ('rsn/rsn50_coco_256x192', {}),
    COCO + '2xrsn50_8xb32-210e_coco-256x192': ('rsn/rsn50_2stages_coco_256x192', {}),
    COCO + '3xrsn50_8xb32-210e_coco-256x192': ('rsn/rsn50_3stages_coco_256x192', {}),
    COCO + 'cpm_8xb64-210e_coco-256x192': ('cpm/cpm_mmpose_coco_256x192', {}),
    COCO + 'cpm_8xb32-210e_coco-384x288': ('cpm/cpm_mmpose_coco_256x192', SIZE_384),
    COCO + 'hourglass52_8xb32-210e_coco-256x256': ('corner_hourglass/corner_hourglass_coco_256', {}),
    COCO + 'swin-t-p4-w7_8xb32-210e_coco-256x192': ('swin/swin_t_coco_256x192', {}),
    COCO + 'swin-b-p4-w7_8xb32-210e_coco-256x192': ('swin/swin_b_coco_256x192', {}),
    COCO + 'swin-b-p4-w7_8xb32-210e_coco-384x288': ('swin/swin_b_coco_384x288', {}),
    COCO + 'swin-l-p4-w7_8xb32-210e_coco-256x192': ('swin/swin_l_coco_256x192', {}),
    COCO + 'swin-l-p4-w7_8xb32-210e_coco-384x288': ('swin/swin_l_coco_256x192', SIZE_384),
    COCO + 'hrformer-small_8xb32-210e_coco-256x192': ('hrformer/hrformer_s_coco_256x192', {}),
    COCO + 'hrformer-small_8xb32-210e_coco-384x288': ('hrformer/hrformer_s_coco_256x192', SIZE_384),
    COCO + 'hrformer-base_8xb32-210e_coco-256x192': ('hrformer/hrformer_b_coco_256x192', {}),
    COCO + 'hrformer-base_8xb32-210e_coco-384x288': ('hrformer/hrformer_b_coco_256x192', SIZE_384),
    COCO + 'pvt-s_8xb64-210e_coco-256x192': ('pvt/pvt_s_coco_256x192', {}),
    COCO + 'pvtv2-b2_8xb64-210e_coco-256x192': ('pvt/pvtv2_b2_coco_256x192', {}),
    YOLOX + 'tiny_4xb64-300e_coco-416': ('yoloxpose/yoloxpose_pafpn_s_coco_640', YOLOX_TINY),
    YOLOX + 's_8xb32-300e_coco-640': ('yoloxpose/yoloxpose_pafpn_s_coco_640', {}),
    YOLOX + 'm_8xb32-300e_coco-640': ('yoloxpose/yoloxpose_pafpn_m_coco_640', {}),
    YOLOX + 'l_8xb32-300e_coco-640': ('yoloxpose/yoloxpose_pafpn_m_coco_640', YOLOX_LARGE),
    RTMW + 'm_8xb1024-270e_cocktail14-256x192': ('rtmw/rtmw_m_coco_wholebody_256x192', {}),
    RTMW + 'l_8xb1024-270e_cocktail14-256x192': ('rtmw/rtmw_l_coco_wholebody_256x192', {}),
    RTMW + 'l_8xb320-270e_cocktail14-384x288': ('rtmw/rtmw_l_coco_wholebody_256x192', SIZE_384),
    RTMW + 'x_8xb704-270e_cocktail14-256x192': ('rtmw/rtmw_x_coco_wholebody_256x192', {}),
    RTMW + 'x_8xb320-270e_cocktail14-384x288': ('rtmw/rtmw_x_coco_wholebody_256x192', SIZE_384),
    MPII + 'cpm_8xb64-210e_mpii-368x368': ('cpm/cpm_mmpose_mpii_368', {}),
    MPII + 'hourglass52_8xb64-210e_mpii-256x256': ('corner_hourglass/corner_hourglass_mpii_256', {}),
}


@cache
def read_shapes() -> dict[str, Any]:
    """The published models by their configs; skips the test where the file is absent."""
    if not SHAPES.is_file():
        pytest.skip(f'no {SHAPES}')
    return json.loads(gzip.decompress(SHAPES.read_bytes()))


@pytest.mark.parametrize('name', PUBLISHED)
def test_every_weight_of_a_published_network_is_one_of_the_model(name):
    published = read_shapes()[f'{name}.py']
    file, options = PUBLISHED[name]
    with torch.device('meta'):
        model = build_model(load_config(ROOT / f'configs/{file}.py', options))
        weights = {
            key: torch.empty(shape, dtype=getattr(torch, kind)) for key, (shape, kind) in published['state'].items()
        }
    state, report = convert_state_dict(model, weights, name)
    assert state.keys() == model.state_dict().keys()
    ignored = [entry.name for entry in report.entries if entry.name and not entry.targets]
    num_ignored = sum(weights[key].numel() for key in ignored if key.endswith(('weight', 'bias')))
    assert sum(p.numel() for p in model.parameters()) == published['params'] - num_ignored

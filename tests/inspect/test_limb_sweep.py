"""Limb sets, representations and matchings on true fields."""

import pytest

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.data.synthetic import write_coco
from poseplug.inspect.limb_sweep import LimbResult, compare_limbs, select_limbs
from poseplug.registry.skeletons import get_skeleton


@pytest.fixture(scope='module')
def people_config(tmp_path_factory):
    from tests.conftest import ROOT

    data = write_coco(tmp_path_factory.mktemp('people') / 'people', num_train=1, num_val=2, seed=3)
    sources = [dict(type='CocoSource', split='val', data_root=str(data), keep_empty=True)]
    options = {'test_dataloader.dataset.sources': sources, 'test_dataloader.num_workers': 0}
    return load_config(ROOT / 'configs/openpose/openpose_tiny_synthetic_256.py', options)


@pytest.mark.parametrize('name', ['coco', 'coco18', 'lsp', 'mpii', 'body25'])
def test_a_tree_has_one_limb_less_than_it_has_keypoints_and_is_its_own_flipped_copy(name):
    skeleton = get_skeleton(name)
    tree = select_limbs(skeleton, 'tree')
    reached = {keypoint for limb in tree.limbs for keypoint in limb}
    assert len(tree.limbs) == len(reached) - 1
    assert len(tree.limb_groups) == len(skeleton.limb_groups)
    members = {frozenset(limb) for limb in tree.limbs}
    flipped = [skeleton.keypoints[i] for i in skeleton.flip_indices]
    assert {frozenset(flipped[skeleton.index(k)] for k in limb) for limb in members} == members


def test_all_limbs_connect_any_two_keypoints():
    assert len(select_limbs(get_skeleton('coco'), 'all').limbs) == 17 * 16 // 2


def test_true_fields_without_noise_are_grouped_by_every_matching(people_config):
    model = build_model(people_config).eval()
    results = [LimbResult('fields', 'tree', matching, 0.0) for matching in ('greedy', 'hungarian', 'graph')]
    results.append(LimbResult('midpoints', 'tree', 'greedy', 0.0))
    compare_limbs(people_config, model, results)
    aps = [result.values['AP'] for result in results]
    assert min(aps[:3]) > 60
    assert aps[3] <= aps[0]
    counts = [sum(map(len, result.parse_ms.values())) for result in results]
    assert counts == [2] * 4


def test_a_network_has_limb_fields_of_its_skeleton_alone(people_config):
    model = build_model(people_config).eval()
    results = [LimbResult('fields', limbs, 'greedy', 0.0) for limbs in ('tree', 'skeleton')]
    compare_limbs(people_config, model, results, use_network=True)
    assert all('AP' in result.values for result in results)
    with pytest.raises(ConfigError, match='compare midpoints and all limbs without it'):
        compare_limbs(people_config, model, [LimbResult('midpoints', 'tree', 'greedy', 0.0)], use_network=True)


def test_a_config_of_crops_is_an_error(root):
    cfg = load_config(root / 'configs/hourglass/hourglass1_lsp_128.py')
    with pytest.raises(ConfigError, match='by a config of BottomUp with the codec PAF'):
        compare_limbs(cfg, build_model(cfg), [LimbResult('fields', 'tree', 'greedy', 0.0)])

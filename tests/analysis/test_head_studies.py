"""The ablations of heads, each trained once at a tiny size."""

import csv

import pytest

from poseplug.analysis.head_studies import HEAD_STUDIES, build_hard_keypoint_group, build_paf_stage_group
from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.data.synthetic import write_coco
from tests.conftest import ROOT, format_cli_options, tiny_options


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp('people') / 'people', num_train=2, num_val=1, seed=3)


def build_people_options(people):
    """Options that make a config of the synthetic people train and test on three images."""
    sources = {
        split: [dict(type='CocoSource', split=split, data_root=str(people), keep_empty=split == 'val')]
        for split in ('train', 'val')
    }
    return {
        'train_dataloader.batch_size': 2,
        'train_dataloader.num_workers': 0,
        'train_dataloader.dataset.sources': sources['train'],
        'test_dataloader.num_workers': 0,
        'test_dataloader.dataset.sources': sources['val'],
        'param_scheduler': None,
        'custom_hooks': None,
    }


def run_analysis(command, name, config, out, options, *further):
    arguments = [ROOT / 'configs' / config, '--steps', 1, '--seeds', 1, '--out', out, *further]
    code, _, error = command('analyze', name, *arguments, *format_cli_options(options))
    assert code == 0, error
    return list(csv.DictReader((out / 'runs.csv').read_text().splitlines())), (out / 'report.md').read_text()


def test_hard_keypoints_are_mined_beside_globalnet_and_refinenet(command, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setitem(HEAD_STUDIES['hard-keypoints'], 'keypoints', build_hard_keypoint_group((8,)))
    data = {key: value for key, value in tiny_options(tiny_data).items() if 'dataset' in key or 'workers' in key}
    small = {'model.codec.input_size': (64, 64), 'model.backbone.base_channels': 4, 'model.head.channels': 8}
    options = {**data, **small, 'param_scheduler': None, 'model.channels_last': False}
    rows, page = run_analysis(command, 'hard-keypoints', 'cpn/cpn_r18_lsp_128.py', tmp_path / 'out', options)
    assert [row['variant'] for row in rows] == [
        'GlobalNet alone',
        'RefineNet, all keypoints',
        'RefineNet, 8 hardest',
    ]
    parameters = [int(row['parameters']) for row in rows]
    assert parameters[0] < parameters[1]
    assert len(set(parameters[1:])) == 1
    assert 'mining the 8 hardest helps' in page


def test_limb_and_keypoint_stages_are_split(command, people, tmp_path, monkeypatch):
    monkeypatch.setitem(HEAD_STUDIES['paf-stages'], 'stages', build_paf_stage_group(3))
    small = {'model.backbone.channels': 8, 'model.codec.input_size': (64, 64)}
    options = {**build_people_options(people), **small}
    options |= {'model.head.first_channels': (4, 8), 'model.head.later_channels': (4, 8), 'model.head.num_blocks': 1}
    config = 'openpose/openpose_stages_synthetic_256.py'
    rows, page = run_analysis(command, 'paf-stages', config, tmp_path / 'out', options, '--metric', 'AP')
    assert [row['variant'] for row in rows] == ['2 of limbs, 1 of keypoints', '1 of limbs, 2 of keypoints']
    assert 'limb stages matter more' in page


def test_bins_are_trained_by_likelihood_and_by_divergence(command, people, tmp_path):
    options = {**build_people_options(people), 'model.codec.input_size': (64, 64)}
    config = 'rtmo/rtmo_tiny_synthetic_256.py'
    rows, page = run_analysis(command, 'bins', config, tmp_path / 'out', options, '--group', 'loss', '--metric', 'AP')
    assert [row['variant'] for row in rows] == [
        'likelihood',
        'divergence from Gaussian labels',
        'cross entropy of one-hot labels',
    ]
    assert 'too small to say' in page


@pytest.mark.parametrize('group', ['bins', 'sigma', 'encoding'])
def test_every_variant_of_bins_is_a_model(group):
    for variant in HEAD_STUDIES['bins'][group].variants:
        cfg = load_config(ROOT / 'configs/rtmo/rtmo_tiny_synthetic_256.py', variant.options)
        assert build_model(cfg).network.num_stages == 1


@pytest.mark.parametrize('family', sorted(HEAD_STUDIES))
def test_claims_of_heads_are_about_their_variants(family):
    for group in HEAD_STUDIES[family].values():
        names = {variant.name for variant in group.variants}
        assert {name for claim in group.claims for name in (claim.variant, claim.baseline)} <= names
        assert group.claims

"""The analyses that train, each once at a tiny size."""

import csv
import json

import numpy as np
import pytest

from poseplug.analysis.family_studies import FAMILY_STUDIES
from poseplug.analysis.gradient_study import WITH_SUPERVISION, WITHOUT_SUPERVISION
from poseplug.analysis.regime_study import build_regime_variants
from poseplug.core.errors import ConfigError
from tests.conftest import ROOT, format_cli_options, tiny_options

CONFIG = ROOT / 'configs/cpm/cpm_synthetic.py'


@pytest.fixture
def analyze(command, tiny_data, tmp_path):
    """A function that runs a tiny analysis and returns its folder and its Markdown page."""

    def run(name, *options, steps=2, seeds=1, config=CONFIG, **changes):
        out = tmp_path / name
        tiny = {**tiny_options(tiny_data), 'param_scheduler': None}
        if config != CONFIG:
            tiny = {key: value for key, value in tiny.items() if not key.startswith('model.')}
        arguments = [config, '--steps', steps, '--seeds', seeds, '--out', out, *options]
        code, text, error = command('analyze', name, *arguments, *format_cli_options({**tiny, **changes}))
        assert code == 0, error
        return out, (out / 'report.md').read_text()

    return run


def read_rows(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def test_gradients_by_layer_with_and_without_intermediate_supervision(analyze):
    out, page = analyze('gradients', '--at', '0,1.0', steps=3)
    rows = read_rows(out / 'runs.csv')
    assert {(row['variant'], row['step']) for row in rows} == {
        (variant, step) for variant in (WITH_SUPERVISION, WITHOUT_SUPERVISION) for step in ('0', '2')
    }
    chosen = [row for row in rows if (row['step'], row['layer']) == ('0', 'head.predict.0.weight')]
    rms = {row['variant']: float(row['rms']) for row in chosen}
    # the weights of stage 2 start near zero, so that nearly nothing of its loss reaches the prediction of stage 1
    assert rms[WITH_SUPERVISION] > 10 * rms[WITHOUT_SUPERVISION] > 0
    assert 'stage 1 has larger gradients with intermediate supervision, step 0' in page
    for name in ('chart', 'step_0', 'step_2', 'histograms'):
        assert (out / f'{name}.svg').read_text().startswith('<svg')
        assert (out / f'{name}.png').read_bytes().startswith(b'\x89PNG')


def test_regimes_have_equal_steps_and_freeze_what_they_say(analyze):
    out, page = analyze('regimes', '--margin', 3, steps=6)
    rows = read_rows(out / 'runs.csv')
    assert [row['variant'].split()[0] for row in rows] == ['i', 'ii', 'iii', 'iv']
    assert {row['steps'] for row in rows} == {'6'}
    assert 'iii as good as i, within 3' in page
    folders = json.loads((out / 'runs/iii_stage_by_stage_then_joint/seed_0/run.json').read_text())['work_dirs']
    assert [folder[-1] for folder in folders] == ['1', '2', '3']


def test_regimes_of_one_stage_are_an_error():
    with pytest.raises(ConfigError, match='regimes compare ways to train several stages; the network has one stage'):
        build_regime_variants(1)


def test_stages_of_one_stage_are_an_error_before_any_training(command, tiny_cli_options, tmp_path):
    options = tiny_cli_options(**{'model.head.num_stages': 1})
    code, _, error = command('analyze', 'stages', CONFIG, '--out', tmp_path, '--steps', 1, *options)
    assert (code, 'stages are compared of a network with several; this one has one stage' in error) == (2, True)
    assert not list(tmp_path.rglob('*.pth'))


def test_stages_have_scores_keypoints_and_curves(analyze):
    out, page = analyze('stages', '--metric', 'PCK@0.2', seeds=2)
    rows = read_rows(out / 'runs.csv')
    assert [(row['seed'], row['stage']) for row in rows] == [('0', '1'), ('0', '2'), ('1', '1'), ('1', '2')]
    mean = np.mean([float(row['PCK@0.2']) for row in rows if row['stage'] == '1'])
    assert f'| stage 1 | {mean:.2f} [' in page
    assert 'ankle' in (out / 'keypoints.svg').read_text()
    assert 'threshold' in (out / 'curves.svg').read_text()


def test_receptive_fields_at_equal_parameters(analyze):
    layers = {'model.head.context_layers': ((3, 8), (1, 8))}
    out, page = analyze('receptive-field', '--kernels', '1,5', **layers)
    small, large = read_rows(out / 'runs.csv')
    # one layer at stride 8: 4 cells of 8 px more on both sides together
    assert int(large['theoretical_px']) - int(small['theoretical_px']) == 32
    assert abs(int(large['parameters']) / int(small['parameters']) - 1) < 0.1
    for row in (small, large):
        assert 1 <= float(row['half_width_px']) < float(row['width_px']) <= 2 * 32
    assert 'kernel 5 better than kernel 1' in page
    assert 'in theory' in (out / 'fields.svg').read_text()


def test_layers_that_are_none_and_even_kernels_are_errors(command, tiny_cli_options, tmp_path):
    for options, message in (
        (['--layers', 'model.head.num_stages'], 'lists layers as (kernel size, channels); the config has 2'),
        (['--kernels', '3,4'], 'kernel sizes are odd numbers, such as 3,7,11; got [3, 4]'),
    ):
        arguments = [CONFIG, '--out', tmp_path, '--steps', 1, *options, *tiny_cli_options()]
        code, _, error = command('analyze', 'receptive-field', *arguments)
        assert (code, message in error) == (2, True), error


def test_supervision_inside_an_hourglass(analyze):
    small = {'model.codec.input_size': (32, 32), 'model.head.channels': 8, 'model.head.depth': 1}
    config = ROOT / 'configs/hourglass/hourglass1_lsp_128.py'
    options = {**small, 'model.backbone.channels': 8, 'custom_hooks': None}
    out, page = analyze('hourglass', '--group', 'supervision', steps=1, config=config, **options)
    rows = read_rows(out / 'runs.csv')
    assert [row['variant'] for row in rows] == ['every stack', 'last stack', 'every stack and inside']
    assert rows[0]['parameters'] == rows[1]['parameters']
    assert int(rows[2]['parameters']) - int(rows[0]['parameters']) == 2 * (8 * 14 + 14)  # two more 1x1 predictions
    assert 'supervision inside helps further' in page


def test_parts_of_a_transformer_are_frozen(analyze):
    small = {'model.codec.input_size': (32, 32), 'model.backbone.embed_dim': 16, 'model.backbone.depth': 1}
    config = ROOT / 'configs/vitpose/vit_tiny_lsp_128.py'
    options = {**small, 'model.backbone.num_heads': 2, 'model.head.deconv_out_channels': 8, 'custom_hooks': None}
    out, page = analyze('transformers', '--group', 'frozen', steps=1, config=config, **options)
    assert len(read_rows(out / 'runs.csv')) == 3
    assert 'frozen attention better than frozen feed-forward' in page


@pytest.mark.parametrize('family', sorted(FAMILY_STUDIES))
def test_claims_of_families_are_about_their_variants(family):
    for group in FAMILY_STUDIES[family].values():
        names = {variant.name for variant in group.variants}
        assert {name for claim in group.claims for name in (claim.variant, claim.baseline)} <= names
        assert group.claims

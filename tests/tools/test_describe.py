"""poseplug describe: what it prints, what it imports, and every shipped config."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from poseplug.config.load import load_config
from poseplug.inspect.complexity import build_on_meta_device
from poseplug.inspect.description import group_equal_parts
from poseplug.inspect.model_table import parse_score

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(p.relative_to(ROOT) for p in ROOT.glob('configs/[!_]*/*.py'))


def test_the_json_has_totals_and_parts_that_add_up(command, root):
    code, out, _ = command('describe', root / 'configs/cpm/cpm_lsp_lite.py', '--json')
    description = json.loads(out)
    assert code == 0
    assert description['receptive_field'] == [148, 388, 628]
    for name in ('parameters', 'macs'):
        assert description[name] == sum(part[name] for part in description['parts'].values())
    assert description['parts']['head']['receptive_field'] == description['receptive_field']
    assert description['shapes']['backbone'] == [{'shape': [64, 16, 16], 'stride': 8}]
    assert description['shapes']['stages'] == [{'heatmap': [15, 16, 16]}] * 3
    assert description['skeleton']['keypoints'][0] == 'right_ankle'
    codec = description['codec']
    assert (codec['type'], codec['grid'], codec['offset']) == ('CPMHeatmap', [16, 16], 3.5)
    assert description['loaders']['train']['sources'] == ['LSPSource', 'LSPETSource']


def test_options_change_what_is_described(command, root):
    options = ('--cfg-options', 'model.head.num_stages=2', 'model.codec.input_size=(64,64)')
    description = json.loads(command('describe', root / 'configs/cpm/cpm_lsp_lite.py', '--json', *options)[1])
    assert description['receptive_field'] == [148, 388]
    assert description['shapes']['input'] == [3, 64, 64]


def test_the_text_describes_the_flow_from_bytes_to_keypoints_in_order(command, root):
    code, out, _ = command('describe', root / 'configs/cpm/cpm_lsp_lite.py')
    expected = ['loader', 'input  3 x 128 x 128', 'backbone  CPMVGGTrunk', '64 x 16 x 16  stride 8  sees 148 px',
              'head  CPMHead', 'stage 3: heatmap 15 x 16 x 16  sees 628 px', 'codec  CPMHeatmap', 'poses  14 keypoints',
              'contexts.0 to 1, each', '2,682,269']  # fmt: skip
    positions = [out.find(text) for text in expected]
    assert (code, -1 in positions) == (0, False)
    assert positions == sorted(positions)


def test_parts_of_one_list_with_equal_cost_are_one_line():
    cost = {'parameters': 1, 'macs': 2}
    other = {'parameters': 3, 'macs': 2}
    inner = {'first': cost, 'second': cost, 'list.0': cost, 'list.1': cost, 'list.2': other, 'list.3': cost}
    assert [name for name, _ in group_equal_parts(inner)] == [
        'first',
        'second',
        'list.0 to 1, each',
        'list.2',
        'list.3',
    ]


def test_describing_loads_no_data_and_imports_neither_the_engine_nor_a_plotter(root, tmp_path):
    code = (
        f'import runpy, sys; sys.argv = ["poseplug", "describe", {str(root / "configs/cpm/cpm_lsp_lite.py")!r}]\n'
        'runpy.run_module("poseplug", run_name="__main__")\n'
        'print([m for m in sys.modules if m.startswith(("matplotlib", "mmengine.runner", "poseplug.engine"))])'
    )
    environment = {'POSEPLUG_DATA': str(tmp_path / 'nowhere'), 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'}
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.splitlines()[-1] == '[]'


def test_a_folder_is_described_as_a_table(command, root, tmp_path):
    code, out, _ = command('describe', root / 'configs/cpn', '--table', tmp_path / 'models.md')
    text = (tmp_path / 'models.md').read_text()
    assert (code, out) == (0, f'written: {tmp_path / "models.md"}\n')
    assert '| `cpn_r50_coco_256x192` | 192 x 256 | 27,009,685 |' in text


def test_a_model_without_heatmaps_is_described_too(command, root):
    config = root / 'configs/simple_baseline/simple_baseline_r50_coco_128x96.py'
    parts = ('model.codec.type=SimCC', 'model.head.type=SimCCHead', 'model.loss.type=KLDivergence')
    code, out, error = command('describe', config, '--cfg-options', *parts)
    assert (code, 'SimCC' in out) == (0, True), error


def test_the_cells_of_an_aligned_grid_are_described_per_axis(command, root):
    """48 cells over 192 px and 64 over 256: 191 / 47 and 255 / 63 px from one to the next."""
    out = command('describe', root / 'configs/vitpose/vitpose_s_coco_256x192.py')[1]
    assert 'cell g at pixel 4.064 g + 0 across, 4.048 g + 0 down' in ' '.join(out.split())
    out = command('describe', root / 'configs/cpm/cpm_lsp_lite.py')[1]
    assert 'cell g at pixel 8 g + 3.5\n' in out


def test_a_missing_config_is_an_error_of_one_line(command, root):
    code, _, error = command('describe', root / 'configs/cpm/cpm_lsp_light.py')
    assert code == 2
    assert "closest: 'cpm_lsp_lite.py'" in error


@pytest.mark.parametrize('config', CONFIGS, ids=str)
def test_every_config_loads_with_its_training_parts_and_builds(config, monkeypatch):
    monkeypatch.chdir(ROOT)  # teachers are named by their path from here
    build_on_meta_device(load_config(ROOT / config, training=True))


@pytest.mark.parametrize('config', CONFIGS, ids=str)
def test_every_config_is_short_and_names_its_command_and_its_score(config):
    text = (ROOT / config).read_text()
    assert re.search(rf'^Run: python tools/train\.py {re.escape(str(config))}$', text, re.MULTILINE)
    assert len(text.splitlines()) <= 50
    score = parse_score(ROOT / config)
    if score.is_trained:
        assert 'docs/lab/results.md' in score.note
        assert re.search(rf'\b{re.escape(score.measured_score)}\d?\b', (ROOT / 'docs/lab/results.md').read_text())

"""Configs that come with poseplug: by name, as bases, and from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from poseplug.config.load import load_config
from poseplug.config.shipped import find_config, is_config_argument, list_configs
from poseplug.core.errors import ConfigError

ROOT = Path(__file__).parents[2]
HRNET = ROOT / 'configs/hrnet/hrnet_w32_coco_256x192.py'


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_config_has_a_name_of_its_own():
    files = [file for file in (ROOT / 'configs').rglob('*.py') if '_base_' not in file.parts]
    assert sorted(list_configs().values()) == sorted(files)
    assert list(list_configs()) == sorted(list_configs())


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('mine.py', True),
        ('folder/mine.json', True),
        ('mine.yml', True),
        ('cpm_lsp_lite', True),
        ('poseplug::cpm_lsp_lite', True),
        ('cpm_lsp_lit', False),
        ('photo.jpg', False),
        ('https://example.org/a.jpg', False),
        ('-', False),
    ],
)
def test_an_argument_is_a_config_by_its_suffix_or_its_name(text, expected):
    assert is_config_argument(text) is expected


@pytest.mark.parametrize(
    'name',
    [
        'hrnet_w32_coco_256x192',
        'hrnet_w32_coco_256x192.py',
        'hrnet/hrnet_w32_coco_256x192',
        'hrnet/hrnet_w32_coco_256x192.py',
        'poseplug::hrnet_w32_coco_256x192',
        'poseplug::hrnet/hrnet_w32_coco_256x192.py',
        Path('hrnet_w32_coco_256x192'),
        HRNET,
    ],
    ids=str,
)
def test_a_config_is_found_by_name_in_an_empty_folder(name):
    assert find_config(name).resolve() == HRNET


def test_a_file_goes_before_a_shipped_config_of_that_name_unless_the_scope_is_given():
    own = Path('hrnet_w32_coco_256x192.py')
    own.write_text('')
    assert find_config(own) == own
    assert find_config(f'poseplug::{own}') == HRNET


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('hrnet_w32_coco_256x129', "hrnet_w32_coco_256x129: no such config; closest: 'hrnet_w32_coco_256x192'"),
        ('poseplug::cpm_lsp_lit.py', "poseplug::cpm_lsp_lit.py: no such config; closest: 'cpm_lsp_lite'"),
        ('hrnet/nothing_of_the_kind', 'hrnet/nothing_of_the_kind: no such config'),
        ('../poseplug/__main__', '../poseplug/__main__: no such config'),
        ('poseplug::../setup.py', 'poseplug::../setup.py: no such config'),
    ],
)
def test_a_name_that_does_not_exist_is_an_error_with_the_closest(name, message):
    with pytest.raises(ConfigError) as error:
        find_config(name)
    assert str(error.value).startswith(message)


def test_a_config_of_a_user_builds_on_a_shipped_one_by_name():
    Path('mine.py').write_text("_base_ = ['poseplug::cpm_lsp_lite']\nmodel = dict(head=dict(num_stages=2))\n")
    cfg, lite = load_config('mine.py'), load_config('cpm_lsp_lite')
    assert cfg.filename == 'mine.py'
    lite.model.head.num_stages = 2
    assert cfg.to_dict() == lite.to_dict()


@pytest.mark.parametrize('base', ['cpm_lsp_lite', 'cpm_lsp_lite.py'])
def test_the_bare_name_of_a_base_is_a_file_beside_the_config_or_a_shipped_one(base):
    Path('mine.py').write_text(f"_base_ = ['{base}']\n")
    assert load_config('mine.py').to_dict() == load_config('cpm_lsp_lite').to_dict()
    Path('cpm_lsp_lite.py').write_text("_base_ = ['poseplug::cpm_lsp_lite']\nseed = 7\n")
    if base.endswith('.py'):
        assert load_config('mine.py').seed == 7


@pytest.mark.parametrize(
    ('base', 'message'),
    [
        ('cpm_lsp_lit', "mine.py: its base cpm_lsp_lit: no such config; closest: 'cpm_lsp_lite'"),
        ('min.py', "mine.py: its base min.py: no such config; closest: 'mine.py'"),
        ('../cpm/cpm_lsp_lite.py', 'mine.py: its base ../cpm/cpm_lsp_lite.py: no such config'),
        ('elsewhere/cpm_lsp_lite.py', 'mine.py: its base elsewhere/cpm_lsp_lite.py: no such config'),
    ],
)
def test_a_base_that_is_neither_a_file_nor_a_shipped_config_is_an_error(base, message):
    Path('mine.py').write_text(f"_base_ = '{base}'\n")
    with pytest.raises(ConfigError) as error:
        load_config('mine.py')
    assert str(error.value).startswith(message)


@pytest.mark.parametrize('base', ['poseplug::cpm_lsp_lite', 'poseplug::cpm/cpm_lsp_lite.py'])
def test_a_base_of_a_base_may_be_a_shipped_config_and_errors_have_the_users_file_and_line(base):
    Path('below').mkdir()
    Path('below/mine.py').write_text(f"_base_ = (\n    '{base}'\n)\ninit = '{{{{ fileDirname }}}}'\nseed = 3\n")
    Path('mine.py').write_text("_base_ = 'below/mine.py'\nmodel = dict(\n    head=dict(num_stages=2))\n")
    cfg = load_config('mine.py')
    assert (cfg.seed, cfg.model.head.num_stages, cfg.model.backbone.type) == (3, 2, 'CPMVGGTrunk')
    assert cfg.init == str(Path('below').resolve())
    Path('mine.py').write_text("_base_ = 'below/mine.py'\nmodel = dict(\n    head=dict(num_satges=2))\n")
    with pytest.raises(ConfigError, match=r"^mine.py:3, model.head.num_satges: .*closest: 'num_stages'"):
        load_config('mine.py')


def test_parts_of_shipped_bases_are_bases_too():
    Path('mine.py').write_text(
        "_base_ = ['poseplug::_base_/datasets/coco.py', 'poseplug::_base_/schedules/adamw.py']\n"
    )
    assert load_config('mine.py').skeleton == 'coco'


def test_a_base_that_does_not_exist_has_a_closest_one():
    Path('mine.py').write_text("_base_ = 'poseplug::cpm_lsp_lit'\n")
    with pytest.raises(ConfigError, match="poseplug::cpm_lsp_lit: no such config; closest: 'cpm_lsp_lite'"):
        load_config('mine.py')


def test_the_command_takes_a_name_and_lists_all(tmp_path, monkeypatch, capsys):
    from poseplug.__main__ import main

    for arguments in (['describe', 'cpm_lsp_lite', '--safe'], ['list', 'config']):
        monkeypatch.setattr('sys.argv', ['poseplug', *arguments])
        main()
    printed = capsys.readouterr().out
    assert '"../_base_/models/cpm_lite.py"' in printed
    listed = [line.split()[0] for line in printed.partition('config:\n')[2].splitlines()]
    assert listed == list(list_configs())


def test_settings_are_no_name_of_a_config():
    with pytest.raises(ConfigError, match='a config is a file or the name of a shipped one; got dict'):
        load_config(dict(model=dict(type='TopDown')))


@pytest.mark.parametrize('family', ['hrnet/hrnet_w32', 'simple_baseline/simple_baseline_r50', 'hourglass/hourglass8'])
def test_three_input_sizes_have_gaussians_of_one_two_and_three_cells(family):
    """DARK's sizes (Zhang et al. 2020, section 4): sigma grows with the input, and is the same part of a person."""
    for height, width, sigma_px in ((128, 96, 4.0), (256, 192, 8.0), (384, 288, 12.0)):
        codec = load_config(ROOT / f'configs/{family}_coco_{height}x{width}.py').model.codec
        assert (tuple(codec.input_size), codec.sigma_px) == ((width, height), sigma_px)

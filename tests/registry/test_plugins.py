"""Packages are made by hand below tmp_path, as pip would install them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS

from poseplug.cli.commands import list as command
from poseplug.config.check import describe_missing_part, find_part_type
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError, PluginError, UnsafeFileError
from poseplug.registry import CODECS, MODELS, REGISTRIES, plugins
from poseplug.registry.skeletons import get_skeleton

ROOT = Path(__file__).parents[2]
GOOD = """
from dataclasses import dataclass
from poseplug.codecs.heatmap import Heatmap

@dataclass(frozen=True)
class {name}(Heatmap):
    pass
"""
REGISTERED = GOOD.replace('@dataclass', 'from poseplug.registry import CODECS\n@CODECS.register_module()\n@dataclass')
ROOT_REGISTRIES = {'optimizer': OPTIMIZERS, 'parameter scheduler': PARAM_SCHEDULERS}  # of mmengine alone


def install_package(site: Path, package: str, code: str, *names: str, kind: str = 'codec') -> None:
    """Write a package and its dist-info into a folder; its entry points are the names of objects in it."""
    (site / package).mkdir(parents=True)
    (site / package / '__init__.py').write_text(code)
    write_dist_info(site, package, kind, {name: f'{package}:{name}' for name in names})


def write_dist_info(site: Path, package: str, kind: str, entries: dict[str, str]) -> None:
    """Write the dist-info of a package into a folder."""
    info = site / f'{package.replace("-", "_")}-1.2.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n')
    lines = '\n'.join(f'{name} = {value}' for name, value in entries.items())
    (info / 'entry_points.txt').write_text(f'[poseplug.{kind.replace(" ", "_")}]\n{lines}\n')


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, visible during the test; none of them has been imported yet."""
    for registry in REGISTRIES.values():
        registry.list_names()
    for registry in (*REGISTRIES.values(), *ROOT_REGISTRIES.values()):
        monkeypatch.setattr(registry, '_module_dict', dict(registry._module_dict))
    plugins.list_plugin_parts.cache_clear()
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    plugins.list_plugin_parts.cache_clear()
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(getattr(module, '__file__', '')):
            del sys.modules[name]


def run_python(site: Path, *args: str, cwd: Path = ROOT, path: str = '') -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter with these packages, and those in the folder `path`."""
    search_path = os.pathsep.join(filter(None, [str(site), path, str(ROOT)]))
    environment = {**os.environ, 'PYTHONPATH': search_path, 'OMP_NUM_THREADS': '1'}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=environment, cwd=cwd)


def test_parts_of_an_installed_package_are_found_by_name_beside_the_built_in_ones(site):
    install_package(site, 'goodone', GOOD.format(name='Good'), 'Good')
    assert CODECS.get('Good').__module__ == 'goodone'
    assert {'Good', 'Heatmap'} <= set(CODECS.list_names())


def test_a_part_that_its_module_registers_too_is_one_part(site):
    install_package(site, 'goodone', REGISTERED.format(name='Good'), 'Good')
    for _ in range(2):
        assert CODECS.get('Good') is sys.modules['goodone'].Good


def test_a_part_goes_by_the_name_of_its_entry_point(site):
    install_package(site, 'goodone', GOOD.format(name='Good'))
    write_dist_info(site, 'second', 'codec', {'Better': 'goodone:Good', 'Nested': 'goodone:Outer.Inner'})
    (site / 'goodone' / '__init__.py').write_text(GOOD.format(name='Good') + 'class Outer:\n    Inner = Good')
    assert CODECS.get('Better') is CODECS.get('Nested') is sys.modules['goodone'].Good


@pytest.mark.parametrize('kind', [*REGISTRIES, *ROOT_REGISTRIES])
def test_every_kind_of_part_has_a_group_of_entry_points(site, kind):
    install_package(site, 'anything', 'class Anything: ...', 'Anything', kind=kind)
    registry = {**REGISTRIES, **ROOT_REGISTRIES}[kind]
    assert find_part_type(registry, 'Nothing') is None
    assert 'anything' not in sys.modules
    assert find_part_type(registry, 'Anything') is sys.modules['anything'].Anything


def test_the_object_of_a_skeletons_entry_point_is_the_skeleton(site):
    code = "from poseplug.core.skeleton import Skeleton\nPAIR = Skeleton('pair', ('left', 'right'))"
    install_package(site, 'pairs', code)
    write_dist_info(site, 'second', 'skeleton', {'pair': 'pairs:PAIR'})
    assert get_skeleton('pair') is sys.modules['pairs'].PAIR
    assert len(get_skeleton('lsp+pair')) == 16


def test_a_plugin_that_is_not_named_is_not_imported(site):
    install_package(site, 'goodone', GOOD.format(name='Good'), 'Good')
    install_package(site, 'other', GOOD.format(name='Other'), 'Other')
    for known in ('Heatmap', 'Good'):
        assert CODECS.get(known)
    for registry in REGISTRIES.values():
        registry.list_names()
        with pytest.raises(ConfigError, match='not registered'):
            registry.get('Nowhere')
    assert 'goodone' in sys.modules
    assert 'other' not in sys.modules


def test_other_parts_of_a_package_are_not_imported(site):
    install_package(site, 'lazy', '')
    write_dist_info(site, 'second', 'codec', {'Mine': 'lazy.mine:Mine', 'Yours': 'lazy.yours:Yours'})
    for name in ('mine', 'yours'):
        (site / 'lazy' / f'{name}.py').write_text(GOOD.format(name=name.title()))
    assert CODECS.get('Mine').__module__ == 'lazy.mine'
    assert 'lazy.yours' not in sys.modules


def test_a_broken_plugin_is_an_error_with_its_cause_where_it_is_named_and_does_not_stop_the_others(site):
    install_package(site, 'broken', 'import no_such_package', 'Broken')
    install_package(site, 'leaving', 'raise SystemExit(3)', 'Leaving')
    install_package(site, 'absent', '', 'Absent')
    install_package(site, 'good', GOOD.format(name='Good'), 'Good')
    for _ in range(2):
        with pytest.raises(
            PluginError,
            match="^codec 'Broken' is broken:Broken of package broken 1.2, which does not load: ModuleNotFoundError: "
            "No module named 'no_such_package'. Repair, update",
        ):
            CODECS.get('Broken')
        with pytest.raises(PluginError, match='leaving 1.2, which does not load: SystemExit: 3'):
            CODECS.get('Leaving')
        with pytest.raises(PluginError, match='absent 1.2, which does not load: AttributeError'):
            CODECS.get('Absent')
        assert CODECS.get('Good')
    assert 'CPMHead' in MODELS.list_names()


def test_an_object_that_is_not_a_part_is_an_error(site):
    install_package(site, 'wrong', 'Value = 3', 'Value')
    with pytest.raises(PluginError, match='a codec is a class or a function; wrong has a value of int'):
        CODECS.get('Value')


def test_a_plugin_whose_source_is_not_python_is_an_error_of_that_plugin(site):
    install_package(site, 'torn', GOOD.format(name='Broken') + 'def (', 'Broken')
    with pytest.raises(PluginError, match='torn 1.2, which does not load: SyntaxError: invalid syntax'):
        CODECS.get('Broken')


def test_the_parts_of_installed_plugins_count_among_the_closest_and_the_known(site):
    install_package(site, 'goodone', GOOD.format(name='Splendid'), 'Splendid')
    with pytest.raises(ConfigError, match=r"^codec 'Splendit' .*; closest: 'Splendid'; known: .*, Splendid, ") as error:
        CODECS.get('Splendit')
    assert 'Installed plugins: goodone 1.2' in str(error.value)
    with pytest.raises(ConfigError, match="^model 'Splendid' is not registered; 'Splendid' is a codec"):
        MODELS.get('Splendid')
    assert 'goodone' not in sys.modules


@pytest.mark.parametrize(
    ('kind', 'name', 'owner'),
    [
        ('codec', 'CPMHeatmap', 'poseplug.codecs.cpm.CPMHeatmap'),
        ('skeleton', 'lsp', 'poseplug.skeletons.lsp.lsp'),
        ('hook', 'EmptyCacheHook', 'mmengine.hooks.empty_cache_hook.EmptyCacheHook'),
    ],
)
def test_a_built_in_name_that_a_package_takes_too_is_an_error_that_names_both_and_imports_nothing(
    site, kind, name, owner
):
    install_package(site, 'clashing', f'class {name}: ...', name, kind=kind)
    install_package(site, 'later', GOOD.format(name='Good'), 'Good')
    message_pattern = (
        f"^{kind} '{name}' is registered by {owner}; clashing:{name} of package clashing 1.2 cannot take the name too. "
        'Rename one of them, or uninstall'
    )
    for _ in range(2):
        with pytest.raises(PluginError, match=message_pattern):
            REGISTRIES[kind].get(name)
    assert 'clashing' not in sys.modules
    assert CODECS.get('Good')


def test_a_module_that_registers_a_taken_name_on_import_is_an_error_even_if_it_is_imported_first(tmp_path):
    (tmp_path / 'clashing.py').write_text(REGISTERED.format(name='CPMHeatmap'))
    process = run_python(tmp_path, '-c', 'import clashing')
    assert "PluginError: codec 'CPMHeatmap' is already registered by poseplug.codecs.cpm.CPMHeatmap" in process.stderr


def test_two_plugins_that_offer_one_name_are_both_named_and_neither_is_imported(site):
    install_package(site, 'one', GOOD.format(name='Same'), 'Same')
    install_package(site, 'two', GOOD.format(name='Same'), 'Same')
    message_pattern = (
        "^codec 'Same' is offered as one:Same of package one 1.2 and as two:Same of package two 1.2; uninstall the "
        "package that you do not need, or write type='one.Same'"
    )
    with pytest.raises(PluginError, match=message_pattern):
        CODECS.get('Same')
    assert not {'one', 'two'} & set(sys.modules)
    assert CODECS.get('two.Same').__module__ == 'two'


def test_a_plugin_may_look_up_names_while_it_is_loaded(site):
    asking = "from poseplug.registry import CODECS\nBase = CODECS.get('CPMHeatmap'), CODECS.get('Good')"
    install_package(site, 'asking', asking + GOOD.format(name='Asking'), 'Asking')
    install_package(site, 'goodone', GOOD.format(name='Good'), 'Good')
    assert CODECS.get('Asking').__module__ == 'asking'
    assert sys.modules['asking'].Base[1].__module__ == 'goodone'


def test_the_package_is_cheap_to_import():
    code = 'import sys; before = set(sys.modules); import poseplug; print(*sorted(set(sys.modules) - before))'
    loaded = run_python(ROOT, '-c', code).stdout.split()
    standard = [name for name in loaded if name.partition('.')[0] in sys.stdlib_module_names]
    assert [name for name in loaded if name not in standard] == ['poseplug', 'poseplug.core', 'poseplug.core.version']
    assert set(standard) <= {'importlib', 'importlib._bootstrap', 'importlib._bootstrap_external', 'warnings'}


def test_the_registries_do_not_load_the_engine_or_matplotlib():
    code = (
        "import sys; from poseplug.config.load import load_config; load_config('configs/cpm/cpm_lsp_lite.py'); "
        "print([m for m in sys.modules if m.startswith(('mmengine.runner', 'matplotlib', 'poseplug.engine'))])"
    )
    assert run_python(ROOT, '-c', code).stdout == '[]\n'


def list_parts(*kinds: str) -> None:
    """Run `poseplug list` in this process."""
    parser = argparse.ArgumentParser()
    command.add_list_arguments(parser)
    command.run_list(parser.parse_args(kinds))


def read_listed(capsys) -> list[str]:
    """The printed lines, with single spaces."""
    return [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_every_part_is_listed_with_its_origin_and_no_plugin_is_imported(site, capsys):
    install_package(site, 'goodone', '', 'Good', 'CPMHeatmap')
    install_package(site, 'one', '', 'Same')
    install_package(site, 'two', '', 'Same')
    list_parts('codec', 'skeleton')
    listed = read_listed(capsys)
    assert listed[0] == 'codec:'
    assert 'lsp poseplug, poseplug/skeletons/lsp.py' in listed
    assert 'Good goodone 1.2, goodone:Good' in listed
    assert 'CPMHeatmap goodone 1.2, goodone:CPMHeatmap' in listed
    assert 'CPMHeatmap poseplug, poseplug/codecs/cpm.py' in listed
    assert 'Same one 1.2, one:Same' in listed
    assert 'Same two 1.2, two:Same' in listed
    assert not {'goodone', 'one', 'two'} & set(sys.modules)


def test_a_plugin_that_was_imported_is_listed_as_before_and_a_part_of_a_file_with_the_file(site, capsys):
    install_package(site, 'goodone', REGISTERED.format(name='Good'), 'Good')
    (site / 'beside.py').write_text(REGISTERED.format(name='Beside'))
    CODECS.get('Good')
    import_module('beside')
    list_parts('codec')
    listed = read_listed(capsys)
    assert [line for line in listed if line.startswith('Good ')] == ['Good goodone 1.2, goodone:Good']
    assert f'Beside {site / "beside.py"}' in listed


@pytest.mark.parametrize('kind', REGISTRIES)
def test_every_built_in_part_is_listed_with_its_file(kind, capsys):
    list_parts(kind)
    listed = dict(line.split(' ', 1) for line in read_listed(capsys)[1:])
    files = {name: origin.removeprefix('poseplug, ') for name, origin in listed.items() if 'poseplug, ' in origin}
    ours = [name for name, part in REGISTRIES[kind].module_dict.items() if part.__module__.startswith('poseplug.')]
    assert set(files) == set(ours)
    assert all((ROOT / file).is_file() for file in files.values())


def test_a_kind_that_does_not_exist_has_a_closest_one():
    with pytest.raises(ConfigError, match="no kind of part 'codecs'; closest: 'codec'"):
        list_parts('codecs')


def test_the_demo_plugin_passes_its_own_tests_from_its_own_folder(tmp_path):
    folder = ROOT / 'demo' / 'plugin'
    write_dist_info(tmp_path, 'poseplug-offsets', 'codec', read_demo_entry())
    process = run_python(
        tmp_path, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(folder / 'tests'), cwd=folder, path=str(folder)
    )
    assert process.returncode == 0, process.stdout + process.stderr


def read_demo_entry() -> dict[str, str]:
    """The entry points of the demo plugin."""
    project = tomllib.loads((ROOT / 'demo' / 'plugin' / 'pyproject.toml').read_text())['project']
    return project['entry-points']['poseplug.codec']


# --- Configs and commands ---------------------------------------------------------------------------------------------

LITE = ROOT / 'configs' / 'cpm' / 'cpm_lsp_lite.py'


@pytest.fixture
def recording_site(site):
    """A folder with three packages, each of which writes its name when it is imported, and a config that names one."""
    for name in ('good', 'unused', 'bad'):
        part = GOOD.format(name=name.title()) + ('1 / 0' if name == 'bad' else '')
        code = f"with open({str(site / 'marker')!r}, 'a') as f: f.write('{name} ')\n{part}"
        install_package(site, name, code, name.title())
    codec = "codec=dict(_delete_=True, type='Good', input_size=(128, 128), stride=8)"
    (site / 'named.py').write_text(f"_base_ = '{LITE}'\nmodel = dict({codec})\n")
    (site / 'marker').write_text('')
    return site


def read_imported(site: Path) -> list[str]:
    """Which of the three packages were imported since the last call."""
    names = (site / 'marker').read_text().split()
    (site / 'marker').write_text('')
    return names


def test_a_config_imports_the_plugin_whose_part_it_names_and_no_other(recording_site):
    process = run_python(recording_site, '-m', 'poseplug', 'describe', str(recording_site / 'named.py'))
    assert (process.returncode, process.stderr) == (0, '')
    assert 'Good' in process.stdout
    assert read_imported(recording_site) == ['good']


def test_a_broken_plugin_that_a_config_names_is_an_error_at_its_line(recording_site):
    config = recording_site / 'bad.py'
    config.write_text((recording_site / 'named.py').read_text().replace("'Good'", "'Bad'"))
    with pytest.raises(ConfigError, match=r"bad.py:2, model.codec.type: codec 'Bad' is bad:Bad of package bad 1.2, wh"):
        load_config(config)


def test_a_data_config_finds_plugins_by_their_parts_but_may_not_import_others(recording_site):
    content = load_config(LITE).to_dict()
    content['model']['codec'] = dict(type='Good', input_size=[128, 128], stride=8)
    data = recording_site / 'data.json'
    data.write_text(json.dumps(content))
    load_config(data)
    assert read_imported(recording_site) == ['good']
    data.write_text(json.dumps({**content, 'custom_imports': dict(imports=['unused'])}))
    with pytest.raises(UnsafeFileError, match=r'custom_imports runs code, which a .json config cannot; use a .py'):
        load_config(data)
    assert read_imported(recording_site) == []


# --- Parts in files beside the config ---------------------------------------------------------------------------------


@pytest.fixture
def beside(site):
    """A function that writes a config with a line of imports into a folder with a part in my_codec.py."""
    folder = site / 'own'
    folder.mkdir()
    (folder / 'my_codec.py').write_text(REGISTERED.format(name='Mine'))
    search_path = list(sys.path)

    def write(line: str) -> Path:
        codec = "codec=dict(_delete_=True, type='Mine', input_size=(128, 128), stride=8)"
        (folder / 'config.py').write_text(f"{line}\n_base_ = '{LITE}'\nmodel = dict({codec})\n")
        return folder / 'config.py'

    yield write
    sys.path[:] = search_path


IMPORTS = ['import my_codec', 'from my_codec import Mine', "custom_imports = dict(imports=['my_codec'])"]


@pytest.mark.parametrize('line', IMPORTS)
def test_a_part_in_a_file_beside_the_config_is_imported_by_the_config(beside, line):
    assert load_config(beside(line)).model.codec.type == 'Mine'
    assert CODECS.get('Mine').__module__ == 'my_codec'


@pytest.mark.parametrize('line', IMPORTS)
def test_a_config_that_inherits_from_one_with_imports_has_its_parts(beside, line):
    child = beside(line).parents[1] / 'child.py'
    child.write_text("_base_ = 'own/config.py'\nseed = 3\n")
    assert load_config(child).seed == 3


def test_a_part_that_no_config_imports_is_not_found_and_its_folder_is_not_searched(beside):
    config = beside('')
    with pytest.raises(ConfigError, match="codec 'Mine' is not registered"):
        load_config(config)
    assert str(config.parent) not in sys.path


def test_a_module_that_cannot_be_imported_is_an_error_with_its_line_unless_that_is_allowed(beside, caplog):
    config = beside("custom_imports = dict(imports=['no_such_codec', 'my_codec'])")
    with pytest.raises(ConfigError, match=r"config.py:1, custom_imports: 'no_such_codec' cannot be imported: ModuleNo"):
        load_config(config)
    load_config(beside("custom_imports = dict(imports=['no_such_codec', 'my_codec'], allow_failed_imports=True)"))
    assert "'no_such_codec' cannot be imported" in caplog.text


@pytest.mark.parametrize('line', IMPORTS)
def test_a_module_of_the_same_name_from_another_folder_is_refused_unless_it_is_a_copy(beside, line, site):
    config = beside(line)
    load_config(config)
    other = site / 'other' / 'config.py'
    shutil.copytree(config.parent, other.parent)
    assert load_config(other).model.codec.type == 'Mine'
    (other.parent / 'my_codec.py').write_text(REGISTERED.format(name='Another'))
    with pytest.raises(ConfigError, match="imports 'my_codec' from its folder, but this process has loaded another"):
        load_config(other)


@pytest.mark.parametrize('spec', ['my_codec', ['my_codec'], dict(import_='my_codec'), dict(imports=[3])])
def test_custom_imports_are_written_as_a_dict(spec):
    with pytest.raises(ConfigError, match=r"^--cfg-options, custom_imports: expects dict\(imports=\['module'"):
        load_config(LITE, {'custom_imports': spec})


def test_a_spawned_worker_unpickles_a_part_of_a_file_beside_the_config(beside, site):
    script = site / 'spawning_beside.py'
    config = beside('import my_codec')
    loading = f'from poseplug.config.load import load_config\nload_config({str(config)!r})\n'
    script.write_text(SPAWNING.replace("'Good'", "'Mine'").replace('"Good"', '"Mine"').replace('# first', loading))
    process = run_python(site, str(script))
    assert process.stdout.split() == ['my_codec', 'Mine', 'True'], process.stderr


# --- Processes --------------------------------------------------------------------------------------------------------


def test_a_spawned_process_unpickles_a_plugins_part_and_finds_it_by_name(recording_site):
    script = recording_site / 'spawning.py'
    script.write_text(SPAWNING)
    process = run_python(recording_site, str(script))
    assert process.stdout.split() == ['good', 'Good', 'True'], process.stderr
    assert read_imported(recording_site) == ['good', 'good']


SPAWNING = """
# first
from torch.utils.data import DataLoader
from poseplug.registry import CODECS
from poseplug.testing import SMALL_SKELETON

class Names:
    def __init__(self):
        self.codec = CODECS.build(dict(type='Good', input_size=(8, 8)), skeleton=SMALL_SKELETON)
    def __len__(self):
        return 1
    def __getitem__(self, index):
        kind = type(self.codec)
        return f'{kind.__module__} {kind.__name__} {CODECS.get("Good") is kind}'

if __name__ == '__main__':
    print(*next(iter(DataLoader(Names(), num_workers=1, multiprocessing_context='spawn'))))
"""


def test_the_demo_plugins_codec_is_found_by_its_entry_point(tmp_path):
    write_dist_info(tmp_path, 'poseplug-offsets', 'codec', read_demo_entry())
    code = (
        'import sys; from poseplug.registry import CODECS; CODECS.get("Heatmap"); CODECS.list_names(); '
        'print("poseplug_offsets" in sys.modules, CODECS.get("DiskOffset").__module__)'
    )
    site = Path(f'{tmp_path}{os.pathsep}{ROOT / "demo" / "plugin"}')
    assert run_python(site, '-c', code).stdout.split() == ['False', 'poseplug_offsets.disk_offset']
    listed = run_python(site, '-m', 'poseplug', 'list', 'codec').stdout
    assert 'poseplug-offsets 1.2, poseplug_offsets.disk_offset:DiskOffset' in listed


def test_an_optimizer_of_a_plugin_is_found_among_mmengines(site):
    install_package(site, 'optims', 'class Steep: ...', 'Steep', kind='optimizer')
    assert find_part_type(OPTIMIZERS, 'Nothing') is None
    assert 'optims' not in sys.modules
    assert describe_missing_part(OPTIMIZERS, 'Stepe').startswith(
        "optimizer 'Stepe' is not registered; closest: 'Steep'"
    )
    assert find_part_type(OPTIMIZERS, 'Steep').__module__ == 'optims'

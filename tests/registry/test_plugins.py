"""Packages are made by hand below tmp_path, as pip would install them."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.registry import OPTIMIZERS

from poseplug.cli import options
from poseplug.cli.commands import plugins as command
from poseplug.config.check import describe_missing_part, find_registered_part
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError, PluginError, UnsafeFileError
from poseplug.registry import CODECS, MODELS, REGISTRIES, plugins

ROOT = Path(__file__).parents[2]
GOOD = """
from dataclasses import dataclass
from poseplug.codecs.heatmap import Heatmap
from poseplug.registry import CODECS

@CODECS.register_module()
@dataclass(frozen=True)
class {name}(Heatmap):
    pass
"""


def install_package(site: Path, package: str, code: str, target: str = '', entry: str = '') -> None:
    """Write a package and its dist-info into a folder; its entry point is `target` within it, or the package itself."""
    (site / package).mkdir(parents=True)
    (site / package / '__init__.py').write_text(code)
    write_dist_info(site, package, f'{entry or package} = {package}{target}')


def write_dist_info(site: Path, package: str, entry: str) -> None:
    """Write the dist-info of a package into a folder."""
    info = site / f'{package.replace("-", "_")}-1.2.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n')
    (info / 'entry_points.txt').write_text(f'[poseplug.plugins]\n{entry}\n')


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, visible during the test; none of them has been imported yet."""
    for kind, registry in REGISTRIES.items():
        plugins.OURS.load(kind)
        monkeypatch.setattr(registry, '_module_dict', dict(registry._module_dict))
    monkeypatch.setattr(plugins, '_plugins', None)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(getattr(module, '__file__', '')):
            del sys.modules[name]


def run_python(site: Path, *args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter with these packages."""
    environment = {**os.environ, 'PYTHONPATH': f'{site}{os.pathsep}{ROOT}', 'OMP_NUM_THREADS': '1'}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=environment, cwd=cwd)


def test_parts_of_an_installed_package_are_found_by_name_beside_the_built_in_ones(site):
    install_package(site, 'goodone', GOOD.format(name='Good'))
    assert CODECS.get('Good').__module__ == 'goodone'
    assert {'Good', 'Heatmap'} <= set(CODECS.list_names())


def test_a_plugin_that_is_not_named_is_not_imported(site):
    install_package(site, 'goodone', GOOD.format(name='Good'))
    install_package(site, 'other', GOOD.format(name='Other'))
    for known in ('Heatmap', 'Good'):
        assert CODECS.get(known)
    for registry in REGISTRIES.values():
        registry.list_names()
        with pytest.raises(ConfigError, match='not registered'):
            registry.get('Nowhere')
    assert 'goodone' in sys.modules
    assert 'other' not in sys.modules


def test_a_plugin_is_named_by_its_package_or_by_its_entry_point(site):
    install_package(site, 'first_one', 'VALUE = 1', entry='one')
    install_package(site, 'second', 'VALUE = 2', entry='two')
    plugins.use(['First-One', 'two'])
    assert {'first_one', 'second'} <= set(sys.modules)


def test_a_plugin_that_is_not_installed_has_a_closest_one_and_imports_nothing(site):
    install_package(site, 'offsets', 'VALUE = 1')
    message_pattern = (
        r"^plugin 'ofsets' is not installed; closest: 'offsets'. Installed plugins: offsets of offsets 1.2"
    )
    with pytest.raises(ConfigError, match=message_pattern):
        plugins.use(['offsets', 'ofsets'])
    assert 'offsets' not in sys.modules


def test_an_entry_point_of_two_packages_is_named_by_package(site):
    install_package(site, 'one', GOOD.format(name='One'), entry='codecs')
    install_package(site, 'two', GOOD.format(name='Two'), entry='codecs')
    with pytest.raises(ConfigError, match="'codecs' may be codecs of one 1.2 or codecs of two 1.2; write the name of"):
        plugins.use(['codecs'])
    plugins.use(['two'])
    assert 'Two' in CODECS.list_names()
    assert 'one' not in sys.modules


def test_parts_that_are_registered_by_names_not_in_the_source_need_their_plugin_named(site):
    install_package(site, 'dynamic', GOOD.format(name='Made').replace('module()', "module(name='Ma' + 'de')"))
    message_pattern = (
        r'Installed plugins: dynamic of dynamic 1.2 \(its source shows no names .*imported by --plugins dynamic\)'
    )
    with pytest.raises(ConfigError, match=message_pattern):
        CODECS.get('Made')
    plugins.use(['dynamic'])
    assert CODECS.get('Made').__module__ == 'dynamic'


def test_a_broken_plugin_is_reported_once_with_its_cause_and_does_not_stop_the_others(site, caplog):
    install_package(site, 'aaa_broken', 'import no_such_package')
    install_package(site, 'bbb_leaving', 'raise SystemExit(3)')
    install_package(site, 'ccc_good', GOOD.format(name='Good'))
    for _ in range(2):
        plugins.use(['aaa_broken', 'bbb_leaving', 'ccc_good'])
    assert 'Good' in CODECS.list_names()
    assert 'CPMHead' in MODELS.list_names()
    broken, leaving = caplog.messages
    assert 'aaa_broken 1.2' in broken
    assert "ModuleNotFoundError: No module named 'no_such_package'" in broken
    assert 'bbb_leaving 1.2' in leaving
    assert 'SystemExit: 3' in leaving


def test_an_unknown_name_reports_the_broken_plugin_that_registers_it(site):
    install_package(site, 'broken', 'import no_such_package' + GOOD.format(name='Broken'))
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"^codec 'Broken' is not registered; known: .*Heatmap") as error:
            CODECS.get('Broken')
        message = str(error.value)
        assert "'Broken' is a part of plugin broken of broken 1.2, which failed with ModuleNotFoundError" in message


def test_a_plugin_whose_source_is_not_python_is_reported_where_a_name_is_not_found(site):
    install_package(site, 'torn', GOOD.format(name='Broken') + 'def (')
    with pytest.raises(ConfigError, match=r'torn of torn 1.2 \(torn cannot be read \(invalid syntax.*line 10'):
        CODECS.get('Broken')


def test_an_unknown_name_of_a_known_plugin_says_how_to_install_it(site, monkeypatch):
    monkeypatch.setattr(plugins, '_plugins', [])
    CODECS.module_dict.pop('DiskOffset', None)
    with pytest.raises(ConfigError, match='pip install ./demo/plugin'):
        CODECS.get('DiskOffset')


def test_the_parts_of_installed_plugins_count_among_the_closest_and_the_known(site):
    install_package(site, 'goodone', GOOD.format(name='Splendid'))
    with pytest.raises(ConfigError, match=r"^codec 'Splendit' .*; closest: 'Splendid'; known: .*, Splendid, "):
        CODECS.get('Splendit')
    with pytest.raises(ConfigError, match="^model 'Splendid' is not registered; 'Splendid' is a codec"):
        MODELS.get('Splendid')
    assert 'goodone' not in sys.modules


def test_a_built_in_name_is_never_looked_up_in_a_plugin(site):
    install_package(site, 'clashing', GOOD.format(name='CPMHeatmap'))
    assert CODECS.get('CPMHeatmap').__module__ == 'poseplug.codecs.cpm'
    assert 'clashing' not in sys.modules


def test_a_name_that_is_taken_is_an_error_that_names_both_and_the_package_until_it_is_resolved(site):
    install_package(site, 'clashing', GOOD.format(name='CPMHeatmap'))
    install_package(site, 'later', GOOD.format(name='Good'))
    message_pattern = (
        "^plugin clashing of clashing 1.2: codec 'CPMHeatmap' is already registered by "
        'poseplug.codecs.cpm.CPMHeatmap; clashing.CPMHeatmap cannot take the name too. Rename'
    )
    with pytest.raises(PluginError, match=message_pattern):
        plugins.use(['clashing'])
    with pytest.raises(PluginError, match=message_pattern):
        CODECS.get('Good')


def test_a_clash_is_an_error_of_the_plugin_even_if_it_was_imported_first(tmp_path):
    install_package(tmp_path, 'clashing', GOOD.format(name='CPMHeatmap'))
    process = run_python(tmp_path, '-c', "from poseplug.registry import plugins; plugins.use(['clashing'])")
    assert 'PluginError: plugin clashing of clashing 1.2' in process.stderr


def test_two_plugins_that_claim_one_name_are_both_named_and_neither_is_imported(site):
    install_package(site, 'one', GOOD.format(name='Same'))
    install_package(site, 'two', GOOD.format(name='Same'))
    message_pattern = (
        "^codec 'Same' is registered by plugin one of one 1.2 and by plugin two of two 1.2; say which by --plugins one"
    )
    with pytest.raises(PluginError, match=message_pattern):
        CODECS.get('Same')
    assert not {'one', 'two'} & set(sys.modules)
    plugins.use(['two'])
    assert CODECS.get('Same').__module__ == 'two'


def test_two_plugins_that_take_one_name_are_both_named(site):
    install_package(site, 'one', GOOD.format(name='Same'))
    install_package(site, 'two', GOOD.format(name='Same'))
    with pytest.raises(PluginError, match='plugin two of two 1.2: .*registered by one.Same; two.Same'):
        plugins.use(['one', 'two'])


def test_a_mapping_is_imported_only_when_its_kind_is_asked_for(site):
    install_package(site, 'lazy', "PARTS = {'codec': ['lazy.codecs']}", ':PARTS')
    (site / 'lazy' / 'codecs').mkdir()
    (site / 'lazy' / 'codecs' / '__init__.py').write_text('')
    (site / 'lazy' / 'codecs' / 'mine.py').write_text(GOOD.format(name='Mine'))
    plugins.use(['lazy'])
    MODELS.list_names()
    assert 'lazy.codecs' not in sys.modules
    assert 'Mine' in CODECS.list_names()


def test_a_name_of_a_mapping_is_found_whatever_kind_its_module_is_listed_under(site):
    install_package(site, 'lazy', "PARTS = {'model': ['lazy.parts']}", ':PARTS')
    (site / 'lazy' / 'parts.py').write_text(GOOD.format(name='Mine'))
    assert CODECS.get('Mine').__module__ == 'lazy.parts'


@pytest.mark.parametrize(
    ('parts', 'cause'),
    [("{'codecs': ['wrong']}", "names the kind 'codecs'; closest: 'codec'"), ("{'codec': 'wrong'}", "['wrong']")],
)
def test_an_invalid_mapping_is_an_error_that_says_how_to_write_it(site, caplog, parts, cause):
    install_package(site, 'wrong', f'PARTS = {parts}', ':PARTS')
    plugins.use(['wrong'])
    assert cause in caplog.text


def test_a_plugin_may_look_up_names_while_it_is_loaded(site, caplog):
    asking = "from poseplug.registry import CODECS\nBase = CODECS.get('CPMHeatmap'), CODECS.get('Good')"
    install_package(site, 'asking', asking + GOOD.format(name='Asking'))
    install_package(site, 'goodone', GOOD.format(name='Good'))
    install_package(site, 'lazy', "PARTS = {'codec': ['lazy.codecs']}", ':PARTS')
    (site / 'lazy' / 'codecs.py').write_text("from poseplug.registry import CODECS\nassert CODECS.get('Heatmap')")
    plugins.use(['asking', 'lazy'])
    assert CODECS.get('Heatmap')
    assert 'asking of asking 1.2; goodone of goodone 1.2; lazy of lazy 1.2' in plugins.describe()
    assert 'lazy.codecs' in sys.modules
    assert not caplog.messages


def test_the_package_is_cheap_to_import():
    """Fifty milliseconds beyond Python, for a package that imports nothing: so no module beyond its own."""
    code = 'import sys; before = set(sys.modules); import poseplug; print(*sorted(set(sys.modules) - before))'
    assert run_python(ROOT, '-c', code).stdout.split() == ['poseplug']


def test_the_registries_do_not_load_the_engine_or_matplotlib():
    code = (
        "import sys; from poseplug.config.load import load_config; load_config('configs/cpm/cpm_lsp_lite.py'); "
        "print([m for m in sys.modules if m.startswith(('mmengine.runner', 'matplotlib', 'poseplug.engine'))])"
    )
    assert run_python(ROOT, '-c', code).stdout == '[]\n'


def list_parts(*kinds: str) -> None:
    """Run `poseplug plugins` in this process."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args(kinds))


def test_every_part_is_listed_with_its_origin_and_no_plugin_is_imported(site, capsys):
    install_package(site, 'goodone', GOOD.format(name='Good') + GOOD.format(name='CPMHeatmap'))
    install_package(site, 'one', GOOD.format(name='Same'))
    install_package(site, 'two', GOOD.format(name='Same'))
    list_parts('codec', 'skeleton')
    listed = [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert listed[0] == 'codec:'
    assert 'lsp poseplug.skeletons.lsp.lsp' in listed
    assert 'Good goodone.Good of plugin goodone of goodone 1.2, imported when named' in listed
    taken = 'never imported by that name, which is taken by poseplug.codecs.cpm.CPMHeatmap'
    assert f'CPMHeatmap goodone.CPMHeatmap of plugin goodone of goodone 1.2, {taken}' in listed
    assert 'Same two.Same of plugin two of two 1.2, which is claimed by several: say which by --plugins' in listed
    assert listed[-1] == 'Installed plugins: goodone of goodone 1.2; one of one 1.2; two of two 1.2'
    assert not {'goodone', 'one', 'two'} & set(sys.modules)


def test_a_plugin_that_was_imported_is_listed_as_any_other(site, capsys):
    install_package(site, 'goodone', GOOD.format(name='Good'))
    plugins.use(['goodone'])
    list_parts('codec')
    assert 'Good goodone.Good' in [' '.join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_kind_that_does_not_exist_has_a_closest_one():
    with pytest.raises(ConfigError, match="no kind of part 'codecs'; closest: 'codec'"):
        list_parts('codecs')


def test_the_demo_plugin_passes_its_own_tests_from_its_own_folder():
    folder = ROOT / 'demo' / 'plugin'
    process = run_python(folder, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(folder / 'tests'), cwd=folder)
    assert process.returncode == 0, process.stdout + process.stderr


# --- Configs and commands ---------------------------------------------------------------------------------------------

LITE = ROOT / 'configs' / 'cpm' / 'cpm_lsp_lite.py'


@pytest.fixture
def recording_site(site):
    """A folder with three packages, each of which writes its name when it is imported, and a config that names one."""
    for name in ('good', 'unused', 'bad'):
        part = GOOD.format(name=name.title()) + ('1 / 0' if name == 'bad' else '')
        install_package(site, name, f"with open({str(site / 'marker')!r}, 'a') as f: f.write('{name} ')\n{part}")
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
    process = run_python(recording_site, 'tools/describe.py', str(recording_site / 'named.py'))
    assert (process.returncode, process.stderr) == (0, '')
    assert 'Good' in process.stdout
    assert read_imported(recording_site) == ['good']


def test_plugins_are_named_on_the_command_line_and_a_bad_one_does_not_stop_the_others(recording_site):
    process = run_python(
        recording_site, 'tools/describe.py', str(recording_site / 'named.py'), '--plugins', 'unused', 'bad'
    )
    assert process.returncode == 0, process.stderr
    assert read_imported(recording_site) == ['unused', 'bad', 'good']
    assert process.stderr.count('plugin bad of bad 1.2 does not load') == 1


def test_a_misspelt_plugin_on_the_command_line_ends_the_command(recording_site, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tool', 'CONFIG', '--plugins', 'good', '--plugins', 'unsued'])
    parser = options.add_config_options(argparse.ArgumentParser())
    parser.add_argument('config')
    with pytest.raises(SystemExit, match='2'):
        options.main(parser, lambda args: pytest.fail('it process'))
    assert "ConfigError: plugin 'unsued' is not installed; closest: 'unused'" in capsys.readouterr().err
    assert read_imported(recording_site) == []


def test_plugins_are_named_by_a_config_and_by_its_options(recording_site):
    config = recording_site / 'sides.py'
    config.write_text(f"_base_ = '{LITE}'\nplugins = ['unused']\n")
    load_config(config, {'plugins': ['good']})
    assert read_imported(recording_site) == ['good']
    load_config(config)
    assert read_imported(recording_site) == ['unused']
    config.write_text(f"_base_ = '{LITE}'\nplugins = ['unsued']\n")
    with pytest.raises(ConfigError, match=r"sides.py:2, plugins: plugin 'unsued' is not installed; closest: 'unused'"):
        load_config(config)


@pytest.mark.parametrize('given', ['unused', [3], {'unused': True}])
def test_the_plugins_of_a_config_are_a_list_of_names(given):
    with pytest.raises(ConfigError, match='^--cfg-options, plugins: a list of names of installed plugins is wanted'):
        load_config(LITE, {'plugins': given})


def test_a_data_config_finds_plugins_by_their_parts_but_may_not_import_others(recording_site):
    content = load_config(LITE).to_dict()
    content['model']['codec'] = dict(type='Good', input_size=[128, 128], stride=8)
    data = recording_site / 'data.json'
    data.write_text(json.dumps(content))
    load_config(data)
    assert read_imported(recording_site) == ['good']
    data.write_text(json.dumps({**content, 'plugins': ['unused']}))
    with pytest.raises(
        UnsafeFileError, match=r'plugins runs code, which a .json config cannot; give them by --plugins'
    ):
        load_config(data)
    assert read_imported(recording_site) == []


def test_a_spawned_process_unpickles_a_plugins_part_and_finds_it_by_name(recording_site):
    script = recording_site / 'spawning.py'
    script.write_text(SPAWNING)
    process = run_python(recording_site, str(script))
    assert process.stdout.split() == ['good', 'Good', 'True'], process.stderr
    assert read_imported(recording_site) == ['good', 'good']


SPAWNING = """
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


def test_the_demo_plugins_codec_is_found_by_the_source_of_its_package(tmp_path):
    write_dist_info(tmp_path, 'poseplug-offsets', 'offsets = poseplug_offsets:PARTS')
    code = (
        'import sys; from poseplug.registry import CODECS; CODECS.get("Heatmap"); CODECS.list_names(); '
        'print("poseplug_offsets" in sys.modules, CODECS.get("DiskOffset").__module__)'
    )
    site = Path(f'{tmp_path}{os.pathsep}{ROOT / "demo" / "plugin"}')
    assert run_python(site, '-c', code).stdout.split() == ['False', 'poseplug_offsets.disk_offset']
    listed = run_python(site, 'tools/plugins.py', 'codec').stdout
    assert 'poseplug_offsets.disk_offset.DiskOffset of plugin offsets of poseplug-offsets 1.2' in listed


def test_an_optimizer_of_a_plugin_is_found_among_mmengines(site):
    install_package(
        site, 'optims', 'from mmengine.registry import OPTIMIZERS\n@OPTIMIZERS.register_module()\nclass Steep: ...'
    )
    assert find_registered_part(OPTIMIZERS, 'Nothing') is None
    assert 'optims' not in sys.modules
    assert describe_missing_part(OPTIMIZERS, 'Stepe').startswith(
        "optimizer 'Stepe' is not registered; closest: 'Steep'"
    )
    assert find_registered_part(OPTIMIZERS, 'Steep').__module__ == 'optims'
    OPTIMIZERS.module_dict.pop('Steep')

"""Packages are made by hand below tmp_path, as pip would install them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from poseplug import plugins
from poseplug.errors import ConfigError, PluginError
from poseplug.registry import CODECS, MODELS, REGISTRIES

ROOT = Path(__file__).parents[1]
GOOD = """
from dataclasses import dataclass
from poseplug.codecs.heatmap import Heatmap
from poseplug.registry import CODECS

@CODECS.register_module()
@dataclass(frozen=True)
class {name}(Heatmap):
    pass
"""


def install(site: Path, package: str, code: str, target: str = '') -> None:
    """Lay a package and its dist-info into a folder; its entry point is `target` within it, or the package itself."""
    (site / package).mkdir(parents=True)
    (site / package / '__init__.py').write_text(code)
    info = site / f'{package}-1.2.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n')
    (info / 'entry_points.txt').write_text(f'[poseplug.plugins]\n{package} = {package}{target}\n')


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, seen until the test ends; nothing of them has been imported yet."""
    for kind, registry in REGISTRIES.items():
        plugins.OURS.load(kind)
        monkeypatch.setattr(registry, '_module_dict', dict(registry._module_dict))
    monkeypatch.setattr(plugins, '_plugins', None)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(getattr(module, '__file__', '')):
            del sys.modules[name]


def python(site: Path, *args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter that sees these packages."""
    environment = {**os.environ, 'PYTHONPATH': f'{site}{os.pathsep}{ROOT}', 'OMP_NUM_THREADS': '1'}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=environment, cwd=cwd)


def test_an_installed_package_brings_its_parts_beside_the_built_in_ones(site):
    install(site, 'goodone', GOOD.format(name='Good'))
    assert CODECS.get('Good').__module__ == 'goodone'
    assert {'Good', 'Heatmap'} <= set(CODECS.names())


def test_a_broken_plugin_is_reported_once_with_its_cause_and_does_not_stop_the_others(site, caplog):
    install(site, 'aaa_broken', 'import no_such_package')
    install(site, 'bbb_leaving', 'raise SystemExit(3)')
    install(site, 'ccc_good', GOOD.format(name='Good'))
    assert 'Good' in CODECS.names()
    assert 'CPMHead' in MODELS.names()
    broken, leaving = caplog.messages
    assert 'aaa_broken 1.2' in broken
    assert "ModuleNotFoundError: No module named 'no_such_package'" in broken
    assert 'bbb_leaving 1.2' in leaving
    assert 'SystemExit: 3' in leaving


def test_an_unknown_name_tells_of_the_broken_plugin_that_would_bring_it(site):
    install(site, 'broken', 'import no_such_package' + GOOD.format(name='Wanted'))
    with pytest.raises(ConfigError, match=r"^codec 'Wanted' is not registered; known: .*Heatmap") as told:
        CODECS.get('Wanted')
    assert "'Wanted' is a part of plugin broken of broken 1.2, which failed with ModuleNotFoundError" in str(told.value)


def test_an_unknown_name_of_a_known_plugin_says_how_to_install_it(site):
    CODECS.module_dict.pop('DiskOffset', None)
    with pytest.raises(ConfigError, match='pip install ./demo/plugin'):
        CODECS.get('DiskOffset')


def test_a_name_that_is_taken_is_an_error_that_names_both_and_the_package_until_it_is_resolved(site):
    install(site, 'clashing', GOOD.format(name='CPMHeatmap'))
    install(site, 'later', GOOD.format(name='Good'))
    said = (
        "^plugin clashing of clashing 1.2: codec 'CPMHeatmap' is already registered by "
        'poseplug.codecs.cpm.CPMHeatmap; clashing.CPMHeatmap cannot take the name too. Rename'
    )
    for _ in range(2):
        with pytest.raises(PluginError, match=said):
            CODECS.get('Good')


def test_the_newcomer_is_blamed_for_a_clash_though_it_was_imported_first(tmp_path):
    install(tmp_path, 'clashing', GOOD.format(name='CPMHeatmap'))
    ran = python(tmp_path, '-c', 'from poseplug.registry import MODELS; MODELS.names()')
    assert 'PluginError: plugin clashing of clashing 1.2' in ran.stderr


def test_two_plugins_that_claim_one_name_are_both_named(site):
    install(site, 'one', GOOD.format(name='Same'))
    install(site, 'two', GOOD.format(name='Same'))
    with pytest.raises(PluginError, match='plugin two of two 1.2: .*registered by one.Same; two.Same'):
        CODECS.names()


def test_a_mapping_is_imported_only_when_its_kind_is_asked_for(site):
    install(site, 'lazy', "PARTS = {'codec': ['lazy.codecs']}", ':PARTS')
    (site / 'lazy' / 'codecs').mkdir()
    (site / 'lazy' / 'codecs' / '__init__.py').write_text('')
    (site / 'lazy' / 'codecs' / 'mine.py').write_text(GOOD.format(name='Mine'))
    MODELS.names()
    assert 'lazy.codecs' not in sys.modules
    assert 'Mine' in CODECS.names()


@pytest.mark.parametrize(
    ('parts', 'cause'),
    [("{'codecs': ['wrong']}", "names the kind 'codecs'; closest: 'codec'"), ("{'codec': 'wrong'}", "['wrong']")],
)
def test_a_mapping_that_is_written_wrongly_says_how_to_write_it(site, caplog, parts, cause):
    install(site, 'wrong', f'PARTS = {parts}', ':PARTS')
    CODECS.names()
    assert cause in caplog.text


def test_a_plugin_may_look_up_names_while_it_is_loaded(site, caplog):
    install(site, 'asking', "from poseplug.registry import CODECS\nBase = CODECS.get('CPMHeatmap')")
    install(site, 'lazy', "PARTS = {'codec': ['lazy.codecs']}", ':PARTS')
    (site / 'lazy' / 'codecs.py').write_text("from poseplug.registry import CODECS\nassert CODECS.get('Heatmap')")
    assert CODECS.get('Heatmap')
    assert 'asking of asking 1.2; lazy of lazy 1.2' in plugins.describe()
    assert 'lazy.codecs' in sys.modules
    assert not caplog.messages


def test_the_package_is_cheap_to_import():
    """Fifty milliseconds beyond Python, for a package that imports nothing: so no module beyond its own."""
    code = 'import sys; before = set(sys.modules); import poseplug; print(*sorted(set(sys.modules) - before))'
    assert python(ROOT, '-c', code).stdout.split() == ['poseplug']


def test_the_registries_do_not_load_the_engine_or_matplotlib():
    code = (
        "import sys; from poseplug.config import load_config; load_config('configs/cpm/cpm_lsp_lite.py'); "
        "print([m for m in sys.modules if m.startswith(('mmengine.runner', 'matplotlib', 'poseplug.engine'))])"
    )
    assert python(ROOT, '-c', code).stdout == '[]\n'


def tool():
    """tools/plugins.py as a module."""
    spec = importlib.util.spec_from_file_location('tools_plugins', ROOT / 'tools' / 'plugins.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_part_is_listed_with_its_origin(site, capsys):
    install(site, 'goodone', GOOD.format(name='Good'))
    tool().run(tool().parser().parse_args(['codec', 'skeleton']))
    listed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert listed[0] == ['codec:']
    assert ['Good', 'goodone.Good'] in listed
    assert ['lsp', 'poseplug.skeletons.lsp.lsp'] in listed
    assert 'goodone of goodone 1.2' in ' '.join(listed[-1])


def test_a_kind_that_does_not_exist_has_a_closest_one():
    with pytest.raises(ConfigError, match="no kind of part 'codecs'; closest: 'codec'"):
        tool().run(tool().parser().parse_args(['codecs']))


def test_the_demo_plugin_passes_its_own_tests_from_its_own_folder():
    folder = ROOT / 'demo' / 'plugin'
    ran = python(folder, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(folder / 'tests'), cwd=folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr

"""The config in a run's folder can be run from there, with the modules that it imports."""

import math
import subprocess
import sys

import numpy as np
import pytest
from mmengine.config import Config

from poseplug.config.load import load_config
from poseplug.config.saved import format_runnable_config, write_runnable_config
from poseplug.core.errors import ConfigError
from poseplug.engine import launch

PART = """
from poseplug.codecs.cpm import CPMHeatmap
from poseplug.registry import CODECS
{imports}

@CODECS.register_module()
class MyHeatmap(CPMHeatmap):
    pass
"""
CODEC = "_base_ = ['poseplug::cpm_synthetic']\nmodel = dict(codec=dict(type='MyHeatmap'))\n"
LOAD = """
import sys
from poseplug.config.load import load_config
from poseplug.registry import CODECS
cfg = load_config(sys.argv[1])
print(cfg.model.codec.type, CODECS.get('MyHeatmap').__name__)
"""


@pytest.fixture
def load_elsewhere(tmp_path, root):
    """A function that loads a saved config in a new process, in another folder."""

    def load(file):
        (tmp_path / 'elsewhere').mkdir(exist_ok=True)
        command = [sys.executable, '-c', f'import sys; sys.path.insert(0, {str(root)!r})\n{LOAD}', str(file)]
        return subprocess.run(command, cwd=tmp_path / 'elsewhere', capture_output=True, text=True, check=False)

    return load


def read_as_data(file):
    """A config as data, without loading it as one."""
    namespace = {}
    exec(file.read_text(), namespace)
    return {key: value for key, value in namespace.items() if not key.startswith('__')}


@pytest.mark.parametrize('line', [
    'import my_parts_a',
    'from my_parts_a import MyHeatmap',
    "custom_imports = dict(imports=['my_parts_a'])",
    "custom_imports = dict(imports='my_parts_a')",
])  # fmt: skip
def test_a_saved_config_has_its_imports_and_their_files(tmp_path, root, load_elsewhere, line):
    """Also with a module that another one imports, a package, and an import in a base."""
    config_dir = tmp_path / 'configs'
    (config_dir / 'my_package_b').mkdir(parents=True)
    (config_dir / 'my_package_b/__init__.py').write_text('from my_package_b import constants\n')
    (config_dir / 'my_package_b/constants.py').write_text('import math\n')
    (config_dir / 'my_parts_a.py').write_text(PART.format(imports='import my_package_b'))
    (config_dir / 'parent.py').write_text(f'{line}\n{CODEC}')
    (config_dir / 'child.py').write_text("_base_ = ['parent.py']\nseed = 3\n")
    code = 'import sys\nfrom pathlib import Path\nfrom poseplug.config.load import load_config\n'
    code += 'from poseplug.config.saved import write_runnable_config\n'
    code += 'write_runnable_config(load_config(sys.argv[1]), Path(sys.argv[2]))'
    command = [sys.executable, '-c', f'import sys; sys.path.insert(0, {str(root)!r})\n{code}']
    subprocess.run([*command, str(config_dir / 'child.py'), str(tmp_path / 'run')], check=True)
    config_dir.rename(tmp_path / 'moved')
    done = load_elsewhere(tmp_path / 'run/child.py')
    assert done.stdout == 'MyHeatmap MyHeatmap\n', done.stderr


def test_a_saved_config_has_the_classes_that_the_config_defines(tmp_path, load_elsewhere):
    config = tmp_path / 'with-parts.py'
    config.write_text(PART.format(imports='') + CODEC)
    file = write_runnable_config(load_config(config), tmp_path / 'run')
    config.unlink()
    done = load_elsewhere(file)
    assert done.stdout == 'MyHeatmap MyHeatmap\n', done.stderr


def test_settings_of_any_kind_are_read_back():
    cfg = Config(dict(a=[1, (2.5, None)], b=dict(c='text', d=True), end=float('inf'), lower=-float('inf')))
    namespace = {}
    exec(format_runnable_config(cfg), namespace)
    assert namespace['a'] == [1, (2.5, None)]
    assert namespace['b'] == dict(c='text', d=True)
    assert namespace['end'] == math.inf == -namespace['lower']


def test_arrays_and_functions_are_saved_as_lists_and_names():
    model = dict(mean=np.array([1.5, 2.0]), size=np.int64(3), initialize=math.hypot)
    namespace = {}
    exec(format_runnable_config(Config(dict(model=model))), namespace)
    assert namespace['model'] == dict(mean=[1.5, 2.0], size=3, initialize='hypot')


def test_a_value_that_has_no_literal_is_refused():
    with pytest.raises(ConfigError, match='cannot be written into the folder of the run'):
        format_runnable_config(Config(dict(model=dict(part=object()))))


def test_a_config_of_data_is_saved_as_python(tmp_path):
    config = tmp_path / 'own.yaml'
    config.write_text('_base_: cpm_synthetic.py\n'.replace('cpm_synthetic.py', 'base.json') + 'seed: 4\n')
    (tmp_path / 'base.json').write_text('{"skeleton": "lsp", "overfit_steps": 7}')
    file = write_runnable_config(load_config(config), tmp_path / 'run')
    assert file.name == 'own.py'
    assert load_config(file).to_dict() == {'skeleton': 'lsp', 'overfit_steps': 7, 'seed': 4}


def test_a_run_in_the_folder_of_its_config_leaves_the_config_as_it_is(tmp_path, tiny_config):
    config = tmp_path / 'own.py'
    config.write_text(format_runnable_config(tiny_config()))
    before = config.read_bytes()
    launch.train(load_config(config, {'train_cfg.max_steps': 2}), tmp_path)
    assert config.read_bytes() == before
    assert read_as_data(tmp_path / 'own_run.py')['train_cfg']['max_steps'] == 2


def test_a_run_is_tested_by_the_config_in_its_folder(tmp_path, tiny_config):
    cfg = tiny_config()
    launch.train(cfg, tmp_path)
    saved = tmp_path / 'cpm_synthetic.py'
    result = launch.test(saved, tmp_path)
    assert result.values == pytest.approx(launch.test(cfg, tmp_path).values, nan_ok=True)

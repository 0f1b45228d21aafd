"""Files that would run code, and a check that the package runs none (goals S4, S5 and S7)."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return exec, (f'open({str(self.marker)!r}, "w").close()',)


# --- S4: configs ------------------------------------------------------------------------------------------------------


def write_attacks(folder: Path, marker: Path) -> dict[str, Path]:
    """Write nine files that some loader would run as code into a folder; return them by description."""
    code = f'open({str(marker)!r}, "w").close()'
    (folder / 'evil.py').write_text(f'{code}\nmodel = dict()\n')
    (folder / 'evil_module.py').write_text(code)
    object_yaml = f'model: !!python/object/apply:builtins.exec [{json.dumps(code)}]\n'
    files = {
        'a YAML file with a Python object': ('a.yaml', object_yaml),
        'a YAML file with a module': ('b.yml', 'model: !!python/module:evil_module\n'),
        'a YAML file that grows': ('c.yaml', 'a: &a [1, 2]\nb: &b [*a, *a]\nmodel: [*b, *b]\n'),
        'a YAML file with a Python base': ('d.yaml', '_base_: ./evil.py\n'),
        'a JSON file with a Python base': ('e.json', json.dumps({'_base_': './evil.py'})),
        'a JSON file with imports': ('f.json', json.dumps({'custom_imports': {'imports': ['evil_module']}})),
        'a JSON file with an object': ('g.json', json.dumps(
            {'__instance_type__': ['evil_module', 'Payload'], 'attributes': {}})),
        'a pickle named .json': ('h.json', ''),
        'a base with imports': ('i.json', json.dumps({'_base_': ['f.json']})),
    }  # fmt: skip
    for name, text in files.values():
        (folder / name).write_text(text)
    (folder / 'h.json').write_bytes(pickle.dumps(Payload(marker)))
    return {description: folder / name for description, (name, _) in files.items()}


HARMLESS = ('a JSON file with an object',)  # read as names and numbers

# Loads a config in a process of its own, under an audit of imports
LOAD_SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from poseplug.config.load import load_config
from poseplug.core.errors import PoseplugError
import yaml
imported = []
sys.addaudithook(lambda event, arguments: imported.append(arguments[0]) if event == 'import' else None)
try:
    load_config({file!r})
    print('loaded')
except PoseplugError as error:
    print(type(error).__name__, error)
print('IMPORTED' if 'evil_module' in imported else 'clean')
"""


def find_config_faults(folder: Path) -> Iterator[str]:
    """The files among the nine that are not refused by name, with the output."""
    marker = folder / 'marker'
    for description, file in write_attacks(folder, marker).items():
        code = LOAD_SCRIPT.format(folder=str(folder), file=str(file))
        process = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
        is_refused = ('ConfigError' in process.stdout or 'UnsafeFileError' in process.stdout) and str(
            folder
        ) in process.stdout
        is_harmless = description in HARMLESS and process.stdout.startswith('loaded')
        if not (is_refused or is_harmless) or 'clean' not in process.stdout or process.returncode or marker.exists():
            yield f'{description}: {process.stdout[-200:]}{process.stderr[-300:]}'
        marker.unlink(missing_ok=True)


# --- S5: no pickle, no eval -------------------------------------------------------------------------------------------

# Calls that are allowed nowhere, and the places where one is, each with its reason
BANNED = {
    'eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen', 'pickle.load', 'pickle.loads', 'pickle.Unpickler',
    'dill.load', 'dill.loads', 'marshal.load', 'marshal.loads', 'shelve.open', 'joblib.load', 'yaml.load',
    'yaml.unsafe_load', 'yaml.full_load', 'json_tricks.load', 'json_tricks.loads', 'scipy.io.loadmat', 'loadmat',
    'mmengine.load', 'pandas.read_pickle', 'input', 'runpy.run_path', 'runpy.run_module', 'torch.load', 'numpy.load',
    'np.load', 'urllib.request.urlopen', 'urlopen', 'urlretrieve', 'Config.fromstring', 'Config.fromfile',
}  # fmt: skip
ALLOWED_CALLS = {
    ('poseplug/testing/codec.py', 'pickle.loads'): 'tests that a codec survives pickling, with bytes it just made',
    (
        'poseplug/testing/detector_family.py',
        'pickle.loads',
    ): 'tests that a family survives pickling, with bytes it just made',
    ('poseplug/testing/network.py', 'pickle.loads'): 'tests that a state dict survives pickling',
    ('poseplug/testing/transform.py', 'pickle.loads'): 'tests that a transform survives the way to a worker',
    ('poseplug/files/weights.py', 'torch.load'): 'with weights_only=True and an empty allow-list',
    ('poseplug/data/shard_index.py', 'numpy.load'): 'with allow_pickle=False, of an index whose checksum was compared',
    (
        'tools/compare/save_published_networks.py',
        'Config.fromfile',
    ): "MMPose's own configs, in an interpreter of its own",
    ('tools/compare/save_published_networks.py', 'numpy.load'): 'of the file that the tool itself writes',
    ('tools/compare/end_to_end.py', 'torch.load'): 'with weights_only=True, of the file that the tool itself writes',
    ('tools/compare/time_networks.py', 'Config.fromfile'): "MMPose's own configs, in an interpreter of its own",
    ('tools/model_index/mmpose_models.py', 'runpy.run_path'): "MMPose's own configs, by whoever makes the index",
    ('tools/compare/mmpose_side.py', 'Config.fromfile'): "MMPose's own configs, in an interpreter of its own",
    (
        'poseplug/files/media_address.py',
        'urllib.request.urlopen',
    ): 'images and videos at addresses that the user names, which are decoded to pixels and nothing else',
    ('poseplug/config/layers.py', 'Config.fromfile'): 'a .py config is a program, as its documentation says',
}
BANNED_KEYWORDS = {('shell', True), ('allow_pickle', True), ('weights_only', False)}


def find_banned_calls(folder: Path = ROOT) -> list[str]:
    """All calls in the package, its tools and its demos that could run the content of a file, except allowed ones."""
    calls = []
    for part in ('poseplug', 'tools', 'demo', 'setup.py'):
        files = sorted((folder / part).rglob('*.py')) if (folder / part).is_dir() else [folder / part]
        for file in files:
            name = str(file.relative_to(folder))
            calls += [f'{name}:{line}: {call}' for call, line in iter_banned_calls(ast.parse(file.read_text()))
                      if (name, call) not in ALLOWED_CALLS]  # fmt: skip
    return calls


def iter_banned_calls(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield name and line of every banned call, also under a name that an import gives it."""
    full_names = map_imported_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        written = ast.unparse(node.func)
        first, dot, rest = written.partition('.')
        names = (full_names.get(first, first) + dot + rest, written)
        for name in [name for name in names if name in BANNED][:1]:
            yield name, node.lineno
        for keyword in node.keywords:
            value = keyword.value
            if isinstance(value, ast.Constant) and (keyword.arg, value.value) in BANNED_KEYWORDS:
                yield f'{keyword.arg}={value.value}', node.lineno


def map_imported_names(tree: ast.AST) -> dict[str, str]:
    """The full name of every name that an import of a module binds, aliases included."""
    full_names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full_names[alias.asname or alias.name] = f'{node.module}.{alias.name}'
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    full_names[alias.asname] = alias.name
    return full_names


# --- S7: names of images ----------------------------------------------------------------------------------------------


def build_outside_names(folder: Path) -> list[tuple[str, Callable[[], None]]]:
    """Twelve image names outside of the folder of images, each with a function that creates what it needs."""
    images, outside = folder / 'images', folder / 'outside'
    outside.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)

    def do_nothing() -> None:
        pass

    def create_link(name: str, target: Path) -> Callable[[], None]:
        return lambda: os.symlink(target, images / name)

    names = [
        ('../outside/a.jpg', do_nothing), ('sub/../../outside/a.jpg', do_nothing), (str(outside / 'a.jpg'), do_nothing),
        ('..\\outside\\a.jpg', do_nothing), ('C:\\a.jpg', do_nothing), ('\\\\host\\share\\a.jpg', do_nothing),
        ('a.jpg\0.png', do_nothing), ('..', do_nothing), ('sub/..', do_nothing), ('/', do_nothing),
        ('link.jpg', create_link('link.jpg', outside / 'a.jpg')), ('folder/a.jpg', create_link('folder', outside)),
    ]  # fmt: skip
    return names

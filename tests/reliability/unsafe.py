"""Files that would run code, and a check that the house itself runs none: goals S4, S5 and S7 are asked with them."""

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
    """What a crafted file asks for: a file is written."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return exec, (f'open({str(self.marker)!r}, "w").close()',)


# --- S4: configs ------------------------------------------------------------------------------------------------------


def attacks(folder: Path, marker: Path) -> dict[str, Path]:
    """Nine files that ran code somewhere, written below a folder, by what they are."""
    code = f'open({str(marker)!r}, "w").close()'
    (folder / 'evil.py').write_text(f'{code}\nmodel = dict()\n')
    (folder / 'evil_module.py').write_text(code)
    object_yaml = f'model: !!python/object/apply:builtins.exec [{json.dumps(code)}]\n'
    made = {
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
    for name, text in made.values():
        (folder / name).write_text(text)
    (folder / 'h.json').write_bytes(pickle.dumps(Payload(marker)))
    return {what: folder / name for what, (name, _) in made.items()}


HARMLESS = ('a JSON file with an object',)  # it is read as the names and numbers that it is

# What a process of its own does with a file, under an audit of what is executed and imported
LOAD = """
import sys
sys.path.insert(0, {folder!r})
from poseplug.config import load_config
from poseplug.errors import PoseplugError
import yaml
seen = []
sys.addaudithook(lambda event, arguments: seen.append(arguments[0]) if event == 'import' else None)
try:
    load_config({file!r})
    print('loaded')
except PoseplugError as error:
    print(type(error).__name__, error)
print('IMPORTED' if 'evil_module' in seen else 'clean')
"""


def config_faults(folder: Path) -> Iterator[str]:
    """Which of the nine files did anything but be refused by name."""
    marker = folder / 'marker'
    for what, file in attacks(folder, marker).items():
        code = LOAD.format(folder=str(folder), file=str(file))
        done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
        refused = ('ConfigError' in done.stdout or 'UnsafeFileError' in done.stdout) and str(folder) in done.stdout
        harmless = what in HARMLESS and done.stdout.startswith('loaded')
        if not (refused or harmless) or 'clean' not in done.stdout or done.returncode or marker.exists():
            yield f'{what}: {done.stdout[-200:]}{done.stderr[-300:]}'
        marker.unlink(missing_ok=True)


# --- S5: no pickle, no eval -------------------------------------------------------------------------------------------

# What may stand nowhere, and the named places where it may: why is said beside it
BANNED = {
    'eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen', 'pickle.load', 'pickle.loads', 'pickle.Unpickler',
    'dill.load', 'dill.loads', 'marshal.load', 'marshal.loads', 'shelve.open', 'joblib.load', 'yaml.load',
    'yaml.unsafe_load', 'yaml.full_load', 'json_tricks.load', 'json_tricks.loads', 'scipy.io.loadmat', 'loadmat',
    'mmengine.load', 'pandas.read_pickle', 'input', 'runpy.run_path', 'runpy.run_module', 'torch.load', 'numpy.load',
    'np.load', 'urllib.request.urlopen', 'urlopen', 'urlretrieve', 'Config.fromstring', 'Config.fromfile',
}  # fmt: skip
PLACES = {
    ('poseplug/testing.py', 'pickle.loads'): 'tests that a part survives the way to a worker, with bytes it just made',
    ('poseplug/engine/checkpoint.py', 'torch.load'): 'with weights_only=True and an empty allow-list',
    ('tools/compare/mmpose_side.py', 'Config.fromfile'): "MMPose's own configs, in an interpreter of its own",
    ('poseplug/config.py', 'Config.fromfile'): 'a .py config is a program, as its page says',
}
KEYWORDS = {('shell', True), ('allow_pickle', True), ('weights_only', False)}


def code_faults(folder: Path = ROOT) -> list[str]:
    """Every call in the package, its tools and its demos that could run what a file says, outside the named places."""
    found = []
    for part in ('poseplug', 'tools', 'demo', 'setup.py'):
        files = sorted((folder / part).rglob('*.py')) if (folder / part).is_dir() else [folder / part]
        for file in files:
            name = str(file.relative_to(folder))
            found += [f'{name}:{line}: {call}' for call, line in banned_calls(ast.parse(file.read_text()))
                      if (name, call) not in PLACES]  # fmt: skip
    return found


def banned_calls(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Name and line of every call that is banned, under the names that imports gave it."""
    renamed = {
        alias.asname or alias.name: f'{node.module}.{alias.name}'
        for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module for alias in node.names
    } | {
        alias.asname: alias.name
        for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names if alias.asname
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            written = ast.unparse(node.func)
            first, dot, rest = written.partition('.')
            call = renamed.get(first, first) + dot + rest
            names = {written, call} & BANNED
            flags = [f'{k.arg}={k.value.value}' for k in node.keywords
                     if isinstance(k.value, ast.Constant) and (k.arg, k.value.value) in KEYWORDS]  # fmt: skip
            for name in [*names][:1] + flags:
                yield name, node.lineno


# --- S7: names of pictures --------------------------------------------------------------------------------------------


def outside_names(folder: Path) -> list[tuple[str, Callable[[], None]]]:
    """Twelve names that lead out of the folder of pictures, each with what must be laid there before."""
    images, outside = folder / 'images', folder / 'outside'
    outside.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)

    def nothing() -> None:
        pass

    def link(name: str, to: Path) -> Callable[[], None]:
        return lambda: os.symlink(to, images / name)

    return [
        ('../outside/a.jpg', nothing), ('sub/../../outside/a.jpg', nothing), (str(outside / 'a.jpg'), nothing),
        ('..\\outside\\a.jpg', nothing), ('C:\\a.jpg', nothing), ('\\\\host\\share\\a.jpg', nothing),
        ('a.jpg\0.png', nothing), ('..', nothing), ('sub/..', nothing), ('/', nothing),
        ('link.jpg', link('link.jpg', outside / 'a.jpg')), ('folder/a.jpg', link('folder', outside)),
    ]  # fmt: skip

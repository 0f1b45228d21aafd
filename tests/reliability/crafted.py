"""Checkpoints that were made to do more than be loaded, and whether ours could (S1 and S2 of docs/reliability.md).

Run: python tests/reliability/crafted.py [GOALS...]; CRAFTED_FILES and RUN_KINDS make S1 and S2 shorter.
"""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import torch

from poseplug.engine import checkpoint, launch
from tests.reliability import trials
from tests.reliability.rows import Finding, print_rows

DIRECT, FORCED, RESUMED = 'loaded', 'loaded with TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1', 'resumed'
REFUSED = ('UnsafeFileError', 'CheckpointError')


class Reduced:
    """Calls a function when it is unpickled by a loader that trusts its file."""

    def __init__(self, function: Any, *arguments: Any):
        self.found = function, arguments

    def __reduce__(self) -> Any:
        return self.found


class Built:
    """Acts in `__setstate__`, which the BUILD opcode calls."""

    marker = ''

    def __setstate__(self, state: dict[str, Any]) -> None:
        open(state['marker'], 'w').close()

    def __reduce__(self) -> Any:
        return Built, (), {'marker': self.marker}


def archive(data: bytes, **further: bytes) -> bytes:
    """A checkpoint archive as torch writes it, around a pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as file:
        file.writestr('archive/data.pkl', data)
        file.writestr('archive/version', b'3\n')
        for name, content in further.items():
            file.writestr(name, content)
    return out.getvalue()


def saved(content: Any, **settings: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, **settings)
    return out.getvalue()


def tar(data: bytes) -> bytes:
    """torch's oldest format: a tar file of pickles."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as file:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def script(code: bytes) -> bytes:
    """A TorchScript archive, whose code would be compiled and run."""
    return archive(pickle.dumps({}, 2), **{
        'archive/code/__torch__.py': code, 'archive/constants.pkl': pickle.dumps((), 2),
    })  # fmt: skip


def safetensors(header: Any, body: bytes = bytes(16), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text + body


def lying_sizes(data: bytes) -> bytes:
    """An archive whose directory says that every record is 1 GB long."""
    spoiled, place = bytearray(data), 0
    while (place := spoiled.find(b'PK\x01\x02', place)) >= 0:
        spoiled[place + 20 : place + 28] = struct.pack('<II', 1 << 30, 1 << 30)
        place += 4
    return bytes(spoiled)


def beyond_storage() -> bytes:
    """A tensor of 10**9 elements upon a storage of 4."""
    usual = saved({'state_dict': {'weight': torch.zeros(4)}})
    with zipfile.ZipFile(io.BytesIO(usual)) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as file:
        for name, content in parts.items():
            shape = content.replace(b'K\x04\x85', b'J' + struct.pack('<i', 10**9) + b'\x85')
            file.writestr(name, shape if name.endswith('data.pkl') else content)
    return out.getvalue()


def crafted(folder: Path, marker: Path, model: Any) -> dict[str, bytes]:
    """25 files by what they try; `model` is the content of a checkpoint that is what it should be."""
    folder.mkdir(parents=True, exist_ok=True)
    touch, code = f'touch {marker}', f"open({str(marker)!r}, 'w').close()"
    (folder / 'evil_module.py').write_text(code)
    system, execute = Reduced(os.system, touch), Reduced(exec, code)
    Built.marker = str(marker)
    call = pickle.dumps(execute, 2)
    text = code.encode()
    wrapped = Reduced(torch.storage._load_from_bytes, saved({'state_dict': execute}))
    with_config = {**model, 'meta': {**model['meta'], 'config': code, 'cfg': code}}
    nested = {**model, 'optimizer': {**model['optimizer'], 'further': [[{'deep': (1, execute)}]]}}
    protocol_0 = b'(S' + repr(touch).encode() + b'\nios\nsystem\n.'
    by_object = b'(cos\nsystem\nS' + repr(touch).encode() + b'\no.'
    good = pickle.dumps({'state_dict': {}}, 2)
    sized = {'weight': {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]}}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        twice = archive(good, **{'archive/data.pkl': call})
    return {
        'os.system by REDUCE': saved({'state_dict': system}),
        'exec by REDUCE': saved({'state_dict': execute}),
        'a call by BUILD': saved({'state_dict': Built()}),
        'the format before the archive': saved({'state_dict': execute}, _use_new_zipfile_serialization=False),
        'the oldest format, a tar file': tar(call),
        'a pickle alone': call,
        'a pickle of protocol 4': pickle.dumps(system, 4),
        'a call by INST': protocol_0,
        'a call by OBJ': archive(by_object),
        'TorchScript with code': script(b'import os\nos.system(' + repr(touch).encode() + b')\n'),
        'deep within the optimiser': saved(nested),
        'a config that is code': saved(with_config),
        'a loader within a loader': saved({'state_dict': wrapped}),
        'an import of a module beside it': archive(b'cevil_module\nPayload\n.'),
        'getattr of builtins': archive(b'cbuiltins\ngetattr\n(cbuiltins\n__import__\nS\'__call__\'\ntR.'),
        'eval by a name of protocol 4': archive(b'\x80\x04\x8c\x08builtins\x8c\x04eval\x93(' + b'X' +
                                                struct.pack('<I', len(text)) + text + b'tR.'),
        'the extension registry': archive(b'\x80\x02\x82\x01.'),
        'a persistent id that calls': archive(call[:-1] + b'Q.'),
        'names that lead out': archive(good, **{'../../evil_module.py': text, str(marker): b'here'}),
        'two pickles of one name': twice,
        'records of lying sizes': lying_sizes(saved(model)),
        'a tensor beyond its storage': beyond_storage(),
        'safetensors with a header of an exabyte': safetensors({}, length=1 << 60),
        'safetensors beyond its end': safetensors({'weight': {**sized['weight'], 'data_offsets': [0, 1 << 40]}}),
        'safetensors that overlap': safetensors({**sized, 'other': sized['weight']}),
    }  # fmt: skip


HARMLESS = ('a config that is code',)  # text, which is compared with the run's config and never run


def outcomes() -> Finding:
    """Each file, each way to open it, in a process of its own under an audit of what is run, imported and written."""
    trials.warm()
    with trials.place() as folder:
        whole = trials.config(steps=2)
        assert trials.ended(whole, folder / 'whole').code == 0
        marker = folder / 'marker'
        files = crafted(folder / 'beside', marker, checkpoint.load(folder / 'whole'))
        number = trials.count('CRAFTED_FILES', len(files))
        chosen = {what: data for place, (what, data) in enumerate(files.items()) if place % (len(files) // number) == 0}
        faults, refused = [], 0
        for place, (what, data) in enumerate(chosen.items()):
            for way in (DIRECT, FORCED, RESUMED):
                child = opened(folder / f'{place}_{way[:8].strip()}_{len(way)}', what, data, way, marker)
                named = child.code == 2 and child.said.rstrip().rpartition('\n')[2].startswith(REFUSED)
                refused += named
                if (
                    child.code not in (0, 2)
                    or not (named or what in HARMLESS)
                    or 'SEEN' in child.said
                    or marker.exists()
                ):
                    faults.append(f'{what}, {way}: code {child.code}, {child.said[-400:]}')
                marker.unlink(missing_ok=True)
    read = 3 * len(chosen) - refused - len(faults)
    told = f'{len(chosen)} files, each {DIRECT}, {FORCED}, {RESUMED}: {refused} refused by name, {read} read as plain '
    told += f'data, {len(faults)} otherwise'
    return told + ''.join(f'; {f}' for f in faults), not faults


def opened(folder: Path, what: str, data: bytes, way: str, marker: Path) -> trials.Child:
    """The end of a process that opens a file in one of the ways."""
    folder.mkdir()
    name = 'weights.safetensors' if what.startswith('safetensors') and way != RESUMED else 'step_0000002.pth'
    (folder / name).write_bytes(data)

    def act() -> None:
        if way == FORCED:
            os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] = '1'
        sys.path.insert(0, str(marker.parent / 'beside'))
        sys.addaudithook(functools.partial(noted, marker))
        if way == RESUMED:
            launch.train(trials.config(steps=3), folder, resume=True)
        else:
            checkpoint.load(folder / name)

    child = trials.start(act, folder.with_suffix('.log'))
    child.wait()
    return child


def noted(marker: Path, event: str, arguments: tuple[Any, ...]) -> None:
    """Tell of what nothing but a crafted file would ask for."""
    asked = event in ('os.system', 'os.exec', 'subprocess.Popen') or (
        event == 'import' and arguments[0] == 'evil_module'
    )
    asked |= event == 'open' and str(arguments[0]) == str(marker)
    if asked or (event == 'exec' and marker.name in str(getattr(arguments[0], 'co_consts', ''))):
        print(f'SEEN {event}')


def own_files() -> Finding:
    """Every kind of file that a run writes needs no allow-list, and what is shipped is safetensors."""
    trials.warm()
    kinds = {
        'plain': {}, 'averages, best': dict(val=True, best='rising', val_evaluator=dict(type='RisingScore')),
        'bfloat16': {'optim_wrapper.type': 'AutocastOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'},
        'SGD': {'optim_wrapper.optimizer.type': 'SGD', 'optim_wrapper.optimizer.momentum': 0.9},
        'frozen, accumulated': {'freeze': ['^backbone'], 'optim_wrapper.accumulative_counts': 2},
    }  # fmt: skip
    files, faults = 0, []
    with trials.place() as folder:
        for place, (kind, settings) in enumerate([*kinds.items()][: trials.count('RUN_KINDS', len(kinds))]):
            cfg = trials.config(steps=3, **settings)
            if kind == 'SGD':
                cfg.optim_wrapper.optimizer = dict(type='SGD', lr=1e-4, momentum=0.9)
            child = trials.ended(cfg, folder / str(place))
            found = [*(folder / str(place)).glob('*.pth')]
            files += len(found)
            faults += [f'{kind}: {child.said[-300:]}'] * bool(child.code or not found)
            faults += [f'{kind}: {file.name}' for file in found if not clean(file)]
    pickled = [p.name for p in (trials.ROOT / 'poseplug/weights').iterdir() if p.suffix in ('.pth', '.pt', '.pkl')]
    told = f'{files - len(faults)} of {files} files of {place + 1} kinds of runs; shipped weights: '
    told += f'{len(pickled)} pickled, else safetensors' + ''.join(f'; {f}' for f in faults)
    return told, not faults and not pickled


def clean(file: Path) -> bool:
    with torch.serialization.safe_globals([]):
        content = torch.load(file, weights_only=True)
    return torch.serialization.get_unsafe_globals_in_checkpoint(str(file)) == [] and 'optimizer' in content


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'S1': ('25 crafted checkpoints: 0 markers, all refused by name or read as plain data, on resume too', outcomes),
    'S2': ('every file that a run writes loads with weights_only and an empty allow-list', own_files),
}

if __name__ == '__main__':
    print_rows(GOALS, __doc__)

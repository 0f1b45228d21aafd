"""Checkpoints that are crafted to run code, and those of ordinary runs (S1 and S2 of docs/lab/reliability.md).

Run: python tests/reliability/crafted.py [GOALS...]; CRAFTED_FILES and RUN_KINDS shorten S1 and S2.
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

from poseplug.engine import launch
from poseplug.files.weights import load_checkpoint
from tests.reliability import trials
from tests.reliability.rows import Finding, print_rows

DIRECT, FORCED, RESUMED = 'loaded', 'loaded with TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1', 'resumed'
REFUSALS = ('UnsafeFileError', 'CheckpointError')
AUDIT_MARK = 'AUDITED'


class ReducePayload:
    """Calls a function when a loader that trusts its file unpickles it."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class BuildPayload:
    """Creates a file in `__setstate__`, which the BUILD opcode calls."""

    marker = ''

    def __setstate__(self, state: dict[str, Any]) -> None:
        open(state['marker'], 'w').close()

    def __reduce__(self) -> Any:
        return BuildPayload, (), {'marker': self.marker}


def build_archive(data: bytes, **extra_files: bytes) -> bytes:
    """A checkpoint archive as torch writes it, around a pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as file:
        file.writestr('archive/data.pkl', data)
        file.writestr('archive/version', b'3\n')
        for name, content in extra_files.items():
            file.writestr(name, content)
    return out.getvalue()


def save_to_bytes(content: Any, **settings: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, **settings)
    return out.getvalue()


def build_tar(data: bytes) -> bytes:
    """torch's oldest format: a tar file of pickles."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as file:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def build_torchscript(code: bytes) -> bytes:
    """A TorchScript archive, whose code would be compiled and run."""
    return build_archive(pickle.dumps({}, 2), **{
        'archive/code/__torch__.py': code, 'archive/constants.pkl': pickle.dumps((), 2),
    })  # fmt: skip


def build_safetensors(header: Any, body: bytes = bytes(16), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text + body


def declare_huge_sizes(data: bytes) -> bytes:
    """An archive whose directory declares every record to be 1 GB long."""
    damaged, offset = bytearray(data), 0
    while (offset := damaged.find(b'PK\x01\x02', offset)) >= 0:
        damaged[offset + 20 : offset + 28] = struct.pack('<II', 1 << 30, 1 << 30)
        offset += 4
    return bytes(damaged)


def exceed_storage() -> bytes:
    """A tensor of 10**9 elements on a storage of 4."""
    original = save_to_bytes({'state_dict': {'weight': torch.zeros(4)}})
    with zipfile.ZipFile(io.BytesIO(original)) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as file:
        for name, content in parts.items():
            shape = content.replace(b'K\x04\x85', b'J' + struct.pack('<i', 10**9) + b'\x85')
            file.writestr(name, shape if name.endswith('data.pkl') else content)
    return out.getvalue()


def craft_files(folder: Path, marker: Path, model: Any) -> dict[str, bytes]:
    """25 files by what they attempt; `model` is the content of a valid checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    touch, code = f'touch {marker}', f"open({str(marker)!r}, 'w').close()"
    (folder / 'evil_module.py').write_text(code)
    system, execute = ReducePayload(os.system, touch), ReducePayload(exec, code)
    BuildPayload.marker = str(marker)
    call = pickle.dumps(execute, 2)
    text = code.encode()
    wrapped = ReducePayload(torch.storage._load_from_bytes, save_to_bytes({'state_dict': execute}))
    with_config = {**model, 'meta': {**model['meta'], 'config': code, 'cfg': code}}
    nested = {**model, 'optimizer': {**model['optimizer'], 'extra': [[{'deep': (1, execute)}]]}}
    protocol_0 = b'(S' + repr(touch).encode() + b'\nios\nsystem\n.'
    by_object = b'(cos\nsystem\nS' + repr(touch).encode() + b'\no.'
    good = pickle.dumps({'state_dict': {}}, 2)
    sized = {'weight': {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]}}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        twice = build_archive(good, **{'archive/data.pkl': call})
    files = {
        'os.system by REDUCE': save_to_bytes({'state_dict': system}),
        'exec by REDUCE': save_to_bytes({'state_dict': execute}),
        'a call by BUILD': save_to_bytes({'state_dict': BuildPayload()}),
        'the format before the archive': save_to_bytes({'state_dict': execute}, _use_new_zipfile_serialization=False),
        'the oldest format, a tar file': build_tar(call),
        'a pickle alone': call,
        'a pickle of protocol 4': pickle.dumps(system, 4),
        'a call by INST': protocol_0,
        'a call by OBJ': build_archive(by_object),
        'TorchScript with code': build_torchscript(b'import os\nos.system(' + repr(touch).encode() + b')\n'),
        'deep within the optimizer': save_to_bytes(nested),
        'a config that is code': save_to_bytes(with_config),
        'a loader within a loader': save_to_bytes({'state_dict': wrapped}),
        'an import of a module beside it': build_archive(b'cevil_module\nPayload\n.'),
        'getattr of builtins': build_archive(b'cbuiltins\ngetattr\n(cbuiltins\n__import__\nS\'__call__\'\ntR.'),
        'eval by a name of protocol 4': build_archive(b'\x80\x04\x8c\x08builtins\x8c\x04eval\x93(' + b'X' +
                                                      struct.pack('<I', len(text)) + text + b'tR.'),
        'the extension registry': build_archive(b'\x80\x02\x82\x01.'),
        'a persistent id that calls': build_archive(call[:-1] + b'Q.'),
        'names outside of the folder': build_archive(good, **{'../../evil_module.py': text, str(marker): b'here'}),
        'two pickles of one name': twice,
        'records with false sizes': declare_huge_sizes(save_to_bytes(model)),
        'a tensor beyond its storage': exceed_storage(),
        'safetensors with a header of an exabyte': build_safetensors({}, length=1 << 60),
        'safetensors beyond its end': build_safetensors({'weight': {**sized['weight'], 'data_offsets': [0, 1 << 40]}}),
        'safetensors that overlap': build_safetensors({**sized, 'other': sized['weight']}),
    }  # fmt: skip
    return files


HARMLESS = ('a config that is code',)  # compared as text with the run's config, and never run


def measure_crafted_files() -> Finding:
    """Each file, opened in each way, in a process of its own under an audit of what is run, imported and written."""
    trials.warm_up()
    with trials.temporary_folder() as folder:
        assert trials.run_training(trials.build_config(max_steps=2), folder / 'whole').code == 0
        marker = folder / 'marker'
        files = craft_files(folder / 'beside', marker, load_checkpoint(folder / 'whole'))
        stride = len(files) // trials.get_count('CRAFTED_FILES', len(files))
        cases = [*files.items()][::stride]
        faults, num_refused = [], 0
        for number, (attempt, data) in enumerate(cases):
            for mode in (DIRECT, FORCED, RESUMED):
                run_folder = folder / f'{number}_{mode[:8].strip()}_{len(mode)}'
                child = open_in_child(run_folder, attempt, data, mode, marker)
                last_line = child.output.rstrip().rpartition('\n')[2]
                is_refused = child.code == 2 and last_line.startswith(REFUSALS)
                num_refused += is_refused
                is_expected = child.code in (0, 2) and (is_refused or attempt in HARMLESS)
                if not is_expected or AUDIT_MARK in child.output or marker.exists():
                    faults.append(f'{attempt}, {mode}: code {child.code}, {child.output[-400:]}')
                marker.unlink(missing_ok=True)
    num_read = 3 * len(cases) - num_refused - len(faults)
    result = f'{len(cases)} files, each {DIRECT}, {FORCED}, {RESUMED}: {num_refused} refused by name, '
    result += f'{num_read} read as plain data, {len(faults)} otherwise'
    return result + ''.join(f'; {fault}' for fault in faults), not faults


def open_in_child(folder: Path, attempt: str, data: bytes, mode: str, marker: Path) -> trials.Child:
    """A process, ended, that opened a file in one of the modes."""
    folder.mkdir()
    is_safetensors = attempt.startswith('safetensors') and mode != RESUMED
    name = 'weights.safetensors' if is_safetensors else 'step_0000002.pth'
    (folder / name).write_bytes(data)

    def open_file() -> None:
        if mode == FORCED:
            os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] = '1'
        sys.path.insert(0, str(marker.parent / 'beside'))
        sys.addaudithook(functools.partial(audit_event, marker))
        if mode == RESUMED:
            launch.train(trials.build_config(max_steps=3), folder, resume=True)
        else:
            load_checkpoint(folder / name)

    child = trials.fork_child(open_file, folder.with_suffix('.log'))
    child.wait()
    return child


def audit_event(marker: Path, event: str, arguments: tuple[Any, ...]) -> None:
    """Print a mark at an event that nothing but a crafted file would cause."""
    starts_process = event in ('os.system', 'os.exec', 'subprocess.Popen')
    imports_module = event == 'import' and arguments[0] == 'evil_module'
    opens_marker = event == 'open' and str(arguments[0]) == str(marker)
    runs_code = event == 'exec' and marker.name in str(getattr(arguments[0], 'co_consts', ''))
    if starts_process or imports_module or opens_marker or runs_code:
        print(f'{AUDIT_MARK} {event}')


def measure_run_files() -> Finding:
    """All files that runs write load with an empty allow-list, and the shipped weights are safetensors."""
    trials.warm_up()
    kinds = {
        'default': {},
        'averages, best': dict(val=True, save_best='rising', val_evaluator=dict(type='RisingScore')),
        'bfloat16': {'optim_wrapper.type': 'AutocastOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'},
        'SGD': {'optim_wrapper.optimizer.type': 'SGD', 'optim_wrapper.optimizer.momentum': 0.9},
        'frozen, accumulated': {'freeze': ['^backbone'], 'optim_wrapper.accumulative_counts': 2},
    }
    cases = [*kinds.items()][: trials.get_count('RUN_KINDS', len(kinds))]
    num_files, faults = 0, []
    with trials.temporary_folder() as folder:
        for number, (kind, settings) in enumerate(cases):
            cfg = trials.build_config(max_steps=3, **settings)
            if kind == 'SGD':
                cfg.optim_wrapper.optimizer = dict(type='SGD', lr=1e-4, momentum=0.9)
            child = trials.run_training(cfg, folder / str(number))
            files = [*(folder / str(number)).glob('*.pth')]
            num_files += len(files)
            faults += [f'{kind}: {child.output[-300:]}'] if child.code or not files else []
            faults += [f'{kind}: {file.name}' for file in files if not is_plain_data(file)]
    weights = (trials.ROOT / 'poseplug/weights').iterdir()
    pickled = [path.name for path in weights if path.suffix in ('.pth', '.pt', '.pkl')]
    result = f'{num_files - len(faults)} of {num_files} files of {len(cases)} kinds of runs; shipped weights: '
    result += f'{len(pickled)} pickled, else safetensors' + ''.join(f'; {fault}' for fault in faults)
    return result, not faults and not pickled


def is_plain_data(file: Path) -> bool:
    """Whether a checkpoint loads with weights_only and an empty allow-list."""
    with torch.serialization.safe_globals([]):
        content = torch.load(file, weights_only=True)
    return torch.serialization.get_unsafe_globals_in_checkpoint(str(file)) == [] and 'optimizer' in content


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'S1': (
        '25 crafted checkpoints: 0 markers, all refused by name or read as plain data, on resume too',
        measure_crafted_files,
    ),
    'S2': ('every file that a run writes loads with weights_only and an empty allow-list', measure_run_files),
}

if __name__ == '__main__':
    print_rows(GOALS, __doc__)

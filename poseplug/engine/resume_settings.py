"""Compares the settings of a run with those of the checkpoint that it resumes, without running either config."""

from __future__ import annotations

__all__ = ['SettingChange', 'check_resume_settings', 'compute_label_checksum', 'read_config_settings']

import ast
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.core.sample import Record

# The keys of a config that decide what a training step computes. The skeleton is compared by its keypoints.
TRAJECTORY_KEYS = (
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'train_cfg',
    'train_dataloader',
    'model',
    'custom_hooks',
    'freeze',
    'seed',
    'precision',
)
# Settings below these keys that change no training step; those of prediction, speed, and where the files are.
_FREE_SETTINGS = re.compile(
    r'train_cfg\.(type|val_interval|val_loss|distributed|max_minutes)\b'
    r'|train_dataloader\.(num_workers|batch_size)$'  # the number of samples a step is compared instead
    r'|train_dataloader\.dataset\.(image_cache_size|max_skipped)$'
    r'|train_dataloader\.dataset\.sources(\.\d+)?\.(data_root|ann_file|image_folder|num_size_checks)$'
    r'|model\.(flip_test|channels_last)$'
)
_MAX_LISTED_CHANGES = 8
_NUM_CHECKED_RECORDS = 4096  # a second at most, also of a data set of millions, whose records are built on request
_MISSING = object()


@dataclass(frozen=True)
class SettingChange:
    """A setting that a resumed run has otherwise than its checkpoint.

    Attributes:
        key: of the setting, dotted.
        old: its value in the checkpoint, as text.
        new: its value now, as text.
    """

    key: str
    old: str
    new: str

    def __str__(self) -> str:
        return f'{self.key}: {self.old} in the checkpoint, {self.new} now'


def check_resume_settings(
    meta: Mapping[str, Any],
    config_text: str,
    run_counts: Mapping[str, int | str],
    accepted_keys: Sequence[str],
    file: str,
) -> list[SettingChange]:
    """Check that a run continues its checkpoint with the same settings, except those that may count from here.

    Args:
        meta: of the checkpoint, with its `config` as text and the numbers of `run_counts`.
        config_text: the run's config.
        run_counts: what settings amount to, by setting: the number of samples a step and in the data set, and the
            checksum of their labels.
        accepted_keys: dotted keys below which new settings count from here (`--resume-with`).
        file: the checkpoint, for the message.

    Returns:
        The changes that count from here.

    Raises:
        ConfigError: another setting has changed, or a key of `accepted_keys` is none that could.
    """
    for key in accepted_keys:
        if key.partition('.')[0] not in TRAJECTORY_KEYS:
            known = ', '.join(TRAJECTORY_KEYS)
            raise ConfigError(
                compose_message(
                    f'--resume-with {key}: a resumed run has no such setting of its own',
                    suggest_closest(key, TRAJECTORY_KEYS),
                    f'it takes keys below {known}',
                )
            )
    changes = list(_find_changes(meta, config_text, run_counts))
    accepted = [change for change in changes if _is_below(change.key, accepted_keys)]
    refused = [change for change in changes if change not in accepted]
    if refused:
        further = len(refused) - _MAX_LISTED_CHANGES
        ending = f'; and {further} more' if further > 0 else ''
        keys = ' '.join(dict.fromkeys(change.key.partition('.')[0] for change in refused))
        raise ConfigError(
            f'{file} was trained with other settings: {"; ".join(map(str, refused[:_MAX_LISTED_CHANGES]))}{ending}. '
            f'--resume continues a run exactly. Restore these settings (the config of the run is in '
            f'{Path(file).parent}), or add --resume-with {keys} to let the new ones count from here; --init starts a '
            f'new run from the weights'
        )
    return accepted


def compute_label_checksum(records: Sequence[Record]) -> str:
    """Compute a checksum of what samples are labeled with, by which a resumed run recognizes its data set.

    It is the same wherever the images lie. Of many samples some are read, spread evenly.

    Args:
        records: of the samples.

    Returns:
        Eight hexadecimal digits.
    """
    checksum = 0
    for index in np.linspace(0, len(records) - 1, min(len(records), _NUM_CHECKED_RECORDS)).round().astype(int):
        record = records[int(index)]
        labels = np.where(record.instances.visible[..., None] > 0, record.instances.keypoints, 0)
        checksum = zlib.crc32(f'{record.source} {record.id}'.encode(errors='surrogateescape'), checksum)
        checksum = zlib.crc32(np.ascontiguousarray(labels, np.float32).tobytes(), checksum)
    return f'{checksum:08x}'


def _is_below(key: str, prefixes: Collection[str]) -> bool:
    """Whether a dotted key is one of the prefixes or below one."""
    return any(f'{key}.'.startswith(f'{prefix}.') for prefix in prefixes)


def _find_changes(
    meta: Mapping[str, Any], config_text: str, run_counts: Mapping[str, int | str]
) -> Iterator[SettingChange]:
    """The changes of settings that decide what a training step computes."""
    old_settings, new_settings = read_config_settings(meta['config']), read_config_settings(config_text)
    old_counts = meta.get('run_counts') or {}
    for key in TRAJECTORY_KEYS:
        differences = find_differences(old_settings.get(key, _MISSING), new_settings.get(key, _MISSING), key)
        yield from (change for change in differences if not _FREE_SETTINGS.match(change.key))
    for key, count in run_counts.items():
        if key in old_counts and old_counts[key] != count:
            yield SettingChange(key, str(old_counts[key]), str(count))


def find_differences(old: Any, new: Any, key: str) -> Iterator[SettingChange]:
    """Find the innermost settings that differ.

    Args:
        old, new: settings, as `read_config_settings` returns them.
        key: their dotted key.

    Yields:
        A change for each setting; an unset one and None are the same.
    """
    # parts of two types share no settings, so that the whole part has changed
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.get('type') == new.get('type'):
        for name in dict.fromkeys([*old, *new]):
            yield from find_differences(old.get(name, _MISSING), new.get(name, _MISSING), f'{key}.{name}')
    # lists of another length differ as a whole, since positions no longer correspond
    elif _are_lists_of_parts(old, new):
        for i, (old_item, new_item) in enumerate(zip(old, new, strict=True)):
            yield from find_differences(old_item, new_item, f'{key}.{i}')
    elif _normalize_setting(old) != _normalize_setting(new):
        yield SettingChange(key, _format_setting(old), _format_setting(new))


def _are_lists_of_parts(old: Any, new: Any) -> bool:
    """Whether both are lists of as many dicts."""
    if not isinstance(old, list | tuple) or not isinstance(new, list | tuple) or len(old) != len(new):
        return False
    return all(isinstance(item, Mapping) for item in (*old, *new))


def _normalize_setting(value: Any) -> Any:
    """A value such that equal settings are equal: a list is as good as a tuple, and nothing as good as unset."""
    if isinstance(value, Mapping):
        return {key: _normalize_setting(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(_normalize_setting, value)) or None
    return None if value is _MISSING or value == {} else value


def _format_setting(value: Any) -> str:
    """A value as text of one short line."""
    text = 'not set' if value is _MISSING else repr(value)
    return text if len(text) <= 100 else f'{text[:97]}...'


def read_config_settings(text: str) -> dict[str, Any]:
    """Read the settings of a formatted config as data; nothing of it is run.

    Args:
        text: assignments of literals and `dict(...)`, as `poseplug.config.saved.format_runnable_config` writes them.

    Returns:
        The settings by name. One that is no literal is its source.
    """
    try:
        statements = ast.parse(text).body
    except SyntaxError:
        return {}
    settings = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            settings[statement.targets[0].id] = _read_literal(statement.value)
    return settings


def _read_literal(node: ast.expr) -> Any:
    """The value of a literal with `dict(...)` in it, or its source if it is none."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {keyword.arg: _read_literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.List | ast.Tuple):
        return [_read_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {ast.unparse(key) if key else '**': _read_literal(value) for key, value in pairs}
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)

"""Where a model's weights begin: those of a whole model, or of some of its parts, pretrained elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from poseplug.engine import checkpoint
from poseplug.errors import CheckpointError, ConfigError, clauses, closest

LOGGER = logging.getLogger('poseplug')
SETTINGS = ('file', 'prefix', 'missing', 'unused')
SHOWN = 6  # names that a report tells


@dataclass
class Report:
    """What became of every tensor: put into the part, missing in the file, not used of the file; all by name."""

    part: str
    file: Path
    prefix: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        names = f', names after {self.prefix!r}' if self.prefix else ''
        told = [f'{len(self.loaded)} loaded']
        told += [f'{len(v)} {n}{listed(v)}' for n, v in (('missing', self.missing), ('not used', self.unused))]
        return f'{self.part}: weights of {self.file}{names}: {", ".join(told)}'


def init_weights(model: nn.Module, spec: str | Mapping[str, Any]) -> list[Report]:
    """Put the weights that a config's `init` names into a model.

    `spec` is a file for the whole model, whose names and shapes must be the model's; or a dict from a part of the
    model (`backbone`, `head`, `backbone.stem`, ...) to a file or to `part_weights`'s settings.
    """
    if not isinstance(spec, Mapping):
        checkpoint.load_weights(model, spec)
        LOGGER.info('weights of %s loaded; everything else starts anew', spec)
        return []
    reports = []
    for name, source in spec.items():
        settings = dict(source) if isinstance(source, Mapping) else {'file': source}
        strange = [k for k in settings if k not in SETTINGS]
        if strange or 'file' not in settings:
            wrong = f'no setting {strange[0]!r}' if strange else "no 'file'"
            hint = closest(strange[0], SETTINGS) if strange else ''
            raise ConfigError(clauses(f'init.{name} has {wrong}', hint, f'settings: {", ".join(SETTINGS)}'))
        reports.append(part_weights(model, name, **settings))
        LOGGER.info('init: %s', reports[-1])
    return reports


def part_weights(
    model: nn.Module,
    name: str,
    file: str | Path,
    prefix: str | None = None,
    missing: str = 'error',
    unused: str = 'ignore',
) -> Report:
    """Put a file's weights into one part of a model.

    Args:
        model: the estimator.
        name: of the part, with dots, as in `model.named_modules()`.
        file: a .pth or .safetensors file, a work dir for its newest, or `URL#sha256=DIGITS`.
        prefix: what stands before the part's names in the file; by default `name.` where the file has that, else
            nothing.
        missing: what a tensor of the part that the file lacks is: an 'error', or to 'keep' as it was initialised.
        unused: what a tensor of the file that the part lacks is: an 'error', or to 'ignore' (a classifier's).

    Raises:
        CheckpointError: a tensor has another shape, or one of the above.
    """
    for key, value, known in (('missing', missing, ('error', 'keep')), ('unused', unused, ('error', 'ignore'))):
        if value not in known:
            raise ConfigError(f'init.{name}.{key} is one of {", ".join(known)}; got {value!r}')
    part = submodule(model, name)
    given = tensors(checkpoint.load(file)['state_dict'])
    if prefix is None:
        prefix = f'{name}.' if any(k.startswith(f'{name}.') for k in given) else ''
    state = {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}
    checkpoint.adapt(part, state)
    report = Report(name, Path(file), prefix)
    wanted = part.state_dict()
    report.loaded = [k for k in wanted if k in state]
    report.missing = [k for k in wanted if k not in state and not k.endswith('num_batches_tracked')]
    others = [k for k in given if not k.startswith(prefix)]
    report.unused = [k for k in state if k not in wanted] + others
    refuse(report, wanted, state, missing, unused)
    part.load_state_dict({**wanted, **{k: state[k] for k in report.loaded}})
    return report


def refuse(
    report: Report, wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], missing: str, unused: str
) -> None:
    """Raise where shapes differ, where nothing fits, and where the settings forbid what was found."""
    shapes = checkpoint.other_shapes(wanted, state)
    at = f'{report.part}: weights of {report.file}'
    if shapes:
        raise CheckpointError(
            f'{at}: {len(shapes)} of another shape (first: {shapes[0]}); take the weights of its kind'
        )
    if not report.loaded:
        raise CheckpointError(
            f'{at} fit nothing: the file has other names{listed([*state] or report.unused)} than the '
            f'part{listed([*wanted])}; set init.{report.part}.prefix to what stands before them'
        )
    if missing == 'error' and report.missing:
        raise CheckpointError(
            f'{at} lack {len(report.missing)} of {len(wanted)} tensors{listed(report.missing)}; '
            f"init.{report.part}.missing='keep' leaves them as they were initialised"
        )
    if unused == 'error' and report.unused:
        raise CheckpointError(f'{at} hold {len(report.unused)} more tensors than are used{listed(report.unused)}')


def tensors(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The named tensors of a checkpoint's content; some programs keep them one level down, as 'model'."""
    inner = content.get('model')
    return {k: v for k, v in (inner if isinstance(inner, Mapping) else content).items() if isinstance(v, Tensor)}


def submodule(model: nn.Module, name: str) -> nn.Module:
    """A part of a model by its dotted name, or an error that says the closest."""
    parts = dict(model.named_modules())
    if name not in parts or not name:
        known = [n for n, _ in model.named_children()]
        raise ConfigError(
            clauses(f'init: the model has no part {name!r}', closest(name, parts), f'parts: {", ".join(known)}')
        )
    return parts[name]


def listed(names: list[str]) -> str:
    """The first names in brackets, and how many more there are; nothing for none."""
    more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    return f' ({", ".join(names[:SHOWN])}{more})' if names else ''

"""Initial weights from files: of a whole model, or of some of its parts that were pretrained elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from poseplug.core.errors import CheckpointError, ConfigError, compose_message, suggest_closest
from poseplug.core.skeleton_checks import normalize_keypoint_name
from poseplug.core.weight_names import weight_name
from poseplug.files.skeleton_record import check_keypoints, warn_of_unnamed_keypoints
from poseplug.files.weight_checks import find_shape_mismatches, list_part_names
from poseplug.files.weights import adapt_state_dict, get_skeleton_record, load_checkpoint, load_weights
from poseplug.files.wrapped_names import remove_wrapper_names
from poseplug.models.estimators.base import Estimator
from poseplug.zoo.published_models import find_weights

_LOGGER = logging.getLogger('poseplug')
_PART_SETTINGS = ('file', 'prefix', 'missing', 'unused')
_MISSING_CHOICES = ('error', 'keep')
_UNUSED_CHOICES = ('error', 'ignore')
_MAX_LISTED_NAMES = 6  # in a report or message


@dataclass
class WeightLoadReport:
    """Names of the tensors that were loaded, that the file lacks, and that it has unused.

    Attributes:
        part_name: the name of the part in the model, with dots.
        file: the file of weights.
        prefix: the text before the part's names in the file.
        loaded: the names of the tensors that were loaded.
        missing: the tensors of the part that the file lacks.
        unused: the tensors of the file that the part lacks.
    """

    part_name: str
    file: Path
    prefix: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        prefix = f', names after {self.prefix!r}' if self.prefix else ''
        counts = [
            f'{len(self.loaded)} loaded',
            f'{len(self.missing)} missing{_format_names(self.missing)}',
            f'{len(self.unused)} not used{_format_names(self.unused)}',
        ]
        return f'{self.part_name}: weights of {self.file}{prefix}: {", ".join(counts)}'


def init_weights(
    model: nn.Module, spec: str | Mapping[str, Any], map_keypoints: bool = False
) -> list[WeightLoadReport]:
    """Load the weights that a config's `init` names.

    Args:
        model: the estimator.
        spec: a file for the whole model, or the name of a published model (`poseplug models`); or a dict from the name
            of a part (`backbone`, `head`, `backbone.stem`, ...) to one of these or to the settings of
            `load_part_weights`. Of a file for keypoints of other names, everything that fits is loaded; any other file
            must have the model's names and shapes.
        map_keypoints: whether channels are matched by keypoint name, if the keypoints have another order.

    Returns:
        One report per part; none for a file of the whole model.

    Raises:
        ConfigError: a part or a setting is unknown.
        CheckpointError: a file is missing or damaged, or its weights do not fit.
    """
    if not isinstance(spec, Mapping):
        file = find_weights(spec)
        if _has_other_head(model, file):
            _load_fitting_weights(model, file)
            return []
        load_weights(model, file, map_keypoints=map_keypoints)
        _LOGGER.info('weights of %s loaded; everything else starts anew', spec)
        return []
    reports = []
    for name, source in spec.items():
        settings = dict(source) if isinstance(source, Mapping) else {'file': source}
        _check_part_settings(name, settings)
        reports.append(load_part_weights(model, name, **settings))
        _LOGGER.info('init: %s', reports[-1])
    return reports


def _has_other_head(model: Any, file: str | Path) -> bool:
    """Whether a file has keypoints of other names, or a head of other shapes if it names no keypoints."""
    content, skeleton = load_checkpoint(file), getattr(model, 'skeleton', None)
    record = get_skeleton_record(content)
    if record is not None:
        return skeleton is not None and _list_names(record.keypoints) != _list_names(skeleton.keypoints)
    mismatches = find_shape_mismatches(model.state_dict(), content['state_dict'])
    # a mismatch elsewhere is another architecture, which is an error and nothing to adapt
    return bool(mismatches) and all(line.startswith('head.') for line in mismatches)


def _list_names(keypoints: Sequence[str]) -> list[str]:
    """The names of keypoints as they are compared, without their order: the same names in another order are refused."""
    return sorted(map(normalize_keypoint_name, keypoints))


def _load_fitting_weights(model: Any, file: str | Path) -> None:
    """Load what fits of a file for other keypoints: those of the same names are carried over in the last layers."""
    content = load_checkpoint(file)
    record, state_dict = get_skeleton_record(content), content['state_dict']
    mapped, missing = [], list(model.skeleton.keypoints)
    if record is None:
        _LOGGER.warning('%s does not say which keypoints it predicts, so that none is carried over by name', file)
    else:
        try:
            mapping = model.map_keypoint_weights(state_dict, record.keypoints)
        except (CheckpointError, ConfigError) as error:
            if len(record.keypoints) == len(model.skeleton.keypoints):
                raise  # all shapes fit, so that channels would silently be those of other keypoints
            _LOGGER.warning('no keypoint is carried over by name: %s', error)
        else:
            state_dict, mapped, missing = mapping.state_dict, mapping.mapped, mapping.missing
    # position embeddings of another input size are resized in place
    adapt_state_dict(model, state_dict)
    expected = model.state_dict()
    fitting = {n: t for n, t in state_dict.items() if n in expected and t.shape == expected[n].shape}
    if not fitting:
        raise CheckpointError(
            f"{file} fits nothing of the config's model: no tensor has the same name and shape; use weights of the "
            f'same architecture, or name a part: init=dict(backbone=FILE)'
        )
    model.load_state_dict({**expected, **fitting})
    new = [n for n in expected if n not in fitting and not n.endswith('num_batches_tracked')]
    unused = [n for n in state_dict if n not in fitting]
    carried = [name for name in model.skeleton.keypoints if mapped and name not in missing]
    message = (
        'init: %d of %d tensors of the model are those of %s; keypoints carried over by name: %s; new keypoints: %s'
    )
    _LOGGER.info(message, len(fitting), len(expected), file, ', '.join(carried) or 'none', ', '.join(missing) or 'none')
    _LOGGER.info(
        'init: %d tensors start anew%s; %d not used%s', len(new), _format_names(new), len(unused), _format_names(unused)
    )


def _check_part_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Raise if settings of a part are unknown or lack the file."""
    unknown = [key for key in settings if key not in _PART_SETTINGS]
    known = f'settings: {", ".join(_PART_SETTINGS)}'
    if unknown:
        closest = suggest_closest(unknown[0], _PART_SETTINGS)
        raise ConfigError(compose_message(f'init.{name} has no setting {unknown[0]!r}', closest, known))
    if 'file' not in settings:
        raise ConfigError(f"init.{name} has no 'file'; {known}")


def load_part_weights(
    model: nn.Module,
    part_name: str,
    file: str | Path,
    prefix: str | None = None,
    missing: str = 'error',
    unused: str = 'ignore',
) -> WeightLoadReport:
    """Load a file's weights into one part of a model.

    Args:
        model: the estimator.
        part_name: the name of the part, with dots, as in `model.named_modules()`.
        file: a .pth or .safetensors file, a work dir for its newest checkpoint, `URL#sha256=DIGITS`, or the name of a
            published model.
        prefix: the text before the part's names in the file; by default `part_name.` if the file has such names,
            else nothing.
        missing: 'error', or 'keep' to leave tensors that the file lacks as they were initialized.
        unused: 'ignore', or 'error' for tensors of the file that the part lacks, such as a classifier's.

    Returns:
        The names of the loaded, missing and unused tensors.

    Raises:
        ConfigError: the part does not exist, or a setting has a wrong value.
        CheckpointError: a tensor has another shape, no name fits, or a tensor is missing or unused against the
            settings.
    """
    for key, value, choices in (('missing', missing, _MISSING_CHOICES), ('unused', unused, _UNUSED_CHOICES)):
        if value not in choices:
            raise ConfigError(f'init.{part_name}.{key} is one of {", ".join(choices)}; got {value!r}')
    part, file = _get_submodule(model, part_name), find_weights(file)
    content = load_checkpoint(file)
    # weights of a head are in the order of its keypoints, and the shapes alone would fit any other order
    if part_name.partition('.')[0] == 'head' and isinstance(model, Estimator):
        record = get_skeleton_record(content)
        check_keypoints(record, model.skeleton, file)
        if record is None:
            warn_of_unnamed_keypoints(model.skeleton, file)
    file_tensors = {name: value for name, value in content['state_dict'].items() if isinstance(value, Tensor)}
    if prefix is None:
        # the file may begin with a part of the model, or with one inside of this part
        known_parts = {*list_part_names(model), *list_part_names(part), part_name.partition('.')[0]}
        file_tensors = remove_wrapper_names(file_tensors, known_parts)
        has_prefix = any(name.startswith(f'{part_name}.') for name in file_tensors)
        prefix = f'{part_name}.' if has_prefix else ''
    state_dict = {k.removeprefix(prefix): v for k, v in file_tensors.items() if k.startswith(prefix)}
    adapt_state_dict(part, state_dict)
    expected = part.state_dict()
    report = WeightLoadReport(part_name, Path(file), prefix)
    report.loaded = [name for name in expected if name in state_dict]
    # num_batches_tracked is a counter of batches and no weight; files of PyTorch before 0.4.1 lack it
    report.missing = [k for k in expected if k not in state_dict and not k.endswith('num_batches_tracked')]
    without_prefix = [name for name in file_tensors if not name.startswith(prefix)]
    report.unused = [name for name in state_dict if name not in expected] + without_prefix
    _check_load_report(report, expected, state_dict, missing, unused)
    part.load_state_dict({**expected, **{name: state_dict[name] for name in report.loaded}})
    return report


def _check_load_report(
    report: WeightLoadReport,
    expected: Mapping[str, Tensor],
    state_dict: Mapping[str, Tensor],
    missing: str,
    unused: str,
) -> None:
    """Raise if shapes differ, nothing fits, or tensors are missing or unused against the settings."""
    mismatches = find_shape_mismatches(expected, state_dict)
    subject = f'{report.part_name}: weights of {report.file}'
    if mismatches:
        raise CheckpointError(
            f'{subject}: {len(mismatches)} of another shape (first: {mismatches[0]}); use weights of the same '
            f'architecture'
        )
    if not report.loaded:
        file_names, part_names = _format_names([*state_dict] or report.unused), _format_names([*expected])
        raise CheckpointError(
            f'{subject} fit nothing: the file has other names{file_names} than the part{part_names}; set '
            f'init.{report.part_name}.prefix to what stands before them in the file'
        )
    if missing == 'error' and report.missing:
        raise CheckpointError(
            f'{subject} lack {len(report.missing)} of {len(expected)} tensors{_format_names(report.missing)}; '
            f"init.{report.part_name}.missing='keep' leaves them as they were initialized"
        )
    if unused == 'error' and report.unused:
        names = _format_names(report.unused)
        raise CheckpointError(
            f'{subject} hold {len(report.unused)} tensors that are not used{names}; '
            f"init.{report.part_name}.unused='ignore' accepts them"
        )


def _get_submodule(model: nn.Module, name: str) -> nn.Module:
    """A part of a model by its dotted name, or an error that suggests the closest."""
    parts = {weight_name(n): part for n, part in model.named_modules()}
    if name not in parts or not name:
        known = ', '.join(n for n in parts if n and '.' not in n)
        message = f'init: the model has no part {name!r}'
        raise ConfigError(compose_message(message, suggest_closest(name, parts), f'parts: {known}'))
    return parts[name]


def _format_names(names: list[str]) -> str:
    """The first names in brackets and the number of further ones; empty if there are none."""
    if not names:
        return ''
    further = len(names) - _MAX_LISTED_NAMES
    ending = f' and {further} more' if further > 0 else ''
    return f' ({", ".join(names[:_MAX_LISTED_NAMES])}{ending})'

"""Export behind a gate: a file is kept only if it predicts what its model predicts."""

from __future__ import annotations

__all__ = ['CheckSettings', 'export_checked', 'remove_views']

import functools
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from poseplug.config.build import build_evaluator
from poseplug.core.setting_checks import check_counts
from poseplug.deploy.export import ExportTarget, export_model
from poseplug.deploy.export_settings import ExportOptions, collect_crop_settings
from poseplug.deploy.parity import (
    ExportedEstimator,
    ParityTolerance,
    check_parity,
    limit_batches,
    render_parity_images,
)
from poseplug.deploy.reduced_precision import PrecisionSettings, reduce_precision
from poseplug.deploy.runtime import ExportedPredictor
from poseplug.deploy.torch_files import open_exported_file
from poseplug.engine.dataloaders import build_dataloader
from poseplug.engine.evaluate import evaluate
from poseplug.files.weights import WeightKind
from poseplug.predict.input_samples import get_test_pipeline
from poseplug.predict.model_loading import ModelSource, load_model, resolve_model
from poseplug.predict.predictor import Predictor

_VIEW_TYPES = ('MultiScaleCrop', 'MultiScaleImage')  # an exported file has one view of an image, of scale 1
_RUNTIMES = {'onnx': ('onnxruntime', 'openvino'), 'openvino': ('openvino',)}


@dataclass(frozen=True)
class CheckSettings:
    """Settings of the comparison of an exported file with its model.

    Attributes:
        images: as for a predictor; drawn ones by default.
        num_data: images of the config's test data on which the metrics are computed before and after; 0 for none.
        tolerance: None for the defaults of the file's precision.
    """

    images: Sequence[Any] = ()
    num_data: int = 0
    tolerance: ParityTolerance | None = None

    def __post_init__(self) -> None:
        check_counts('export', min_count=0, num_data=self.num_data)


def export_checked(
    model: ModelSource | None,
    weights: str | Path | None,
    file: Path,
    target: ExportTarget = 'onnx',
    options: ExportOptions | None = None,
    check: CheckSettings | None = None,
    precision: PrecisionSettings | None = None,
    weight_kind: WeightKind | None = None,
    map_keypoints: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """Export a model, compare the file with it, and keep the file only if they agree.

    Args:
        model: a name of `list_models`, a config file or a loaded config; None for the installed model.
        weights: a checkpoint of that model; None for the weights that a named model is installed with.
        file: path of the file; its folder is created.
        target: as in `export_model`.
        options: of the export; `crop` and `model_name` are those of the model.
        check: None for the defaults.
        precision: of an ONNX file; None for single precision.
        weight_kind: 'raw' or 'averaged', where a checkpoint has both; by default the averaged ones.
        map_keypoints: whether the channels of weights are taken by the names of their keypoints, where these differ.
        report: receives a line for every comparison.

    Returns:
        The path.

    Raises:
        ConfigError: a package is missing, or the model cannot be exported.
        MismatchError: the file predicts something else; it was removed.
    """
    options, check = options or ExportOptions(), check or CheckSettings()
    precision = precision or PrecisionSettings()
    precision.check_target(target)
    cfg, weights, name = resolve_model(model, weights)
    cfg = remove_views(cfg)
    # two copies of the model: `Predictor` folds batch norms in its own, and the export does so in another copy
    estimator = load_model(cfg, weights, 'cpu', weight_kind, map_keypoints)
    crop = collect_crop_settings(estimator, get_test_pipeline(cfg))
    options = replace(options, crop=crop, model_name=name)
    predictor = Predictor(cfg, weights, 'cpu', weight_kind=weight_kind, map_keypoints=map_keypoints)
    # compared is what the file contains, whatever the config's test does
    predictor.model.augmentation.flip_test = options.flip_test
    file.parent.mkdir(parents=True, exist_ok=True)
    # Beside the file, so that it can be moved there in one step.
    with tempfile.TemporaryDirectory(prefix='.export', dir=file.parent) as folder:
        unchecked = export_model(estimator, Path(folder) / file.name, target, options)
        reduce_precision(unchecked, precision, report)
        for runtime in _list_runtimes(target, precision.precision):
            exported = open_exported_file(unchecked, target, runtime)
            _compare_predictions(predictor, ExportedPredictor(exported), cfg, check, runtime, report)
        for part in sorted(Path(folder).iterdir()):
            os.replace(part, file.with_name(part.name))
    return file


def _list_runtimes(target: str, precision: str) -> list[str]:
    """The installed runtimes that run a file; torch runs its own."""
    if target not in _RUNTIMES:
        return ['torch']
    if precision == 'int8':
        return ['onnxruntime']  # OpenVINO reads these files otherwise: docs/lab/export.md
    return [runtime for runtime in _RUNTIMES[target] if find_spec(runtime) is not None]


def remove_views(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config whose test pipeline has one view of every image, as an exported file has.

    Args:
        cfg: with `test_dataloader`.
    """
    pipeline = [spec for spec in get_test_pipeline(cfg) if spec.get('type') not in _VIEW_TYPES]
    loader = cfg['test_dataloader']
    return {**cfg, 'test_dataloader': {**loader, 'dataset': {**loader['dataset'], 'pipeline': pipeline}}}


def _compare_predictions(
    predictor: Predictor,
    exported: ExportedPredictor,
    cfg: Mapping[str, Any],
    check: CheckSettings,
    runtime: str,
    report: Callable[[str], None],
) -> None:
    """Compare an exported file with its model; beyond the tolerance a MismatchError."""
    images: Sequence[Any] = check.images
    boxes: Sequence[Any] | None = None
    if not images:
        images, boxes = render_parity_images(predictor.model.finds_instances)
    precision = exported.model.settings['precision']
    tolerance = check.tolerance or ParityTolerance.for_precision(precision)
    parity = check_parity(predictor, exported, images, boxes, tolerance)
    report(f'{runtime}: {parity}' + ('' if check.images else ' (drawn images; name others with --images)'))
    if check.num_data:
        before, after = (
            _measure_scores(model, cfg, check.num_data)
            for model in (predictor.model, ExportedEstimator(exported.model))
        )
        for metric, value in before.items():
            report(f'{runtime}: {metric} {value:.2f} before, {after[metric]:.2f} after')
    # after the report, so that the figures are read even where the file is refused
    parity.check_tolerance(tolerance, exported.name)


def _measure_scores(model: Any, cfg: Mapping[str, Any], max_images: int) -> dict[str, float]:
    """The main scores of a model on the first images of a config's test data."""
    loader: Iterable[Any] = build_dataloader(cfg, 'test_dataloader', int(cfg.get('seed', 0)))
    create_metrics = functools.partial(build_evaluator, cfg, 'test', loader.dataset.skeleton)  # type: ignore[attr-defined]
    values = evaluate(model, limit_batches(loader, max_images), create_metrics).values
    return {name: value for name, value in values.items() if '/' not in name}

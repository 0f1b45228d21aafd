"""A plugin-registry toolbox for human pose estimation.

Every public name is imported when it is first used: `import poseplug` alone loads neither torch nor OpenCV. What is not
listed in `__all__` here, or in `__all__` of the module that defines it, is internal and may change.
"""

from __future__ import annotations

from importlib import import_module

from poseplug.core.version import __version__

TYPE_CHECKING = False  # type checkers take it as true; importing it from typing would take most of the import time

if TYPE_CHECKING:
    from poseplug.codecs.base import Codec, MapCodec, Targets
    from poseplug.config.build import build_model
    from poseplug.config.load import load_config
    from poseplug.core.batch import Batch
    from poseplug.core.errors import (
        AnnotationError,
        CheckpointError,
        ConfigError,
        ImageError,
        MismatchError,
        NonFiniteLossError,
        PluginError,
        PoseplugError,
        UnsafeFileError,
        VideoError,
    )
    from poseplug.core.instances import IgnoredRegions, Instances
    from poseplug.core.poses import Poses
    from poseplug.core.sample import Record, Sample
    from poseplug.core.skeleton import Skeleton
    from poseplug.data.sources.base import Source, SourceReport
    from poseplug.data.transforms.base import PipelineStage, Transform
    from poseplug.deploy.exported_model import ExportedModel
    from poseplug.deploy.runtime import ExportedPredictor
    from poseplug.engine.launch import TrainingResult, test, train
    from poseplug.evaluation.base import Metric, MetricResult
    from poseplug.evaluation.results import EvaluationResult
    from poseplug.fields.grid import Grid
    from poseplug.fields.heatmap_stages import HeatmapStages
    from poseplug.models.estimators.base import Estimator
    from poseplug.models.heads.base import Head
    from poseplug.predict.detectors import Detector, OnnxDetector
    from poseplug.predict.image_inputs.arrays import ImageArray
    from poseplug.predict.model_loading import list_models, load_model
    from poseplug.predict.pose_detector import PoseDetector
    from poseplug.predict.predictor import Predictor
    from poseplug.predict.result import Result
    from poseplug.registry.registries import (
        DATASETS,
        HOOKS,
        LOOPS,
        METRICS,
        MODELS,
        OPTIM_WRAPPER_CONSTRUCTORS,
        OPTIM_WRAPPERS,
        SAMPLERS,
        TRANSFORMS,
    )
    from poseplug.registry.runtime_registries import CODECS, DETECTOR_FAMILIES, IMAGE_INPUTS, SKELETONS, SOURCES
    from poseplug.registry.skeletons import get_skeleton, register_skeleton
    from poseplug.report.draw import draw_poses

_NAMES_BY_MODULE = {
    'poseplug.codecs.base': 'Codec MapCodec Targets',
    'poseplug.config.build': 'build_model',
    'poseplug.config.load': 'load_config',
    'poseplug.core.errors': (
        'AnnotationError CheckpointError ConfigError ImageError MismatchError '
        'NonFiniteLossError PluginError PoseplugError UnsafeFileError VideoError'
    ),
    'poseplug.core.instances': 'IgnoredRegions Instances',
    'poseplug.core.poses': 'Poses',
    'poseplug.core.batch': 'Batch',
    'poseplug.core.sample': 'Record Sample',
    'poseplug.core.skeleton': 'Skeleton',
    'poseplug.data.sources.base': 'Source SourceReport',
    'poseplug.data.transforms.base': 'PipelineStage Transform',
    'poseplug.deploy.exported_model': 'ExportedModel',
    'poseplug.deploy.runtime': 'ExportedPredictor',
    'poseplug.engine.launch': 'TrainingResult test train',
    'poseplug.evaluation.base': 'Metric MetricResult',
    'poseplug.evaluation.results': 'EvaluationResult',
    'poseplug.fields.grid': 'Grid',
    'poseplug.fields.heatmap_stages': 'HeatmapStages',
    'poseplug.models.estimators.base': 'Estimator',
    'poseplug.models.heads.base': 'Head',
    'poseplug.predict.detectors': 'Detector OnnxDetector',
    'poseplug.predict.pose_detector': 'PoseDetector',
    'poseplug.predict.model_loading': 'list_models load_model',
    'poseplug.predict.image_inputs.arrays': 'ImageArray',
    'poseplug.predict.predictor': 'Predictor',
    'poseplug.predict.result': 'Result',
    'poseplug.registry.registries': (
        'DATASETS HOOKS LOOPS METRICS MODELS OPTIM_WRAPPERS OPTIM_WRAPPER_CONSTRUCTORS SAMPLERS TRANSFORMS'
    ),
    'poseplug.registry.runtime_registries': 'CODECS DETECTOR_FAMILIES IMAGE_INPUTS SKELETONS SOURCES',
    'poseplug.registry.skeletons': 'get_skeleton register_skeleton',
    'poseplug.report.draw': 'draw_poses',
}
_MODULES_BY_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()}

__all__ = [
    'CODECS',
    'DATASETS',
    'DETECTOR_FAMILIES',
    'IMAGE_INPUTS',
    'HOOKS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'SAMPLERS',
    'SKELETONS',
    'SOURCES',
    'TRANSFORMS',
    'AnnotationError',
    'Batch',
    'CheckpointError',
    'Codec',
    'ConfigError',
    'Detector',
    'Estimator',
    'EvaluationResult',
    'ExportedModel',
    'ExportedPredictor',
    'Grid',
    'Head',
    'HeatmapStages',
    'IgnoredRegions',
    'ImageArray',
    'ImageError',
    'Instances',
    'MapCodec',
    'Metric',
    'MetricResult',
    'MismatchError',
    'NonFiniteLossError',
    'OnnxDetector',
    'PipelineStage',
    'PluginError',
    'PoseDetector',
    'PoseplugError',
    'Poses',
    'Predictor',
    'Record',
    'Result',
    'Sample',
    'Skeleton',
    'Source',
    'SourceReport',
    'Targets',
    'TrainingResult',
    'Transform',
    'UnsafeFileError',
    'VideoError',
    '__version__',
    'build_model',
    'draw_poses',
    'get_skeleton',
    'list_models',
    'load_config',
    'load_model',
    'register_skeleton',
    'test',
    'train',
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES_BY_NAME:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(_MODULES_BY_NAME[name]), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Where the curve of a run goes: the visualizer of a config, and its backend for MLflow."""

from __future__ import annotations

__all__ = ['MLflowLogger', 'clean_mlflow_name', 'get_visualizer_spec']

import copy
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from mmengine.registry import VISBACKENDS
from mmengine.visualization import MLflowVisBackend
from mmengine.visualization.vis_backend import force_init_env

_FORBIDDEN = re.compile(r'[^\w\-. :/]')  # in MLflow's names, as the @ of PCK@0.2


@VISBACKENDS.register_module()
class MLflowLogger(MLflowVisBackend):
    """Sends the values of a run's curve, its config and some settings to MLflow.

    mmengine's `MLflowVisBackend`, whose name configs may keep, ends a run at the first score with an @ in its name, at
    settings such as the patterns of `paramwise_cfg`, and at its default store, which MLflow 3 refuses. In names, other
    characters than letters, digits and `_-. :/` become `_`: PCK@0.2 is PCK_0.2.

    Args:
        save_dir: folder of the run's loggers; provided by the visualizer.
        tracking_uri: where MLflow stores runs, such as 'sqlite:///mlflow.db' or the address of a server; None for a
            database `mlflow.db` in `save_dir`.
        tracked_config_keys: keys of the config whose settings become parameters of MLflow's run; the whole config is a
            file of it, whatever they are.
        settings: `exp_name` ('poseplug'), `run_name`, `tags`, `params` and `artifact_location` of mmengine's backend.
    """

    def __init__(
        self,
        save_dir: str,
        tracking_uri: str | None = None,
        tracked_config_keys: tuple[str, ...] = ('train_cfg', 'train_dataloader', 'optim_wrapper', 'seed'),
        **settings: Any,
    ):
        folder = Path(save_dir).resolve()
        # MLflow's experiment Default writes files to the current folder
        settings = {'exp_name': 'poseplug', **settings}
        if tracking_uri is None:
            database = folder / 'mlflow.db'
            tracking_uri = f'sqlite:///{database}'
            settings.setdefault('artifact_location', (folder / 'mlflow_files').as_uri())
        super().__init__(save_dir, tracking_uri=tracking_uri, tracked_config_keys=tracked_config_keys, **settings)

    @force_init_env
    def add_config(self, config: Any, **settings: Any) -> None:
        """Log the config as a file, and the tracked settings as parameters."""
        tracked = {key: config[key] for key in self._tracked_config_keys if config.get(key) is not None}
        parameters = self._flatten(tracked)
        self._mlflow.log_params({clean_mlflow_name(key): value for key, value in parameters.items()})
        self._mlflow.log_text(config.pretty_text, 'config.py')

    def add_scalar(self, name: str, value: float, step: int = 0, **settings: Any) -> None:
        self.add_scalars({name: value}, step)

    @force_init_env
    def add_scalars(
        self, scalar_dict: Mapping[str, float], step: int = 0, file_path: str | None = None, **settings: Any
    ) -> None:
        """Log the values of a step by name."""
        self._mlflow.log_metrics({clean_mlflow_name(key): float(value) for key, value in scalar_dict.items()}, step)

    def close(self) -> None:
        """End MLflow's run, if one was started."""
        if hasattr(self, '_mlflow'):
            self._mlflow.end_run()


def get_visualizer_spec(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's `visualizer`: the curve goes to its backends (TensorBoard, Weights & Biases, MLflow), if any.

    Args:
        cfg: the whole config.

    Returns:
        A copy, in which `MLflowLogger` stands for mmengine's backend of MLflow.

    Example:
        >>> get_visualizer_spec({'visualizer': dict(vis_backends=[dict(type='MLflowVisBackend')])})['vis_backends']
        [{'type': 'MLflowLogger'}]
    """
    spec: dict[str, Any] = copy.deepcopy(dict(cfg.get('visualizer') or {}))
    for backend in spec.get('vis_backends') or []:
        if isinstance(backend, MutableMapping) and backend.get('type') == MLflowVisBackend.__name__:
            backend['type'] = MLflowLogger.__name__
    return {'type': 'Visualizer', 'vis_backends': None, **spec}


def clean_mlflow_name(name: str) -> str:
    """Return a name with the characters alone that MLflow takes.

    Example:
        >>> clean_mlflow_name('PCK@0.2/left ankle')
        'PCK_0.2/left ankle'
    """
    return _FORBIDDEN.sub('_', name)

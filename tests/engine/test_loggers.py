"""Loggers of a config: MLflow gets every value of a curve, under names that it takes."""

import sys
from types import ModuleType

import pytest
from mmengine.config import Config

from poseplug.engine import launch
from poseplug.engine.loggers import MLflowLogger, clean_mlflow_name


class RecordedMlflow(ModuleType):
    """MLflow with the calls that are made to it, and its rule for names."""

    def __init__(self):
        super().__init__('mlflow')
        self.metrics, self.params, self.texts, self.uris, self.num_ended = [], {}, {}, [], 0
        self.set_tracking_uri = self.uris.append
        self.get_experiment_by_name = self.set_experiment = lambda name: name
        self.log_text = lambda text, name: self.texts.update({name: text})

    def log_metrics(self, values, step):
        assert all(clean_mlflow_name(name) == name for name in values)
        self.metrics += [(step, name, value) for name, value in values.items()]

    def log_params(self, values):
        assert all(clean_mlflow_name(name) == name for name in values)
        self.params.update(values)

    def end_run(self):
        self.num_ended += 1


@pytest.fixture
def mlflow(monkeypatch):
    module = RecordedMlflow()
    monkeypatch.setitem(sys.modules, 'mlflow', module)
    return module


@pytest.mark.parametrize('name', ['MLflowLogger', 'MLflowVisBackend'])
def test_mlflow_gets_the_curve_of_a_run(tiny_config, tmp_path, mlflow, name):
    cfg = tiny_config(val=True)
    cfg.visualizer = dict(vis_backends=[dict(type=name)])
    launch.train(cfg, tmp_path)
    names = {name for _, name, _ in mlflow.metrics}
    assert {'loss', 'lr', 'PCK_0.2'} <= names
    assert [step for step, name, _ in mlflow.metrics if name == 'loss'] == [2, 4, 6]
    assert mlflow.params['train_cfg.max_epochs'] == cfg.train_cfg.max_epochs
    assert mlflow.texts['config.py'].count('TopDown')
    (uri,) = mlflow.uris
    assert uri.startswith(f'sqlite:///{tmp_path}')
    assert mlflow.num_ended == 1


def test_patterns_of_parameters_become_names_that_mlflow_takes(tmp_path, mlflow):
    logger = MLflowLogger(str(tmp_path), tracking_uri='sqlite:///mine.db')
    logger.close()  # before anything was logged
    logger.add_config(Config(dict(optim_wrapper=dict(rules={'bias$': dict(decay_mult=0.0)}))))
    logger.add_scalar('PCK@0.2/left ankle', 50, step=3)
    logger.close()
    assert mlflow.params == {'optim_wrapper.rules.bias_.decay_mult': 0.0}
    assert mlflow.metrics == [(3, 'PCK_0.2/left ankle', 50.0)]
    assert (mlflow.uris, mlflow.num_ended) == (['sqlite:///mine.db'], 1)

"""A compiled network computes the same; one that does not compile runs uncompiled, with a warning."""

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.exc import TorchDynamoException

from poseplug.config.build import build_model
from poseplug.core.errors import ConfigError
from poseplug.engine import launch
from poseplug.engine.compiling import compile_network
from poseplug.files.weights import load_checkpoint

EAGER = dict(backend='eager')  # traces without generating code


GRAPHS = []


@torch._dynamo.register_backend
def count_graphs(graph, inputs):
    GRAPHS.append(graph)
    return graph.forward


@torch._dynamo.register_backend
def fail_to_compile(graph, inputs):
    raise NotImplementedError('this backend is not for you\nand more')


def compile_forward(graph, inputs):
    return make_boxed_func(graph.forward)


def refuse_gradient(graph, inputs):
    """Raises like torch's own compiler for a gradient, which is compiled when it is first needed."""
    raise TorchDynamoException('this gradient is not for you')


torch._dynamo.register_backend(
    aot_autograd(fw_compiler=compile_forward, bw_compiler=refuse_gradient), name='without_gradients'
)


@pytest.fixture(autouse=True)
def _reset_compiler():
    torch.compiler.reset()
    GRAPHS.clear()
    yield
    torch.compiler.reset()


def test_a_compiled_run_is_compiled_and_gives_the_same_weights(tiny_config, tmp_path, caplog):
    launch.train(tiny_config(), tmp_path / 'plain')
    cfg = tiny_config()
    cfg.compile = dict(backend='count_graphs')
    launch.train(cfg, tmp_path / 'compiled')
    assert GRAPHS
    assert 'the network is compiled by' in caplog.text
    assert 'does not compile' not in caplog.text
    plain, compiled = (load_checkpoint(tmp_path / name) for name in ('plain', 'compiled'))
    assert plain['state_dict'].keys() == compiled['state_dict'].keys()
    for name, value in plain['state_dict'].items():
        torch.testing.assert_close(compiled['state_dict'][name], value)


def test_a_compiled_run_resumes_exactly(tiny_config, assert_resumes_exactly):
    assert_resumes_exactly(tiny_config(compile=EAGER), 4)


def test_a_compiled_model_has_the_same_scores(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path)
    cfg = tiny_config()
    plain = launch.test(cfg, tmp_path).values
    cfg.compile = dict(backend='count_graphs')
    assert launch.test(cfg, tmp_path).values == plain
    assert GRAPHS


def test_a_network_that_does_not_compile_runs_uncompiled_with_a_warning(tiny_config, tmp_path, caplog, are_equal):
    launch.train(tiny_config(), tmp_path / 'plain')
    cfg = tiny_config()
    cfg.compile = dict(backend='fail_to_compile')
    launch.train(cfg, tmp_path / 'uncompiled')
    warnings = [r.message for r in caplog.records if 'does not compile' in r.message]
    assert len(warnings) == 1
    assert '(NotImplementedError: this backend is not for you)' in warnings[0]
    plain, other = (load_checkpoint(tmp_path / name) for name in ('plain', 'uncompiled'))
    assert are_equal(plain['state_dict'], other['state_dict'])


def test_a_gradient_that_does_not_compile_is_an_error_of_the_config(tiny_config, tmp_path):
    cfg = tiny_config(compile=dict(backend='without_gradients'))
    with pytest.raises(
        ConfigError, match=r'gradient does not compile \(TorchDynamoException: this gradient is not for you\); set'
    ):
        launch.train(cfg, tmp_path)


def test_an_error_of_the_network_is_not_reported_as_one_of_the_compiler(tiny_config):
    model = build_model(tiny_config())
    compile_network(model, EAGER)
    with pytest.raises((RuntimeError, TypeError)):
        model.network(torch.zeros(1, 32, 32, 5, dtype=torch.uint8), torch.zeros(1, 2))


@pytest.mark.parametrize('off', [False, None, {}])
def test_without_compile_nothing_is_changed(tiny_config, off):
    model = build_model(tiny_config())
    compile_network(model, off)
    assert model.network._compiled_call_impl is None
    assert 'forward' not in vars(model.network)


@pytest.mark.parametrize(('spec', 'message'), [
    (dict(backend='inducto'), r"compile=\{'backend': 'inducto'\}: .*; backends: .*inductor"),
    (dict(speed=3), r"compile=\{'speed': 3\}: .*speed"),
    ('yes', 'compile is True, False or settings of torch.compile'),
])  # fmt: skip
def test_settings_unknown_to_torch_are_an_error(tiny_config, spec, message):
    with pytest.raises(ConfigError, match=message):
        compile_network(build_model(tiny_config()), spec)


@pytest.mark.slow
def test_the_default_backend_generates_code_with_the_same_results(tiny_config, tmp_path, caplog):
    """Needs a C++ compiler on the CPU. Generated code draws other numbers for dropout, so there is none."""
    options = {'train_cfg.max_steps': 3, 'model.head.first_layers': ((1, 16),)}
    launch.train(tiny_config(val=True, compile=True, **options), tmp_path / 'compiled')
    launch.train(tiny_config(val=True, **options), tmp_path / 'plain')
    assert 'does not compile' not in caplog.text
    plain, compiled = (load_checkpoint(tmp_path / name)['state_dict'] for name in ('plain', 'compiled'))
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4)

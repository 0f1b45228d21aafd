"""A compiled network gives what the network gives; one that does not compile runs, and says so."""

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.exc import TorchDynamoException

from poseplug.build import build_model
from poseplug.engine import launch
from poseplug.engine.checkpoint import load
from poseplug.engine.compiling import compile_network
from poseplug.errors import ConfigError

EAGER = dict(backend='eager')  # traces, and generates no code


GRAPHS = []


@torch._dynamo.register_backend
def counting(graph, inputs):
    GRAPHS.append(graph)
    return graph.forward


@torch._dynamo.register_backend
def failing(graph, inputs):
    raise NotImplementedError('this backend is not for you\nand more')


def kept(graph, inputs):
    return make_boxed_func(graph.forward)


def refused(graph, inputs):
    """As torch's own compiler refuses a gradient, which is compiled when it is first needed."""
    raise TorchDynamoException('this gradient is not for you')


torch._dynamo.register_backend(aot_autograd(fw_compiler=kept, bw_compiler=refused), name='without_gradients')


@pytest.fixture(autouse=True)
def _compile_anew():
    torch.compiler.reset()
    GRAPHS.clear()
    yield
    torch.compiler.reset()


def test_a_compiled_run_is_the_run_and_is_compiled(tiny_config, tmp_path, caplog):
    launch.train(tiny_config(), tmp_path / 'plain')
    cfg = tiny_config()
    cfg.compile = dict(backend='counting')
    launch.train(cfg, tmp_path / 'compiled')
    assert GRAPHS
    assert 'the network is compiled by' in caplog.text
    assert 'does not compile' not in caplog.text
    plain, compiled = (load(tmp_path / name) for name in ('plain', 'compiled'))
    assert plain['state_dict'].keys() == compiled['state_dict'].keys()
    for name, value in plain['state_dict'].items():
        torch.testing.assert_close(compiled['state_dict'][name], value)


def test_a_compiled_run_resumes_exactly(tiny_config, killed_and_resumed):
    killed_and_resumed(tiny_config(compile=EAGER), 4)


def test_a_compiled_model_measures_the_same(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path)
    cfg = tiny_config()
    plain = launch.test(cfg, tmp_path).values
    cfg.compile = dict(backend='counting')
    assert launch.test(cfg, tmp_path).values == plain
    assert GRAPHS


def test_a_network_that_does_not_compile_is_named_and_runs_uncompiled(tiny_config, tmp_path, caplog, equal):
    launch.train(tiny_config(), tmp_path / 'plain')
    cfg = tiny_config()
    cfg.compile = dict(backend='failing')
    launch.train(cfg, tmp_path / 'failing')
    told = [r.message for r in caplog.records if 'does not compile' in r.message]
    assert len(told) == 1
    assert '(NotImplementedError: this backend is not for you)' in told[0]
    plain, other = (load(tmp_path / name) for name in ('plain', 'failing'))
    assert equal(plain['state_dict'], other['state_dict'])


def test_a_gradient_that_does_not_compile_is_an_error_of_the_config(tiny_config, tmp_path):
    cfg = tiny_config(compile=dict(backend='without_gradients'))
    with pytest.raises(
        ConfigError, match=r'gradient does not compile \(TorchDynamoException: this gradient is not for you\); set'
    ):
        launch.train(cfg, tmp_path)


def test_an_error_of_the_network_itself_is_not_taken_for_one_of_the_compiler(tiny_config):
    model = build_model(tiny_config())
    compile_network(model, EAGER)
    with pytest.raises((RuntimeError, TypeError)):
        model(torch.zeros(1, 32, 32, 5, dtype=torch.uint8), torch.zeros(1, 2))


@pytest.mark.parametrize('off', [False, None, {}])
def test_switched_off_nothing_is_changed(tiny_config, off):
    model = build_model(tiny_config())
    compile_network(model, off)
    assert 'forward' not in vars(model)


@pytest.mark.parametrize(('spec', 'told'), [
    (dict(backend='inducto'), r"compile=\{'backend': 'inducto'\}: .*; backends: .*inductor"),
    (dict(speed=3), r"compile=\{'speed': 3\}: .*speed"),
    ('yes', 'compile is True, False or settings of torch.compile'),
])  # fmt: skip
def test_settings_that_torch_does_not_know_are_an_error(tiny_config, spec, told):
    with pytest.raises(ConfigError, match=told):
        compile_network(build_model(tiny_config()), spec)


@pytest.mark.slow
def test_the_usual_backend_generates_code_that_agrees(tiny_config, tmp_path, caplog):
    """Needs a C++ compiler on the CPU. Generated code draws other numbers for dropout, so there is none."""
    options = {'train_cfg.steps': 3, 'model.head.first': ((1, 16),)}
    launch.train(tiny_config(val=True, compile=True, **options), tmp_path / 'compiled')
    launch.train(tiny_config(val=True, **options), tmp_path / 'plain')
    assert 'does not compile' not in caplog.text
    plain, compiled = (load(tmp_path / name)['state_dict'] for name in ('plain', 'compiled'))
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4)

"""Half precision and 8 bits of a file with one convolution, made here, whose results are worked out by hand."""

import json

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.deploy.exported_model import METADATA_KEY
from poseplug.deploy.quantization import (
    describe_layers,
    find_sensitive_layers,
    keeps_ranges,
    list_quantizable_layers,
    quantize_file,
    to_half_precision,
)
from poseplug.deploy.reduced_precision import PrecisionSettings

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')


@pytest.fixture
def file(tmp_path):
    """images (B, 4, 4, 3) uint8 -> a 1x1 convolution -> output (B, 2, 4, 4) plus 300."""
    helper, from_array = onnx.helper, onnx.numpy_helper.from_array
    weight = np.array([[1.0, 0, 0], [0.25, 0.5, 0.25]], np.float32).reshape(2, 3, 1, 1)
    nodes = [
        helper.make_node('Cast', ['images'], ['floats'], 'cast', to=onnx.TensorProto.FLOAT),
        helper.make_node('Transpose', ['floats'], ['channels'], 'transpose', perm=[0, 3, 1, 2]),
        helper.make_node('Conv', ['channels', 'weight'], ['maps'], 'conv'),
        helper.make_node('Add', ['maps', 'offset'], ['output'], 'add'),
    ]
    scope = nodes[2].metadata_props.add()
    scope.key, scope.value = 'pkg.torch.onnx.name_scopes', "['', 'fields', 'fields.network.head', 'conv2d']"
    image = helper.make_tensor_value_info('images', onnx.TensorProto.UINT8, ['b', 4, 4, 3])
    output = helper.make_tensor_value_info('output', onnx.TensorProto.FLOAT, ['b', 2, 4, 4])
    constants = [from_array(weight, 'weight'), from_array(np.array(300.0625, np.float32), 'offset')]
    graph = helper.make_graph(nodes, 'layers', [image], [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: json.dumps({'kind': 'top_down', 'precision': 'float32'})})
    onnx.save(model, str(tmp_path / 'model.onnx'))
    return tmp_path / 'model.onnx'


def run(file, images):
    session = onnxruntime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
    return session.run(None, {'images': images})[0], json.loads(
        session.get_modelmeta().custom_metadata_map[METADATA_KEY]
    )


def draw_images(count=3):
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)


def compute_output(images):
    first = images[..., 0].astype(float)
    return np.stack([first, images @ np.array([0.25, 0.5, 0.25])], axis=1) + 300.0625


def test_half_precision_rounds_the_weights_alone(file):
    """The weights are fractions that float16 holds exactly, and 300.0625 is not: it stays in single precision."""
    images, size = draw_images(), file.stat().st_size
    to_half_precision(file)
    output, settings = run(file, images)
    np.testing.assert_allclose(output, compute_output(images), rtol=1e-6)
    assert settings == {'kind': 'top_down', 'precision': 'float16'}
    weight = next(v for v in onnx.load(str(file)).graph.initializer if v.name == 'weight_half')
    assert weight.data_type == onnx.TensorProto.FLOAT16
    assert file.stat().st_size < size + 100


def test_eight_bits_are_near_and_named_in_the_metadata(file, tmp_path):
    images = draw_images()
    quantize_file(file, tmp_path / 'int8.onnx', [images])
    output, settings = run(tmp_path / 'int8.onnx', images)
    error = np.abs(output - compute_output(images)).max()
    assert 0 < error < 3
    assert (settings['precision'], settings['float_parts']) == ('int8', [])
    quantize_file(file, tmp_path / 'float.onnx', [images], ['conv'])
    output, settings = run(tmp_path / 'float.onnx', images)
    np.testing.assert_allclose(output, compute_output(images), atol=1e-3)
    assert settings['float_parts'] == ['conv']


@pytest.mark.skipif(not keeps_ranges(), reason='ONNX Runtime before 1.32 measures the ranges each time')
def test_ranges_that_were_measured_serve_the_next_file(file, tmp_path):
    images, ranges_file = draw_images(), tmp_path / 'ranges.json'
    quantize_file(file, tmp_path / 'first.onnx', [images], (), ranges_file)
    # dark images alone have smaller ranges, beyond which these are cut off
    quantize_file(file, tmp_path / 'next.onnx', [images // 8], (), ranges_file)
    quantize_file(file, tmp_path / 'dark.onnx', [images // 8])
    first, after, dark = (run(tmp_path / f'{name}.onnx', images)[0] for name in ('first', 'next', 'dark'))
    np.testing.assert_array_equal(first, after)
    assert np.abs(dark - first).max() > 100


def test_layers_are_listed_and_named_by_their_module(file):
    assert list_quantizable_layers(file) == ['conv']
    assert describe_layers(file, ['conv', 'add']) == ['network.head', 'add']


def test_the_fewest_groups_that_suffice_stay_float():
    """The error is the sum of what the layers in 8 bits cost."""
    costs = {'a': 1.0, 'b': 5.0, 'c': 0.5, 'd': 4.0}

    def measure(kept):
        return sum(cost for name, cost in costs.items() if name not in kept)

    assert find_sensitive_layers(list(costs), measure, 20.0) == []
    assert find_sensitive_layers(list(costs), measure, 6.0) == ['b']
    assert find_sensitive_layers(list(costs), measure, 2.0) == ['b', 'd']
    assert find_sensitive_layers(list(costs), measure, 2.0, num_groups=2) == ['a', 'b', 'c', 'd']


def test_eight_bits_need_images_and_an_onnx_file(file):
    with pytest.raises(ConfigError, match='give it some: --calibrate IMAGES'):
        PrecisionSettings('int8')
    with pytest.raises(ConfigError, match='--half and --int8 are for --to onnx'):
        PrecisionSettings('float16').check_target('openvino')
    with pytest.raises(ConfigError, match='give it some: --calibrate IMAGES'):
        quantize_file(file, file.with_name('out.onnx'), [])

"""What an ONNX file says about itself, read from bytes made by hand, and compared with the package onnx."""

import numpy as np
import pytest

from poseplug.files.onnx_file import OnnxValueInfo, read_graph_info


def encode_field(number, content):
    """A field of a Protocol Buffers message: a whole number below 128, or fewer than 128 bytes."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


def encode_value(field, name, *lengths, element_type=1):
    dimensions = [encode_field(1, n) if n else encode_field(2, b'batch') for n in lengths]
    shape = b''.join(encode_field(1, dimension) for dimension in dimensions)
    tensor_type = encode_field(1, element_type) + encode_field(2, shape)
    return encode_field(field, encode_field(1, name) + encode_field(2, encode_field(1, tensor_type)))


def encode_node(operator, *inputs):
    return encode_field(1, b''.join(encode_field(1, name) for name in inputs) + encode_field(4, operator))


def test_inputs_are_read_from_the_bytes_without_the_weights():
    weight = encode_value(11, b'w', 5) + encode_field(5, encode_field(8, b'w'))
    graph = encode_value(11, b'image', 0, 3, 64, 48) + weight + encode_value(11, b'size', 2, element_type=7)
    other = (
        encode_field(1, 7) + bytes([2 << 3 | 1]) + bytes(8) + bytes([3 << 3 | 5]) + bytes(4)
    )  # fields of other kinds
    info = read_graph_info(other + encode_field(7, graph))
    assert info.inputs == (
        OnnxValueInfo('image', (0, 3, 64, 48), 'float32'),
        OnnxValueInfo('size', (2,), 'int64'),
    )
    assert info.outputs == ()
    assert info.metadata == {}


def test_outputs_metadata_and_the_operators_behind_the_inputs_are_read():
    nodes = encode_node(b'Slice', b'image') + encode_node(b'Slice', b'image') + encode_node(b'Conv', b'sliced', b'w')
    graph = nodes + encode_value(11, b'image', 1, 3, 8, 8, element_type=10) + encode_value(12, b'boxes', 0, 4)
    metadata = encode_field(14, encode_field(1, b'names') + encode_field(2, b'{0: "person"}'))
    info = read_graph_info(encode_field(7, graph) + metadata)
    assert info.inputs[0].element_type == 'float16'
    assert info.outputs == (OnnxValueInfo('boxes', (0, 4), 'float32'),)
    assert info.metadata == {'names': '{0: "person"}'}
    assert info.entry_operators == {'Slice'}


def test_any_other_bytes_are_a_value_error():
    complete = encode_field(7, encode_value(11, b'image', 1, 3, 64, 64))
    weights_only = encode_field(7, encode_value(11, b'w', 5) + encode_field(5, encode_field(8, b'w')))
    rng = np.random.default_rng(0)
    damaged = [b'', b'\xff' * 20, complete[:-3], b'<html>', weights_only]
    damaged += [rng.bytes(int(n)) for n in rng.integers(1, 60, 300)]
    for data in damaged:
        with pytest.raises(ValueError, match='.'):
            read_graph_info(data)


def test_a_file_of_the_package_onnx_is_read_as_it_was_written(tmp_path):
    pytest.importorskip('onnx', reason='onnx is not installed (extra: export)')
    from tests.predict.detector_families.onnx_files import write_constant_file

    outputs = {'dets': np.zeros((20, 5)), 'labels': np.zeros(20, np.int64)}
    file = write_constant_file(tmp_path / 'x.onnx', outputs, (48, 32), 0, 'float16', metadata={'task': 'detect'})
    info = read_graph_info(file.read_bytes())
    assert info.inputs == (OnnxValueInfo('images', (0, 3, 32, 48), 'float16'),)
    assert info.outputs == (
        OnnxValueInfo('dets', (1, 20, 5), 'float32'),
        OnnxValueInfo('labels', (1, 20), 'int64'),
    )
    assert info.metadata == {'task': 'detect'}
    assert info.entry_operators == {'Identity'}

"""Small ONNX files that behave like detectors: constant outputs, or a box around the bright area of the input."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES = {'float32': TensorProto.FLOAT, 'float16': TensorProto.FLOAT16, 'uint8': TensorProto.UINT8}


def write_file(path, nodes, outputs, image_shape, element_type='float32', metadata=None, size_input=False):
    """Write a graph of nodes that read `images` (and `orig_target_sizes`); outputs are (name, type, shape)."""
    inputs = [helper.make_tensor_value_info('images', TYPES[element_type], image_shape)]
    if size_input:
        inputs.append(helper.make_tensor_value_info('orig_target_sizes', TensorProto.INT64, [image_shape[0], 2]))
    values = [helper.make_tensor_value_info(name, element, shape) for name, element, shape in outputs]
    graph = helper.make_graph(nodes, 'detector', inputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


def constant(name, array):
    return helper.make_node('Constant', [], [name], value=numpy_helper.from_array(np.asarray(array)))


def write_constant_file(path, outputs, size=(128, 128), batch=1, element_type='float32', first='Identity', **settings):
    """A file that gives the same arrays for every image, each with a batch axis of `batch` (0: any).

    A graph whose outputs are constants is no graph: the largest pixel, times 0, is added.
    """
    entry = helper.make_node(first, ['images'], ['pixels'])
    if first == 'Slice':
        entry = helper.make_node('Slice', ['images', 'starts', 'ends'], ['pixels'])
    nodes = [
        *([constant('starts', np.array([0])), constant('ends', np.array([1]))] if first == 'Slice' else []),
        entry,
        helper.make_node('Cast', ['pixels'], ['single'], to=TensorProto.FLOAT),
        helper.make_node('ReduceMax', ['single'], ['peak'], keepdims=0),
        constant('zero', np.float32(0)),
        helper.make_node('Mul', ['peak', 'zero'], ['nothing']),
    ]
    values = []
    for name, output in outputs.items():
        repeated = np.repeat(np.asarray(output)[None].astype(np.float32), batch or 1, axis=0)
        target = TensorProto.INT64 if np.asarray(output).dtype.kind == 'i' else TensorProto.FLOAT
        nodes += [
            constant(f'{name}_value', repeated),
            helper.make_node('Add', [f'{name}_value', 'nothing'], [f'{name}_sum']),
            helper.make_node('Cast', [f'{name}_sum'], [name], to=target),
        ]
        values.append((name, target, repeated.shape))
    shape = [batch or 'batch', 3, *size[::-1]] if size else [batch or 'batch', 3, 'height', 'width']
    return write_file(path, nodes, values, shape, element_type, **settings)


def write_bright_area_file(path, size=(64, 64), level=0.5, score=0.9):
    """A file whose rows (1, 1, 5) are the box of the area where every channel is above `level`, and a score.

    A black image has a score of 0.
    """
    width, height = size
    nodes = [
        helper.make_node('ReduceMin', ['images'], ['darkest'], axes=[1], keepdims=0),  # (1, H, W)
        constant('level', np.float32(level)),
        helper.make_node('Greater', ['darkest', 'level'], ['above']),
        helper.make_node('Cast', ['above'], ['mask'], to=TensorProto.FLOAT),
        constant('score', np.array([[score]], np.float32)),
        helper.make_node('ReduceMax', ['mask'], ['any'], axes=[1, 2], keepdims=0),  # (1,)
        helper.make_node('Mul', ['any', 'score'], ['row_score']),  # (1, 1)
        constant('one', np.float32(1)),
    ]
    for axis, name in ((1, 'x'), (2, 'y')):
        nodes += [
            helper.make_node('ReduceMax', ['mask'], [f'{name}_line'], axes=[axis], keepdims=0),
            helper.make_node('ArgMax', [f'{name}_line'], [f'{name}_first_index'], axis=1),
            helper.make_node('ArgMax', [f'{name}_line'], [f'{name}_last_index'], axis=1, select_last_index=1),
            helper.make_node('Cast', [f'{name}_first_index'], [f'{name}_first'], to=TensorProto.FLOAT),
            helper.make_node('Cast', [f'{name}_last_index'], [f'{name}_last'], to=TensorProto.FLOAT),
            helper.make_node('Add', [f'{name}_last', 'one'], [f'{name}_end']),
        ]
    parts = ['x_first', 'y_first', 'x_end', 'y_end', 'row_score']
    nodes += [
        helper.make_node('Concat', parts, ['row'], axis=1),  # (1, 5)
        constant('axis', np.array([1])),
        helper.make_node('Unsqueeze', ['row', 'axis'], ['boxes']),  # (1, 1, 5)
    ]
    return write_file(path, nodes, [('boxes', TensorProto.FLOAT, [1, 1, 5])], [1, 3, height, width])


def write_channel_mean_file(path, size=(64, 64), element_type='float32'):
    """A file whose one row has the box of the whole input, and as scores of three classes the means of the channels."""
    width, height = size
    nodes = [
        helper.make_node('Cast', ['images'], ['single'], to=TensorProto.FLOAT),
        helper.make_node('ReduceMean', ['single'], ['means'], axes=[2, 3], keepdims=0),  # (1, 3)
        constant('box_value', np.array([[[1, 1, width, height]]], np.float32)),
        constant('zero', np.float32(0)),
        helper.make_node('ReduceMax', ['single'], ['peak'], keepdims=0),
        helper.make_node('Mul', ['peak', 'zero'], ['nothing']),
        helper.make_node('Add', ['box_value', 'nothing'], ['boxes']),
        constant('axis', np.array([1])),
        helper.make_node('Unsqueeze', ['means', 'axis'], ['scores']),
    ]
    outputs = [('boxes', TensorProto.FLOAT, [1, 1, 4]), ('scores', TensorProto.FLOAT, [1, 1, 3])]
    return write_file(path, nodes, outputs, [1, 3, height, width], element_type)


def write_sized_file(path, box, size=(64, 64)):
    """A file as RT-DETR's exporter writes it: a box relative to the input, times the size that it is told."""
    relative = np.array([[[box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]]]], np.float32)
    nodes = [
        helper.make_node('Cast', ['orig_target_sizes'], ['sizes'], to=TensorProto.FLOAT),
        helper.make_node('Concat', ['sizes', 'sizes'], ['factors'], axis=1),  # (1, 4)
        constant('relative', relative),
        helper.make_node('ReduceMax', ['images'], ['peak'], keepdims=0),
        constant('zero', np.float32(0)),
        helper.make_node('Mul', ['peak', 'zero'], ['nothing']),
        helper.make_node('Mul', ['relative', 'factors'], ['scaled']),
        helper.make_node('Add', ['scaled', 'nothing'], ['boxes']),
        constant('score', np.array([[0.8]], np.float32)),
        helper.make_node('Add', ['score', 'nothing'], ['scores']),
        helper.make_node('Cast', ['nothing'], ['label'], to=TensorProto.INT64),
        constant('shape', np.array([1, 1])),
        helper.make_node('Reshape', ['label', 'shape'], ['labels']),
    ]
    outputs = [
        ('labels', TensorProto.INT64, [1, 1]),
        ('boxes', TensorProto.FLOAT, [1, 1, 4]),
        ('scores', TensorProto.FLOAT, [1, 1]),
    ]
    return write_file(path, nodes, outputs, [1, 3, *size[::-1]], size_input=True)

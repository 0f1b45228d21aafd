"""One-stage models as a single ONNX graph, from the bytes of images to instances."""

from __future__ import annotations

__all__ = ['build_one_stage_graph', 'gather_field_cells']

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from poseplug.deploy.exported_model import OUTPUT_NAMES, SIGMAS_NAME, import_export_package
from poseplug.deploy.onnx_graphs import export_graph

# Fields of the head that are outputs as they are.
_OUTPUT_OF_FIELD = {'score': 'instance_scores', 'visible': 'keypoint_scores', 'box': 'boxes'}
# Outputs of the decoding, and the names that they get in the file.
_DECODED_NAMES = {'decoded_keypoints': 'keypoints', 'decoded_sigmas': SIGMAS_NAME}
_NUMBERS_PER_KEYPOINT: dict[str, tuple[int, ...]] = {'keypoints': (2,), SIGMAS_NAME: ()}
# Fields from which no head decodes keypoints: they need not be gathered.
_NON_KEYPOINT_FIELDS = ('score', 'visible', 'raw', 'strides')


class _CellNetwork(nn.Module):
    """The network, from images to the fields of the highest-scoring cells, each (B, A, ...), scores as probabilities.

    There are as many cells as the codec's `nms_pre`, highest score first, or all in their order if there are fewer.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.network, self.max_candidates = model.network, model.codec.nms_pre
        with torch.inference_mode():
            width, height = model.codec.input_size
            (fields,) = self.network(torch.zeros(1, height, width, 3, dtype=torch.uint8))
        self.field_names = ('score', 'visible', *(name for name in fields if name not in _NON_KEYPOINT_FIELDS))
        # an exported graph has no branches: whether cells are selected is decided here
        self.selects_top_k = self.max_candidates < fields['score'].shape[1]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        (fields,) = self.network(images)
        fields = {**fields, **{name: fields[name].sigmoid() for name in ('score', 'visible')}}
        # the points of the grid are the same for all images, and are gathered like the others
        fields['points'] = fields['points'].expand(len(images), -1, -1)
        if self.selects_top_k:
            cells = fields['score'].topk(self.max_candidates, dim=1).indices
            fields = {name: gather_field_cells(fields[name], cells) for name in self.field_names}
        return tuple(fields[name] for name in self.field_names)


class _KeypointDecoder(nn.Module):
    """The head's decoding, from the fields of N instances, each (N, ...), to keypoints (N, K, 2) in px of the input.

    If the head predicts how uncertain they are, this (N, K) comes second.
    """

    def __init__(self, head: Any, field_names: Sequence[str]):
        super().__init__()
        self.head, self.field_names = head, tuple(field_names)

    def forward(self, instance_fields: Sequence[Tensor]) -> tuple[Tensor, ...]:
        instances = dict(zip(self.field_names, instance_fields, strict=True))
        keypoints, sigmas = self.head.decode_keypoints(instances), self.head.predict_keypoint_sigmas(instances)
        return (keypoints,) if sigmas is None else (keypoints, sigmas)


def gather_field_cells(field: Tensor, cells: Tensor) -> Tensor:
    """Gather a field at selected cells of each image.

    Args:
        field: (B, A, ...), of A cells.
        cells: (B, M) cell indices.

    Returns:
        (B, M, ...).
    """
    # (B, M, 1, ...), so that one index counts for all numbers of a cell
    index = cells.reshape(*cells.shape, *[1] * (field.ndim - 2))
    return field.gather(1, index.expand(-1, -1, *field.shape[2:]))


def build_one_stage_graph(model: Any, image_type: torch.dtype = torch.uint8) -> Any:
    """Build the graph of a model with the codec `DenseInstances`.

    Its outputs, highest score first in every image, are `image_indices` (N,) in the batch, `instance_scores` (N,),
    `boxes` (N, 4; x, y of two corners), `keypoints` (N, K, 2), `keypoint_scores` (N, K), and `keypoint_sigmas_px` (N,
    K) if the head predicts them, all in px of the input.
    Non-maximum suppression is the operator NonMaxSuppression with the codec's settings.

    Args:
        model: the estimator, in evaluation mode on the CPU.
        image_type: of the input `images` (B, H, W, 3).

    Returns:
        The ONNX model.
    """
    onnx = import_export_package('onnx')
    cell_network = _CellNetwork(model).eval()
    # Keypoints are decoded after suppression, of the remaining instances alone: the decoding of RTMO is what costs.
    keypoint_fields = [name for name in cell_network.field_names if name not in _NON_KEYPOINT_FIELDS]
    width, height = model.codec.input_size
    images = torch.zeros(2, height, width, 3, dtype=image_type)
    cell_names = [f'cell_{name}' for name in cell_network.field_names]
    network = export_graph(cell_network, (images,), ['images'], cell_names)
    with torch.inference_mode():
        cell_fields = dict(zip(cell_network.field_names, cell_network(images), strict=True))
    # three instances stand for any number
    examples = tuple(cell_fields[name][0, :3] for name in keypoint_fields)
    decoder = _KeypointDecoder(model.network.head, keypoint_fields).eval()
    instance_names = [f'instance_{name}' for name in keypoint_fields]
    with torch.inference_mode():
        num_outputs = len(decoder(examples))
    decoding = export_graph(decoder, (examples,), instance_names, list(_DECODED_NAMES)[:num_outputs])
    suppression = _build_nms_graph(onnx, cell_network.field_names, model.codec)
    return _merge_graphs(onnx, [network, suppression, decoding])


def _build_nms_graph(onnx: Any, field_names: Sequence[str], codec: Any) -> Any:
    """Build the graph between cells and instances: suppression, and the fields of the remaining cells."""
    make_node, to_initializer = onnx.helper.make_node, onnx.numpy_helper.from_array
    constants = {
        'max_instances': torch.tensor([codec.max_instances]),
        'nms_threshold': torch.tensor([codec.nms_threshold], dtype=torch.float32),
        'score_threshold': torch.tensor([codec.score_threshold], dtype=torch.float32),
        'class_axis': torch.tensor([1]),
        'image_column': torch.tensor(0),
        'image_and_cell_columns': torch.tensor([0, 2]),
    }
    nms_inputs = ['cell_box', 'class_scores', 'max_instances', 'nms_threshold', 'score_threshold']
    nodes = [
        # NonMaxSuppression takes scores (B, classes, cells), here of one class
        make_node('Unsqueeze', ['cell_score', 'class_axis'], ['class_scores']),
        # NonMaxSuppression's output has the columns image, class and cell.
        make_node('NonMaxSuppression', nms_inputs, ['selected']),
        make_node('Gather', ['selected', 'image_and_cell_columns'], ['cell_indices'], axis=1),
        make_node('Gather', ['selected', 'image_column'], ['image_indices'], axis=1),
    ]
    for name in field_names:
        nodes.append(make_node('GatherND', [f'cell_{name}', 'cell_indices'], [f'instance_{name}']))
    for name, output in _OUTPUT_OF_FIELD.items():
        nodes.append(make_node('Identity', [f'instance_{name}'], [output]))
    initializers = [to_initializer(value.numpy(), name) for name, value in constants.items()]
    return onnx.helper.make_graph(nodes, 'suppression', [], [], initializers)


def _merge_graphs(onnx: Any, parts: Sequence[Any]) -> Any:
    """Merge network, suppression and decoding into one model; inputs and outputs of one name are connected."""
    # The prefixes keep inner names apart; inputs and outputs keep theirs, which connect the parts.
    inner_names = dict(rename_inputs=False, rename_outputs=False)
    network = onnx.compose.add_prefix(parts[0], 'network/', **inner_names)
    decoding = onnx.compose.add_prefix(parts[2], 'keypoints/', **inner_names)
    # functions of a model would be lost by taking its nodes
    assert not network.functions
    assert not decoding.functions
    graphs = [network.graph, parts[1], decoding.graph]
    num_keypoints = decoding.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    shapes, reshapes = [], []
    # Without an instance ONNX Runtime gets the shapes of what is decoded wrong, so they are stated.
    for decoded_name in [output.name for output in decoding.graph.output]:
        name = _DECODED_NAMES[decoded_name]
        shape = torch.tensor([-1, num_keypoints, *_NUMBERS_PER_KEYPOINT[name]])
        shapes.append(onnx.numpy_helper.from_array(shape.numpy(), f'shape_of_{name}'))
        reshapes.append(onnx.helper.make_node('Reshape', [decoded_name, f'shape_of_{name}'], [name]))
    nodes = [*(node for graph in graphs for node in graph.node), *reshapes]
    initializers = [*shapes, *(value for graph in graphs for value in graph.initializer)]
    names = [*OUTPUT_NAMES['one_stage'], *([SIGMAS_NAME] if len(shapes) > 1 else [])]
    outputs = [_build_output_info(onnx, name, num_keypoints) for name in names]
    graph = onnx.helper.make_graph(nodes, 'poseplug', list(network.graph.input), outputs, initializers)
    opsets = list(network.opset_import)
    return onnx.helper.make_model(graph, ir_version=network.ir_version, opset_imports=opsets, producer_name='poseplug')


def _build_output_info(onnx: Any, name: str, num_keypoints: int) -> Any:
    """Type and shape of an output, (N, ...) of N instances."""
    shapes = {
        'image_indices': (),
        'instance_scores': (),
        'boxes': (4,),
        'keypoints': (num_keypoints, 2),
        'keypoint_scores': (num_keypoints,),
        SIGMAS_NAME: (num_keypoints,),
    }
    element_type = onnx.TensorProto.INT64 if name == 'image_indices' else onnx.TensorProto.FLOAT
    return onnx.helper.make_tensor_value_info(name, element_type, ['instances', *shapes[name]])

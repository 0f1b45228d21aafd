"""Export of one-stage models as a single ONNX graph, from the bytes of images to instances."""

from __future__ import annotations

__all__ = ['export_onnx', 'gather_field_cells', 'make_dynamic_shapes', 'max_output_differences']

import copy
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields as list_dataclass_fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.deploy.runtime import OUTPUT_NAMES, ExportedModel, import_export_package
from poseplug.models.layers.batch_norm_folding import fold_batch_norms

_OPSET_VERSION = 18
# Fields of the head that are outputs as they are.
_OUTPUT_OF_FIELD = {'score': 'instance_scores', 'visible': 'keypoint_scores', 'box': 'boxes'}
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
        self.selects_top_k = self.max_candidates < fields['score'].shape[1]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        (fields,) = self.network(images)
        fields = {**fields, **{name: fields[name].sigmoid() for name in ('score', 'visible')}}
        fields['points'] = fields['points'].expand(len(images), -1, -1)
        if self.selects_top_k:
            cells = fields['score'].topk(self.max_candidates, dim=1).indices
            fields = {name: gather_field_cells(fields[name], cells) for name in self.field_names}
        return tuple(fields[name] for name in self.field_names)


class _KeypointDecoder(nn.Module):
    """The head's decoding, from the fields of N instances, each (N, ...), to keypoints (N, K, 2) in px of the input."""

    def __init__(self, head: Any, field_names: Sequence[str]):
        super().__init__()
        self.head, self.field_names = head, tuple(field_names)

    def forward(self, instance_fields: Sequence[Tensor]) -> Tensor:
        return self.head.decode_keypoints(dict(zip(self.field_names, instance_fields, strict=True)))


def gather_field_cells(field: Tensor, cells: Tensor) -> Tensor:
    """Gather a field at selected cells of each image.

    Args:
        field: (B, A, ...), of A cells.
        cells: (B, M) cell indices.

    Returns:
        (B, M, ...).
    """
    index = cells.reshape(*cells.shape, *[1] * (field.ndim - 2))
    return field.gather(1, index.expand(-1, -1, *field.shape[2:]))


def export_onnx(model: Any, file: Path) -> Path:
    """Write a model with the codec `DenseInstances` as an ONNX file of opset 18.

    The file's input is `images` (B, H, W, 3), uint8 BGR, of the codec's input size, letterboxed, any number of them.
    Its outputs, highest score first in every image, are `image_indices` (N,) in the batch, `instance_scores` (N,),
    `boxes` (N, 4; x, y of two corners), `keypoints` (N, K, 2) and `keypoint_scores` (N, K), all in px of the input.
    Non-maximum suppression is the operator NonMaxSuppression with the codec's settings. The metadata `poseplug` holds
    the keypoint names and these settings as JSON.

    Args:
        model: the estimator; it is copied, not changed.
        file: path of the file; its folder is created.

    Returns:
        The path.

    Raises:
        ConfigError: the packages of the extra `export` are missing, or the model is of another kind.
    """
    if model.codec.field_kind != 'instances':
        raise ConfigError(
            f'{type(model).__name__} with the codec {type(model.codec).__name__} has no export; there is one for '
            f'models that find instances at cells (model.type=OneStage with model.codec.type=DenseInstances)'
        )
    onnx = import_export_package('onnx')
    import_export_package('onnxscript')
    model = copy.deepcopy(model).cpu().eval()
    model.network.set_memory_format(torch.contiguous_format)
    fold_batch_norms(model)
    cell_network = _CellNetwork(model).eval()
    # Keypoints are decoded after suppression, of the remaining instances alone: the decoding of RTMO is what costs.
    keypoint_fields = [name for name in cell_network.field_names if name not in _NON_KEYPOINT_FIELDS]
    width, height = model.codec.input_size
    images = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    cell_names = [f'cell_{name}' for name in cell_network.field_names]
    network = _export_graph(cell_network, (images,), ['images'], cell_names)
    with torch.inference_mode():
        cell_fields = dict(zip(cell_network.field_names, cell_network(images), strict=True))
    examples = tuple(cell_fields[name][0, :3] for name in keypoint_fields)
    decoder = _KeypointDecoder(model.network.head, keypoint_fields).eval()
    instance_names = [f'instance_{name}' for name in keypoint_fields]
    decoding = _export_graph(decoder, (examples,), instance_names, ['decoded_keypoints'])
    suppression = _build_nms_graph(onnx, cell_network.field_names, model.codec)
    merged = _merge_graphs(onnx, [network, suppression, decoding])
    onnx.helper.set_model_props(merged, {'poseplug': json.dumps(_collect_model_settings(model))})
    onnx.checker.check_model(merged)
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(merged, str(file))
    return file


def _export_graph(
    module: nn.Module, examples: tuple[Any, ...], input_names: Sequence[str], output_names: Sequence[str]
) -> Any:
    """Export a module as an ONNX model; the first dimension of every input may have any length."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter('ignore')  # the exporter uses deprecated parts of its own
        program = torch.onnx.export(
            module,
            examples,
            dynamo=True,
            opset_version=_OPSET_VERSION,
            dynamic_shapes=make_dynamic_shapes(examples),
            input_names=list(input_names),
            output_names=list(output_names),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def make_dynamic_shapes(examples: Any) -> Any:
    """Build the exporter's `dynamic_shapes` for nested tuples of tensors: every first dimension is dynamic."""
    if isinstance(examples, Tensor):
        return {0: torch.export.Dim.DYNAMIC}
    return tuple(map(make_dynamic_shapes, examples))


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
    assert not network.functions
    assert not decoding.functions
    graphs = [network.graph, parts[1], decoding.graph]
    num_keypoints = decoding.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    shape = onnx.numpy_helper.from_array(torch.tensor([-1, num_keypoints, 2]).numpy(), 'shape')
    # Without an instance ONNX Runtime gets the shape of the decoded keypoints wrong, so it is stated.
    reshape = onnx.helper.make_node('Reshape', ['decoded_keypoints', 'shape'], ['keypoints'])
    nodes = [*(node for graph in graphs for node in graph.node), reshape]
    initializers = [shape, *(value for graph in graphs for value in graph.initializer)]
    outputs = [_build_output_info(onnx, name, num_keypoints) for name in OUTPUT_NAMES]
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
    }
    element_type = onnx.TensorProto.INT64 if name == 'image_indices' else onnx.TensorProto.FLOAT
    return onnx.helper.make_tensor_value_info(name, element_type, ['instances', *shapes[name]])


def _collect_model_settings(model: Any) -> Mapping[str, Any]:
    """The metadata of the file: keypoint names, input size and the codec's settings."""
    codec = model.codec
    names = [field.name for field in list_dataclass_fields(codec)]
    return {
        'keypoint_names': list(model.skeleton.keypoints),
        'input_size': list(codec.input_size),
        **{name: getattr(codec, name) for name in names if name not in ('skeleton', 'input_size')},
    }


def max_output_differences(model: Any, exported: ExportedModel, images: np.ndarray) -> dict[str, float]:
    """Compare an exported model with its estimator.

    Args:
        model: the estimator, in evaluation mode on the CPU.
        exported: its exported file.
        images: (B, H, W, 3) uint8, BGR, of the input size.

    Returns:
        The largest absolute difference of `keypoints`, `keypoint_scores`, `instance_scores` and `boxes`; positions in
        px of the input.

    Raises:
        MismatchError: they do not find the same number of instances in every image.
    """
    with torch.inference_mode():
        expected = model.postprocess.decode_to_input(model.network(torch.from_numpy(images))[-1]).numpy()
    actual = exported(images)
    if len(actual) != len(expected) or (actual.image_indices != expected.image_indices).any():
        threshold = exported.settings['score_threshold']
        raise MismatchError(
            f'the exported model finds {len(actual)} instances and the estimator {len(expected)}; scores within '
            f'rounding of the threshold ({threshold}) can do that: try another image'
        )
    names = ('keypoints', 'keypoint_scores', 'instance_scores', 'boxes')
    return {name: _max_abs_difference(getattr(actual, name), getattr(expected, name)) for name in names}


def _max_abs_difference(array: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(array - other).max(initial=0))

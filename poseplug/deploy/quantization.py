"""Exported ONNX files in half precision or in 8 bits, by ONNX Runtime's tools."""

from __future__ import annotations

__all__ = [
    'FLOAT_PART_NAMES',
    'describe_layers',
    'find_sensitive_layers',
    'keeps_ranges',
    'list_quantizable_layers',
    'quantize_file',
    'to_half_precision',
]

import ast
import inspect
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.deploy.exported_model import METADATA_KEY, import_export_package
from poseplug.deploy.onnx_graphs import add_metadata
from poseplug.files.jsonable import to_json_values

_QUANTIZED_OPERATORS = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul')
FLOAT_PART_NAMES = 'float_parts'  # of the metadata: the layers that stay float


def to_half_precision(file: Path) -> None:
    """Store the weights of an exported ONNX file as float16, in place; they are converted back when it is loaded.

    The layers compute in single precision, so that the file takes half the space and any runtime runs it as fast.

    Args:
        file: the ONNX file.

    Raises:
        ConfigError: the packages of the extra `export` are missing.
    """
    onnx = import_export_package('onnx')
    graph, layers = onnx.load(str(file)), set(list_quantizable_layers(file))
    weights = {value.name: value for value in graph.graph.initializer}
    used = {name for node in graph.graph.node if node.name in layers for name in node.input} & weights.keys()
    casts = []
    for name in sorted(used):
        values = onnx.numpy_helper.to_array(weights[name])
        # vectors, such as biases, weigh little and stay exact
        if values.ndim < 2 or values.dtype != np.float32:
            continue
        half_name = f'{name}_half'
        weights[name].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), half_name))
        casts.append(onnx.helper.make_node('Cast', [half_name], [name], half_name, to=onnx.TensorProto.FLOAT))
    # first, since nodes of an ONNX file stand after what they read
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    _save_with_settings(graph, file, {'precision': 'float16'})


def list_quantizable_layers(file: Path) -> list[str]:
    """List the convolutions and matrix products of an exported ONNX file that have weights, in their order.

    Args:
        file: the ONNX file.
    """
    onnx = import_export_package('onnx')
    graph = onnx.load(str(file)).graph
    weights = {value.name for value in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type in _QUANTIZED_OPERATORS and any(name in weights for name in node.input)
    ]


def describe_layers(file: Path, layers: Sequence[str]) -> list[str]:
    """Name layers by the modules of torch that they come from, where the file says it.

    Args:
        file: the ONNX file.
        layers: names of its nodes.
    """
    onnx = import_export_package('onnx')
    scopes = {node.name: _read_scope(node) for node in onnx.load(str(file)).graph.node}
    return [scopes.get(name) or name for name in layers]


def _read_scope(node: Any) -> str:
    """The innermost module of torch that a node comes from, such as 'network.head.layers.0'."""
    texts = [entry.value for entry in node.metadata_props if entry.key.endswith('name_scopes')]
    scopes = ast.literal_eval(texts[0]) if texts else []
    return next((scope.removeprefix('fields.') for scope in reversed(scopes[:-1]) if scope), '')


def quantize_file(
    file: Path,
    out: Path,
    batches: Sequence[np.ndarray],
    float_layers: Sequence[str] = (),
    ranges_file: Path | None = None,
) -> None:
    """Write an exported ONNX file whose convolutions and matrix products compute in 8 bits.

    Args:
        file: the ONNX file in single precision.
        out: the file to write.
        batches: inputs (B, H, W, 3) from which the ranges of the activations are measured.
        float_layers: names of layers that stay float.
        ranges_file: keeps the measured ranges, and is read instead of measuring them where it exists. ONNX Runtime
            before 1.32 measures them each time.

    Raises:
        ConfigError: the packages of the extra `export` are missing, or there is no input.
    """
    if not batches:
        raise ConfigError('--int8 measures the ranges of activations on images; give it some: --calibrate IMAGES')
    quantization = import_export_package('onnxruntime.quantization')
    onnx = import_export_package('onnx')
    layers = set(list_quantizable_layers(file)) - set(float_layers)
    excluded = [node.name for node in onnx.load(str(file)).graph.node if node.name not in layers]
    ranges_option = {'calibration_cache_path': ranges_file} if keeps_ranges() else {}
    previous_level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # the tool warns of what is done on purpose here
    try:
        quantization.quantize_static(
            str(file),
            str(out),
            _create_reader(quantization, batches),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED_OPERATORS),
            nodes_to_exclude=excluded,
            per_channel=True,
            reduce_range=True,  # weights of 7 bits: sums of more overflow on processors without VNNI instructions
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={'ActivationSymmetric': False, 'WeightSymmetric': True},
            **ranges_option,
        )
    finally:
        logging.root.setLevel(previous_level)
    _save_with_settings(onnx.load(str(out)), out, {'precision': 'int8', FLOAT_PART_NAMES: list(float_layers)}, file)


def keeps_ranges() -> bool:
    """Whether the installed ONNX Runtime can keep the ranges that it measured in a file."""
    quantization = import_export_package('onnxruntime.quantization')
    return 'calibration_cache_path' in inspect.signature(quantization.quantize_static).parameters


def _create_reader(quantization: Any, batches: Sequence[np.ndarray]) -> Any:
    """The inputs in the form that ONNX Runtime's tool reads."""

    class BatchReader(quantization.CalibrationDataReader):
        """Returns one batch after the other, then None."""

        def __init__(self) -> None:
            self.remaining: Iterator[np.ndarray] = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.remaining, None)
            return None if batch is None else {'images': batch}

    return BatchReader()


def find_sensitive_layers(
    layers: Sequence[str], measure: Callable[[Sequence[str]], float], tolerance: float, num_groups: int = 8
) -> list[str]:
    """Find the layers that must stay float, by measuring what each group of neighbors costs.

    Args:
        layers: names of the layers in their order.
        measure: takes the layers that stay float, and returns the error with all others in 8 bits.
        tolerance: the error that is allowed.
        num_groups: groups of neighboring layers, of which each is tried alone.

    Returns:
        Layers to keep in float; none if the error is small enough without.

    Example:
        >>> find_sensitive_layers('abcd', lambda kept: 0.1 if 'd' in kept else 5.0, 1.0, num_groups=4)
        ['d']
    """
    if measure([]) <= tolerance:
        return []
    groups = [group.tolist() for group in np.array_split(np.array(list(layers)), min(num_groups, len(layers)))]
    errors = [measure(group) for group in groups]
    kept: list[str] = []
    # the groups that help most stay float first, until the error is small enough
    for index in np.argsort(errors, kind='stable'):
        kept = [*kept, *groups[index]]
        if measure(kept) <= tolerance:
            break
    return [name for name in layers if name in kept]


def _save_with_settings(graph: Any, file: Path, changes: dict[str, Any], source: Path | None = None) -> None:
    """Save an ONNX model with the metadata of a file, and some of them changed."""
    onnx = import_export_package('onnx')
    described = graph if source is None else onnx.load(str(source), load_external_data=False)
    (text,) = (entry.value for entry in described.metadata_props if entry.key == METADATA_KEY)
    del graph.metadata_props[:]
    add_metadata(graph, to_json_values({**json.loads(text), **changes}))
    onnx.save(graph, str(file))

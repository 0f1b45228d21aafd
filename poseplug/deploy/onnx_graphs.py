"""ONNX graphs from modules of torch, and the metadata of their files."""

from __future__ import annotations

__all__ = ['add_metadata', 'export_graph', 'make_dynamic_shapes', 'serialize_graph']

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.deploy.exported_model import METADATA_KEY, import_export_package

OPSET_VERSION = 18
_MAX_FILE_BYTES = 2**31 - 1  # of a message of Protocol Buffers


def export_graph(
    module: nn.Module,
    examples: tuple[Any, ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_shapes: Any = None,
) -> Any:
    """Export a module as an ONNX model of opset 18.

    Args:
        module: in evaluation mode.
        examples: the arguments.
        input_names: of the tensors in the arguments.
        output_names: of the results.
        dynamic_shapes: as for `torch.export`; by default the first dimension of every input may have any length.

    Raises:
        ConfigError: the packages of the extra `export` are missing, or torch cannot export the module.
    """
    import_export_package('onnxscript')
    # it warns of each operator of torchvision that is not installed, none of which any network here has
    logging.getLogger('torch.onnx._internal.exporter._registration').setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter('ignore')  # the exporter uses deprecated parts of its own
        try:
            program: Any = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                opset_version=OPSET_VERSION,
                dynamic_shapes=dynamic_shapes or make_dynamic_shapes(examples),
                input_names=list(input_names),
                output_names=list(output_names),
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            # the last line of a long message says what cannot be exported
            reason = str(error.__cause__ or error).strip().splitlines()[-1]
            raise ConfigError(
                f'torch cannot export this network to ONNX: {reason}. Replace the part that it names, or use another '
                f'--to'
            ) from error
    return program.model_proto


def make_dynamic_shapes(examples: Any) -> Any:
    """Build the exporter's `dynamic_shapes` for nested tuples of tensors: every first dimension is dynamic."""
    if isinstance(examples, Tensor):
        return {0: torch.export.Dim.DYNAMIC}
    return tuple(map(make_dynamic_shapes, examples))


def add_metadata(graph: Any, settings: Mapping[str, Any]) -> None:
    """Write settings as JSON into the metadata of an ONNX model, in place of those that it has."""
    onnx = import_export_package('onnx')
    onnx.helper.set_model_props(graph, {METADATA_KEY: json.dumps(settings)})
    graph.producer_name = 'poseplug'


def serialize_graph(graph: Any) -> bytes:
    """Check an ONNX model and return the bytes of its file.

    Raises:
        ConfigError: the model is larger than 2 GiB, which one file cannot be.
    """
    onnx = import_export_package('onnx')
    if graph.ByteSize() > _MAX_FILE_BYTES:
        raise ConfigError(
            f'the model has {graph.ByteSize():,} bytes, and an ONNX file at most {_MAX_FILE_BYTES:,}; export it with '
            f'--half, or --to torch-export'
        )
    onnx.checker.check_model(graph)
    data: bytes = graph.SerializeToString()
    return data

"""Export of models as files that other runtimes run: ONNX, OpenVINO, TorchScript and torch.export."""

from __future__ import annotations

__all__ = ['EXPORT_SUFFIXES', 'ExportTarget', 'export_model', 'export_onnx', 'find_export_kind']

import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.deploy.export_modules import FieldsWithPeaks, KeypointsOfCrops
from poseplug.deploy.export_settings import ExportOptions, collect_export_settings
from poseplug.deploy.exported_model import METADATA_KEY, import_export_package
from poseplug.deploy.one_stage_export import build_one_stage_graph
from poseplug.deploy.onnx_graphs import add_metadata, export_graph, serialize_graph
from poseplug.files.atomic import write_atomically
from poseplug.models.layers.batch_norm_folding import fold_batch_norms

_LOGGER = logging.getLogger('poseplug')

ExportTarget = Literal['onnx', 'openvino', 'torchscript', 'torch-export']
EXPORT_SUFFIXES = {'onnx': '.onnx', 'openvino': '.xml', 'torchscript': '.pt', 'torch-export': '.pt2'}


def find_export_kind(model: Any) -> str:
    """Find how a model is exported.

    Args:
        model: the estimator.

    Returns:
        'top_down' (keypoints of crops), 'one_stage' (instances after suppression), or 'paf' or 'tags' (fields and their
        peaks, which the runtime groups).

    Raises:
        ConfigError: the model has a codec that no runtime can group.
    """
    codec = model.codec
    if codec.field_kind == 'instances':
        return 'one_stage'
    if not codec.groups_instances:
        return 'top_down'
    kind = next((name for name in ('paf', 'tags') if name in codec.fields), None)
    if kind is None or codec.single_instance:
        setting = f'{type(codec).__name__}(single_instance=True)' if kind else type(codec).__name__
        raise ConfigError(
            f'{type(model).__name__} with the codec {setting} has no export: the exported file cannot choose one '
            f'instance among those that it groups; set model.type=BottomUp and single_instance=False'
        )
    return kind


def export_model(model: Any, file: Path, target: ExportTarget = 'onnx', options: ExportOptions | None = None) -> Path:
    """Write a model as a file for other runtimes.

    Args:
        model: the estimator; it is copied, not changed.
        file: path of the file; its folder is created.
        target: 'onnx'; 'openvino', an .xml file with a .bin file beside it; 'torchscript'; or 'torch-export'.
        options: None for the defaults.

    Returns:
        The path.

    Raises:
        ConfigError: the packages of the extra `export` are missing, or the model cannot be exported to this target.
    """
    file = Path(file)
    if target not in EXPORT_SUFFIXES:
        raise ConfigError(f'a model is exported to one of {", ".join(EXPORT_SUFFIXES)}; got {target!r}')
    if target == 'onnx':
        return export_onnx(model, file, options)
    if target == 'openvino':
        return _export_openvino(model, file, options)
    return _export_torch(model, file, target, options or ExportOptions())


def export_onnx(model: Any, file: Path, options: ExportOptions | None = None) -> Path:
    """Write a model as an ONNX file of opset 18.

    The file's input is `images` (B, H, W, 3), BGR from 0 to 255, of the codec's input size, any number of them; those
    of a model whose instances are grouped may have any size that its strides divide, where the network allows it. The
    outputs depend on the kind of model, see `OUTPUT_NAMES` in `poseplug.deploy.exported_model`. The metadata `poseplug`
    holds the skeleton, the crop, the codec's settings and the hash of the weights as JSON.

    Args:
        model: the estimator; it is copied, not changed.
        file: path of the file; its folder is created.
        options: None for the defaults.

    Returns:
        The path.

    Raises:
        ConfigError: the packages of the extra `export` are missing, or the model has no export.
    """
    options = options or ExportOptions()
    kind = find_export_kind(model)
    import_export_package('onnx')
    settings = collect_export_settings(model, kind, options)
    prepared = _prepare_model(model)
    if kind == 'one_stage':
        _check_no_flip_test(model, options)
        graph = build_one_stage_graph(prepared, options.torch_type)
    else:
        module = _build_module(prepared, kind, options)
        graph = _export_fixed_or_dynamic(module, _create_images(prepared, options))
        settings['dynamic_size'] = _has_dynamic_sides(graph)
    settings['output_names'] = [output.name for output in graph.graph.output]
    add_metadata(graph, settings)
    write_atomically(Path(file), serialize_graph(graph))
    return Path(file)


def _prepare_model(model: Any) -> Any:
    """A copy on the CPU whose batch norms are folded."""
    # float32 whatever precision the model computes in: files are reduced afterwards, behind the comparison
    prepared = copy.deepcopy(model).cpu().float().eval()
    prepared.network.set_memory_format(torch.contiguous_format)
    fold_batch_norms(prepared)
    return prepared


def _build_module(model: Any, kind: str, options: ExportOptions) -> Any:
    """The module that is exported, of a model that is not one-stage."""
    if getattr(model.network.backbone, 'experts', ()) and not hasattr(model.network, 'active_decoder'):
        raise ConfigError(
            'model.backbone has experts by data set, and an exported file cannot know of which one an image is; export '
            'a MultiTopDown, whose active_decoder chooses the expert'
        )
    module_class = KeypointsOfCrops if kind == 'top_down' else FieldsWithPeaks
    return module_class(model, options.flip_test).eval()


def _export_fixed_or_dynamic(module: Any, images: torch.Tensor) -> Any:
    """Export a module of images; of whole images those of any size, if the network allows it."""
    if isinstance(module, FieldsWithPeaks):
        # AUTO lets the exporter fix a side that the network does not allow to vary, such as by position embeddings
        shapes = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO},)
        try:
            return export_graph(module, (images,), ['images'], module.output_names, shapes)
        except ConfigError as error:
            _LOGGER.warning('exported for inputs of one size, since the network does not allow others (%s)', error)
    return export_graph(module, (images,), ['images'], module.output_names)


def _check_no_flip_test(model: Any, options: ExportOptions) -> None:
    if options.flip_test:
        raise ConfigError(f'{type(model).__name__} has no flip test: its instances are chosen before they are averaged')


def _create_images(model: Any, options: ExportOptions, count: int = 2) -> torch.Tensor:
    width, height = model.codec.input_size
    # two images: the exporter takes a dimension of 1 for a constant
    return torch.zeros(count, height, width, 3, dtype=options.torch_type)


def _has_dynamic_sides(graph: Any) -> bool:
    """Whether the graph's images may have any height and width."""
    dimensions = graph.graph.input[0].type.tensor_type.shape.dim
    return all(dimension.dim_param for dimension in dimensions[1:3])


# --- other formats ----------------------------------------------------------------------------------------------------


def _export_openvino(model: Any, file: Path, options: ExportOptions | None) -> Path:
    """Convert the ONNX file of a model to OpenVINO's format."""
    openvino = import_export_package('openvino')
    with tempfile.TemporaryDirectory() as folder:
        onnx_file = export_onnx(model, Path(folder) / 'model.onnx', options)
        converted = openvino.convert_model(str(onnx_file))
        onnx = import_export_package('onnx')
        (metadata,) = (entry.value for entry in onnx.load(str(onnx_file)).metadata_props if entry.key == METADATA_KEY)
        # under the key where OpenVINO itself puts the metadata of an ONNX file that it reads
        converted.set_rt_info(metadata, ['framework', METADATA_KEY])
        file.parent.mkdir(parents=True, exist_ok=True)
        # by default it would store weights in half precision
        openvino.save_model(converted, str(file), compress_to_fp16=False)
    return file


def _export_torch(model: Any, file: Path, target: str, options: ExportOptions) -> Path:
    """Write a model as a file of torch alone."""
    kind = find_export_kind(model)
    if kind == 'one_stage':
        raise ConfigError(
            f'{type(model).__name__} cannot be exported --to {target}: the suppression of its boxes is an operator of '
            f'ONNX; use --to onnx or --to openvino'
        )
    settings = collect_export_settings(model, kind, options)
    prepared = _prepare_model(model)
    module, images = _build_module(prepared, kind, options), _create_images(prepared, options)
    settings['output_names'] = list(module.output_names)
    file.parent.mkdir(parents=True, exist_ok=True)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter('ignore')
        if target == 'torchscript':
            _save_torchscript(module, images, file, settings)
        else:
            program = torch.export.export(module, (images,), dynamic_shapes=shapes)
            torch.export.save(program, file, extra_files={METADATA_KEY: json.dumps(settings)})
    return file


def _save_torchscript(module: nn.Module, images: torch.Tensor, file: Path, settings: Mapping[str, Any]) -> None:
    # traced, not scripted: codecs are Python that TorchScript does not compile
    traced: Any = torch.jit.trace(module, (images,), check_trace=False)
    torch.jit.save(traced, str(file), _extra_files={METADATA_KEY: json.dumps(settings)})

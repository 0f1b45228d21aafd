"""A model that finds everybody in a picture as one ONNX graph, from the picture's bytes to people."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.folding import fold_norms

OPSET = 18
TOLD = {'score': 'scores', 'visible': 'keypoint_scores', 'box': 'boxes'}  # fields that are outputs, too
OUTPUTS = ('pictures', 'scores', 'boxes', 'keypoints', 'keypoint_scores')
UNREAD = ('score', 'visible', 'raw', 'strides')  # fields that no head reads joints from


class Cells(nn.Module):
    """Pictures to what the surest cells say: the fields `names`, each (B, A, ...), scores as chances.

    As many cells as the codec has candidates, surest first, or all in their order where there are fewer.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model, self.candidates = model, model.codec.candidates
        with torch.inference_mode():
            width, height = model.codec.input_size
            (fields,) = model(torch.zeros(1, height, width, 3, dtype=torch.uint8))
        self.names = ('score', 'visible', *(n for n in fields if n not in UNREAD))
        self.some = self.candidates < fields['score'].shape[1]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        (fields,) = self.model(images)
        fields = {**fields, **{n: fields[n].sigmoid() for n in ('score', 'visible')}}
        fields['points'] = fields['points'].expand(len(images), -1, -1)
        if self.some:
            cells = fields['score'].topk(self.candidates, dim=1).indices
            fields = {n: at(fields[n], cells) for n in self.names}
        return tuple(fields[n] for n in self.names)


class Joints(nn.Module):
    """What a head reads the joints from, the fields `names` of people (N, ...), to the joints (N, K, 2), input px."""

    def __init__(self, head: Any, names: Sequence[str]):
        super().__init__()
        self.head, self.names = head, tuple(names)

    def forward(self, people: Sequence[Tensor]) -> Tensor:
        return self.head.joints(dict(zip(self.names, people, strict=True)))


def at(field: Tensor, cells: Tensor) -> Tensor:
    """A field (B, A, ...) at cells (B, M): (B, M, ...)."""
    index = cells.reshape(*cells.shape, *[1] * (field.ndim - 2))
    return field.gather(1, index.expand(-1, -1, *field.shape[2:]))


def export_onnx(model: Any, file: Path) -> Path:
    """Write an estimator with the codec `People` as an ONNX file of opset 18.

    Input: `images` (B, H, W, 3) uint8 BGR, of the codec's input size, letterboxed; any number. Outputs, surest first in
    every picture: `pictures` (N,) of the batch, `scores` (N,), `boxes` (N, 4; x, y of two corners), `keypoints`
    (N, K, 2), all px of the input, and `keypoint_scores` (N, K). Suppression is the operator NonMaxSuppression, with
    the codec's settings; joints are decoded of those alone who stay. The file's metadata, `poseplug`, names joints and
    settings as JSON.

    Raises:
        ConfigError: the packages are missing, or the model is of another kind.
    """
    if model.codec.kind != 'people':
        raise ConfigError(
            f'{type(model).__name__} with the codec {type(model.codec).__name__} has no export; there is one for '
            f'models that find people at cells (model.type=OneStage with model.codec.type=People)'
        )
    onnx = required('onnx')
    required('onnxscript')
    model = copy.deepcopy(model).cpu().eval()
    model.memory_format = torch.contiguous_format
    fold_norms(model)
    cells = Cells(model).eval()
    read = [n for n in cells.names if n not in UNREAD]
    width, height = model.codec.input_size
    pictures = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    network = graph_of(cells, (pictures,), ['images'], [f'cell_{n}' for n in cells.names])
    with torch.inference_mode():
        some = tuple(f[0, :3] for n, f in zip(cells.names, cells(pictures), strict=True) if n in read)
    decoding = graph_of(Joints(model.head, read).eval(), (some,), [f'person_{n}' for n in read], ['joints'])
    whole = assembled(onnx, [network, suppression(onnx, cells.names, model.codec), decoding])
    onnx.helper.set_model_props(whole, {'poseplug': json.dumps(settings(model))})
    onnx.checker.check_model(whole)
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(whole, str(file))
    return file


def graph_of(module: nn.Module, examples: tuple[Any, ...], inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """A module as an ONNX model whose first dimension, of all inputs, may be of any length."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter('ignore')  # of the exporter's own parts
        program = torch.onnx.export(
            module,
            examples,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=of_any_length(examples),
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def of_any_length(examples: Any) -> Any:
    """For every tensor of nested tuples, that its first dimension is free."""
    if isinstance(examples, Tensor):
        return {0: torch.export.Dim.DYNAMIC}
    return tuple(map(of_any_length, examples))


def suppression(onnx: Any, names: Sequence[str], codec: Any) -> Any:
    """The nodes between cells and people: who stays, and what their cells say."""
    node, number = onnx.helper.make_node, onnx.numpy_helper.from_array
    values = {
        'most': torch.tensor([codec.most]),
        'overlap': torch.tensor([codec.overlap], dtype=torch.float32),
        'threshold': torch.tensor([codec.threshold], dtype=torch.float32),
        'one': torch.tensor([1]),
        'first': torch.tensor(0),
        'first_and_last': torch.tensor([0, 2]),
    }
    nodes = [
        node('Unsqueeze', ['cell_score', 'one'], ['class_scores']),
        node('NonMaxSuppression', ['cell_box', 'class_scores', 'most', 'overlap', 'threshold'], ['chosen']),
        node('Gather', ['chosen', 'first_and_last'], ['where'], axis=1),
        node('Gather', ['chosen', 'first'], ['pictures'], axis=1),
        *(node('GatherND', [f'cell_{n}', 'where'], [f'person_{n}']) for n in names),
        *(node('Identity', [f'person_{n}'], [output]) for n, output in TOLD.items()),
    ]
    return onnx.helper.make_graph(nodes, 'suppression', [], [], [number(v.numpy(), n) for n, v in values.items()])


def assembled(onnx: Any, parts: Sequence[Any]) -> Any:
    """Network, suppression and decoding as one model; values that have the same name in two parts are the same."""
    kept = dict(rename_inputs=False, rename_outputs=False)
    network = onnx.compose.add_prefix(parts[0], 'network/', **kept)
    decoding = onnx.compose.add_prefix(parts[2], 'joints/', **kept)
    assert not network.functions
    assert not decoding.functions
    graphs = [network.graph, parts[1], decoding.graph]
    joints = decoding.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    shape = onnx.numpy_helper.from_array(torch.tensor([-1, joints, 2]).numpy(), 'shape')
    shaped = onnx.helper.make_node('Reshape', ['joints', 'shape'], ['keypoints'])  # ONNX Runtime errs about nobody's
    graph = onnx.helper.make_graph(
        [*(node for g in graphs for node in g.node), shaped],
        'poseplug',
        list(network.graph.input),
        [output(onnx, name, joints) for name in OUTPUTS],
        [shape, *(value for g in graphs for value in g.initializer)],
    )
    opsets = list(network.opset_import)
    return onnx.helper.make_model(graph, ir_version=network.ir_version, opset_imports=opsets, producer_name='poseplug')


def output(onnx: Any, name: str, joints: int) -> Any:
    """Type and shape of an output, (N, ...) of N people."""
    shape = {'pictures': (), 'scores': (), 'boxes': (4,), 'keypoints': (joints, 2)}.get(name, (joints,))
    kind = onnx.TensorProto.INT64 if name == 'pictures' else onnx.TensorProto.FLOAT
    return onnx.helper.make_tensor_value_info(name, kind, ['people', *shape])


def settings(model: Any) -> Mapping[str, Any]:
    """What someone needs to know who has the file alone."""
    codec = model.codec
    return {
        'joints': list(model.skeleton.joints),
        'input_size': list(codec.input_size),
        **{f.name: getattr(codec, f.name) for f in fields_of(codec) if f.name not in ('skeleton', 'input_size')},
    }


def required(package: str) -> Any:
    """A package of the extra `export`."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"this needs the package {package}, which cannot be imported ({error}); pip install 'poseplug[export]'"
        ) from None

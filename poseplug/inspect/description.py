"""What a config builds, from the bytes of an image to keypoints: shapes, sizes and receptive fields, without data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from poseplug.codecs.base import Codec, MapCodec
from poseplug.config.build import build_evaluator
from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.data.transforms.base import build_pipeline, check_crop
from poseplug.inspect.complexity import (
    COUNTED_OPERATIONS,
    ForwardTrace,
    ModuleCost,
    build_without_teacher_weights,
    compute_costs,
    list_network_parts,
    trace_forward,
)
from poseplug.inspect.receptive_field import ReceptiveWidth, compute_receptive_fields

_LOADER_NAMES = ('train', 'val', 'test')


def describe_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Describe what a config builds, as dicts, lists and numbers that JSON can hold.

    Args:
        cfg: The config; neither its data nor its weights are read.

    Returns:
        `config`, `estimator`, `parameters`, `macs` (multiply-adds of one image), `counted_operations`,
        `receptive_field` (px of each stage), `parts`, `skeleton`, `codec`, `shapes`, `loaders` and `metrics`.

    Raises:
        ConfigError: A part, a transform or a metric cannot be built, for example since the skeleton lacks what the
            metric needs; or transforms stand in the wrong order.
    """
    model = build_without_teacher_weights(cfg)
    _check_pipelines(cfg, model.codec)
    trace, receptive_fields = trace_forward(model), compute_receptive_fields(model)
    cost = compute_costs(model, trace.macs)
    parts = {}
    for name, part in list_network_parts(model).items():
        # decoders that are not active have none
        receptive_field = getattr(receptive_fields, name, [])
        part_cost = _describe_cost(cost.submodules[name])
        parts[name] = {'type': type(part).__name__, **part_cost, 'receptive_field': receptive_field}
    loaders = {name: _describe_loader(cfg.get(f'{name}_dataloader')) for name in _LOADER_NAMES}
    loaders = {name: loader for name, loader in loaders.items() if loader}
    metrics = {name: build_evaluator(cfg, name, model.skeleton) for name in loaders if name != 'train'}
    description: dict[str, Any] = {
        'config': str(getattr(cfg, 'filename', '') or ''),
        'estimator': type(model).__name__,
        'parameters': cost.parameters,
        'macs': cost.macs,
        'counted_operations': COUNTED_OPERATIONS,
        'receptive_field': receptive_fields.head,
        'parts': parts,
        'skeleton': _describe_skeleton(model.skeleton),
        'codec': _describe_codec(model.codec),
        'shapes': _describe_shapes(model, trace),
        'loaders': loaders,
        'metrics': {name: [metric.describe() for metric in evaluator] for name, evaluator in metrics.items()},
    }
    return description


def _check_pipelines(cfg: Mapping[str, Any], codec: Codec) -> None:
    """Build the transforms of every loader, so that wrong settings and orders are found before data are read."""
    for name in _LOADER_NAMES:
        loader = cfg.get(f'{name}_dataloader')
        specs = (loader or {}).get('dataset', {}).get('pipeline')
        if specs is not None:
            try:
                check_crop(build_pipeline(specs, input_size=codec.input_size, crop_rule=codec.crop_rule))
            except ConfigError as error:
                raise ConfigError(f'{name}_dataloader.dataset: {error}') from error


def _describe_cost(cost: ModuleCost) -> dict[str, Any]:
    description: dict[str, Any] = {'parameters': cost.parameters, 'macs': cost.macs}
    if cost.submodules:
        description['submodules'] = {name: _describe_cost(part_cost) for name, part_cost in cost.submodules.items()}
    return description


def _describe_skeleton(skeleton: Skeleton) -> dict[str, Any]:
    num_groups = len(skeleton.limb_groups) if skeleton.limbs else 0
    names = {'name': skeleton.name, 'centric': skeleton.centric, 'keypoints': list(skeleton.keypoints)}
    return {**names, 'num_limb_groups': num_groups}


def _describe_codec(codec: Codec) -> dict[str, Any]:
    settings = {f.name: getattr(codec, f.name) for f in fields(codec) if f.name not in ('skeleton', 'input_size')}
    return {
        'type': type(codec).__name__,
        'input_size': list(codec.input_size),
        'fields': dict(codec.fields),
        'shapes': {name: list(shape) for name, shape in codec.shapes.items()},
        **_describe_grid(codec),
        'settings': settings,
    }


def _describe_grid(codec: Codec) -> dict[str, Any]:
    if not isinstance(codec, MapCodec):
        return {}
    grid = codec.grid
    return {'grid': list(grid.size), 'stride': codec.stride, 'cell_spacing': list(grid.strides), 'offset': grid.offset}


def _describe_shapes(model: Any, trace: ForwardTrace) -> dict[str, Any]:
    """What flows, in order; shapes are (channels, rows, columns), that of the image (rows, columns, BGR)."""
    (width, height), parts = model.codec.input_size, model.network.active_parts()
    shapes: dict[str, Any] = {
        'image': [height, width, 3],
        'input': list(trace.input_shape),
        'backbone': _describe_feature_maps(trace.backbone_shapes, parts['backbone'].strides),
    }
    if 'neck' in parts:
        shapes['neck'] = _describe_feature_maps(trace.neck_shapes, parts['neck'].strides)
    shapes['stages'] = [{name: list(shape) for name, shape in stage.items()} for stage in trace.stage_shapes]
    num_keypoints = len(model.skeleton)
    shapes['poses'] = {
        'keypoints': ['instances', num_keypoints, 2],
        'keypoint_scores': ['instances', num_keypoints],
    }
    return shapes


def _describe_feature_maps(shapes: Sequence[tuple[int, ...]], strides: Sequence[int]) -> list[dict[str, Any]]:
    return [{'shape': list(shape), 'stride': stride} for shape, stride in zip(shapes, strides, strict=True)]


def _describe_loader(cfg: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The sources and transforms of a loader by name, and how many views of an image it makes."""
    if not cfg:
        return None
    dataset = cfg['dataset']
    sources, transforms = dataset.get('sources', []), dataset.get('pipeline', [])
    num_views = [len(transform['scales']) for transform in transforms if transform['type'] == 'MultiScaleCrop']
    return {
        'sources': [source['type'] for source in (sources if isinstance(sources, Sequence) else [sources])],
        'transforms': [transform['type'] for transform in transforms],
        'batch_size': cfg.get('batch_size', 1),
        'num_views': num_views[0] if num_views else 1,
    }


# --- text -------------------------------------------------------------------------------------------------------------


def print_description(description: Mapping[str, Any]) -> None:
    """Print a description: what flows as a tree, what each part costs as a table."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_build_flow_tree(description))
    console.print(_build_cost_table(description))
    operations = description['counted_operations']
    console.print(f'[dim]Multiply-adds are those of {operations}, for one image.[/dim]')


def _build_flow_tree(description: Mapping[str, Any]) -> Any:
    """The way from the bytes of an image to keypoints, as a tree of rich."""
    from rich.tree import Tree

    shapes, parts, estimator = description['shapes'], description['parts'], description['estimator']
    title = Path(description['config']).name or estimator
    tree = Tree(f'[bold]{title}[/bold], {estimator}')
    loaders = tree.add('[bold]loader[/bold]  bytes of a file -> image (rows, columns, 3), uint8, BGR')
    for name, loader in description['loaders'].items():
        loaders.add(f'{name}: {_format_loader(loader, shapes["image"])}')
    for name, metrics in description['metrics'].items():
        loaders.add(f'{name} is measured by {", ".join(metrics)}')
    tree.add(f'[bold]input[/bold]  {_format_shape(shapes["input"])}, normalized on the device')
    for name in ('backbone', 'neck'):
        if name in shapes:
            node = tree.add(f'[bold]{name}[/bold]  {parts[name]["type"]}')
            for level, width in zip(shapes[name], parts[name]['receptive_field'], strict=True):
                shape, width_text = _format_shape(level['shape']), _format_receptive_width(width)
                node.add(f'{shape}  stride {level["stride"]}  sees {width_text}')
    head = tree.add(f'[bold]head[/bold]  {parts["head"]["type"]}')
    for t, (stage, width) in enumerate(zip(shapes['stages'], description['receptive_field'], strict=True)):
        stage_fields = ', '.join(f'{name} {_format_shape(shape)}' for name, shape in stage.items())
        head.add(f'stage {t + 1}: {stage_fields}  sees {_format_receptive_width(width)}')
    codec, skeleton = description['codec'], description['skeleton']
    tree.add(f'[bold]codec[/bold]  {codec["type"]}{_format_cell_positions(codec)}')
    keypoints = f'{len(skeleton["keypoints"])} keypoints per instance'
    tree.add(f'[bold]poses[/bold]  {keypoints}, {skeleton["name"]}, {skeleton["centric"]}-centric, in image pixels')
    if skeleton['num_limb_groups'] > 1:
        # Not wrong, as of faces and hands, but two halves of one body are most often a limb that was forgotten.
        tree.add(f'[bold]limbs[/bold]  leave the keypoints in {skeleton["num_limb_groups"]} parts, drawn apart')
    return tree


def _format_cell_positions(codec: Mapping[str, Any]) -> str:
    """Where the cells of a codec's grid lie; empty for a codec without a grid."""
    if 'grid' not in codec:
        return ''
    across, down = (f'{step:.4g} g + {codec["offset"]:g}' for step in codec['cell_spacing'])
    return f', cell g at pixel {across}' + (f' across, {down} down' if across != down else '')


def _format_loader(loader: Mapping[str, Any], image_shape: Sequence[int]) -> str:
    """A loader in one line: sources, transforms, and the shape of a batch."""
    batch = _format_shape([loader['batch_size'], loader['num_views'], *image_shape])
    return f'{" + ".join(loader["sources"])} -> {" -> ".join(loader["transforms"])} -> {batch}'


def _build_cost_table(description: Mapping[str, Any]) -> Any:
    """What each part costs, as a table of rich."""
    from rich.table import Table

    table = Table('part', box=None, pad_edge=False, header_style='bold')
    for name in ('parameters', 'multiply-adds', 'receptive field'):
        table.add_column(name, justify='right')
    for name, part in description['parts'].items():
        table.add_row(f'[bold]{name}[/bold]', *_format_cost_cells(part, part['receptive_field']))
        for inner_name, inner in group_equal_parts(part.get('submodules', {})):
            table.add_row(f'  {inner_name}', *_format_cost_cells(inner, []))
    total_cells = _format_cost_cells(description, description['receptive_field'][-1:])
    table.add_row('[bold]all[/bold]', *total_cells, style='bold', end_section=True)
    return table


def _format_cost_cells(cost: Mapping[str, Any], receptive_fields: Sequence[ReceptiveWidth]) -> list[str]:
    """Parameters, multiply-adds, and the range of the receptive fields."""
    widths = list(dict.fromkeys(map(_format_receptive_width, receptive_fields)))
    if len(widths) > 1:
        widths = [widths[0].removesuffix(' px'), widths[-1]]
    return [f'{cost["parameters"]:,}', _format_macs(cost['macs']), ' to '.join(widths)]


def group_equal_parts(submodules: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Join consecutive modules of one list that cost the same: `contexts.0 to 4, each`.

    Args:
        submodules: Costs by name.

    Returns:
        The name of a module or of a group, and the cost of one module.
    """
    names = list(submodules)
    while names:
        first, stem = names[0], names[0].rpartition('.')[0]
        group = [first, *_take_equal_siblings(submodules, stem, names[1:], submodules[first])]
        last = group[-1].rpartition('.')[2]
        yield (first if len(group) == 1 else f'{first} to {last}, each'), submodules[first]
        names = names[len(group) :]


def _take_equal_siblings(submodules: Mapping[str, Any], stem: str, names: Iterable[str], cost: Any) -> Iterator[str]:
    """The names up to the first one that is not in the same list or costs something else."""
    for name in names:
        if not stem or name.rpartition('.')[0] != stem or submodules[name] != cost:
            return
        yield name


def _format_shape(shape: Sequence[int]) -> str:
    """A shape as 15 x 46 x 46."""
    return ' x '.join(map(str, shape))


def _format_receptive_width(width_px: ReceptiveWidth) -> str:
    return 'the whole image' if width_px is None else f'{width_px} px'


def _format_macs(macs: int) -> str:
    """Multiply-adds in units of 10^9 or 10^6."""
    return f'{macs / 1e9:.1f} G' if macs >= 1e9 else f'{macs / 1e6:.1f} M'

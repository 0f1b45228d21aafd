"""What a config builds, from a picture's bytes to joints: shapes, sizes and receptive fields, without loading data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from poseplug.analysis.complexity import COUNTED, Cost, Trace, costs, parts, trace, untaught
from poseplug.analysis.receptive_field import Extent, receptive_fields
from poseplug.codecs.base import Codec, MapCodec
from poseplug.skeleton import Skeleton

LOADERS = ('train', 'val', 'test')


def describe(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a config as plain dicts, lists and numbers."""
    model = untaught(cfg)
    traced, seen = trace(model), receptive_fields(model)
    cost = costs(model, traced.macs)
    return {
        'config': str(getattr(cfg, 'filename', '') or ''),
        'estimator': type(model).__name__,
        'parameters': cost.parameters,
        'macs': cost.macs,
        'macs_counted': COUNTED,
        'receptive_field': seen.head,
        'parts': {
            name: {
                'type': type(part).__name__,
                **_numbers(cost.inner[name]),
                'receptive_field': getattr(seen, name, []),
            }
            for name, part in parts(model).items()
        },
        'skeleton': _skeleton(model.skeleton),
        'codec': _codec(model.codec),
        'shapes': _shapes(model, traced),
        'loaders': {name: loader for name in LOADERS if (loader := _loader(cfg.get(f'{name}_dataloader')))},
    }


def _numbers(cost: Cost) -> dict[str, Any]:
    inner = {'inner': {name: _numbers(c) for name, c in cost.inner.items()}} if cost.inner else {}
    return {'parameters': cost.parameters, 'macs': cost.macs, **inner}


def _skeleton(skeleton: Skeleton) -> dict[str, Any]:
    return {'name': skeleton.name, 'centric': skeleton.centric, 'joints': list(skeleton.joints)}


def _codec(codec: Codec) -> dict[str, Any]:
    settings = {f.name: getattr(codec, f.name) for f in fields(codec) if f.name not in ('skeleton', 'input_size')}
    return {
        'type': type(codec).__name__,
        'input_size': list(codec.input_size),
        'fields': dict(codec.fields),
        'shapes': {name: list(shape) for name, shape in codec.shapes.items()},
        **_grid(codec),
        'settings': settings,
    }


def _grid(codec: Codec) -> dict[str, Any]:
    if not isinstance(codec, MapCodec):
        return {}
    grid = codec.grid
    return {'grid': list(grid.size), 'stride': codec.stride, 'spacing': list(grid.strides), 'offset': grid.offset}


def _shapes(model: Any, traced: Trace) -> dict[str, Any]:
    """What flows, in order; shapes are (channels, rows, columns), that of the picture (rows, columns, BGR)."""
    width, height = model.codec.input_size
    neck = {'neck': _maps(traced.necked, model.neck.strides)} if model.neck is not None else {}
    return {
        'picture': [height, width, 3],
        'input': list(traced.input),
        'backbone': _maps(traced.features, model.backbone.strides),
        **neck,
        'stages': [{name: list(shape) for name, shape in stage.items()} for stage in traced.stages],
        'poses': {'keypoints': ['people', len(model.skeleton), 2], 'scores': ['people', len(model.skeleton)]},
    }


def _maps(shapes: Sequence[tuple[int, ...]], strides: Sequence[int]) -> list[dict[str, Any]]:
    return [{'shape': list(shape), 'stride': stride} for shape, stride in zip(shapes, strides, strict=True)]


def _loader(spec: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The names of the sources and transforms of a loader, and how many views of a picture it makes."""
    if not spec:
        return None
    data = spec['dataset']
    sources = data.get('sources', [])
    transforms = data.get('pipeline', [])
    views = [len(t['scales']) for t in transforms if t['type'] == 'Scales']
    return {
        'sources': [s['type'] for s in (sources if isinstance(sources, Sequence) else [sources])],
        'transforms': [t['type'] for t in transforms],
        'batch': spec.get('batch_size', 1),
        'views': views[0] if views else 1,
    }


# --- to read ----------------------------------------------------------------------------------------------------------


def show(about: Mapping[str, Any]) -> None:
    """Print a description: the flow as a tree, what each part costs as a table."""
    from rich.console import Console

    console = Console(highlight=False)
    console.print(flow(about))
    console.print(table(about))
    console.print(f'[dim]Multiply-adds are those of {about["macs_counted"]}, for one picture.[/dim]')


def flow(about: Mapping[str, Any]) -> Any:
    """The way from a picture's bytes to joints, as a tree of rich."""
    from rich.tree import Tree

    shapes, skeleton, codec = about['shapes'], about['skeleton'], about['codec']
    tree = Tree(f'[bold]{Path(about["config"]).name or about["estimator"]}[/bold], {about["estimator"]}')
    loaders = tree.add('[bold]loader[/bold]  bytes of a file -> picture (rows, columns, 3), uint8, BGR')
    for name, loader in about['loaders'].items():
        loaders.add(f'{name}: {loader_line(loader, shapes["picture"])}')
    tree.add(f'[bold]input[/bold]  {times(shapes["input"])}, normalised on the device')
    for name in ('backbone', 'neck'):
        if name in shapes:
            node = tree.add(f'[bold]{name}[/bold]  {about["parts"][name]["type"]}')
            for one, seen in zip(shapes[name], about['parts'][name]['receptive_field'], strict=True):
                node.add(f'{times(one["shape"])}  stride {one["stride"]}  sees {pixels(seen)}')
    head = tree.add(f'[bold]head[/bold]  {about["parts"]["head"]["type"]}')
    for t, (stage, seen) in enumerate(zip(shapes['stages'], about['receptive_field'], strict=True)):
        named = ', '.join(f'{name} {times(shape)}' for name, shape in stage.items())
        head.add(f'stage {t + 1}: {named}  sees {pixels(seen)}')
    tree.add(f'[bold]codec[/bold]  {codec["type"]}{where(codec)}')
    people = f'{len(skeleton["joints"])} joints a person, {skeleton["name"]}, {skeleton["centric"]}-centric'
    tree.add(f'[bold]poses[/bold]  {people}, in pixels of the picture')
    return tree


def where(codec: Mapping[str, Any]) -> str:
    """Where the cells of a codec's maps stand; nothing for one that draws no maps."""
    if 'grid' not in codec:
        return ''
    across, down = (f'{step:.4g} g + {codec["offset"]:g}' for step in codec['spacing'])
    return f', cell g at pixel {across}' + (f' across, {down} down' if across != down else '')


def loader_line(loader: Mapping[str, Any], picture: Sequence[int]) -> str:
    """A loader in a line: sources, transforms, and the shape of a batch."""
    batch = times([loader['batch'], loader['views'], *picture])
    return f'{" + ".join(loader["sources"])} -> {" -> ".join(loader["transforms"])} -> {batch}'


def table(about: Mapping[str, Any]) -> Any:
    """What each part holds and does, as a table of rich."""
    from rich.table import Table

    table = Table('part', box=None, pad_edge=False, header_style='bold')
    for name in ('parameters', 'multiply-adds', 'receptive field'):
        table.add_column(name, justify='right')
    for name, part in about['parts'].items():
        table.add_row(f'[bold]{name}[/bold]', *row(part, part['receptive_field']))
        for inner, below in grouped(part.get('inner', {})):
            table.add_row(f'  {inner}', *row(below, []))
    table.add_row('[bold]all[/bold]', *row(about, about['receptive_field'][-1:]), style='bold', end_section=True)
    return table


def row(cost: Mapping[str, Any], seen: Sequence[Extent]) -> list[str]:
    extents = list(dict.fromkeys(map(pixels, seen)))
    span = extents if len(extents) < 2 else [extents[0].removesuffix(' px'), extents[-1]]
    return [f'{cost["parameters"]:,}', giga(cost['macs']), ' to '.join(span)]


def grouped(inner: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Parts of one list that cost the same in a row are one line: `contexts.0 ... 4, each`."""
    names = list(inner)
    while names:
        first, stem = names[0], names[0].rpartition('.')[0]
        alike = [first, *_while_alike(inner, stem, names[1:], inner[first])]
        last = alike[-1].rpartition('.')[2]
        yield (first if len(alike) == 1 else f'{first} to {last}, each'), inner[first]
        names = names[len(alike) :]


def _while_alike(inner: Mapping[str, Any], stem: str, names: Iterable[str], cost: Any) -> Iterator[str]:
    for name in names:
        if not stem or name.rpartition('.')[0] != stem or inner[name] != cost:
            return
        yield name


def times(shape: Sequence[int]) -> str:
    """A shape as 15 x 46 x 46."""
    return ' x '.join(map(str, shape))


def pixels(extent: Extent) -> str:
    return 'the whole picture' if extent is None else f'{extent} px'


def giga(macs: int) -> str:
    """Multiply-adds in a unit that leaves three figures or so."""
    return f'{macs / 1e9:.1f} G' if macs >= 1e9 else f'{macs / 1e6:.1f} M'

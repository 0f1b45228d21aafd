"""What MMPose 1.3.2 publishes: its metafiles, and the settings and parameter shapes of its models."""

from __future__ import annotations

import gzip
import json
import os
import re
import runpy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SHAPES_FOLDER = Path(os.environ.get('POSEPLUG_ZOO', Path(__file__).parents[3] / 'shared/zoo'))
# Files end in a part of their SHA-256, before or without a date: NAME-bcb8c247_20200816.pth
_PREFIX = re.compile(r'[-_](?!20\d{6})([0-9a-f]{7,8})(?:[-_]20\d{6})?\.pth$')
_VITPOSE = 'configs/body_2d_keypoint/topdown_heatmap/{0}/td-hm_ViTPose-{1}_8xb64-210e_{0}-256x192.py'
# MMPose itself does not build these; the networks are those of COCO.
_SAME_NETWORKS = {_VITPOSE.format('humanart', size): _VITPOSE.format('coco', size) for size in ('large', 'huge')}


@dataclass(frozen=True)
class PublishedModel:
    """A published checkpoint of MMPose.

    Attributes:
        name: of its config.
        aliases: MMPose's short names, and the name in the metafile where that is another one.
        task: body, wholebody, hand, face, animal or fashion.
        dataset: folder of its config: coco, ap10k, ...
        url: of the checkpoint.
        sha256_prefix: the published digits, '' without.
        citation: title and address of the method's paper.
        scores: data set and metrics.
        settings: of the model, as MMPose's config has them: model, codec, test_cfg.
        shapes: of its parameters by name.
    """

    name: str
    aliases: tuple[str, ...]
    task: str
    dataset: str
    url: str
    sha256_prefix: str
    scores: tuple[dict[str, Any], ...]
    citation: str = ''
    settings: dict[str, Any] = field(default_factory=dict)
    shapes: dict[str, list[Any]] = field(default_factory=dict)


def read_published_models(folder: Path) -> list[PublishedModel]:
    """Read all metafiles of the package.

    Args:
        folder: `mmpose/.mim/configs` of the package.
    """
    shapes = json.loads(gzip.decompress((SHAPES_FOLDER / 'mmpose_shapes.json.gz').read_bytes()))
    models: dict[str, PublishedModel] = {}
    contents = [yaml.safe_load(file.read_text()) for file in sorted(folder.glob('*_2d_keypoint/**/*.yml'))]
    # A model may be in a collection of another file.
    collections = [collection for content in contents for collection in content.get('Collections', [])]
    citations = {collection['Name']: _format_paper(collection['Paper']) for collection in collections}
    for content in contents:
        for record in content.get('Models', []):
            model = _read_model(record, shapes, citations)
            # Fourteen files are listed twice; the first entry counts.
            if model.url and model.url not in models:
                models[model.url] = model
    return list(models.values())


def _format_paper(paper: dict[str, str]) -> str:
    return f'{paper["Title"]}, {paper["URL"]}'


def _read_model(record: dict[str, Any], shapes: dict[str, Any], citations: dict[str, str]) -> PublishedModel:
    config, alias = record['Config'], record.get('Alias', ())
    url = record.get('Weights', '').removeprefix('(')  # one address begins so in its metafile
    prefix = _PREFIX.search(url)
    task = re.search(r'configs/(\w+?)(?:_2d_keypoint)?/', config)
    names = [alias] if isinstance(alias, str) else [*(alias or ())]
    name = Path(config).stem if config in shapes else record['Name']
    names += [record['Name']] if record['Name'] != name else []
    scores = [dict(dataset=r.get('Dataset', ''), metrics=r.get('Metrics', {})) for r in record.get('Results', ())]
    settings = shapes.get(_SAME_NETWORKS.get(config, config), {})
    return PublishedModel(
        name=name,
        aliases=tuple(names),
        task=task[1] if task else 'body',
        dataset=Path(config).parent.name,
        url=url,
        sha256_prefix=prefix[1] if prefix else '',
        scores=tuple(scores),
        citation=citations[record['In Collection']],
        settings={key: settings.get(key) for key in ('model', 'codec', 'test_cfg')},
        shapes=settings.get('state') or {},
    )


def read_keypoint_names(folder: Path) -> dict[str, list[str]]:
    """Read the names of the keypoints of MMPose's data sets, by the name of the data set's file."""
    names = {}
    for name, dataset in _read_datasets(folder):
        info = dataset['keypoint_info']
        names[name] = [info[index]['name'] for index in sorted(info)]
    return names


def read_data_citations(folder: Path) -> dict[str, str]:
    """Read title, year and homepage of MMPose's data sets, by the name of the data set's file."""
    citations = {}
    for name, dataset in _read_datasets(folder):
        papers = dataset.get('paper_info') or []
        papers = papers if isinstance(papers, list) else [papers]
        citations[name] = '; '.join(map(_format_data_paper, papers))
    return citations


def _format_data_paper(paper: dict[str, str]) -> str:
    parts = [' '.join(str(paper.get(key, '')).split()) for key in ('title', 'year', 'homepage')]
    return ', '.join(part for part in parts if part)


def _read_datasets(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What MMPose states of its data sets, by the name of the file."""
    for file in sorted((folder / '_base_/datasets').glob('*.py')):
        yield file.stem, runpy.run_path(str(file))['dataset_info']

"""The words of the package: public names have one home, and identifiers are the field's words (CONTRIBUTING.md)."""

import ast
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / 'poseplug'
MODULES = sorted(PACKAGE.rglob('*.py'))
# What is not said, and what is said instead.
REPLACED = {
    'picture': 'image', 'pictures': 'images', 'everybody': 'instances', 'somebody': 'instance', 'nobody': 'empty',
    'whoever': 'instance', 'whom': 'instance', 'who': 'instance', 'people': 'instances', 'joint': 'keypoint',
    'joints': 'keypoints', 'belief': 'heatmap', 'beliefs': 'heatmaps', 'swap': 'flip_pair', 'swaps': 'flip_pairs',
    'mirror': 'flip', 'mirrored': 'flipped', 'mirroring': 'flip', 'likeness': 'oks or iou', 'alike': 'oks or iou',
    'surest': 'highest-scoring', 'sure': 'score', 'certainty': 'score', 'whereabouts': 'boxes', 'place': 'index',
    'places': 'indices', 'hull': 'box', 'hulls': 'boxes', 'outline': 'segmentation', 'outlines': 'segmentations',
    'placing': 'crop', 'turning': 'rotation', 'moving': 'translation', 'share': 'fraction', 'shares': 'fractions',
    'least': 'min_', 'most': 'max_', 'told': 'message', 'wanted': 'target', 'found': 'what was found',
    'kept': 'what was kept', 'seen': 'visible', 'own': 'whose', 'theirs': 'whose', 'normalise': 'normalize',
    'normaliser': 'normalizer', 'colour': 'color', 'centre': 'center', 'grey': 'gray',
}  # fmt: skip
# identifier -> why it stays
ALLOWED = {
    'kept': "a source's report counts kept + dropped = total",
    'test_kept_plus_dropped_equals_total': 'the law of that report',
    'joint_steps': 'a key of published checkpoints',
    'analyze_people': 'the analysis `poseplug analyze people`',
    'add_people_arguments': 'the arguments of that analysis',
    'share_image_layers': 'layers that share their parameters, as the field says',
}

# File name -> the one meaning that all files of that name have. Files of commands are named after what they command.
FILE_NAMES = {
    'base': 'the base class of the parts in that folder',
    **dict.fromkeys(('aic', 'coco', 'coco_wholebody', 'crowdpose', 'flic', 'lsp', 'mpii'), 'the data set'),
    **dict.fromkeys(
        ('cpm', 'cpn', 'dekr', 'hourglass', 'integral', 'mspn', 'one_stage', 'paf', 'rle', 'simcc', 'tags'),
        'the method',
    ),
    'heatmap': 'keypoints as heatmaps',
    'network': 'the parts from pixels to fields',
    'regression': 'keypoints as numbers',
    'oks': 'object keypoint similarity',
    'export': 'export to ONNX',
    'progress': 'bars and lines while something runs',
    'results': 'results of an evaluation',
}


def defined_names(tree: ast.AST):
    """Every identifier that a module defines: functions, classes, arguments, variables, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def split_words(name: str) -> list[str]:
    return re.sub(r'([a-z0-9])([A-Z])', r'\1_\2', name).lower().split('_')


@pytest.mark.parametrize('module', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_identifiers_are_the_fields_words(module):
    wrong = [
        f'{module.name}:{line} {name}: write {REPLACED[word]}'
        for name, line in defined_names(ast.parse(module.read_text()))
        if name not in ALLOWED
        for word in split_words(name)
        if word in REPLACED
    ]
    assert not wrong, '\n'.join(wrong)


def test_an_allowed_identifier_is_used():
    used = {name for module in MODULES for name, _ in defined_names(ast.parse(module.read_text()))}
    assert set(ALLOWED) <= used


def module_level_names(tree: ast.Module):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))


def test_a_public_name_has_one_home():
    homes = defaultdict(set)
    for module in MODULES:
        for name in module_level_names(ast.parse(module.read_text())):
            if not name.startswith('_'):
                homes[name].add(str(module.relative_to(PACKAGE)))
    assert {name: sorted(paths) for name, paths in homes.items() if len(paths) > 1} == {}


def test_files_of_one_name_have_one_meaning():
    files = [m for m in MODULES if m.stem != '__init__' and 'commands' not in m.parts]
    counts = Counter(module.stem for module in files)
    assert {name for name, count in counts.items() if count > 1} == set(FILE_NAMES)

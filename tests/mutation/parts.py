"""The parts of the package that are measured: which modules are changed, and which tests must notice it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Modules, as patterns, and tests, as arguments of pytest; both from the folder of the repository."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


PARTS = {
    'checkpoint': Part(
        ('poseplug/engine/checkpoint.py', 'poseplug/files/checkpoint_folder.py'),
        ('tests/engine/test_checkpoint.py', 'tests/files/test_checkpoint_folder.py'),
    ),
    'codecs': Part(
        ('poseplug/codecs/*.py',),
        (
            'tests/codecs',
            'tests/properties/test_codecs.py',
            'tests/test_contracts.py::TestCodecs',
            'tests/test_setting_ranges.py',
        ),
    ),
    'evaluation': Part(
        ('poseplug/evaluation/*.py',),
        (
            'tests/evaluation',
            'tests/inspect/test_compare.py',
            'tests/properties/test_metrics.py',
            'tests/test_contracts.py::TestMetrics',
            'tests/test_setting_ranges.py',
        ),
    ),
    'fields': Part(('poseplug/fields/*.py',), ('tests/fields', 'tests/codecs')),
    'grouping': Part(
        ('poseplug/grouping/*.py',),
        ('tests/grouping', 'tests/codecs/test_tags.py', 'tests/codecs/test_paf.py', 'tests/test_setting_ranges.py'),
    ),
    'samplers': Part(('poseplug/data/samplers.py',), ('tests/data/test_samplers.py',)),
    'smoothing': Part(('poseplug/predict/smoothing.py',), ('tests/predict/test_smoothing.py',)),
    'sources': Part(
        ('poseplug/data/sources/*.py',),
        (
            'tests/data/sources',
            'tests/data/formats',
            'tests/data/test_dataset.py',
            'tests/data/test_masks.py',
            'tests/data/test_pack_writer.py',
            'tests/test_contracts.py::TestSources',
        ),
    ),
    'tracking': Part(('poseplug/predict/tracking.py',), ('tests/predict/test_tracking.py',)),
    'transforms': Part(
        ('poseplug/data/transforms/*.py', 'poseplug/data/image_warp.py', 'poseplug/core/crops.py'),
        (
            'tests/data/transforms',
            'tests/data/test_dataset.py',
            'tests/data/test_pack_writer.py',
            'tests/test_contracts.py::TestTransforms',
            'tests/test_setting_ranges.py',
        ),
    ),
}

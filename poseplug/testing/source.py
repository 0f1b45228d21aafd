"""The contract of a source."""

from __future__ import annotations

__all__ = ['SourceContract']

from pathlib import Path

import numpy as np
import pytest

from poseplug.data.sources.base import Source
from poseplug.testing.base import Contract
from poseplug.testing.samples import list_record_values

_OPTIONAL_ARRAYS = ('centers', 'scales', 'head_sizes', 'box_scores')  # NaN in data sets without them


class SourceContract(Contract):
    """Laws of a source: `build_part(folder)` writes a small data set into an empty folder and returns its source.

    Example:
        >>> import tempfile
        >>> from poseplug.data.sources.lsp import LSPSource
        >>> from poseplug.data.synthetic import write_lsp
        >>> class TestLSPSource(SourceContract):
        ...     def build_part(self, folder):
        ...         return LSPSource(write_lsp(folder / 'lsp', num_images=2, num_train=1), split='train')
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     test = TestLSPSource()
        ...     test.test_kept_plus_dropped_equals_total(test.build_part(Path(folder)))
    """

    def build_part(self, folder: Path) -> Source:
        return super().build_part(folder)

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        return self.build_part(tmp_path)

    def test_kept_plus_dropped_equals_total(self, source: Source) -> None:
        records, report = source.load()
        assert report.kept == sum(len(record.instances) for record in records)
        # What a reader drops is counted by cause: nothing disappears.
        assert report.kept + sum(report.dropped.values()) == report.total
        assert str(report.kept) in str(report)
        assert all(cause and count > 0 for cause, count in report.dropped.items())

    def test_every_array_is_finite_and_has_its_declared_shape(self, source: Source) -> None:
        for record in source.load()[0]:
            instances, n, k = record.instances, len(record.instances), len(source.skeleton)
            shapes = dict(keypoints=(n, k, 2), visible=(n, k), boxes=(n, 4), centers=(n, 2))
            for name, values in vars(instances).items():
                shape = shapes.get(name, (n,))
                assert values.shape == shape, f'{record.id}: {name} has shape {values.shape}, not {shape}'
                if name in _OPTIONAL_ARRAYS and np.isnan(values).all():
                    continue  # the data set does not have it
                if name != 'segmentations':
                    assert np.isfinite(values).all(), f'{record.id}: {name} has a value that is not a finite number'
            assert np.isin(instances.visible, (0, 1, 2)).all()
            assert instances.visible.any(), (
                f'{record.id}: no instance has a labeled keypoint; drop such instances and count them in the report'
            )

    def test_boxes_and_scales_have_positive_sizes(self, source: Source) -> None:
        for record in source.load()[0]:
            instances = record.instances
            assert (instances.boxes[:, 2:] > instances.boxes[:, :2])[instances.has_box].all()
            assert not (instances.scales <= 0).any()

    def test_every_image_exists_and_has_a_unique_id(self, source: Source) -> None:
        records = source.load()[0]
        assert all(record.path.is_file() for record in records)
        assert all(record.source and record.id for record in records)
        # Results are written and compared by id.
        assert len({record.id for record in records}) == len(records)

    def test_loading_twice_returns_equal_records(self, source: Source) -> None:
        # Sources may keep what they have read for the next call, but not change it.
        for first, second in zip(source.load()[0], source.load()[0], strict=True):
            np.testing.assert_equal(list_record_values(first), list_record_values(second))

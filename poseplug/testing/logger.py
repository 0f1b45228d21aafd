"""The contract of a logger: a backend of mmengine's visualizer, which gets the values of a run's curve."""

from __future__ import annotations

__all__ = ['LoggerContract']

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from poseplug.testing.base import Contract

_LINES = (  # as `ProgressHook` sends them: losses and rates of steps, and the scores of an evaluation
    (20, {'loss': 0.5, 'lr': 1e-3, 'samples_per_second': 12.5, 'memory_mib': 300}),
    (40, {'loss': 0.25, 'lr': 1e-3, 'samples_per_second': 12.5, 'memory_mib': 300}),
    (40, {'PCK@0.2': 61.5, 'AUC@0.2': 40}),
)


class LoggerContract(Contract):
    """Laws of a logger: `build_part(folder)` returns it, and `read_values(folder)` reads back what it wrote.

    Example:
        >>> import json, tempfile
        >>> from mmengine.visualization import LocalVisBackend
        >>> class TestLocalVisBackend(LoggerContract):
        ...     def build_part(self, folder):
        ...         return LocalVisBackend(str(folder))
        ...     def read_values(self, folder):
        ...         lines = [json.loads(line) for line in (folder / 'scalars.json').read_text().splitlines()]
        ...         return [(line['step'], name, line[name]) for line in lines for name in line if name != 'step']
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     TestLocalVisBackend().test_values_are_those_that_were_added(Path(folder))
    """

    def build_part(self, folder: Path) -> Any:
        return super().build_part(folder)

    def read_values(self, folder: Path) -> list[tuple[int, str, float]]:
        """Read what a logger wrote to its folder; a subclass must override it.

        Args:
            folder: of the logger.

        Returns:
            The step, name and value of everything that was added, in any order.

        Raises:
            NotImplementedError: The subclass does not define it.
        """
        raise NotImplementedError(
            f'{type(self).__name__} must define how values are read: def read_values(self, folder)'
        )

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path

    def log_run(self, folder: Path) -> None:
        """Log a short run as training does: its config, the lines of its curve, and its end."""
        logger = self.build_part(folder)
        logger.add_config(Config(dict(seed=0, train_cfg=dict(max_steps=40))))
        for step, values in _LINES:
            logger.add_scalars(dict(values), step=step)
        logger.close()

    def test_values_are_those_that_were_added(self, folder: Path) -> None:
        self.log_run(folder)
        expected = sorted((step, name, float(value)) for step, values in _LINES for name, value in values.items())
        assert sorted(self.read_values(folder)) == expected

    def test_a_resumed_run_adds_to_the_values(self, folder: Path) -> None:
        self.log_run(folder)
        num_values = len(self.read_values(folder))
        logger = self.build_part(folder)
        logger.add_scalars({'loss': 0.125}, step=60)
        logger.close()
        values = self.read_values(folder)
        assert (60, 'loss', 0.125) in values
        assert len(values) == num_values + 1

    def test_a_run_may_end_before_its_first_value(self, folder: Path) -> None:
        logger = self.build_part(folder)
        logger.close()

"""The report page of a run while it trains: curves, scores by keypoint, and predictions beside annotations."""

from __future__ import annotations

__all__ = ['ReportHook']

import logging
import time
from pathlib import Path

from mmengine.hooks import Hook

from poseplug.core.errors import ConfigError, PoseplugError
from poseplug.engine.hooks.progress import CURVE_FILE
from poseplug.engine.runner_types import RunnerLike
from poseplug.evaluation.results import EvaluationResult
from poseplug.registry import HOOKS

REPORT_FILE = 'report.html'
_GROUPS = ('worst', 'random')
_FIRST_ESTIMATE_S = 0.8  # of writing a page, until one was written; most of it is the import of matplotlib
_MAX_SCORED_IMAGES = 500  # of which the worst are shown
_LOGGER = logging.getLogger('poseplug')


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes `report.html` to the work dir after evaluations: curves, scores by keypoint, worst and random predictions.

    The page replaces that of the evaluation before. An evaluation has none where writing would take more than
    `max_time_fraction` of the time of the run so far, as in the first minute; so a run is not slowed down. The last
    evaluation may take three times as much. Switch the pages off by `default_hooks=dict(report=None)`.

    Args:
        num_images: number of images of each group.
        max_time_fraction: of the time of the run, for all pages together; 1 writes one at every evaluation.

    Raises:
        ConfigError: a number is out of range.
    """

    priority = 'LOWEST'  # after the scores are in the curve

    def __init__(self, num_images: int = 3, max_time_fraction: float = 0.01):
        if not isinstance(num_images, int) or num_images < 1 or not 0 < max_time_fraction <= 1:
            raise ConfigError(
                f'ReportHook: num_images is at least 1, and max_time_fraction above 0 and at most 1; got {num_images} '
                f'and {max_time_fraction}'
            )
        self.num_images, self.max_time_fraction = num_images, max_time_fraction
        self.start_time, self.spent_seconds, self.page_seconds = time.monotonic(), 0.0, _FIRST_ESTIMATE_S

    def before_train(self, runner: RunnerLike) -> None:
        """Start to measure the time of the run."""
        self.start_time, self.spent_seconds = time.monotonic(), 0.0

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Write the page, if it costs little enough."""
        if metrics:
            is_last = runner.iter >= runner.max_iters
            # a page of the result is worth more than one on the way
            self._write_if_cheap(runner, 3 * self.max_time_fraction if is_last else self.max_time_fraction)

    def _write_if_cheap(self, runner: RunnerLike, max_fraction: float) -> None:
        """Write the page in the first process, if all pages so far and this one take at most a fraction of the time."""
        result = None if runner.val_loop is None else runner.val_loop.result
        now = time.monotonic()
        is_cheap = self.spent_seconds + self.page_seconds <= max_fraction * (now - self.start_time)
        if runner.rank or result is None or not (is_cheap or self.max_time_fraction == 1):
            return
        try:
            self._write_page(runner, result)
        # a page is no reason to lose a run
        except (OSError, PoseplugError) as error:
            _LOGGER.warning('%s is not written: %s', Path(runner.work_dir) / REPORT_FILE, error)
        self.page_seconds = time.monotonic() - now
        self.spent_seconds += self.page_seconds

    def _write_page(self, runner: RunnerLike, result: EvaluationResult) -> None:
        """Write the page of an evaluation."""
        from poseplug.report.page import write_html_report  # here, since few runs need it early

        folder = Path(runner.work_dir)
        curve, progress = folder / CURVE_FILE, f'step {runner.iter:,} of {runner.max_iters:,}'
        write_html_report(
            folder / REPORT_FILE,
            f'{folder.name}: {progress}',
            result,
            runner.bare_model.skeleton,
            curve_file=curve if curve.is_file() else None,
            run_info=dict(written=time.strftime('%Y-%m-%d %H:%M:%S')),
            num_examples=self.num_images,
            groups=_GROUPS,
            max_scored=_MAX_SCORED_IMAGES,
        )

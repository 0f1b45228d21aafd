"""Records histograms of the gradients of every layer at some steps."""

from __future__ import annotations

__all__ = ['GradientHistogramHook', 'read_gradient_records']

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor

from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_counts
from poseplug.core.weight_names import weight_name
from poseplug.engine.parameter_stages import find_parameter_stages
from poseplug.engine.runner_types import RunnerLike
from poseplug.registry import HOOKS

GRADIENT_FILE = 'gradients.jsonl'
MIN_EXPONENT, MAX_EXPONENT = -20.0, 4.0  # of the magnitudes, as powers of ten; float32 gradients lie between


@HOOKS.register_module()
class GradientHistogramHook(Hook):
    """Writes the gradients of weights as histograms to `gradients.jsonl` (Wei et al. 2016, section 4.1 and figure 5).

    A line holds the step, the layer, the stage it belongs to, its depth (the position among the layers of the network),
    mean, standard deviation and root mean square of the gradient, the fraction of zeros, and the counts of its
    magnitudes in bins of equal width in log10 between 1e-20 and 1e4; smaller and larger ones are in the outer bins.
    Weights of convolutions and matrix products are recorded, biases and norms are not.

    Args:
        steps: of which the gradients are recorded, counted from 0; a float is a fraction of the run.
        num_bins: number of bins.

    Raises:
        ConfigError: there is no step, or a number is out of range.
    """

    priority = 'LOW'

    def __init__(self, steps: Sequence[float] = (0,), num_bins: int = 96):
        check_counts('GradientHistogramHook', num_bins=num_bins)
        if not steps or min(steps) < 0:
            raise ConfigError(f'GradientHistogramHook: steps are numbers from 0 on, such as [0, 100]; got {steps!r}')
        self.steps, self.num_bins = tuple(steps), num_bins
        self.due_steps: set[int] = set()
        self.stages: dict[str, int] = {}
        self.file: Path | None = None
        self.lines: list[dict[str, Any]] = []
        self.handles: list[Any] = []

    def before_train(self, runner: RunnerLike) -> None:
        """Find the steps and the stages of the parameters; lines of steps that a resumed run repeats are dropped."""
        last = runner.max_iters - 1
        self.due_steps = {min(last, round(s * last) if isinstance(s, float) else s) for s in self.steps}
        # the file holds the gradients of the first process, of its own batches
        if runner.rank:
            return
        self.stages = find_parameter_stages(runner.bare_model)
        self.file = Path(runner.work_dir) / GRADIENT_FILE
        lines = self.file.read_text().splitlines(keepends=True) if self.file.is_file() else []
        valid_lines = [line for line in lines if line.endswith('\n') and json.loads(line)['step'] < runner.iter]
        self.file.write_text(''.join(valid_lines))

    def before_train_iter(self, runner: RunnerLike, batch_idx: int, data_batch: Any = None) -> None:
        """Listen to the gradients of a step that is due; the last one counts, that of all batches of the step."""
        if runner.iter not in self.due_steps or self.file is None:
            return
        model: Any = runner.bare_model
        self.gradients: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            # figure 5 of the paper shows weights; biases and norms are vectors
            if parameter.requires_grad and parameter.ndim > 1:
                listener = partial(self._record_gradient, weight_name(name))
                self.handles.append(parameter.register_post_accumulate_grad_hook(listener))

    def _record_gradient(self, name: str, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self.gradients[name] = parameter.grad.detach().float().flatten().clone()

    def after_train_iter(self, runner: RunnerLike, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write the histograms of a step."""
        if not self.handles or self.file is None:
            return
        for handle in self.handles:
            handle.remove()
        self.handles = []
        model: Any = runner.bare_model
        in_order = [weight_name(name) for name, _ in model.named_parameters() if weight_name(name) in self.gradients]
        names = sorted(in_order, key=lambda name: self.stages.get(name, 0))  # stable: of a stage in their order
        with open(self.file, 'a') as file:
            for depth, name in enumerate(names):
                head = dict(step=runner.iter, layer=name, stage=self.stages.get(name, 0), depth=depth)
                file.write(json.dumps({**head, **summarize_gradient(self.gradients[name], self.num_bins)}) + '\n')


def summarize_gradient(gradient: Tensor, num_bins: int) -> dict[str, Any]:
    """Summarize the values of a gradient.

    Args:
        gradient: (N,).
        num_bins: number of bins of the histogram.

    Returns:
        'mean', 'std', 'rms', 'zero_fraction' and 'counts'; the counts leave out zeros.

    Example:
        >>> summarize_gradient(torch.tensor([0.0, 1e-3, -1e-3, 0.0]), num_bins=24)['zero_fraction']
        0.5
    """
    values = gradient.double()
    magnitudes = values.abs()
    nonzero = magnitudes[magnitudes > 0]
    # `histc` drops what lies outside of its range
    exponents = nonzero.log10().clamp(MIN_EXPONENT, MAX_EXPONENT)
    counts = torch.histc(exponents, num_bins, MIN_EXPONENT, MAX_EXPONENT)
    return dict(
        mean=float(values.mean()),
        std=float(values.std(correction=0)),
        rms=float(values.square().mean().sqrt()),
        zero_fraction=1 - len(nonzero) / len(values),
        counts=[int(count) for count in counts.tolist()],
    )


def read_gradient_records(work_dir: str | Path) -> list[dict[str, Any]]:
    """Read the histograms of a run, as `GradientHistogramHook` describes them.

    Raises:
        ConfigError: there is no such file, or it is damaged.
    """
    file = Path(work_dir) / GRADIENT_FILE
    try:
        return [json.loads(line) for line in file.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise ConfigError(f'{file} cannot be read ({error}); train with the hook GradientHistogramHook') from error

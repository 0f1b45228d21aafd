"""What losses share: weights of fields, checks of settings, and which loss trains which field of which stage."""

from __future__ import annotations

__all__ = ['LossSpec', 'LossTable', 'apply_weight', 'expand_weight', 'weighted_mean', 'weighted_sum']

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from poseplug.core.errors import ConfigError, suggest_closest
from poseplug.registry import MODELS

LossSpec = Mapping[str, Any] | nn.Module


def expand_weight(weight: Tensor, like: Tensor) -> Tensor:
    """Reshape weights so that they multiply a field.

    Args:
        weight: (B, C), or of the field's own shape.
        like: The field (B, C, ...).

    Returns:
        The weights with as many dimensions as the field.
    """
    return weight.reshape(*weight.shape, *(1,) * (like.ndim - weight.ndim))


def apply_weight(terms: Tensor, weight: Tensor | None) -> Tensor:
    """Multiply the terms of a loss (B, C, ...) by weights (B, C) or (B, C, ...), or by 1 if there are none."""
    return terms if weight is None else terms * expand_weight(weight, terms)


def weighted_mean(terms: Tensor, weight: Tensor | None) -> Tensor:
    """Average the weighted terms of a loss over all terms, also those without weight.

    Args:
        terms: (B, C, ...).
        weight: (B, C) or (B, C, ...); None for 1.

    Returns:
        One number; 0 for an empty batch.
    """
    return apply_weight(terms, weight).sum() / max(terms.numel(), 1)


def weighted_sum(terms: Tensor, weight: Tensor | None) -> Tensor:
    """Sum the weighted terms of a loss.

    Args:
        terms: (B, C, ...).
        weight: (B, C) or (B, C, ...); None for 1.

    Returns:
        One number; 0 for an empty batch.
    """
    return apply_weight(terms, weight).sum()


class LossTable(nn.Module):
    """The loss of every field at every stage.

    Args:
        spec: One loss for all, a dict of losses by field, or a list of one of these per stage. A loss is a config or
            already built; None is `MeanSquaredError`.
        fields: Names of the codec's fields.
        num_stages: Number of stages of the head.

    Raises:
        ConfigError: A list has another length than the stages, or a dict other names than the fields.
    """

    def __init__(self, spec: LossSpec | Sequence[Any] | None, fields: Sequence[str], num_stages: int):
        super().__init__()
        # Modules of the model, since a loss may have weights of its own: the flow of RLELoss.
        self.parts = nn.ModuleList()
        rows = list(spec) if isinstance(spec, Sequence) else [spec]
        if len(rows) not in (1, num_stages):
            raise ConfigError(
                f'model.loss is a list of {len(rows)}, but the head has {num_stages} stages: give one per stage'
            )
        built = [self._build_row(row or dict(type='MeanSquaredError'), fields) for row in rows]
        # Stages with one loss share its module, and so the weights that it may have.
        self.table = built * num_stages if len(built) == 1 else built

    def get_loss(self, stage: int, field: str) -> nn.Module:
        """Return the loss of a field at a stage, counted from 0."""
        return self.parts[self.table[stage][field]]

    def _build_row(self, spec: Any, fields: Sequence[str]) -> dict[str, int]:
        """Build the losses of a stage; return the index in `parts` by field."""
        if isinstance(spec, nn.Module) or 'type' in spec:
            self.parts.append(MODELS.build(spec))
            return dict.fromkeys(fields, len(self.parts) - 1)
        unknown = [name for name in spec if name not in fields]
        if unknown or set(fields) - set(spec):
            hint = suggest_closest(unknown[0], fields) if unknown else ''
            remedy = hint or 'give each of them a loss'
            raise ConfigError(
                f'model.loss names the fields {", ".join(spec)}, but the codec has {", ".join(fields)}; {remedy}'
            )
        # Each entry is a loss of one field, so the recursion ends here.
        return {name: self._build_row(field_spec, [name])[name] for name, field_spec in spec.items()}

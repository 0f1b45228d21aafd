"""What losses share: how weights meet fields, and which loss trains which field of which stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from poseplug.errors import ConfigError, closest
from poseplug.registry import MODELS

Spec = Mapping[str, Any] | nn.Module


def spread(weight: Tensor, like: Tensor) -> Tensor:
    """Weights (B, C), or of a field's own shape, so that they multiply a field (B, C, ...)."""
    return weight.reshape(*weight.shape, *(1,) * (like.ndim - weight.ndim))


class LossTable(nn.Module):
    """Which loss trains a field of a stage: one for all, a dict by field, or a list with one of these a stage."""

    def __init__(self, spec: Spec | Sequence[Any] | None, fields: Sequence[str], stages: int):
        super().__init__()
        self.parts = nn.ModuleList()
        rows = list(spec) if isinstance(spec, Sequence) else [spec]
        if len(rows) not in (1, stages):
            raise ConfigError(
                f'model.loss is a list of {len(rows)}, but the head has {stages} stages: give one a stage'
            )
        built = [self._row(row or dict(type='MeanSquaredError'), fields) for row in rows]
        self.table = built * stages if len(built) == 1 else built

    def of(self, stage: int, field: str) -> nn.Module:
        """The loss of a field at a stage, counted from 0."""
        return self.parts[self.table[stage][field]]

    def _row(self, spec: Any, fields: Sequence[str]) -> dict[str, int]:
        """The place of the loss of every field."""
        if isinstance(spec, nn.Module) or 'type' in spec:
            self.parts.append(MODELS.build(spec))
            return dict.fromkeys(fields, len(self.parts) - 1)
        strange = [name for name in spec if name not in fields]
        if strange or set(fields) - set(spec):
            hint = closest(strange[0], fields) if strange else ''
            raise ConfigError(
                f'model.loss names the fields {", ".join(spec)}, but the codec has {", ".join(fields)}; '
                f'{hint or "give each of them a loss"}'
            )
        return {name: self._row(one, [name])[name] for name, one in spec.items()}

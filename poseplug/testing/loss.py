"""The contract of a loss of fields."""

from __future__ import annotations

__all__ = ['LossContract']

from typing import ClassVar

import torch
from torch import Tensor
from torch.testing import assert_close

from poseplug.testing.base import Contract


class LossContract(Contract):
    """Laws of a loss: `build_part()` returns it.

    Attributes:
        shape: Shape of the fields that it compares.
        zero_when_equal: False for a loss of probabilities, which is above 0 for equal fields too.
        min_value: Its smallest value; minus infinity for a likelihood.

    Example:
        >>> from poseplug.models.losses.squared import MeanSquaredError
        >>> class TestMeanSquaredError(LossContract):
        ...     def build_part(self):
        ...         return MeanSquaredError()
        >>> TestMeanSquaredError().test_it_is_zero_for_equal_fields()
    """

    shape: ClassVar[tuple[int, ...]] = (2, 3, 5, 4)
    zero_when_equal: ClassVar[bool] = True
    min_value: ClassVar[float] = 0.0

    def random_pair(self, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Return predicted and target fields, both within 0..1; the predicted ones record gradients."""
        torch.manual_seed(seed)
        return torch.rand(self.shape).requires_grad_(), torch.rand(self.shape)

    def test_it_is_one_finite_number_that_is_not_negative(self) -> None:
        value = self.build_part()(*self.random_pair()).detach()
        assert value.shape == ()
        assert torch.isfinite(value)
        assert float(value) >= self.min_value

    def test_it_is_zero_for_equal_fields(self) -> None:
        if self.zero_when_equal:
            target = self.random_pair()[1]
            assert float(self.build_part()(target.clone(), target)) == 0

    def test_its_gradient_is_finite(self) -> None:
        predicted, target = self.random_pair()
        self.build_part()(predicted, target).backward()
        assert predicted.grad is not None
        assert torch.isfinite(predicted.grad).all()

    def test_an_empty_batch_has_zero_loss(self) -> None:
        # A mean over nothing would be NaN and end the run; a process of several may get an empty batch.
        predicted, target = (fields[:0].detach() for fields in self.random_pair())
        assert float(self.build_part()(predicted, target, torch.ones(0, self.shape[1])).detach()) == 0

    def test_zero_weights_have_zero_loss_and_zero_gradient(self) -> None:
        predicted, target = self.random_pair()
        value = self.build_part()(predicted, target, torch.zeros(self.shape[:2]))
        value.backward()
        assert float(value.detach()) == 0
        assert predicted.grad is not None
        assert not predicted.grad.any()

    def test_a_channel_of_zero_weight_is_ignored(self) -> None:
        (predicted, target), loss = self.random_pair(), self.build_part()
        weight = torch.ones(self.shape[:2])
        weight[0, 1] = 0
        other_target = target.clone()
        # Far outside of 0..1, so that even a small weight shows.
        other_target[0, 1] = 7
        # A keypoint that is not annotated may have any target.
        assert_close(loss(predicted, other_target, weight), loss(predicted, target, weight))

    def test_weights_of_one_equal_no_weights(self) -> None:
        (predicted, target), loss = self.random_pair(), self.build_part()
        assert_close(loss(predicted, target, torch.ones(self.shape[:2])), loss(predicted, target))

    def test_half_precision_is_summed_in_full_precision(self) -> None:
        # A running sum in bfloat16 stops growing once it is 256 times as large as what is added.
        predicted, target = (fields.detach().bfloat16() for fields in self.random_pair())
        loss = self.build_part()
        assert_close(loss(predicted, target), loss(predicted.float(), target.float()))

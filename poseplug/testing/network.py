"""The contract of all parts of a network: deterministic, trainable, in half precision, with a state that loads."""

from __future__ import annotations

__all__ = ['NetworkContract', 'assert_map_stride']

import pickle
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from poseplug.core.geometry import Size
from poseplug.testing.base import Contract


class NetworkContract(Contract):
    """Laws of every network part: `run` passes images or features through it and returns all tensors of its output."""

    def part_args(self) -> tuple[Any, ...]:
        """Return the arguments of `build_part`."""
        return ()

    def build_seeded(self, seed: int = 0) -> Any:
        """Build the part with weights that follow from a seed."""
        torch.manual_seed(seed)
        return self.build_part(*self.part_args())

    def build_part_with(self, *args: Any, **settings: Any) -> nn.Module | None:
        """Build the part with further settings; None, the default, for a part that does not accept them."""
        return None

    def random_input(self, batch_size: int = 2) -> Any:
        """Return random input of a batch: images or features."""
        raise NotImplementedError

    def run(self, part: nn.Module, inputs: Any) -> list[Tensor]:
        """Return every tensor of the output."""
        return list(part(inputs))

    def test_the_same_input_has_the_same_output_in_eval_mode(self) -> None:
        part = self.build_seeded().eval()
        assert_close(self.run(part, self.random_input()), self.run(part, self.random_input()), rtol=0, atol=0)

    def test_in_eval_mode_an_image_does_not_depend_on_its_batch(self) -> None:
        part = self.build_seeded().eval()
        batch_outputs = self.run(part, self.random_input())
        image_outputs = self.run(part, _get_first_image(self.random_input()))
        for batch_output, image_output in zip(batch_outputs, image_outputs, strict=True):
            # Another batch size may use another kernel, which adds in another order.
            atol = 1e-5 * max(1.0, float(image_output.detach().abs().max()))
            assert_close(batch_output[:1], image_output, rtol=1e-3, atol=atol)

    def test_gradient_reaches_every_parameter(self) -> None:
        part = self.build_seeded().train()
        # Parts without weights, such as a resize, have nothing to train.
        if not any(p.requires_grad for p in part.parameters()):
            return
        # Squared: the plain sum of a normalized map is the same for all weights before it, and has no gradient.
        torch.stack([out.square().sum() for out in self.run(part, self.random_input())]).sum().backward()
        trained = {name: p for name, p in part.named_parameters() if p.requires_grad}
        unreached = [name for name, p in trained.items() if p.grad is None or not p.grad.any()]
        assert not unreached, f'no gradient reaches {", ".join(unreached)}: distributed training would stop there'

    def test_with_group_norm_and_another_activation_it_trains_a_step(self) -> None:
        # One group divides any number of channels.
        settings = dict(norm_cfg={'type': 'GN', 'num_groups': 1}, act_cfg={'type': 'SiLU'})
        part = self.build_part_with(*self.part_args(), **settings)
        if part is None:
            return
        counts = [sum(isinstance(m, nn.BatchNorm2d) for m in p.modules()) for p in (self.build_seeded(), part)]
        assert sum(isinstance(m, nn.GroupNorm) for m in part.modules()) == counts[0]
        assert counts[1] == 0
        optimizer = torch.optim.SGD(part.parameters(), lr=1e-4)
        torch.stack([out.square().mean() for out in self.run(part.train(), self.random_input())]).sum().backward()
        before = [p.detach().clone() for p in part.parameters()]
        optimizer.step()
        assert all(torch.isfinite(p).all() for p in part.parameters())
        assert any(not torch.equal(old, new) for old, new in zip(before, part.parameters(), strict=True))

    def test_it_runs_in_half_precision(self) -> None:
        part = self.build_seeded().eval()
        with torch.inference_mode(), torch.autocast('cpu', dtype=torch.bfloat16):
            # Autocast on a CPU knows bfloat16 only.
            half_outputs = self.run(part, self.random_input())
        with torch.inference_mode():
            full_outputs = self.run(part, self.random_input())
        for half, full in zip(half_outputs, full_outputs, strict=True):
            assert_close(half.float(), full, rtol=0, atol=0.1 * float(full.abs().max()) + 1e-4)

    def test_its_state_dict_loads_into_a_second_copy(self) -> None:
        # Other weights at first, so that an entry that is not loaded shows.
        part, other = self.build_seeded().eval(), self.build_seeded(seed=1).eval()
        other.load_state_dict(pickle.loads(pickle.dumps(part.state_dict())))
        assert_close(self.run(other, self.random_input()), self.run(part, self.random_input()))


def assert_map_stride(maps: Tensor, stride: int, size: Size) -> None:
    """Assert that maps (B, C, H, W) have the input's `size` (width, height) over the stride, rounded down or up."""
    for cells, pixels in zip((maps.shape[-1], maps.shape[-2]), size, strict=True):
        assert pixels // stride <= cells <= -(-pixels // stride), f'{cells} cells of {pixels} px is not stride {stride}'


def _get_first_image(inputs: Any) -> Any:
    """The first image of a batch of images or features."""
    return inputs[:1] if isinstance(inputs, Tensor) else [maps[:1] for maps in inputs]

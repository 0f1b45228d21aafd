"""Any backbone takes any head takes any codec, unless the parts' own declarations forbid it, by name."""

from collections.abc import Iterable

import pytest
import torch

from tests.mixing import matrix


def run(mix: matrix.Mix, estimator: str) -> None:
    """One step of training, and a prediction."""
    net = matrix.build(mix, estimator).train()
    pictures = matrix.batch()
    loss = torch.stack(list(net.losses(pictures).values())).sum()
    loss.backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    assert torch.isfinite(loss.detach())
    assert grads
    assert all(torch.isfinite(g).all() for g in grads)
    torch.optim.SGD(net.parameters(), lr=1e-3).step()
    (poses,) = net.eval().predict(pictures)
    assert [p.keypoints.shape for p in poses] == [(1, 3, 2)] * 2
    assert all(torch.isfinite(torch.as_tensor(p.keypoints)).all() for p in poses)


pytestmark = pytest.mark.usefixtures('timm')


def test_every_part_mixes_with_some_others_in_one_of_the_estimators():
    """The short version: every backbone, head, codec and estimator in one legal combination at least."""
    missing = {part for mix in matrix.candidates() for part in (mix.backbone, mix.head, mix.codec)}
    ran = 0
    for mix in matrix.candidates():
        parts = {mix.backbone, mix.head, mix.codec}
        placed = matrix.fit(mix)[0] if parts & missing else None
        if placed is not None:
            run(placed, matrix.ESTIMATORS[ran % len(matrix.ESTIMATORS)])
            missing -= parts
            ran += 1
    assert not missing
    assert ran >= len(matrix.ESTIMATORS)


def test_a_head_and_a_codec_of_another_kind_are_refused_with_both_names():
    """Of every pair, on one backbone; the slow version takes all backbones."""
    first = matrix.candidates()[0].backbone
    check_refusals(mix for mix in matrix.candidates() if mix.backbone == first)


def check_refusals(mixes: Iterable[matrix.Mix]) -> None:
    """Those that do not fit, of which there are some, say which two parts do not."""
    refused = {mix: told for mix in mixes for placed, told in [matrix.fit(mix)] if placed is None}
    assert refused
    for mix, told in refused.items():
        assert mix.head in told, f'{mix}: {told}'
        assert mix.codec in told or mix.backbone in told, f'{mix}: {told}'


@pytest.mark.slow
@pytest.mark.parametrize('estimator', matrix.ESTIMATORS)
def test_every_combination_that_its_declarations_allow_trains_and_predicts(estimator, capsys):
    mixes = matrix.legal()
    failed = []
    for mix in mixes:
        try:
            run(mix, estimator)
        except Exception as error:  # every combination is tried, and all failures are shown together
            failed.append(f'{mix}: {type(error).__name__}: {error}')
    with capsys.disabled():
        print(f'\n{estimator}: {len(mixes) - len(failed)} of {len(mixes)} combinations trained and predicted')
    assert not failed, '\n'.join(failed[:20])
    assert len(mixes) >= 300


@pytest.mark.slow
def test_a_combination_that_cannot_be_is_refused_with_both_names():
    check_refusals(matrix.candidates())


def test_the_page_shows_what_was_found(root):
    again = 'write it anew: python -m tests.mixing.matrix docs/mixing.md'
    assert (root / 'docs/mixing.md').read_text() == matrix.page(), again

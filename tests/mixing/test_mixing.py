"""Any backbone takes any head takes any codec, unless the parts' own declarations forbid it, by name."""

import pytest
import torch

from tests.mixing import matrix


def run(mix: matrix.Mix, estimator: str) -> None:
    """Forward, loss, backward and predict."""
    net = matrix.build(mix, estimator).train()
    pictures = matrix.batch()
    loss = torch.stack(list(net.losses(pictures).values())).sum()
    loss.backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    assert torch.isfinite(loss.detach())
    assert grads
    assert all(torch.isfinite(g).all() for g in grads)
    (poses,) = net.eval().predict(pictures)
    assert [p.keypoints.shape for p in poses] == [(1, 3, 2)] * 2
    assert all(torch.isfinite(torch.as_tensor(p.keypoints)).all() for p in poses)


pytestmark = pytest.mark.usefixtures('timm')


def test_a_part_of_every_kind_mixes_with_all_the_others():
    """The short version: every backbone, head and codec in one legal combination at least."""
    first: dict[tuple[str, str], matrix.Mix] = {}
    for mix in matrix.candidates():
        keys = [('backbone', mix.backbone), ('head', mix.head), ('codec', mix.codec)]
        if all(key in first for key in keys):
            continue
        placed, _ = matrix.fit(mix)
        if placed is not None:
            run(placed, 'TopDown')
            first.update({key: placed for key in keys if key not in first})
    wanted = {k for m in matrix.candidates() for k in (('backbone', m.backbone), ('head', m.head), ('codec', m.codec))}
    assert set(first) == wanted


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
        print(matrix.page())
    assert not failed, '\n'.join(failed[:20])
    assert len(mixes) >= 300


@pytest.mark.slow
def test_a_combination_that_cannot_be_is_refused_with_both_names():
    refused = {mix: told for mix, (placed, told) in matrix.outcomes().items() if placed is None}
    assert refused
    for mix, told in refused.items():
        assert mix.head in told, mix
        assert mix.codec in told or mix.backbone in told or 'backbone' in told, f'{mix}: {told}'


@pytest.mark.slow
def test_the_page_shows_what_was_found(root):
    assert (root / 'docs/mixing.md').read_text() == matrix.page()

"""Any backbone takes any head takes any codec, unless the parts' own declarations forbid it, by name."""

from collections import Counter
from collections.abc import Iterable

import pytest
import torch

from poseplug.errors import MismatchError
from tests.mixing import matrix

FEWEST = dict(BottomUp=100, OneStage=24)


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
    assert len(poses) == 2
    for found in poses:
        assert estimator not in matrix.TOP_DOWN or len(found) == 1
        assert found.keypoints.shape == (len(found), 3, 2)
        assert torch.isfinite(torch.as_tensor(found.keypoints)).all()


pytestmark = pytest.mark.usefixtures('timm')


def test_every_part_mixes_with_some_others_in_one_of_the_estimators():
    """The short version: every backbone, neck, head, codec and estimator in one legal combination at least."""
    missing = {part for mix in matrix.candidates() for part in parts_of(mix)}
    used: Counter[str] = Counter()
    for mix in matrix.candidates():
        estimator = min(mix.estimators, key=lambda name: used[name])
        placed = matrix.fit(mix, kind_of(estimator))[0] if parts_of(mix) & missing else None
        if placed is not None:
            run(placed, estimator)
            missing -= parts_of(mix)
            used[estimator] += 1
    assert not missing
    assert {*used} == {*matrix.ESTIMATORS}


def parts_of(mix: matrix.Mix) -> set[str]:
    """The names of what is mixed."""
    return {part for part in (mix.backbone, mix.neck, mix.head, mix.codec) if part}


def kind_of(estimator: str) -> str:
    """The estimator that says whether a combination fits."""
    return matrix.TOP_DOWN[0] if estimator in matrix.TOP_DOWN else estimator


def test_a_head_and_a_codec_of_another_kind_are_refused_with_both_names():
    """Of every pair, on one backbone; the slow version takes all backbones."""
    first = matrix.candidates()[0].backbone
    for estimator in ('TopDown', 'BottomUp'):
        check_refusals((m for m in matrix.candidates() if m.backbone == first and estimator in m.estimators), estimator)


def check_refusals(mixes: Iterable[matrix.Mix], estimator: str) -> None:
    """Those that do not fit, of which there are some, say which two parts do not."""
    refused = {mix: told for mix in mixes for placed, told in [matrix.fit(mix, estimator)] if placed is None}
    assert refused
    for mix, told in refused.items():
        assert mix.head in told or (mix.neck and mix.neck in told), f'{mix}: {told}'
        assert mix.codec in told or mix.backbone in told, f'{mix}: {told}'


@pytest.mark.parametrize('estimator', matrix.ESTIMATORS)
def test_a_codec_of_another_estimator_is_refused_by_name(estimator):
    """On the first backbone, with every head that predicts for it."""
    first = matrix.candidates()[0].backbone
    others = [m for m in matrix.candidates() if m.backbone == first and not m.neck and estimator not in m.estimators]
    fitting = [placed for m in others if (placed := matrix.fit(m, kind_of(m.estimators[0]))[0]) is not None]
    assert len(fitting) >= 2
    name = 'TopDown' if estimator in matrix.TOP_DOWN else estimator  # a distilled one's teacher is asked first
    for mix in fitting:
        with pytest.raises(MismatchError, match=f'(?=.*{name})(?=.*{mix.codec} ).*set model'):
            matrix.build(mix, estimator)


@pytest.mark.slow
@pytest.mark.parametrize('estimator', matrix.ESTIMATORS)
def test_every_combination_that_its_declarations_allow_trains_and_predicts(estimator, capsys):
    mixes = matrix.legal(estimator)
    failed = []
    for mix in mixes:
        try:
            run(mix, estimator)
        except Exception as error:  # every combination is tried, and all failures are shown together
            failed.append(f'{mix}: {type(error).__name__}: {error}')
    with capsys.disabled():
        print(f'\n{estimator}: {len(mixes) - len(failed)} of {len(mixes)} combinations trained and predicted')
    assert not failed, '\n'.join(failed[:20])
    assert len(mixes) >= FEWEST.get(estimator, 300)


@pytest.mark.slow
@pytest.mark.parametrize('estimator', ['TopDown', 'BottomUp', 'OneStage'])
def test_a_combination_that_cannot_be_is_refused_with_both_names(estimator):
    check_refusals(matrix.outcomes(estimator), estimator)


def test_the_page_shows_what_was_found(root):
    again = 'write it anew: python -m tests.mixing.matrix docs/mixing.md'
    assert (root / 'docs/mixing.md').read_text() == matrix.page(), again

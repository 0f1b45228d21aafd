"""All backbones, heads and codecs work together, unless the parts' declarations contradict; errors name the parts."""

from collections import Counter
from collections.abc import Iterable

import pytest
import torch

from poseplug.core.errors import MismatchError
from tests.mixing import matrix

MIN_FITTING = dict(BottomUp=100, OneStage=24)


def train_and_predict(mix: matrix.Combination, estimator: str) -> None:
    """Train an estimator for one step, and predict with it."""
    net = matrix.build_combination(mix, estimator).train()
    batch = matrix.create_batch()
    loss = torch.stack(list(net.losses(batch).values())).sum()
    loss.backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    assert torch.isfinite(loss.detach())
    assert grads
    assert all(torch.isfinite(g).all() for g in grads)
    torch.optim.SGD(net.parameters(), lr=1e-3).step()
    predictions = net.eval().predict(batch)
    assert len(predictions) == 2
    for poses in predictions:
        assert estimator not in matrix.TOP_DOWN or len(poses) == 1
        assert poses.keypoints.shape == (len(poses), 3, 2)
        assert torch.isfinite(torch.as_tensor(poses.keypoints)).all()


pytestmark = pytest.mark.usefixtures('timm')


def test_every_part_works_with_some_others_in_one_of_the_estimators():
    """The short version: every backbone, neck, head, codec and estimator in at least one combination that fits."""
    missing = {part for mix in matrix.list_candidates() for part in list_parts(mix)}
    used: Counter[str] = Counter()
    for mix in matrix.list_candidates():
        estimator = min(mix.estimators, key=lambda name: used[name])
        if not list_parts(mix) & missing:
            continue
        fitting = matrix.fit_stride(mix, get_representative(estimator))[0]
        if fitting is not None:
            train_and_predict(fitting, estimator)
            missing -= list_parts(mix)
            used[estimator] += 1
    assert not missing
    assert {*used} == {*matrix.ESTIMATORS}


def list_parts(mix: matrix.Combination) -> set[str]:
    """The names of the parts of a combination."""
    return {part for part in (mix.backbone, mix.neck, mix.head, mix.codec) if part}


def get_representative(estimator: str) -> str:
    """The estimator that is built to decide whether a combination fits."""
    return matrix.TOP_DOWN[0] if estimator in matrix.TOP_DOWN else estimator


def test_a_head_and_a_codec_of_another_kind_are_refused_with_both_names():
    """For every pair, on one backbone; the slow version tests all backbones."""
    first = matrix.list_candidates()[0].backbone
    for estimator in ('TopDown', 'BottomUp'):
        check_refusals(
            (m for m in matrix.list_candidates() if m.backbone == first and estimator in m.estimators), estimator
        )


def check_refusals(mixes: Iterable[matrix.Combination], estimator: str) -> None:
    """Some do not fit, and the messages name the two parts that do not."""
    results = {mix: matrix.fit_stride(mix, estimator) for mix in mixes}
    refused = {mix: message for mix, (fitting, message) in results.items() if fitting is None}
    assert refused
    for mix, message in refused.items():
        assert mix.head in message or (mix.neck and mix.neck in message), f'{mix}: {message}'
        assert mix.codec in message or mix.backbone in message, f'{mix}: {message}'


@pytest.mark.parametrize('estimator', matrix.ESTIMATORS)
def test_a_codec_of_another_estimator_is_refused_by_name(estimator):
    """On the first backbone, with every head that predicts for it."""
    first = matrix.list_candidates()[0].backbone
    others = [
        m for m in matrix.list_candidates() if m.backbone == first and not m.neck and estimator not in m.estimators
    ]
    results = [matrix.fit_stride(m, get_representative(m.estimators[0]))[0] for m in others]
    fitting = [mix for mix in results if mix is not None]
    assert len(fitting) >= 2
    name = (
        'TopDown' if estimator in matrix.TOP_DOWN else estimator
    )  # DistilledTopDown builds its teacher, a TopDown, first
    for mix in fitting:
        with pytest.raises(MismatchError, match=f'(?=.*{name})(?=.*{mix.codec} ).*set model'):
            matrix.build_combination(mix, estimator)


@pytest.mark.slow
@pytest.mark.parametrize('estimator', matrix.ESTIMATORS)
def test_every_combination_that_fits_trains_and_predicts(estimator, capsys):
    mixes = matrix.list_fitting(estimator)
    failed = []
    for mix in mixes:
        try:
            train_and_predict(mix, estimator)
        except Exception as error:  # every combination is tried, and all failures are shown together
            failed.append(f'{mix}: {type(error).__name__}: {error}')
    with capsys.disabled():
        print(f'\n{estimator}: {len(mixes) - len(failed)} of {len(mixes)} combinations trained and predicted')
    assert not failed, '\n'.join(failed[:20])
    assert len(mixes) >= MIN_FITTING.get(estimator, 300)


@pytest.mark.slow
@pytest.mark.parametrize('estimator', ['TopDown', 'BottomUp', 'OneStage'])
def test_a_combination_that_does_not_fit_is_refused_with_both_names(estimator):
    check_refusals(matrix.fit_candidates(estimator), estimator)


def test_the_page_is_up_to_date(root):
    hint = 'update it: python -m tests.mixing.matrix docs/lab/mixing.md'
    assert (root / 'docs/lab/mixing.md').read_text() == matrix.format_page(), hint

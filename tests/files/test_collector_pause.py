import gc

import pytest

from poseplug.files.collector_pause import pause_garbage_collector


def test_the_collector_runs_again_after_a_block_and_after_an_error_in_a_function():
    @pause_garbage_collector()
    def fail():
        assert not gc.isenabled()
        raise ValueError('no JSON')

    with pause_garbage_collector():
        with pytest.raises(ValueError, match='no JSON'):
            fail()
        assert not gc.isenabled()  # the outer pause goes on
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with pause_garbage_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()

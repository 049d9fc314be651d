from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.trailing import Trailing


@given(st.lists(st.one_of(st.floats(-5, 5, width=32), st.just(float("nan"))), max_size=40), st.integers(1, 7))
def test_it_is_the_mean_of_the_last_values_since_the_last_break(values, length):
    trailing, since = Trailing(3, length), []
    for value in values:
        since = [] if np.isnan(value) else [*since, value]
        got = trailing.step(np.array([2, 0]), np.array([value, 1.0]))[0]
        if len(since) < length:
            assert np.isnan(got)
        else:
            np.testing.assert_allclose(got, np.mean(since[-length:]), atol=1e-5)

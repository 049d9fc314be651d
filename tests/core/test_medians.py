"""Medians of short rows, some of which are not known."""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from monitor.core.medians import median


@given(
    npst.arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(1, 9)),
        elements=st.floats(-1e6, 1e6) | st.just(np.nan),
    )
)
def test_what_is_not_known_does_not_count(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of rows of which nothing is known
        expected = np.nanmedian(rows, axis=1)
    np.testing.assert_allclose(median(rows), expected, rtol=1e-12)


def test_single_precision_stays():
    assert median(np.array([[3, 1, 2, 4]], np.float32)).dtype == np.float32

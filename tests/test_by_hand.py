"Small cases worked by hand, for mutants that nothing else noticed."
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from drugnb.combos.combine import Effects, Sum
from drugnb.core.identity import DOSE_UNITS, TIME_UNITS, amounts, without_missing
from drugnb.core.plausible import dose_trend
from drugnb.core.settings import InputError
from drugnb.essentiality.data import Lines
from drugnb.essentiality.judge import FEWEST, column_correlation, require_expression

HOURS = {"h": 1, "hr": 1, "hrs": 1, "hour": 1, "hours": 1, "d": 24, "day": 24, "days": 24, "min": 1/60, "mins": 1/60, "minute": 1/60,
         "minutes": 1/60, "s": 1/3600, "sec": 1/3600, "secs": 1/3600, "second": 1/3600, "seconds": 1/3600, "": 1}
MICROMOLAR = {"": 0, "pm": -6, "nm": -3, "um": 0, "mm": 3, "m": 6, "pmol/l": -6, "nmol/l": -3, "umol/l": 0, "mmol/l": 3, "mol/l": 6,
              "picomolar": -6, "nanomolar": -3, "micromolar": 0, "millimolar": 3, "molar": 6}

def test_every_unit_is_what_it_says():
    assert TIME_UNITS == pytest.approx(HOURS)
    assert DOSE_UNITS == pytest.approx({unit: 10.0**power for unit, power in MICROMOLAR.items()})
    for unit in HOURS: assert amounts(pd.Series([f"90 {unit}"]), TIME_UNITS)[0].iloc[0] == pytest.approx(90*HOURS[unit])
    for unit, power in MICROMOLAR.items():
        assert amounts(pd.Series([f"2.5 {unit}"]), DOSE_UNITS)[0].iloc[0] == pytest.approx(2.5*10.0**power)

@pytest.mark.parametrize("dtypes", [{}, {"a": "float32"}, {"b": "int64"}, {"a": object}, {"a": "Float64"}])
def test_the_number_that_stands_for_missing_is_missing_in_every_kind_of_table(dtypes):
    table = without_missing(pd.DataFrame({"a": [1.5, -666, 2], "b": [-666, 4, 666]}).astype(dtypes))
    assert table.isna().to_numpy().tolist() == [[False, True], [True, False], [False, False]]

def test_the_trend_with_dose_is_a_correlation_within_compounds_and_lines():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"compound": np.repeat([f"c{i}" for i in range(8)], 4), "cell": "A", "dose": np.tile([0.1, 1, 10, 100], 8),
                          "viability": rng.random(32)})
    x, y = np.log10(table.dose), table.viability
    x, y = (v - v.groupby(table["compound"]).transform("mean") for v in (x, y))
    r, z = dose_trend(table)
    assert r == pytest.approx(pearsonr(x, y)[0])
    of_each = (x*y).groupby(table["compound"]).sum()
    assert z == pytest.approx(of_each.sum()/math.sqrt((of_each**2).sum()))
    assert np.isnan(dose_trend(table[table["compound"].isin(["c0", "c1", "c2", "c3"])])).all(), "four compounds are too few"
    assert dose_trend(table.assign(dose=table.dose*1000))[0] == pytest.approx(r)

def test_a_correlation_needs_as_many_values_as_are_said():
    one = np.arange(12.0)[:, None]
    few, enough = one.copy(), one.copy()
    few[FEWEST - 1:], enough[FEWEST:] = np.nan, np.nan
    assert np.isnan(column_correlation(few, one)).all() and column_correlation(enough, one) == pytest.approx(1)

def test_expression_that_does_not_fit_is_named_by_line_and_gene():
    x = np.ones((4, 3))
    def lines(): return Lines(x, np.zeros(4, int), np.arange(4))
    require_expression(lines())
    require_expression(lines(), 3)
    with pytest.raises(InputError, match="3 genes where the model learnt 2"): require_expression(lines(), 2)
    x[2, 1] = np.nan
    with pytest.raises(InputError, match=r"1 values .*line 2, gene 1"): require_expression(lines())

def test_one_infinite_effect_is_refused():
    a, b = np.ones((3, 2)), np.ones((3, 2))
    a[1, 0] = np.inf
    with pytest.raises(InputError, match="nfinite"): Sum().fit(Effects(a, b), np.ones((3, 2)), np.arange(3))
    spread = np.ones((3, 2))
    spread[1, 0] = np.inf
    effects = Effects(np.ones((3, 2)), np.ones((3, 2)), spread, np.ones((3, 2)))
    with pytest.raises(InputError, match="Variances hold infinite"): Sum().fit(effects, np.ones((3, 2)), np.arange(3))

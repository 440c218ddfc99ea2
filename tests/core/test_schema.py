"""What a file may hold: strict JSON, finite numbers of a known shape, unique names; every fault named by its entry."""
import json
import warnings

import numpy as np
import pytest

from drugnb.core.schema import LARGEST, Maybe, Numbers, Texts, checked, strict_json


def said(value, rule, where="v"):
    "What is said of a value; '' where nothing is."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try: checked(value, rule, where)
        except ValueError as e: return str(e)
    return ""

@pytest.mark.parametrize("text, about", [
    ('{"a": 1, "a": 2}', "'a' is duplicated"), ('{"b": {"a": 1, "c": 0, "a": 1}}', "'a' is duplicated"), ("[NaN]", "NaN"),
    ("[Infinity]", "Infinity"), ("-Infinity", "-Infinity"), ("["*100_000, "too deeply"), ('{"a":'*50_000, "too deeply"), ("", ""),
    ("{", ""), ("[1,]", ""), ("1"*5000, ""), (b"\xff\xfe[\x001\x00]\x00", "UTF-8"), (b'{"a": "\xe9"}', "UTF-8")])
def test_what_is_no_json_is_refused(text, about):
    with pytest.raises(ValueError) as e: strict_json(text)
    assert about in str(e.value) and len(str(e.value)) < 200

def test_json_comes_as_it_is():
    value = {"a": [1, 2.5, None, True, "µ"], "b": {"a": -1e-300}}
    assert strict_json(json.dumps(value)) == value == strict_json(json.dumps(value, ensure_ascii=False).encode())

@pytest.mark.parametrize("value", [True, "1", None, [1], {}, np.bool_(True), 1j, np.nan, np.inf, -np.inf, 10**400, 1e101, -1e101, ""])
def test_what_is_no_finite_number_is_none(value):
    assert said(value, Numbers()) and said([0.5, value], Numbers((2,))) and said([[1, 1], [1, value]], Numbers((2, 2)))

@pytest.mark.parametrize("value", [0, -1, 2.5, 10**90, np.float32(3), np.int64(-4), LARGEST, -LARGEST, 1e-320])
def test_what_is_a_finite_number_is_one(value):
    assert not said(value, Numbers()) and not said([value]*3, Numbers((3,))) and checked(value, Numbers(), "v") is value

@pytest.mark.parametrize("rule, good, bad", [
    (Numbers(least=0), 0, -1e-9), (Numbers(most=1), 1, 1.0001), (Numbers(positive=True), 1e-100, 0), (Numbers(positive=True), 1, -1),
    (Numbers(positive=True), 1, 1e-101), (Numbers(whole=True), 3.0, 3.5), (Numbers((3,), rising=True), [1, 1, 2], [1, 2, 1]),
    (Numbers((2,)), [1, 2], [1, 2, 3]), (Numbers((2,)), [1, 2], []), (Numbers((2,), empty=True), [], [1]),
    (Numbers(("n", 2)), [[1, 2]]*3, [[1, 2], [1]]), (Numbers(("n", 2), empty=True), [], [[1]]), (Numbers((2, 2)), np.eye(2), np.eye(3)),
    (Numbers((2, 2)), np.eye(2), np.ones(4)), (Numbers((2,)), np.ones(2, int), np.ones(2, bool)), (Texts(), "a", 1),
    (Numbers((1,)), np.ones(1), np.array(["1"])), (Texts(), "a", ""), (Texts(), "a", " "), (Texts(blank=True), "", None),
    (Texts(among=("a", "b")), "b", "c"), (Texts((2,), unique=True), ["a", "b"], ["a", "a"]), (Texts(("n",), empty=True), [], "a"),
    (Texts(("n",)), ["a"], []), (Numbers(("n",)), [0], []), (Maybe(Numbers()), None, ""), ({"a": Maybe(Numbers(), absent=False)}, {"a": None}, {}),
    (Maybe(Numbers()), None, "a"), ([Numbers()], [1, 2], [1, "2"]), ([Numbers()], [], 1), (dict, {}, []), (bool, False, 0),
    ({"a": Numbers()}, {"a": 1}, {}), ({"a": Numbers()}, {"a": 1}, {"a": 1, "b": 1}), ({"a": Maybe(Texts())}, {}, {"a": 1}),
    ({"a": Texts(("n",)), "b": Numbers(("n",))}, {"a": ["x"], "b": [1]}, {"a": ["x"], "b": [1, 2]})])
def test_each_rule_lets_pass_what_it_should_and_nothing_else(rule, good, bad):
    assert said(good, rule) == "" and said(bad, rule) != ""

def test_the_entry_at_fault_is_named():
    assert said([[1, 2], [3, "x"]], Numbers((2, 2))) == "v[1][1] is text, not a number"
    assert said([1, -2, -3], Numbers((3,), least=0)) == "v[1] is -2, which is below 0"
    assert said({"a": [{"b": 0}, {"b": True}]}, {"a": [{"b": Numbers()}]}, "") == "a[1].b is a truth value, not a number"
    assert said({"a": ["x"], "b": [1, 2]}, {"a": Texts(("n",)), "b": Numbers(("n",))}, "") == "b has 2 entries and a has 1"

def test_no_entry_reaches_a_terminal_unescaped_or_whole():
    for text in ("\x1b[2J" + "x"*1000, "\x1b[2J"):
        for fault in (said(text, Texts(among=("a",))), said([text]*2, Texts((2,), unique=True)), said({text: 1}, {})):
            assert fault and "\x1b" not in fault and len(fault) < 150

def test_a_model_of_this_size_costs_no_noticeable_work():
    "Entries are looked at in arrays: as many calls of Python for ten thousand numbers as for ten."
    import sys
    def calls(n):
        seen = []
        sys.setprofile(lambda frame, event, arg: seen.append(event) if event == "call" else None)
        try: checked([0.5]*n, Numbers(("n",), positive=True), "v")
        finally: sys.setprofile(None)
        return len(seen)
    assert calls(10_000) == calls(10)

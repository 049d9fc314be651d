"""What patients left out say of a beat model: what is counted, and where the operating point is."""

from __future__ import annotations

import numpy as np

from monitor.core.rhythm import FEATURES
from training.metrics import Tally
from training.patients import Patients, choose_biases, patients_json, patients_table, tallies
from training.second import UNASKED, Candidates

CLASSES = ("N", "S", "V", "F")


def test_what_cannot_be_judged_is_not_and_what_was_missed_is() -> None:
    kinds = np.array([0, 2, 2, 4, 3, UNASKED])
    one = Candidates(np.zeros((6, FEATURES), np.float32), kinds, np.array([1, 0, 2, 0]), noisy=False)
    certain = np.log(np.full((6, 5), 0.01))
    for row, said in enumerate([0, 2, 0, 4, 2, 2]):
        certain[row, said] = 0
    told = tallies([(one, certain)], np.zeros(5), CLASSES)
    assert (told["beat"].hit, told["beat"].missed, told["beat"].false) == (4, 3, 0)
    # One V right, one called N, two never found; V called on a fusion beat is excused.
    assert (told["V"].hit, told["V"].missed, told["V"].false) == (1, 3, 0)
    assert (told["F"].hit, told["F"].missed) == (0, 1)


def test_the_operating_point_is_where_most_is_right() -> None:
    random = np.random.default_rng(3)
    kinds = random.choice([0, 2], 4000, p=[0.9, 0.1])
    odds = np.where(kinds == 2, 1.0, -1.0) + random.standard_normal(4000) + 1.5  # the network leans to V
    logits = np.full((4000, 5), -9.0)
    logits[:, 0], logits[:, 2] = 0, odds
    answers = [(Candidates(np.zeros((4000, FEATURES), np.float32), kinds, np.zeros(4, int), noisy=False), logits)]
    biases = choose_biases(answers, CLASSES)
    assert biases[2] < -1.5
    before, after = (tallies(answers, b, CLASSES)["V"].percent["f1"] for b in (np.zeros(5), biases))
    assert after > before + 20


def test_records_are_added_up_beat_by_beat_and_a_view_has_those_that_were_judged_on_it():
    told = Patients(
        {
            "a": {"lead": {"beat": Tally(90, 10, 0), "V": Tally(1, 1, 2)}, "both": {"beat": Tally(95, 5, 0)}},
            "b": {"lead": {"beat": Tally(10, 0, 10), "V": Tally(0, 0, 0)}},
        }
    )
    assert told.total("lead") == {"beat": Tally(100, 10, 10), "V": Tally(1, 1, 2)}
    assert told.named("both") == ["a"]
    assert told.figures("both") == {"beat_se": 0.95, "beat_ppv": 1.0, "beat_f1": 190 / 195}
    table = patients_table(told, "x", without=["a"])
    assert table.rows == [("one lead", 1, "100.00", "50.00", "66.67", None, None, None)]
    beats = patients_json(told, ["b"])["views"]["lead"]["beat"]
    assert beats == {
        "hit": 90,
        "missed": 10,
        "false": 0,
        "se": 90.0,
        "ppv": 100.0,
        "f1": 180 / 1.9,
    }

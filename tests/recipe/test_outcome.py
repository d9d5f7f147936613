"""Outcome of a recipe: errors of scores in closed form, noise, and the plateau of learning rates on made trials."""

import math
import statistics

import numpy as np
import pytest

from trainer.base.clock import Clock
from trainer.base.metrics import ACCURACY, LOSS, R2
from trainer.comparison.record import Record
from trainer.recipe.outcome import noise_of, plateau
from trainer.recipe.plan import plan_for, smallest_plan
from trainer.recipe.search import Search, Stage
from trainer.recipe.trials import Trial, best_first, mean_and_deviation, standard_error
from trainer.recipe.window import Axis


def trial(tmp_path, score, rate=0.1, loss=0.5, samples=100, status="finished", constant=None):
    scores = {"accuracy": score, "loss": loss}
    summary = {"best": scores, "final": {"val": scores}, "test": {"accuracy": score - 0.1, "loss": loss}, "steps": 9}
    chance = {} if constant is None else {"constant": {"val": {"accuracy": constant}}}
    record = Record(path=tmp_path, status=status, summary={**summary, **chance, "samples": {"val": samples}})
    return Trial(point={"lr": rate}, record=record)


def test_the_error_of_an_accuracy_is_that_of_a_proportion():
    # 90 of 100 right; with one right and one wrong answer added 91 of 102.
    assert standard_error(0.9, 100, ACCURACY) == pytest.approx(math.sqrt(91 / 102 * 11 / 102 / 100))
    assert 0 < standard_error(1.0, 100, ACCURACY) < 0.015


def test_the_error_of_an_r2_is_that_of_many_samples():
    rng, r2, count = np.random.default_rng(0), 0.6, 400
    found = []
    for _ in range(2000):
        x = rng.normal(size=count)
        y = math.sqrt(r2) * x + math.sqrt(1 - r2) * rng.normal(size=count)
        found.append(np.corrcoef(x, y)[0, 1] ** 2)
    assert standard_error(r2, count, R2) == pytest.approx(np.std(found), rel=0.05)
    assert standard_error(0.3, count, LOSS) == 0.0


def test_the_noise_is_the_deviation_over_the_seeds_or_the_error_of_a_score(tmp_path):
    scores = (0.8, 0.94, 0.95)
    assert noise_of([trial(tmp_path, score) for score in scores]) == pytest.approx(statistics.stdev(scores))
    for alike in ([0.9], [0.9, 0.9], [0.9, 0.899]):
        found = noise_of([trial(tmp_path, score) for score in alike])
        assert found == pytest.approx(standard_error(min(alike), 100, ACCURACY))


def test_trials_without_a_score_count_nowhere(tmp_path):
    trials = [trial(tmp_path, 0.9), trial(tmp_path, 0.99, status="diverged"), trial(tmp_path, 0.8)]
    assert [each.score for each in best_first(trials)] == [0.9, 0.8]
    assert mean_and_deviation(trials)[0] == pytest.approx(0.85) and mean_and_deviation(trials[1:2]) is None
    assert mean_and_deviation(trials, "test")[0] == pytest.approx(0.75)


def test_of_equal_scores_the_lower_loss_comes_first(tmp_path):
    trials = [trial(tmp_path, 0.9, loss=0.4), trial(tmp_path, 0.9, loss=0.3), trial(tmp_path, 0.8, loss=0.1)]
    assert [each.record.score("best", "loss") for each in best_first(trials)] == [0.3, 0.4, 0.1]


def test_a_score_within_two_errors_of_a_constant_answer_is_chance(tmp_path):
    error = math.sqrt(34 / 102 * 68 / 102 / 100)  # of 33 right of 100, with one right and one wrong answer added
    for score, learnt in ((0.33 + 1.9 * error, False), (0.33 + 2.1 * error, True)):
        assert trial(tmp_path, score, constant=0.33).has_learnt is learnt


def test_scores_of_chance_are_ranked_by_the_loss(tmp_path):
    chance = [trial(tmp_path, 0.35, loss=1.2, constant=0.33), trial(tmp_path, 0.33, loss=1.0, constant=0.33)]
    assert [each.loss for each in best_first(chance)] == [1.0, 1.2]
    learnt = trial(tmp_path, 0.6, loss=1.5, constant=0.33)
    assert [each.loss for each in best_first([*chance, learnt])] == [1.5, 1.2, 1.0]


def test_the_setting_as_typed_goes_on_with_the_best_third(tmp_path):
    plan = plan_for(smallest_plan(Clock(360, 18), False, 3), 8)  # 19 settings, of which 7 go on
    typed = {"lr": 0.001}
    search = Search(plan=plan, axes=[Axis(key="lr", low=1e-4, high=1e-1)], first=[typed], seed=0)
    points = search.coarse().points
    assert points[0] == typed and len(points) == 19
    trials = [trial(tmp_path, 0.5 + number / 100, point["lr"]) for number, point in enumerate(points)]
    longer = search.longer(Stage(folder="", length=1, points=points, trials=trials))
    best = [each.point for each in trials[:-7:-1]]
    assert longer.points == [*best, typed] and longer.length == 3
    refined = search.refine(1, search.axes, trials)
    assert refined.points[:3] == [*best[:2], typed] and len(refined.points) == 4 and refined.known == 3


def stages(tmp_path, *all_scores):
    """Return stages of these lengths, each of a mapping of rate -> score, None for a run that diverged."""
    return [
        Stage(
            folder=str(number),
            length=length,
            points=[{"lr": rate} for rate in scores],
            trials=[
                trial(tmp_path, score or 0.0, rate, status="finished" if score else "diverged")
                for rate, score in scores.items()
            ],
        )
        for number, (length, scores) in enumerate(all_scores)
    ]


SHORT = 1, {0.001: 0.5, 0.02: 0.1, 0.1: 0.7, 1.0: 0.1}


@pytest.mark.parametrize(
    ("first", "second", "ends"),
    [
        ({0.03: 0.95, 0.2: 0.94}, {0.01: 0.96, 0.1: 0.95}, (0.01, 0.2)),
        ({0.03: 0.95, 0.2: 0.94}, {0.01: 0.93, 0.1: 0.96}, (0.03, 0.2)),  # 0.01 is worse
        ({0.03: 0.95, 0.2: 0.94}, {0.01: 0.96, 0.1: None}, (0.01, 0.03)),  # one between has diverged
        ({0.03: 0.95, 0.01: 0.90}, {0.01: 0.96, 0.3: 0.90}, (0.01, 0.03)),  # good in the second round
        ({0.03: 0.95, 0.2: 0.80}, {0.01: 0.80, 0.1: 0.96}, (0.03, 0.1)),
    ],
)
def test_the_plateau_ends_at_the_first_worse_rate(first, second, ends, tmp_path):
    found = stages(tmp_path, SHORT, (10, first), (10, second))
    assert plateau(found, "lr", noise=0.01, chosen=0.03) == ends


def test_twice_the_noise_is_within(tmp_path):
    for score, ends in ((0.9301, (0.03, 0.2)), (0.9299, (0.03, 0.03))):
        found = stages(tmp_path, SHORT, (10, {0.03: 0.95, 0.2: score}))
        assert plateau(found, "lr", noise=0.01, chosen=0.03) == ends

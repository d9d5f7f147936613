"""Findings on a ranking: chance, the noise of single seeds, data that differ, and the notes of its runs."""

import math
from dataclasses import replace

import pytest

from trainer.comparison import table
from trainer.comparison.findings import conclusions, incomparable, notes_of_jobs
from trainer.comparison.ranking import rank
from trainer.comparison.record import Record
from trainer.config.keys import makes_another_job

CONSTANT = 18 / 179  # digits: 18 of its 179 validation samples are of one class


@pytest.fixture
def run(tmp_path):
    """Return a function that makes the record of a finished run; `name` is its optimizer, other words its settings."""

    def made(name, score, seed=0, metric="accuracy", when="best", options=(), notes=(), status="finished", **changed):
        evaluation = {"loss": 0.5, **{metric: score}} if score is not None else None
        summary = {
            "status": status,
            "steps": 60,
            "samples": {"train": 1259, "val": 179, "test": 359},
            "samples_sha256": {"val": "a", "test": "b"},
            "constant": {"val": {metric: CONSTANT}, "test": {metric: CONSTANT}},
            "best": evaluation if when == "best" else None,
            "final": {"val": evaluation if when == "best" else None},
            "test": evaluation if when == "test" else None,
            "notes": notes and [*notes],
        } | changed
        values = {"seed": seed, "monitor": "auto"}
        own = {key: value for key, value in dict(options).items() if "." in key or key == "monitor"}
        chosen = {"optimizer": name, "data": "digits", **{k: v for k, v in dict(options).items() if k not in own}}
        path = tmp_path / f"{name}-{seed}"
        return Record(path=path, options=chosen, values={**values, **own}, status=status, summary=summary)

    return made


def lines(*runs):
    return [*conclusions(rank(runs))]


def test_a_ranking_of_chance_scores_says_that_none_has_learnt(run):
    ranking = rank([run("adam", CONSTANT), run("sgd", CONSTANT), run("lion", 10 / 179)])
    assert [*conclusions(ranking)] == ["none has learnt: no val accuracy is better than always the same class (0.1006)"]
    made = table.fullest_table(ranking, 80)
    assert [row.style for row in made.rows] == [None] * 3  # no winner in bold
    assert "none has learnt" in "\n".join(table.markdown(ranking))


def test_settings_at_chance_are_named_where_others_have_learnt(run):
    found = lines(run("adam", 0.9), run("sgd", CONSTANT), run("lion", CONSTANT, seed=0), run("lion", 0.05, seed=1))
    assert found[0] == "no better than always the same class (0.1006): optimizer=sgd; optimizer=lion"
    many = [run(f"o{number}", CONSTANT) for number in range(4)]
    assert lines(run("adam", 0.9), *many)[0].endswith(": 4 of 5 settings")
    assert rank([run("adam", 0.9)]).scored and [*conclusions(rank([run("adam", 0.9)]))] == []


def test_a_best_within_the_noise_of_chance_is_not_crowned_silently(run):
    # 2 sqrt(18/179 (1 - 18/179) / 179) = 0.04496: up to 0.1455
    close = "the best may have learnt nothing: it is within two standard errors (0.045) of always the same class"
    assert lines(run("adam", 19 / 179), run("sgd", 18.5 / 179))[0] == f"{close} (0.1006)"
    assert close in lines(run("adam", 26 / 179))[0] and lines(run("adam", 27 / 179)) == []


@pytest.mark.parametrize(
    ("best", "samples", "margin"),
    [(0.9, 179, 2 * math.sqrt(0.09 / 179)), (0.5, 30, 2 * math.sqrt(0.25 / 30)), (0.98, 10_000, 0.0028)],
)
def test_single_seeds_come_with_two_standard_errors(best, samples, margin, run):
    sizes = {"train": 100, "val": samples, "test": 50}
    found = lines(run("adam", best, samples=sizes), run("sgd", 0.4, samples=sizes))
    said = f"val has {samples:,} samples: differences under {margin:.2g} are within two standard errors"
    assert found == [f"{said}; try seed=0,1,2"]


def test_a_perfect_score_is_not_without_noise(run):
    """With two successes and two failures added p is 32/34 (Agresti & Coull, 1998)."""
    sizes = {"val": 30}
    found = lines(run("adam", 1.0, samples=sizes), run("sgd", 0.9, samples=sizes))
    assert f"differences under {2 * math.sqrt(32 / 34 * 2 / 34 / 34):.2g} " in found[0]


def test_seeds_of_every_setting_show_their_own_noise(run):
    seeds = [run(name, score, seed) for name, score in (("adam", 0.9), ("sgd", 0.8)) for seed in (0, 1)]
    assert lines(*seeds) == [] and "differences under" in lines(*seeds[:3])[0]
    assert lines(run("adam", 0.9)) == []  # nothing to compare


@pytest.mark.parametrize("metric", ["r2", "loss"])
def test_the_noise_of_other_metrics_is_known_from_seeds_alone(metric, run):
    constants = {"constant": {"val": {"r2": 0.0, "loss": 9.0}}}
    found = lines(run("adam", 0.9, metric=metric, **constants), run("sgd", 0.4, metric=metric, **constants))
    assert found == [f"one seed alone does not show the noise of best val {metric}; try seed=0,1,2"]


def test_of_a_regression_the_mean_is_chance(run):
    constants = {"constant": {"val": {"r2": 0.0}}}
    found = lines(run("adam", -0.1, metric="r2", **constants), run("sgd", 0.0, metric="r2", **constants))
    assert found == ["none has learnt: no val r2 is better than always the mean (0.0000)"]


def test_without_a_validation_split_the_test_split_speaks(run):
    found = lines(run("adam", 0.9, when="test"), run("sgd", CONSTANT, when="test"))
    assert found[0] == "no better than always the same class (0.1006): optimizer=sgd"
    assert found[1].startswith("test has 359 samples: differences under 0.032 ")  # 2 sqrt(0.09 / 359)


def test_runs_of_an_older_version_or_without_a_score_say_nothing(run):
    bare = {"constant": None, "samples": None, "samples_sha256": None, "notes": None}
    odd = {"constant": {"val": "x"}, "samples": {"val": "y"}, "samples_sha256": 3, "notes": [1, {}]}
    for changed in (bare, odd):
        ranking = rank([run("adam", 0.9, **changed), run("sgd", 0.05, **changed)])
        assert [*conclusions(ranking), *incomparable(ranking), *notes_of_jobs(ranking)] == []
    assert [*conclusions(rank([run("adam", None)]))] == []


def other_val(digest="c", val=179):
    return {"samples_sha256": {"val": digest, "test": "b"}, "samples": {"val": val, "test": 359}}


DIFFERENT = [
    (({"data": "iris"}, other_val(val=30)), "(data=digits or iris; val has 30 or 179 samples)"),
    (({"data.val_fraction": 0.3}, other_val(val=400)), "(data.val_fraction=- or 0.3; val has 179 or 400 samples)"),
    (({"data.split_seed": 1}, other_val()), "(data.split_seed=- or 1; val has 179 samples)"),
    (({"data.root": "/b"}, other_val()), "(data.root=- or /b; val has 179 samples)"),
    (({}, other_val()), "(the files behind the same words; val has 179 samples)"),
    (({"data.split_seed": 1}, {"samples_sha256": None, "samples": None}), "(data.split_seed=- or 1; val has 179 sam"),
]


@pytest.mark.parametrize(("other", "reason"), DIFFERENT)
def test_runs_of_different_data_are_no_comparison(other, reason, run):
    options, changed = other
    ranking = rank([run("adam", 0.9), run("sgd", 0.8, options=options, **changed)])
    (line,) = incomparable(ranking)
    assert line.startswith(f"warning: the runs were scored on different data {reason}")
    assert "their val scores are no comparison" in line
    assert line.endswith("; test is the same in all of them") == (
        "samples_sha256" in changed and "None" not in str(changed)
    )
    assert line in "\n".join(table.markdown(ranking)) and table.fullest_table(ranking, 80).rows[0].style is None
    assert not any("standard errors" in text for text in conclusions(ranking))


def test_other_training_data_with_the_same_validation_split_are_a_comparison(run):
    ranking = rank([run("adam", 0.9), run("sgd", 0.8, options={"data.train_samples": 100})])
    assert [*incomparable(ranking)] == []
    assert lines(*ranking.jobs)[0] == (
        "the data of the runs differ (data.train_samples=- or 100), but val is the same in all of them"
    )
    same = rank([run("adam", 0.9), run("sgd", 0.8, options={"data.cache": "/elsewhere", "data.download": True})])
    assert [*incomparable(same)] == [] and len(lines(*same.jobs)) == 1  # the noise


def test_different_metrics_and_losses_are_no_comparison(run):
    (line,) = incomparable(rank([run("adam", 0.9), run("sgd", 0.8, options={"monitor": "loss"})]))
    assert "monitor differs" in line and "(accuracy or loss); ranked by accuracy" in line
    by_loss = {"monitor": "loss", "loss": "mse"}, {"monitor": "loss", "loss": "hinge"}
    ranking = rank([run(name, 0.9, options=options) for name, options in zip("ab", by_loss)])
    assert [*incomparable(ranking)] == [
        "warning: ranked by loss, which is not the same quantity in all runs (loss=hinge or mse)"
    ]
    reductions = ({"monitor": "loss", "loss.reduction": each} for each in ("mean", "sum"))
    ranking = rank([run(name, 0.9, options=options) for name, options in zip("ab", reductions)])
    assert "(loss.reduction=mean or sum)" in [*incomparable(ranking)][0]
    kinds = [run("adam", 0.9), run("sgd", 0.8, metric="r2", options={"data": "diabetes"}, **other_val())]
    assert [line.split(":")[1] for line in incomparable(rank(kinds))] == [
        " the runs were scored on different data (data=diabetes or digits; val has 179 samples)",
        " monitor differs",
    ]


@pytest.mark.parametrize("status", ["not begun", "interrupted", "running"])
def test_a_job_that_has_not_been_evaluated_monitors_nothing_else(status, run, tmp_path):
    waiting = Record(
        path=tmp_path / "b",
        options={"optimizer": "adam", "data": "digits"},
        values={"monitor": "auto", "seed": 1},
        status=status,
    )
    assert [*incomparable(rank([run("adam", 0.9, status="interrupted"), waiting]))] == []


def test_jobs_that_have_not_begun_share_a_remark_and_those_that_failed_have_their_own(run):
    begun = [run("adam", 0.9, seed=0), *(run("sgd", None, seed=seed, status="failed") for seed in range(3))]
    waiting = [run("lion", None, seed=seed, status="not begun") for seed in range(40)]
    for count, more in ((1, ""), (2, ", and 1 more run"), (40, ", and 39 more runs")):
        lines = [*table.remarks(rank([*begun, *waiting[:count]]))]
        assert [line.split(":")[0] for line in lines] == ["failed"] * 3 + ["not begun"]
        assert lines[-1] == f"not begun: optimizer=lion seed=0: {waiting[0].path}{more}"


@pytest.mark.parametrize(
    "error, said",
    [
        ("interrupted; what no checkpoint holds is repeated", "what no checkpoint holds is repeated (PATH)"),
        ("interrupted: after 20 steps", "after 20 steps (PATH)"),
        ("interrupted", "PATH"),
        ("out of memory", "out of memory (PATH)"),
    ],
)
def test_a_remark_does_not_say_twice_that_a_run_was_interrupted(error, said, run):
    job = run("adam", None, status="interrupted", error=error)
    (line,) = table.remarks(rank([run("sgd", 0.5), job]))
    assert line == f"interrupted: optimizer=adam seed=0: {said.replace('PATH', str(job.path))}"


def test_settings_of_the_machine_divide_no_setting_of_a_sweep(run):
    """As when a sweep is resumed elsewhere: `devices` and `threads` make no other job."""
    machines = [{"devices": 1}, {"devices": 2}]
    jobs = [run("adam", 0.9, seed=seed, options=where) for seed, where in enumerate(machines)]
    jobs = [replace(job, values={**job.values, "threads": number}) for number, job in enumerate(jobs)]
    (setting,) = rank(jobs, counts=makes_another_job).settings
    assert setting.seeds == ["0", "1"]
    assert len(rank(jobs).settings) == 2  # of runs that task=compare is given


def test_a_run_that_diverged_or_failed_counts_for_its_notes_alone(run):
    failed = run("lion", None, status="failed", options={"data": "iris"}, notes=["why"])
    ranking = rank([run("adam", 0.9), run("sgd", 0.8), failed])
    assert [*incomparable(ranking)] == [] and [*notes_of_jobs(ranking)] == ["note: why (data=iris optimizer=lion)"]


def test_each_note_stands_once_with_the_runs_that_have_it(run):
    runs = [
        run("adam", 0.9, 0, notes=["all", "adam"]),
        run("adam", 0.8, 1, notes=["adam", "all", "all"]),
        run("sgd", 0.7, 0, notes=["one seed", "all"]),
        run("sgd", 0.6, 1, notes=["all"]),
    ]
    assert [*notes_of_jobs(rank(runs))] == [
        "note: all (all 4 runs)",
        "note: adam (optimizer=adam)",
        "note: one seed (1 of 4 runs)",
    ]
    assert [*notes_of_jobs(rank(runs[:1]))][0] == "note: all (the only run)"
    evil = rank([run("adam", 0.9, notes=["\x1b[2Jred"])])
    assert [*notes_of_jobs(evil)] == ["note: \\x1b[2Jred (the only run)"]


def test_steps_are_a_column_where_they_differ(run):
    head, *rows = table.table_rows(rank([run("adam", 0.9, steps=450), run("sgd", 0.8, steps=5)]))
    assert [row[head.index("steps")] for row in rows] == ["450", "5"]
    assert "steps" not in next(table.table_rows(rank([run("adam", 0.9), run("sgd", 0.8)])))


def test_the_losses_before_the_first_step_stand_beside_that_of_the_best_constant(run):
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    known = {"constant": {"val": {"accuracy": 0.5, "loss": entropy}}, "constant_loss": "entropy of the labels"}
    marginal, zero = (
        run("adam", score, options={"bias": bias}, fresh={"loss": loss, "accuracy": 0.5}, **known)
        for bias, score, loss in (("marginal", 0.9, 0.3251), ("zero", 0.8, 0.6931))
    )
    ranking = rank([marginal, zero])
    head, *rows = table.table_rows(ranking)
    assert [row[head.index("step 0 val loss")] for row in rows] == ["0.3251", "0.6931"]
    said = "val loss of the best constant answer: 0.3251 (entropy of the labels)"
    assert [*conclusions(ranking)][0] == said
    older = rank([marginal, zero, run("sgd", 0.7, options={"bias": "zero"}, constant=None)])
    assert said not in [*conclusions(older)]  # whose may be another
    assert "step 0 val loss" not in next(table.table_rows(rank([marginal])))

"""Schedules and warm-ups of conf/ at every step of whole runs: against closed forms in NumPy and torch's schedulers."""

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.optim import lr_scheduler

from trainer.base.clock import Clock
from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.engine import lengths
from trainer.sched.decay import Constant, MultiStep, Step
from trainer.warmup import LinearWarmup

CLOCKS = [
    Clock(total_steps=40, steps_per_epoch=4),
    Clock(total_steps=630, steps_per_epoch=21),
    Clock(total_steps=1001, steps_per_epoch=143),
]
EXACT = {"rtol": 1e-12, "atol": 1e-15}  # a few dozen roundings of float64; the second where a curve ends at zero
RECURSION = {"rtol": 1e-9, "atol": 1e-12}  # torch multiplies from step to step and so gathers the roundings of a run
PURE = [option for option in catalog.options("sched") if option != "plateau"]  # functions of the time alone


def made(group, option, **fields):
    return instantiate({**OmegaConf.load(catalog.file(group, option)), **fields}, _convert_="all")


def multipliers(sched, clock):
    return np.array([sched(clock.at(step)) for step in range(clock.total_steps)])


def percent(number, total):
    """Return a length in per cent of the run, in steps."""
    return np.floor(total * number / 100 + 0.5)


def cycles(first, growth, total):
    """Return cos^2 of a quarter turn, which is half a cosine from 1 to 0, cycle after cycle."""
    curves, length = [], first
    while sum(map(len, curves)) < total:
        curves.append(np.cos(np.pi / 2 * np.arange(length) / length) ** 2)
        length *= growth
    return np.concatenate(curves)[:total]


# Option, its fields, and the multipliers at steps t of a run of T, E of them an epoch.
CLOSED_FORMS = [
    ("constant", {}, lambda t, T, E: np.ones(T)),
    ("step", {"length": "3ep", "gamma": 0.5}, lambda t, T, E: 0.5 ** (t // (3 * E))),
    ("step", {"length": "25%", "gamma": 0.3}, lambda t, T, E: 0.3 ** (t // percent(25, T))),
    ("multistep", {}, lambda t, T, E: np.select([t < percent(50, T), t < percent(75, T)], [1.0, 0.1], 0.01)),
    ("multistep", {"milestones": ["6ep", "2ep", "9st"], "gamma": 0.5},
     lambda t, T, E: 0.5 ** np.searchsorted(sorted([9, 2 * E, 6 * E]), t, "right")),
    ("multistep", {"milestones": ["9st", "9st", "500ep"]}, lambda t, T, E: np.where(t < 9, 1, 0.01)),
    ("multistep", {"milestones": []}, lambda t, T, E: np.ones(T)),
    ("inverse", {}, lambda t, T, E: E / (E + 0.1 * t)),
    ("inverse", {"rate": 3.0}, lambda t, T, E: E / (E + 3 * t)),
    ("exponential", {}, lambda t, T, E: 0.95122942450071400910 ** (t / E)),  # e^-0.05
    ("exponential", {"rate": 0.7}, lambda t, T, E: 0.49658530379140951470 ** (t / E)),  # e^-0.7
    ("power", {}, lambda t, T, E: np.exp(-0.75 * np.log1p(t / E))),
    ("power", {"exponent": 1.0}, lambda t, T, E: E / (E + t)),
    ("power", {"exponent": 2.0}, lambda t, T, E: E**2 / (E + t) ** 2),
    ("inverse_sqrt", {}, lambda t, T, E: np.minimum(1, np.sqrt(percent(5, T) / (t + 1)))),
    ("inverse_sqrt", {"length": "1st"}, lambda t, T, E: 1 / np.sqrt(np.arange(1, T + 1))),
    ("inverse_sqrt", {"length": "2ep"}, lambda t, T, E: np.minimum(1, np.sqrt(2 * E / (t + 1)))),
    ("linear", {}, lambda t, T, E: (T - t) / T),
    ("linear", {"floor": 0.2}, lambda t, T, E: np.interp(t, [0, T], [1, 0.2])),
    ("polynomial", {}, lambda t, T, E: np.exp(0.9 * np.log((T - t) / T))),
    ("polynomial", {"power": 2.0, "floor": 0.25}, lambda t, T, E: 0.25 + 0.75 * ((T - t) / T) ** 2),
    ("cosine", {}, lambda t, T, E: np.cos(np.pi / 2 * t / T) ** 2),
    ("cosine", {"floor": 0.2}, lambda t, T, E: 0.2 + 0.8 * np.cos(np.pi / 2 * t / T) ** 2),
    ("cosine_restarts", {}, lambda t, T, E: cycles(10 * E, 2, T)),
    ("cosine_restarts", {"length": "7st", "growth": 1.0, "floor": 0.1}, lambda t, T, E: 0.1 + 0.9 * cycles(7, 1, T)),
    ("cosine_restarts", {"length": "25%", "growth": 3.0}, lambda t, T, E: cycles(int(percent(25, T)), 3, T)),
    ("one_cycle", {},
     lambda t, T, E: np.interp(t, [0, percent(45, T), 2 * percent(45, T), T - 1], [0.04, 1, 0.04, 0.04e-4])),
    ("one_cycle", {"length": "2ep", "div": 4.0, "final_div": 10.0},
     lambda t, T, E: np.interp(t, [0, 2 * E, 4 * E, T - 1], [0.25, 1, 0.25, 0.025])),
    ("one_cycle", {"length": "80%"},
     lambda t, T, E: np.interp(t, [0, percent(80, T), 2 * percent(80, T)], [0.04, 1, 0.04])),
    ("wsd", {}, lambda t, T, E: 1 - np.sqrt(np.clip((t - T + percent(20, T)) / percent(20, T), 0, 1))),
    ("wsd", {"shape": "linear", "length": "3ep", "floor": 0.1},
     lambda t, T, E: np.interp(t, [0, T - 3 * E, T], [1, 1, 0.1])),
    ("wsd", {"shape": "cosine", "length": "7st"},
     lambda t, T, E: np.cos(np.pi / 2 * np.clip((t - T + 7) / 7, 0, 1)) ** 2),
    ("wsd", {"shape": "linear", "length": "9000st"}, lambda t, T, E: (T - t) / T),  # longer than the run
    ("plateau", {}, lambda t, T, E: np.ones(T)),  # until it observes a loss
]  # fmt: skip


@pytest.mark.parametrize("clock", CLOCKS, ids=lambda clock: f"{clock.total_steps}st")
@pytest.mark.parametrize(("option", "fields", "formula"), CLOSED_FORMS)
def test_a_schedule_is_its_closed_form_at_every_step(option, fields, formula, clock):
    expected = formula(np.arange(clock.total_steps), clock.total_steps, clock.steps_per_epoch)
    np.testing.assert_allclose(multipliers(made("sched", option, **fields), clock), expected, **EXACT)


def test_every_schedule_has_a_closed_form_here():
    assert {option for option, _, _ in CLOSED_FORMS} == set(catalog.options("sched"))


def torchs_one_cycle(sgd, T):
    """Return torch's schedule with its peak at step 15; the lowest rate is that of the last step."""
    return lr_scheduler.OneCycleLR(sgd, 1.0, T, pct_start=16 / T, anneal_strategy="linear", three_phase=True)


@pytest.mark.parametrize("clock", CLOCKS, ids=lambda clock: f"{clock.total_steps}st")
@pytest.mark.parametrize(
    ("option", "fields", "theirs"),
    [
        ("step", {"length": "7st", "gamma": 0.5}, lambda sgd, T: lr_scheduler.StepLR(sgd, 7, gamma=0.5)),
        (
            "multistep",
            {"milestones": ["9st", "30st"]},
            lambda sgd, T: lr_scheduler.MultiStepLR(sgd, [9, 30], gamma=0.1),
        ),
        ("linear", {"floor": 0.2}, lambda sgd, T: lr_scheduler.LinearLR(sgd, 1.0, 0.2, T)),
        ("polynomial", {"power": 0.9}, lambda sgd, T: lr_scheduler.PolynomialLR(sgd, T, 0.9)),
        ("cosine", {"floor": 0.25}, lambda sgd, T: lr_scheduler.CosineAnnealingLR(sgd, T, eta_min=0.25)),
        ("cosine_restarts", {"length": "5st"}, lambda sgd, T: lr_scheduler.CosineAnnealingWarmRestarts(sgd, 5, 2)),
        (
            "cosine_restarts",
            {"length": "5st", "growth": 1.0, "floor": 0.1},
            lambda sgd, T: lr_scheduler.CosineAnnealingWarmRestarts(sgd, 5, 1, eta_min=0.1),
        ),
        ("one_cycle", {"length": "15st"}, torchs_one_cycle),
    ],
)
def test_a_schedule_is_torchs(option, fields, theirs, clock):
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    stepped, rates = theirs(sgd, clock.total_steps), []
    for _ in range(clock.total_steps):
        rates.append(sgd.param_groups[0]["lr"])
        sgd.step()
        stepped.step()
    np.testing.assert_allclose(multipliers(made("sched", option, **fields), clock), rates, **RECURSION)


def test_exponential_is_torchs_at_the_end_of_every_epoch():
    clock = CLOCKS[1]
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    stepped, rates = lr_scheduler.ExponentialLR(sgd, 0.9), []
    for _ in range(30):
        rates.append(sgd.param_groups[0]["lr"])
        sgd.step()
        stepped.step()
    np.testing.assert_allclose(
        multipliers(made("sched", "exponential", rate=-np.log(0.9).item()), clock)[::21], rates, **RECURSION
    )


@pytest.mark.parametrize(
    "clock", [*CLOCKS, Clock(total_steps=1, steps_per_epoch=1)], ids=lambda clock: f"{clock.total_steps}st"
)
@pytest.mark.parametrize("option", catalog.options("sched"))
def test_a_schedule_starts_at_exactly_one_and_stays_in_the_unit_interval(option, clock):
    values = multipliers(made("sched", option), clock)
    assert values[0] == (1 / 25 if option == "one_cycle" else 1.0)
    assert values.min() > 0 and values.max() <= 1.0


@pytest.mark.parametrize("clock", CLOCKS, ids=lambda clock: f"{clock.total_steps}st")
@pytest.mark.parametrize("option", [option for option in PURE if option not in ("cosine_restarts", "one_cycle")])
def test_schedules_start_at_the_full_rate_and_never_rise_but_for_cycles(option, clock):
    """The lectures' common pattern: start large, decay."""
    values = multipliers(made("sched", option), clock)
    assert values[0] == 1 and (np.diff(values) <= 0).all()
    assert (values[-1] < 1) == (option != "constant")


@pytest.mark.parametrize("option", PURE)
def test_a_schedule_depends_on_the_time_alone(option):
    sched, clock = made("sched", option), CLOCKS[0]
    forwards = multipliers(sched, clock)
    backwards = [sched(clock.at(step, lr=0.3)) for step in reversed(range(clock.total_steps))]
    assert backwards[::-1] == forwards.tolist()


@pytest.fixture(scope="module")
def accumulating(composed):
    """Clocks of the same samples and batch size, with gradients of 1 and of 4 batches a step."""

    def clocks(samples, batch_sizes):
        sized = [OmegaConf.merge(cfg, {"batch_size": size}) for cfg, size in zip(configurations, batch_sizes)]
        return [lengths.make_clock(cfg, samples, Invocation()) for cfg in sized]

    configurations = [composed(f"accumulate={count}") for count in (1, 4)]
    return clocks


@pytest.mark.parametrize(("group", "option"), [*(("sched", option) for option in PURE), ("warmup", "linear")])
def test_accumulating_gradients_changes_no_schedule(group, option, accumulating):
    """Four micro-batches of 16 samples make the steps of one batch of 64: the same rates at each."""
    sched = made(group, option)(Constant()) if group == "warmup" else made(group, option)
    whole, parts = accumulating(1257, (64, 16))
    assert (multipliers(sched, whole) == multipliers(sched, parts)).all() and len(multipliers(sched, whole)) == 20 * 20


@pytest.mark.parametrize("option", [option for option in PURE if option not in ("inverse_sqrt", "one_cycle")])
def test_fewer_steps_of_more_batches_have_the_rates_of_their_time(option, accumulating):
    """A quarter of the steps: the same multiplier at the same fraction of the run, and so in the same epoch."""
    sched = made("sched", option)
    fine, coarse = accumulating(1280, (64, 64))
    np.testing.assert_allclose(multipliers(sched, coarse), multipliers(sched, fine)[::4], **EXACT)


def test_schedules_that_count_from_step_one_agree_at_the_end_of_an_accumulated_step(accumulating):
    """inverse_sqrt and warm-ups count the step itself, t = 1, 2, ...: the last of the four has the rate of the one."""
    fine, coarse = accumulating(1280, (64, 64))
    for sched in (made("sched", "inverse_sqrt", length="2ep"), made("warmup", "linear", length="3ep")(Constant())):
        np.testing.assert_allclose(multipliers(sched, coarse), multipliers(sched, fine)[3::4], **EXACT)


@pytest.mark.parametrize("clock", CLOCKS, ids=lambda clock: f"{clock.total_steps}st")
@pytest.mark.parametrize("option", catalog.options("sched"))
def test_every_schedule_composes_with_every_warm_up(option, clock):
    bare, t = multipliers(made("sched", option), clock), np.arange(clock.total_steps)
    np.testing.assert_array_equal(multipliers(made("warmup", "none")(made("sched", option)), clock), bare)
    tenth = percent(10, clock.total_steps)
    for length, steps in (("13st", 13), ("2ep", 2 * clock.steps_per_epoch), ("10%", tenth), ("1st", 1)):
        for start in (0.0, 0.2):
            warmed = multipliers(made("warmup", "linear", length=length, start=start)(made("sched", option)), clock)
            np.testing.assert_allclose(warmed, bare * np.interp(t + 1, [0, steps], [start, 1]), **EXACT)


def test_inverse_sqrt_with_a_warm_up_of_its_length_is_the_transformers_curve():
    """arXiv:1706.03762, eq. (3), over its peak: warmup^0.5 min(t^-0.5, t warmup^-1.5), t from 1; defaults of both."""
    clock, t = CLOCKS[2], np.arange(1, 1002)
    ours = multipliers(made("warmup", "linear")(made("sched", "inverse_sqrt")), clock)
    np.testing.assert_allclose(ours, 50**0.5 * np.minimum(t**-0.5, t * 50**-1.5), **EXACT)  # 5 % of 1001 steps


def test_linear_warm_up_moves_at_the_first_step_and_is_full_at_its_last():
    warmed = multipliers(LinearWarmup(length="4st", start=0.0)(Constant()), CLOCKS[0])
    assert warmed.tolist() == [0.25, 0.5, 0.75] + [1.0] * 37


def test_a_restart_is_at_the_full_rate_and_the_step_before_it_is_the_lowest():
    values = multipliers(made("sched", "cosine_restarts", length="3ep"), CLOCKS[0])  # cycles of 12, 24 and 48 steps
    assert [step for step in range(40) if values[step] == 1.0] == [0, 12, 36]
    assert values[11] == values[:12].min() and values[35] == values[12:36].min()


def test_one_cycle_peaks_once_at_the_optimizers_rate():
    values = multipliers(made("sched", "one_cycle"), CLOCKS[0])
    assert [step for step in range(40) if values[step] == 1.0] == [18] and values[36] == pytest.approx(0.04)
    assert values[39] == pytest.approx(0.04e-4, rel=1e-12)


@pytest.mark.parametrize("total", [3, 4, 5, 6, 8, 9, 10, 11, 20, 100, 617])
@pytest.mark.parametrize(("length", "div", "final_div"), [("45%", 25.0, 1e4), ("50%", 10.0, 100.0), ("1st", 4.0, 1.0)])
def test_the_last_step_of_one_cycle_has_the_last_rate_in_every_run_that_holds_the_cycle(length, div, final_div, total):
    clock = Clock(total_steps=total, steps_per_epoch=1)
    values = multipliers(made("sched", "one_cycle", length=length, div=div, final_div=final_div), clock)
    if 2 * clock.steps(length) <= total:
        assert values[-1] == pytest.approx(1 / (div * final_div), rel=1e-12) and values.max() == 1.0
    assert (np.diff(values[values.argmax() :]) <= 1e-15).all() and values.min() > 0


PROMISES = {  # of every schedule with an end or a floor: the multiplier of step T and of the last step, T - 1
    "linear": lambda floor, left: floor + (1 - floor) * left,
    "polynomial": lambda floor, left: floor + (1 - floor) * left**0.9,
    "cosine": lambda floor, left: floor + (1 - floor) * np.sin(np.pi / 2 * left) ** 2,
    "wsd": lambda floor, left: floor + (1 - floor) * (1 - np.sqrt(1 - left / 0.2)),
}


@pytest.mark.parametrize("option", PROMISES)
def test_a_floor_is_the_multiplier_one_step_behind_the_last_as_its_comment_says(option):
    sched, clock = made("sched", option, floor=0.1), CLOCKS[0]
    assert sched(clock.at(40)) == pytest.approx(0.1, abs=1e-15)
    assert sched(clock.at(39)) == pytest.approx(PROMISES[option](0.1, 1 / 40), rel=1e-12)
    assert "one step behind the last" in catalog.file("sched", option).read_text()


@pytest.mark.parametrize(
    ("option", "field"), [("inverse", "rate"), ("exponential", "rate"), ("power", "exponent"), ("polynomial", "power")]
)
def test_a_decay_of_0_is_a_constant_rate(option, field):
    assert (multipliers(made("sched", option, **{field: 0.0}), CLOCKS[1]) == 1.0).all()


ENDLESS = Clock(total_steps=2**62, steps_per_epoch=1)


def diverges(term):
    """Return whether the sum of a falling sequence over n = 1, 2, ... diverges.

    Cauchy: it does with the sum of 2^k term(2^k), of which the ratio test at a late k tells the one from the other
    unless the ratio is 1; of n^-a it is 2^(1 - a), and 1 only for the harmonic sum, which diverges.
    """
    late, later = 2.0**45 * term(2**45), 2.0**46 * term(2**46)
    return late > 0 and later / late > 1 - 1e-6  # 1 + n / c for n is 1 to 1e-13 at these n


@pytest.mark.parametrize(
    ("option", "fields", "sum_diverges", "squares_converge"),
    [
        ("inverse", {}, True, True),
        ("inverse", {"rate": 5.0}, True, True),
        ("power", {}, True, True),
        ("power", {"exponent": 1.0}, True, True),
        ("power", {"exponent": 0.51}, True, True),
        ("power", {"exponent": 0.5}, True, False),
        ("power", {"exponent": 0.3}, True, False),
        ("power", {"exponent": 1.1}, False, True),
        ("inverse_sqrt", {"length": "1st"}, True, False),
        ("inverse_sqrt", {"length": "4000st"}, True, False),
        ("constant", {}, True, False),
        ("exponential", {}, False, True),
    ],
)
def test_schedules_that_keep_the_rule_of_robbins_and_monro(option, fields, sum_diverges, squares_converge):
    sched = made("sched", option, **fields)
    assert diverges(lambda n: sched(ENDLESS.at(n))) == sum_diverges
    assert not diverges(lambda n: sched(ENDLESS.at(n)) ** 2) == squares_converge


@pytest.mark.parametrize(
    ("group", "option", "field", "bad", "rule"),
    [
        ("sched", "step", "gamma", [0.0, 1.1, -1.0], r"in \(0, 1\]"),
        ("sched", "multistep", "gamma", [0.0, 1.1], r"in \(0, 1\]"),
        ("sched", "inverse", "rate", [-0.1], ">= 0"),
        ("sched", "exponential", "rate", [-0.1], ">= 0"),
        ("sched", "power", "exponent", [-0.5], ">= 0"),
        ("sched", "polynomial", "power", [-1.0], ">= 0"),
        ("sched", "cosine_restarts", "growth", [0.99, -1.0], ">= 1"),
        ("sched", "one_cycle", "div", [0.99, 0.0], ">= 1"),
        ("sched", "one_cycle", "final_div", [0.99, 0.0], ">= 1"),
        ("warmup", "linear", "start", [1.0, -0.1], r"in \[0, 1\)"),
        *[
            ("sched", option, "floor", [1.0, -0.1], r"in \[0, 1\)")
            for option in ("linear", "polynomial", "cosine", "cosine_restarts", "wsd")
        ],
    ],
)
def test_a_field_out_of_its_range_is_refused(group, option, field, bad, rule):
    known = type(made(group, option))
    for value in (*bad, float("nan")):
        with pytest.raises(ValueError, match=f"{field} must be {rule}, got {value}"):
            known(**{field: value})


@pytest.mark.parametrize("length", ["30", "0ep", "-5%", "soon"])
@pytest.mark.parametrize(
    ("group", "option"),
    [("sched", option) for option in ("step", "inverse_sqrt", "cosine_restarts", "one_cycle", "wsd")]
    + [("warmup", "linear")],
)
def test_lengths_need_a_number_and_a_unit(group, option, length):
    with pytest.raises(ValueError, match=f"a length must be .* got {length}"):
        type(made(group, option))(length=length)


@pytest.mark.parametrize("milestones", [["50%", "75"], ["0st"], "50%"])
def test_milestones_are_lengths(milestones):
    with pytest.raises(ValueError, match="a length must be"):
        MultiStep(milestones=milestones)


def test_a_step_of_one_epoch_counts_whole_epochs():
    values = multipliers(Step(length="1ep", gamma=0.5), CLOCKS[0])
    assert values.tolist() == [0.5 ** (t // 4) for t in range(40)]  # powers of two are exact


def test_wsd_is_constant_up_to_its_decay_and_knows_three_shapes():
    clock = Clock(total_steps=10, steps_per_epoch=5)
    assert multipliers(made("sched", "wsd", length="40%", shape="linear"), clock).tolist() == [1.0] * 7 + [
        0.75,
        0.5,
        0.25,
    ]
    with pytest.raises(ValueError, match="shape must be one of linear, sqrt, cosine, got square"):
        type(made("sched", "wsd"))(shape="square")

"""Findings on a ranking that its table cannot show: chance, noise, data that differ, and the notes of its runs.

No torch here.
"""

import math
from collections.abc import Iterator, Sequence

from trainer.base.metrics import ACCURACY, LOSS
from trainer.base.text import counted
from trainer.comparison.ranking import MISSING, Ranking, Setting
from trainer.comparison.record import Record, clean
from trainer.config.keys import is_of_command

LISTED, LONGEST = 3, 80  # settings in a line, and letters; more are counted
MORE_SEEDS = "try seed=0,1,2"


def incomparable(ranking: Ranking) -> Iterator[str]:
    """Yield a warning for each reason why the scores of the ranked runs are no comparison."""
    jobs = counted_jobs(ranking)
    differing, counts = values_that_differ(jobs, "data"), sizes(jobs, ranking.split)
    known = [job for job in jobs if job.of_split("samples_sha256", ranking.split)]
    others = len(counts) > 1 or (known and not has_same_samples(known, ranking.split))
    if others or (differing and not has_same_samples(jobs, ranking.split)):
        keys = ", ".join(differing) or "the files behind the same words"
        has = f"; {ranking.split} has {' or '.join(f'{count:,}' for count in counts)} samples" if counts else ""
        same = "; test is the same in all of them" if has_same_samples(jobs, "test") else ""
        which = f"warning: the runs were scored on different data ({keys}{has})"
        yield f"{which}: their {ranking.split} scores are no comparison{same}"
    if ranking.metric == LOSS and (differing := values_that_differ(jobs, "loss")):
        yield f"warning: ranked by loss, which is not the same quantity in all runs ({', '.join(differing)})"
    monitors = sorted({job.monitor.name for job in jobs if job.metrics})
    if len(monitors) > 1:
        chosen = f"the best evaluation of each run is that of its own metric ({' or '.join(monitors)})"
        yield f"warning: monitor differs: {chosen}; ranked by {ranking.metric.name}"


def counted_jobs(ranking: Ranking) -> list[Record]:
    """Return the runs whose scores the ranking shows."""
    return [job for setting in ranking.scored for job in setting.counted]


def sizes(jobs: Sequence[Record], split: str) -> list[int]:
    """Return the numbers of samples that a split has in the runs."""
    return sorted({count for job in jobs if (count := job.samples(split))})


def has_same_samples(jobs: Sequence[Record], split: str) -> bool:
    """Return whether a split is known to be the same in all runs."""
    digests = {str(job.of_split("samples_sha256", split) or "") for job in jobs}
    return len(digests) == 1 and "" not in digests


def values_that_differ(jobs: Sequence[Record], group: str) -> list[str]:
    """Return `data=digits or iris` for the option of a group, or each of its keys, that is not the same in all runs."""
    keys = sorted({key for job in jobs for key in job.cells if key == group or key.startswith(f"{group}.")})
    found = []
    for key in (key for key in keys if not is_of_command(key)):
        values = list(dict.fromkeys(job.cells.get(key, MISSING) for job in jobs))
        if len(values) > 1:
            found.append(f"{key}={' or '.join(values[:LISTED])}{' or others' if len(values) > LISTED else ''}")
            if key == group:
                break  # that options have different keys is no difference of its own
    return found


def conclusions(ranking: Ranking) -> Iterator[str]:
    """Yield what the scores say of chance, and of the noise between runs of one seed."""
    at_chance = [setting for setting in ranking.scored if is_at_chance(ranking, setting)]
    if at_chance:
        metric, constants = ranking.metric, {f"{chance(ranking, setting):.4f}" for setting in at_chance}
        guess = f"{metric.constant} ({' or '.join(sorted(constants))})"
        if none_has_learnt(ranking):
            yield f"none has learnt: no {ranking.split} {metric.name} is better than {guess}"
        else:
            yield f"no better than {guess}: {names(at_chance, ranking)}"
    elif close := close_to_chance(ranking):
        yield close
    if ranking.compares_starts and (line := constant_loss(ranking)):
        yield line
    jobs = counted_jobs(ranking)
    if (differing := values_that_differ(jobs, "data")) and has_same_samples(jobs, ranking.split):
        yield f"the data of the runs differ ({', '.join(differing)}), but {ranking.split} is the same in all of them"
    if has_winner(ranking) and (line := noise(ranking)):
        yield line


def has_winner(ranking: Ranking) -> bool:
    """Return whether the first setting is the best of something: scores that compare, and that one has learnt for."""
    return not none_has_learnt(ranking) and not [*incomparable(ranking)]


def none_has_learnt(ranking: Ranking) -> bool:
    """Return whether no setting is better than the best constant answer."""
    return bool(ranking.scored) and all(is_at_chance(ranking, setting) for setting in ranking.scored)


def is_at_chance(ranking: Ranking, setting: Setting) -> bool:
    """Return whether a setting's mean is no better than the best constant answer; False where that is not known."""
    score, constant = setting.mean(ranking.when, ranking.metric.name), chance(ranking, setting)
    if score is None or constant is None:
        return False
    return not ranking.metric.is_better(score, constant)


def chance(ranking: Ranking, setting: Setting) -> float | None:
    """Return the score of the best constant answer to a setting's data; None where it is not known."""
    known = (job.constant(ranking.split, ranking.metric.name) for job in setting.counted)
    return next((score for score in known if score is not None), None)


def close_to_chance(ranking: Ranking) -> str | None:
    """Return a line where the best accuracy is within two standard errors of the best constant answer."""
    best = next(iter(ranking.scored), None)
    if best is None or ranking.metric != ACCURACY or (constant := chance(ranking, best)) is None:
        return None
    samples = [count for job in best.counted if (count := job.samples(ranking.split))]
    if not samples:
        return None
    margin = two_standard_errors(constant, sum(samples))
    if best.mean(ranking.when, ACCURACY.name) > constant + margin:
        return None
    guess = f"{ACCURACY.constant} ({constant:.4f})"
    return f"the best may have learnt nothing: it is within two standard errors ({margin:.2g}) of {guess}"


def constant_loss(ranking: Ranking) -> str | None:
    """Return a line with the validation loss of the best constant answer, to compare with those at step 0.

    None where that of a run is not known.
    """
    losses = {(job.constant("val", LOSS.name), str(job.summary.get("constant_loss"))) for job in counted_jobs(ranking)}
    if not losses or any(loss is None for loss, _ in losses):
        return None
    named = [f"{loss:.4f} ({clean(name)})" for loss, name in sorted(losses)[:LISTED]]
    return f"val loss of {LOSS.constant}: {' or '.join(named)}"


def noise(ranking: Ranking) -> str | None:
    """Return a line on the noise between settings, where one of them has a single seed; None where none has."""
    single = [setting for setting in ranking.scored if len(setting.scores(ranking.when, ranking.metric.name)) == 1]
    if len(ranking.scored) < 2 or not single:
        return None
    if ranking.metric != ACCURACY:
        return f"one seed alone does not show the noise of {ranking.by}; {MORE_SEEDS}"
    counts = [count for setting in single for job in setting.counted if (count := job.samples(ranking.split))]
    if not counts:
        return None
    margin = two_standard_errors(single[0].mean(ranking.when, ACCURACY.name), min(counts))
    samples = f"{ranking.split} has {min(counts):,} samples"
    return f"{samples}: differences under {margin:.2g} are within two standard errors; {MORE_SEEDS}"


def two_standard_errors(p: float, count: int) -> float:
    """Return 2 sqrt(p (1 - p) / n); for p of 0 or 1, where that is 0, with two successes and two failures added."""
    if not 0 < p < 1:
        p, count = (p * count + 2) / (count + 4), count + 4  # Agresti & Coull, 1998
    return 2 * math.sqrt(p * (1 - p) / count)


def notes_of_jobs(ranking: Ranking) -> Iterator[str]:
    """Yield each problem and each note of the runs once, with the runs that have it; those of most runs come first."""
    for kind, texts_of in (("problem", lambda job: job.problems), ("note", lambda job: job.notes)):
        having: dict[str, list[Record]] = {}
        for job in ranking.jobs:
            for text in dict.fromkeys(texts_of(job)):
                having.setdefault(text, []).append(job)
        for text, jobs in sorted(having.items(), key=lambda item: -len(item[1])):
            yield f"{kind}: {text} ({which(jobs, ranking)})"


def which(jobs: Sequence[Record], ranking: Ranking) -> str:
    """Return `all 3 runs`, `optimizer=adam` for all runs of a setting, or `2 of 3 runs`."""
    total = len(ranking.jobs)
    if len(jobs) == total:
        return f"all {counted('run', total)}" if total > 1 else "the only run"
    settings = [setting for setting in ranking.settings if any(job in jobs for job in setting.jobs)]
    whole = sum(len(setting.jobs) for setting in settings) == len(jobs)
    if whole and (found := listed(settings)):
        return found
    return f"{len(jobs)} of {counted('run', total)}"


def listed(settings: Sequence[Setting]) -> str | None:
    """Return the labels of settings; None where they are many or long."""
    text = "; ".join(setting.label for setting in settings)
    return text if len(settings) <= LISTED and len(text) <= LONGEST else None


def names(settings: Sequence[Setting], ranking: Ranking) -> str:
    """Return the labels of a few settings; of more, their number."""
    return listed(settings) or f"{len(settings)} of {counted('setting', len(ranking.settings))}"

"""data.train_samples: fewer training samples of any data set, class by class; validation and test stay."""

import json

import numpy as np
import pytest
import torch

from trainer.base.errors import ConfigError
from trainer.data.image_files import LazyImages, read
from trainer.data.sklearn import BreastCancer, Diabetes, Digits, Iris
from trainer.data.splits import Split, Splits, keep_train_samples, priorities
from trainer.engine import summary
from trainer.engine.build import build_run

OFFLINE = (
    "digits", "iris", "wine", "breast_cancer", "diabetes", "photos", "polynomial", "spirals", "gaussians",
    "height_weight", "regression",
)  # fmt: skip


def counts(groups, chosen):
    return np.bincount(np.asarray(groups)[chosen.numpy()]).tolist()


@pytest.mark.parametrize(
    ("count", "expected"),
    [(3, [1, 1, 1]), (10, [6, 3, 1]), (20, [12, 6, 2]), (50, [30, 15, 5]), (100, [60, 30, 10])],
)
def test_every_beginning_has_the_fractions_of_the_classes_and_one_of_each(count, expected):
    groups = torch.tensor(([0] * 6 + [1] * 3 + [2]) * 10)
    assert counts(groups, priorities(groups, seed=4)[:count]) == expected  # 60, 30 and 10 %


def test_a_rare_class_comes_among_the_first():
    groups = torch.tensor([0] * 997 + [1, 2, 2])
    order = priorities(groups, seed=0)
    assert counts(groups, order[:3]) == [1, 1, 1]
    assert counts(groups, order[:50]) == [48, 1, 1]  # a fraction of 0.002 alone would leave both out


def test_the_order_is_a_permutation_in_which_any_member_of_a_class_may_come_first():
    groups = torch.tensor([0] * 5 + [1] * 15)
    firsts = np.zeros(20)
    for seed in range(1000):
        order = priorities(groups, seed)
        assert sorted(order.tolist()) == list(range(20))
        firsts[order[:2]] += 1
    # Five deviations of a binomial count: rates 1/5 and 1/15.
    assert (abs(firsts[:5] - 200) < 5 * (1000 * 0.2 * 0.8) ** 0.5).all()
    assert (abs(firsts[5:] - 1000 / 15) < 5 * (1000 / 15 * 14 / 15) ** 0.5).all()


@pytest.mark.parametrize("source", [Digits(), Iris(split_seed=3), BreastCancer(), Diabetes()])
def test_samples_of_a_smaller_number_are_among_those_of_a_larger_one(source):
    data, before = source.load(), set()
    for count in (10, 30, 31, 60, len(source.load().train)):
        kept = keep_train_samples(data, count, source.split_seed)
        rows = {tuple(row) for row in kept.train.images.flatten(1).tolist()}
        assert len(kept.train) == len(kept.train.targets) == count and kept.train_available == len(data.train)
        assert before <= rows
        before = rows
        if data.task == "classification":
            whole, part = data.train.targets.mean(0), kept.train.targets.mean(0)
            assert (abs(part - whole) * count <= 1).all() and (part > 0).all()
        if data.task == "binary":
            assert abs(kept.train.targets.mean() - data.train.targets.mean()) * count <= 1
        assert kept.val is data.val and kept.test is data.test
    assert torch.equal(kept.train.images, data.train.images)  # all of them are the split itself, in its order


def test_the_seed_decides_which_samples_are_kept():
    data = Digits().load()
    first, again, other = (keep_train_samples(data, 50, seed).train.images for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("wanted, count", [(0.1, 126), (0.5, 630), (0.9999, 1259), (1, None), (1259, 1259)])
def test_a_fraction_is_rounded(wanted, count):
    data = Digits().load()  # 1,259 training samples
    if count is None:
        with pytest.raises(ValueError, match="fewer than the 10 classes; write 10 or more"):
            keep_train_samples(data, wanted, 0)
    else:
        assert len(keep_train_samples(data, wanted, 0).train) == count


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (1260, "the data has 1,259 training samples; write a number up to 1259, or all"),
        (9, "fewer than the 10 classes; write 10 or more"),
        (0.001, "0.001 of 1,259 training samples is 1, fewer than the 10 classes; write 10 or more"),
    ],
)
def test_a_number_that_cannot_be_kept_is_refused_with_the_number_there_is(wanted, message, composed):
    with pytest.raises(ConfigError) as caught:
        build_run(composed(f"data.train_samples={wanted}"))
    assert str(caught.value) == f"data.train_samples={wanted}: {message}"


def test_a_regression_keeps_one_sample_at_least():
    with pytest.raises(ValueError, match="0.001 of 288 training samples is 0, fewer than one sample; write 1 or more"):
        keep_train_samples(Diabetes().load(), 0.001, 0)


@pytest.mark.parametrize("name", OFFLINE)
def test_every_data_set_takes_a_number_of_training_samples(name, composed):
    model = "model=linear"
    whole, part = (build_run(composed(f"data={name}", model, *words)) for words in ((), ("data.train_samples=40",)))
    assert (len(part.train), len(part.val), len(part.test)) == (40, len(whole.val), len(whole.test))
    assert torch.equal(part.data.val.images, whole.data.val.images)
    assert torch.equal(part.data.test.targets, whole.data.test.targets)
    facts = dict(summary.facts(part))
    assert facts["samples"].startswith(f"40 of {len(whole.train):,} train, {len(whole.val):,} val")
    assert " of " not in dict(summary.facts(whole))["samples"].partition("train")[0]


def test_a_data_set_of_ones_own_takes_the_key_as_well(package, tmp_path, run_in_process):
    name = package(
        "import torch\n"
        "from trainer.data.splits import Split, Splits\n"
        "class Mine:\n"
        "    def load(self):\n"
        "        parts = [Split(torch.rand(n, 3), torch.rand(n, 1)) for n in (50, 20, 20)]\n"
        "        return Splits(train=parts[0], val=parts[1], test=parts[2], task='regression')\n"
    )
    (tmp_path / "own" / "data").mkdir(parents=True)
    (tmp_path / "own" / "data" / "mine.yaml").write_text(f"# Mine.\n_target_: {name}.Mine\n")
    words = ("--config-dir", "own", "data=mine", f"allow=[{name}]", "loss=mse", "model=linear", "preprocess=none")
    code, out, err = run_in_process(*words, "epochs=1", "data.train_samples=0.5")
    assert code == 0 and "25 of 50 train, 20 val, 20 test" in out, err


def test_images_of_a_folder_are_the_same_wherever_they_lie(root, composed, pictures):
    known = {picture.tobytes(): place for place, picture in enumerate(pictures)}
    base = ("data=image_folder", f"data.root={root}", "model=linear", "data.val_fraction=0.2", "preprocess=none")
    found = []
    for words in ((), ("data.cache=none",), ("data.cache=none", "residency=stream"), ("residency=host",)):
        run = build_run(composed(*base, "data.train_samples=6", "workers=1", *words))
        assert [len(split) for split in (run.train, run.val, run.test)] == [6, 3, 5]
        assert run.data.train_available == 12 and run.train.targets.sum(0).tolist() == [2, 4]  # of 4 and 8
        images, targets = next(iter(run.train.in_order(6)))
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        found.append([known[image.tobytes()] for image in pixels])
        assert [int(place >= 5) for place in found[-1]] == targets.argmax(1).tolist()
    assert len(set(found[0])) == 6 and all(places == found[0] for places in found)


def test_the_decoded_images_are_shared_by_runs_over_different_numbers(root, composed, caches):
    for number in (3, 4, 6):
        build_run(composed("data=image_folder", f"data.root={root}", "model=linear", f"data.train_samples={number}"))
    assert len(list(caches.glob("*.npy"))) == 1


def test_images_larger_than_the_memory_stay_where_they_are(monkeypatch):
    images, rows = torch.arange(200, dtype=torch.uint8).view(50, 1, 2, 2), torch.tensor([3, 7, 40])
    lazy = Split(LazyImages(images, torch.arange(50).flip(0)), torch.arange(50.0).view(50, 1)).select(rows)
    assert isinstance(lazy.images, LazyImages) and lazy.targets.flatten().tolist() == [3, 7, 40]
    assert torch.equal(read(lazy.images, torch.arange(3)), images[[46, 42, 9]])
    monkeypatch.setattr("trainer.data.image_files.COPY_LIMIT", 11)  # 3 images of 4 bytes are 12
    kept = Split(images, torch.zeros(50, 1)).select(rows)
    assert isinstance(kept.images, LazyImages) and torch.equal(read(kept.images, torch.arange(3)), images[rows])


def test_a_batch_of_the_default_size_holds_all_samples_where_they_are_fewer(composed):
    note = "batch_size=64: larger than the {} training samples, so that each step takes all of them"
    for words, count in ((("data.train_samples=20",), 20), (("data.test_fraction=0.5",), 45)):
        run = build_run(composed("data=iris", *words))
        assert run.batch_size == count and run.clock.steps_per_epoch == 1
        assert run.data.notes == (note.format(count),)
    assert build_run(composed("data=iris", "data.train_samples=20", "batch_size=full")).data.notes == ()


def test_a_batch_size_that_is_typed_must_fit_unless_few_samples_are_asked_for(run_in_process):
    words = ("data=iris", "model=linear", "epochs=1", "batch_size=100")
    code, _, err = run_in_process(*words)
    assert code == 2 and "batch_size=100: larger than the 90 training samples of data=iris; try batch_size=full" in err
    code, out, _ = run_in_process(*words, "data.train_samples=20")
    assert code == 0 and "note: batch_size=100: larger than the 20 training samples" in out


def test_the_preprocessing_is_fitted_to_the_samples_that_are_kept(composed):
    run = build_run(composed("data=iris", "data.train_samples=12", "preprocess=standardize"))
    assert torch.allclose(run.train.images.mean(0), torch.zeros(4), atol=1e-5)  # float32


def test_a_run_keeps_its_number_and_a_sweep_compares_several(run_in_process, tmp_path):
    small = ("data=iris", "model=linear", "epochs=1", "threads=1")
    code, out, err = run_in_process("-m", *small, "data.train_samples=6,0.5")
    assert code == 0 and "train_samples-6" in out and "train_samples-0.5" in out, err
    code, out, err = run_in_process(*small, "data.train_samples=30", "hydra.run.dir=here")
    assert code == 0 and "train_samples=30" in out and "30 of 90 train" in out, err
    assert "train_samples: 30" in (tmp_path / "here" / "config.yaml").read_text()
    assert json.loads((tmp_path / "here" / "summary.json").read_text())["steps"] == 1
    code, _, err = run_in_process("resume=here", "epochs=+1", "data.train_samples=40")
    assert code == 2 and "data.train_samples was 30, is 40" in err
    code, out, err = run_in_process("resume=here", "epochs=+1")
    assert code == 0 and "30 of 90 train" in out, err
    code, out, _ = run_in_process("task=evaluate", "runs=[here]")
    assert code == 0
    code, out, _ = run_in_process("task=preview", *small, "data.train_samples=30", "batch_size=10")
    assert code == 0 and "3 steps, 3 per epoch" in out


@pytest.mark.parametrize(
    "word, answer",
    [
        ("data.train_samples=0", "must be a whole number >= 1 or a number in (0, 1), or all ("),
        ("data.train_samples=1.5", "must be a whole number >= 1 or a number in (0, 1), or all ("),
        ("data.train_samples=10%", "; write data.train_samples=0.1 ("),
        ("data.val_fraction=20%", "; write data.val_fraction=0.2 ("),
        ("data.samples=200", "did you mean data.train_samples=200?"),
        ("n_samples=200", "did you mean data.train_samples=200?"),
        ("train_samples=200", "did you mean data.train_samples=200?"),
        ("data.train_sample=200", "did you mean data.train_samples=200?"),
    ],
)
def test_another_number_or_word_is_answered_with_the_right_one(word, answer, run_in_process):
    code, _, err = run_in_process(word)
    assert code == 2 and answer in err


def test_the_help_of_a_data_set_lists_the_key(run_in_process):
    for topic in ("data=iris", "data.train_samples"):
        assert "data.train_samples=all" in run_in_process("--help", topic)[1]


def test_no_training_sample_is_lost_or_doubled():
    split = Split(torch.arange(30.0).view(30, 1), torch.zeros(30, 2).index_fill(1, torch.tensor([0]), 1))
    data = Splits(train=split, val=split, test=split, task="classification", classes=("a", "b"))
    kept = keep_train_samples(data, 17, 0).train.images.flatten().tolist()
    assert kept == sorted(set(kept)) and len(kept) == 17

"""Names of run directories: short, and each word begins with what it says."""

import pytest

from trainer.config import catalog
from trainer.rundir import directory as rundir


@pytest.mark.parametrize(
    "overrides, name",
    [
        ([], "defaults"),
        (["optimizer=adam", "sched=cosine", "epochs=4"], "adam+cosine+epochs-4"),
        (["optimizer.lr=0.1", "seed=0"], "lr-0.1+seed-0"),
        (["optimizer=lookahead", "optimizer.base=adam"], "lookahead+adam"),
        (["norm=none", "model=linear"], "norm-none+linear"),
        (["model=linear", "warmup=linear"], "model-linear+warmup-linear"),
        (["optimizer.momentum=0.9", "norm.momentum=0.1"], "optimizer.momentum-0.9+norm.momentum-0.1"),
        (["reg=[l2,dropout]", "reg.loss.l2.strength=1e-3"], "reg-l2-dropout+strength-1e-3"),
        (["optimizer.lr=1e+30"], "lr-1e30"),
        (["+sched.power=2", "threads=1", "device=cpu"], "power-2"),
        (["sched.file=adam"], "file-adam"),  # a value that is the name of an option elsewhere
    ],
)
def test_a_name_says_options_by_their_own_words_and_keys_by_their_last_part(overrides, name):
    assert rundir.slug(overrides) == name


def test_an_option_of_the_users_own_is_a_word_of_its_own(tmp_path, monkeypatch):
    assert rundir.slug(["optimizer=gentle"]) == "optimizer-gentle"
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "gentle.yaml").touch()
    monkeypatch.setattr(catalog, "extra_folders", [tmp_path])
    assert rundir.slug(["optimizer=gentle"]) == "gentle"

"""Validation and test samples held out of the training samples, where a data set has none of its own."""

from collections.abc import MutableMapping

from torch import Tensor

from trainer.data.splits import hold_out


def hold_out_missing(
    members: MutableMapping[str, Tensor],
    groups: Tensor,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    noun: str,
) -> list[str]:
    """Hold out of train the splits that are empty or not there; return a note where the test is one of them.

    Args:
        members: samples of each split, as indices (n,) into `groups`; changed in place.
        groups: (N,) the class of each sample, of which each keeps its fraction; all equal for a plain split.
        val_fraction, test_fraction: of the samples of train as they are, in [0, 1).
        noun: what a split that is missing would be, as `folder`.
    Errors: ValueError where the fractions leave nothing to train on.
    """
    fractions = {"test": test_fraction, "val": val_fraction}
    missing = [split for split in fractions if not len(members.get(split, ()))]
    if sum(fractions[split] for split in missing) >= 1:
        raise ValueError(f"val_fraction + test_fraction must be < 1, got {val_fraction + test_fraction}")
    left = 1.0
    for split in missing:
        train = members["train"]
        kept, out = hold_out(groups[train], fractions[split] / left, seed)
        members["train"], members[split] = train[kept], train[out]
        left -= fractions[split]
    if "test" not in missing:
        return []
    if not test_fraction:
        return [f"no test {noun}, and data.test_fraction=0: there is no test at the end"]
    told = [f"data.{split}_fraction={fractions[split]:g}" for split in missing if fractions[split]]
    held = f"{' and '.join(told)}{' of every class' if len(groups.unique()) > 1 else ''} held out"
    return [f"no {' and no '.join(missing)} {noun}: {held}"]

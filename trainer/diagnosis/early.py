"""Warnings from the probes of the first steps, while the run still trains."""

from collections.abc import Iterator, Mapping, Sequence

from trainer.diagnosis.start import activations, alike_layers, layers_named, nth

ALL = 0.999  # fraction of a layer's units


def certain(probes: Sequence[Mapping]) -> Iterator[str]:
    """Yield what cannot get better by itself: units that are alike, layers of dead units, weights that stand still."""
    first, now = probes[0], probes[-1]
    if first is now:
        return
    if alike := alike_layers(now):
        yield f"all units of {layers_named(alike, now)} have the same weights and gradients, and stay alike"
    dead = [nth(place, row) for place, row in enumerate(activations(now)) if row["dead"] > ALL]
    if dead:
        yield f"all units of {', '.join(dead)} are off for every sample, and get no gradient"
    before, after = first["parameters"], now["parameters"]
    if before == after:
        yield f"no weight has changed in {now['step'] - first['step']:,} steps"

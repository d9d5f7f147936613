"""What two probes of the first steps show for certain, while the run still trains."""

from collections.abc import Iterator, Mapping, Sequence

from trainer.diagnosis.start import activations, hidden_layers, layers_named, nth

ALL = 0.999  # fraction of a layer's units


def certain(probes: Sequence[Mapping]) -> Iterator[str]:
    """Yield what cannot get better by itself: units that are alike, layers of dead units, weights that stand still."""
    first, now = probes[0], probes[-1]
    if first is now:
        return
    hidden = hidden_layers(now)
    if alike := [row["name"] for row in hidden if row["identical"]]:
        yield f"all units of {layers_named(alike, hidden)} have the same weights and gradients, and stay alike"
    dead = [nth(place, row) for place, row in enumerate(activations(now)) if row["dead"] > ALL]
    if dead:
        yield f"all units of {', '.join(dead)} are off for every sample, and get no gradient"
    before, after = first["parameters"], now["parameters"]
    if before == after:
        yield f"no weight has changed in {now['step'] - first['step']:,} steps"

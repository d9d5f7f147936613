"""All exhibits of the gallery, by topic, in the order of the page."""

from exhibits import deep, noise, optimizers, penalties, rates, signals

EXHIBITS = [
    *signals.EXHIBITS,
    *optimizers.EXHIBITS,
    *rates.EXHIBITS,
    *penalties.EXHIBITS,
    *noise.EXHIBITS,
    *deep.EXHIBITS,
]

"""Temporary."""
from trainer.config.catalog import Key, as_typed, keys, rules  # noqa: F401

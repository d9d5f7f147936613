"""JSON of results: numbers that it does not have, NaN and Inf, become null. No torch here."""

import json


def without_nonfinite(content: object) -> object:
    """Return mappings, sequences, texts and numbers as a JSON file gives them back, with None for NaN and Inf."""
    return json.loads(json.dumps(content), parse_constant=lambda name: None)


def as_json(content: object, indent: int = 1) -> bytes:
    """Return the content of a JSON file, with None for NaN and Inf."""
    return f"{json.dumps(without_nonfinite(content), indent=indent)}\n".encode()

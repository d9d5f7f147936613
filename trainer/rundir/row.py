"""Row of a run's curves: its line in metrics.jsonl, and its points in TensorBoard."""

import json
import math
from collections.abc import Mapping

from tensorboard.compat.proto.summary_pb2 import Summary

PLACE = ("step", "epoch", "split", "seconds", "time")  # keys of a row that are no points of a curve


def line_of(row: Mapping) -> bytes:
    """Return the line of metrics.jsonl that holds a row."""
    return f"{json.dumps(row)}\n".encode()


def summary_of(row: Mapping) -> Summary:
    """Return the points of a row for TensorBoard, where validation has no learning rate."""
    hidden = (*PLACE, "lr") if row["split"] == "val" else PLACE
    values = {name: math.nan if value is None else value for name, value in row.items() if name not in hidden}
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])

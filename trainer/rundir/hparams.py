"""Rows of TensorBoard's HParams tab, written by the run itself. (SummaryWriter.add_hparams makes a run of its own.)"""

from collections.abc import Collection, Mapping

from google.protobuf.struct_pb2 import Value
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo


def row(settings: Mapping[str, str | float], columns: Collection[str], complete: bool) -> Summary:
    """Return the summary of a run's settings and status, from which TensorBoard makes a row.

    The tab opens with up to five columns: first those that differ among the runs, then any others that it finds. So
    only `columns` are written as text and numbers. The other settings are lists of one, of which TensorBoard makes no
    column; where another run has one, it shows the item all the same, and draws the run's line.

    Args:
        columns: keys that the user chose for this run: those that its sweep varies, or those that were typed.
        complete: the run finished or stopped early.
    """
    start = SessionStartInfo()
    for name, value in settings.items():
        start.hparams[name].CopyFrom(as_proto(value, listed=name not in columns))
    end = SessionEndInfo(status=STATUS_SUCCESS if complete else STATUS_FAILURE)
    parts = (
        (metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
        (metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end)),
    )
    return Summary(
        value=[Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(content)) for tag, content in parts]
    )


def as_proto(value: str | float, listed: bool) -> Value:
    """Return a text or a number as protobuf, or as a list of one."""
    made = Value()
    place = made.list_value.values.add() if listed else made
    if isinstance(value, str):
        place.string_value = value
    else:
        place.number_value = value
    return made

"""Inputs of a data set, described so that a model can take new files and rows without it. No torch here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from trainer.base.errors import DataError
from trainer.base.text import printable

FITS = ("crop", "pad", "squash")
IMAGE_TYPES = ("uint8", "float32")


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """Images (C, H, W), from files or arrays.

    Args:
        shape: (C, H, W) before the preprocessing.
        size: height and width that every file was resized to; None where all files had those of the shape.
        fit: of a file that is not square: crop, pad or squash.
        levels: values of more than 8 bits that became 0 and 255, by data type.
        dtype: of the data set's samples, uint8 or float32.
    """

    shape: tuple[int, ...]
    size: int | None = None
    fit: str = "crop"
    levels: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    dtype: str = field(default="uint8", compare=False)


@dataclass(frozen=True, kw_only=True)
class InputColumn:
    """Column of a table, and the inputs that it makes.

    Args:
        name: of the column.
        kind: number, date (days since 1970) or category (one-hot).
        fill: of a missing number or date, where the training filled such in; else None.
        categories: those that have an input each, in order; of any other value all these inputs are 0.
        missing: whether a missing value has one more input, the last.
        place: of the column in the training file, from 0.
    """

    name: str
    kind: str = "number"
    fill: float | None = None
    categories: tuple[str, ...] = ()
    missing: bool = False
    place: int = 0

    @property
    def width(self) -> int:
        """Number of inputs."""
        return len(self.categories) + self.missing if self.kind == "category" else 1


@dataclass(frozen=True, kw_only=True)
class TableInput:
    """Rows of a table, (D,) numbers.

    Args:
        columns: those that are inputs, in order.
        header: whether the training file named its columns; else they are found by their places.
        count: columns of the training file, with the target.
        target: place of the target in it; None where it has none.
    """

    columns: tuple[InputColumn, ...]
    header: bool = True
    count: int = 0
    target: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(column.width for column in self.columns),)


@dataclass(frozen=True, kw_only=True)
class ArrayInput:
    """Arrays of a shape, whose meaning only their data set knows."""

    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Target of a data set.

    Args:
        name: of the target; of several, of all together.
        names: of the outputs of a regression.
        mean, deviation: of each output, which the data set has subtracted and divided by.
        unit: of a regression's outputs, where it is known.
    """

    name: str = ""
    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    unit: str = ""

    def output_names(self, count: int) -> tuple[str, ...]:
        """Return the names of the outputs of a regression: y1, y2, ... where the data set has none."""
        known = self.names or ((self.name,) if self.name else ())
        return known if len(known) == count else tuple(f"y{place}" for place in range(1, count + 1))


Inputs = ImageInput | TableInput | ArrayInput
KINDS = {"images": ImageInput, "table": TableInput, "arrays": ArrayInput}


def numbered_columns(count: int) -> TableInput:
    """Return the inputs of a table without names: x1, x2, ..."""
    return named_columns([f"x{place}" for place in range(1, count + 1)])


def named_columns(names: Sequence[str]) -> TableInput:
    """Return the inputs of a table of numbers with these names."""
    columns = (InputColumn(name=str(name), place=place) for place, name in enumerate(names))
    return TableInput(columns=tuple(columns), count=len(names))


def inputs_of_shape(shape: Sequence[int]) -> Inputs:
    """Return what samples of a shape are where their data set does not say: images of 1 or 3 channels, or a table."""
    if len(shape) == 1:
        return numbered_columns(shape[0])
    return (ImageInput if len(shape) == 3 and shape[0] in (1, 3) else ArrayInput)(shape=tuple(shape))


def to_plain(inputs: Inputs) -> dict:
    """Return inputs as dicts, lists, texts and numbers, with their kind."""
    kind = next(name for name, made in KINDS.items() if isinstance(inputs, made))
    return {"kind": kind, **asdict(inputs), "shape": list(inputs.shape)}


def from_plain(plain: Mapping) -> Inputs:
    """Return inputs from what `to_plain` returned. Errors: DataError for anything else."""
    try:
        fields = {key: value for key, value in plain.items() if key != "kind"}
        shape = tuple(whole(size) for size in fields.pop("shape"))
        if plain["kind"] == "table":
            columns = tuple(column_from(column) for column in fields.pop("columns"))
            found = TableInput(columns=columns, **fields)
            if found.shape != shape:
                raise ValueError("its columns make another number of inputs")
            return found
        if plain["kind"] == "images":
            if len(shape) != 3 or shape[0] not in (1, 3) or fields.get("fit", "crop") not in FITS:
                raise ValueError("no images of 1 or 3 channels")
            if fields.get("dtype", "uint8") not in IMAGE_TYPES:
                raise ValueError(f"no type of images: {fields['dtype']}")
            fields["size"] = None if fields.get("size") is None else whole(fields["size"])
            levels = {str(kind): levels_from(pair) for kind, pair in fields.pop("levels", {}).items()}
            return ImageInput(shape=shape, levels=levels, **fields)
        return KINDS[plain["kind"]](shape=shape, **fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"the description of the inputs is damaged ({printable(error)})") from None


def column_from(plain: Mapping) -> InputColumn:
    """Return a column from its fields. Errors: KeyError, TypeError, ValueError."""
    fields = dict(plain)
    fields["categories"] = tuple(map(str, fields.get("categories", ())))
    column = InputColumn(**fields)
    if column.kind not in ("number", "date", "category") or not isinstance(column.name, str):
        raise ValueError(f"no kind of column: {column.kind}")
    if column.fill is not None and not math.isfinite(column.fill):
        raise ValueError("a filled value is not finite")
    return column


def predicted_from(plain: Mapping) -> Predicted:
    """Return what is predicted from its fields. Errors: DataError."""
    try:
        texts = {key: str(plain.get(key, "")) for key in ("name", "unit")}
        names = tuple(map(str, plain.get("names", ())))
        numbers = {key: tuple(map(float, plain.get(key, ()))) for key in ("mean", "deviation")}
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"the description of the targets is damaged ({printable(error)})") from None
    return Predicted(**texts, names=names, **numbers)


def whole(value: object) -> int:
    """Return a whole number from 1 to a billion. Errors: ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10**9:
        raise ValueError(f"no size: {value}")
    return value


def levels_from(pair: Sequence) -> tuple[float, float]:
    """Return two different finite numbers, the smaller first. Errors: ValueError."""
    low, high = map(float, pair)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"no levels: {pair}")
    return low, high

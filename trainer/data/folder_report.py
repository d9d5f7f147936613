"""Faults and notes of a folder of images, in words."""

from collections import Counter
from collections.abc import Iterator, Sequence

from trainer.data.folder_walk import NO_TRAINING, UNREADABLE, Fault, Layout, below
from trainer.data.image_decoding import Decoder
from trainer.data.image_scan import Scan

LISTED = 10  # faults of one kind that a list has
EXAMPLES = 3  # paths that a note names for each reason
NOT_READABLE = "not a readable image"
FITS = {
    "crop": "their short side is resized to {size} pixels and the middle is kept",
    "pad": "their long side is resized to {size} pixels and black is added",
    "squash": "they are squashed to {size}x{size} pixels",
}


def faults_of(layout: Layout, scan: Scan, paths: Sequence[str], trained: Sequence[bool]) -> list[Fault]:
    """Return everything that is wrong with a folder and its files.

    Args:
        trained: for each class, whether any of its training images is readable.
    """
    faults = [*layout.faults]
    for index, why in scan.unreadable.items():
        faults.append(Fault(below(layout.root, paths[index]), f"{NOT_READABLE} ({why})"))
    if scan.mismatch:
        sizes = (scan.mismatch.smallest, scan.mismatch.largest)
        named = (f"{width}x{height} pixels ({below(layout.root, paths[index])})" for width, height, index in sizes)
        how = f"type data.size=N to resize all of them, as data.size={scan.mismatch.proposed}"
        faults.append(Fault("", f"images differ in size, from {' to '.join(named)}; {how}", skippable=False))
    elif paths and len(scan.unreadable) == len(paths):
        faults.append(Fault("", f"none of the {len(paths):,} files is readable", skippable=False))
    elif paths and not any(trained):
        faults.append(Fault("", "no training image is readable", skippable=False))
    return faults


def report(layout: Layout, faults: Sequence[Fault], checked: int, files: int) -> str:
    """Return one fault in a line, or a list of all of them.

    Args:
        checked: of the files, those that were decoded.
    """
    skippable = sum(fault.skippable for fault in faults)
    if len(faults) == 1:
        (fault,) = faults
        place = "/".join(filter(None, (str(layout.root), fault.path)))
        return f"{place}: {fault.message}{'; mend it, or try data.on_error=skip' if skippable else ''}"
    some = "them" if skippable == len(faults) else f"{skippable:,} of them"
    hint = f" (data.on_error=skip leaves {some} out)" if skippable else ""
    lines = [f"data.root={layout.root}: {len(faults):,} faults{hint}"]
    unreadable = [fault for fault in faults if fault.message.startswith(NOT_READABLE)]
    others = [fault for fault in faults if not fault.message.startswith(NOT_READABLE)]
    for kind, several in (("faults", others), ("files that are not readable", unreadable)):
        lines += [f"  {': '.join(filter(None, (fault.path, fault.message)))}" for fault in several[:LISTED]]
        if len(several) > LISTED:
            lines.append(f"  and {len(several) - LISTED:,} more {kind}")
    if checked < files:
        lines.append(f"  (of {files:,} files, {checked:,} were read)")
    return "\n".join(lines)


def notes_of(layout: Layout, scan: Scan, paths: Sequence[str], trained: Sequence[bool], decoder: Decoder) -> list[str]:
    """Return notes on a folder that is used: how it is read, what is left out, how its files are decoded."""
    notes = [*layout.notes]
    if layout.deeper:
        count, (_, example) = sum(count for count, _ in layout.deeper), layout.deeper[0]
        notes.append(f"{count:,} images lie deeper than CLASS/*, as in {example}/: their class is the outer folder")
    left_out = {reason: [*paths] for reason, paths in layout.left_out.items()}
    left_out[UNREADABLE] = [below(layout.root, paths[index]) for index in scan.unreadable]
    if line := left_out_note({**left_out, NO_TRAINING: untrained(layout, scan, paths, trained)}):
        notes.append(line)
    return [*notes, *decoding_notes(scan, len(paths) - len(scan.unreadable), decoder)]


def untrained(layout: Layout, scan: Scan, paths: Sequence[str], trained: Sequence[bool]) -> list[str]:
    """Return the readable files of classes without a readable training image."""
    dropped = {name for name, some in zip(layout.classes, trained) if not some}
    if not dropped:
        return []
    unreadable = {below(layout.root, paths[index]) for index in scan.unreadable}
    files = [file for classes in layout.files.values() for name in dropped for file in classes.get(name, ())]
    return [path for path, *_ in files if path not in unreadable]


def left_out_note(left_out: dict[str, list[str]]) -> str | None:
    """Return a line that counts what is left out by reason, with a few examples each."""
    parts = []
    for reason, paths in left_out.items():
        if paths:
            more = ", ..." if len(paths) > EXAMPLES else ""
            parts.append(f"{len(paths):,} {reason} ({', '.join(paths[:EXAMPLES])}{more})")
    return f"left out: {'; '.join(parts)}" if parts else None


def decoding_notes(scan: Scan, files: int, decoder: Decoder) -> Iterator[str]:
    """Yield notes on how files become pixels, where a choice was made."""
    counts = Counter(scan.counts)
    if counts["deep"]:
        ranges = ", ".join(f"{low:g} to {high:g}" for low, high in scan.levels.values())
        count = f"{counts['deep']:,} of {files:,} images have more than 8 bits"
        yield f"{count}: the range of their values, {ranges}, is scaled to 0 to 255"
    if counts["transparent"]:
        yield f"{counts['transparent']:,} of {files:,} images are transparent in part: they are put on white"
    if counts["several"]:
        yield f"{counts['several']:,} of {files:,} files hold several frames or pages: the first one is read"
    if counts["oblong"] and decoder.size is not None:
        how, others = (
            FITS[decoder.fit].format(size=decoder.size),
            ", ".join(word for word in FITS if word != decoder.fit),
        )
        count = f"{counts['oblong']:,} of {files:,} images are not square"
        yield f"data.size={decoder.size}: {count}: {how} (data.fit={decoder.fit}; or {others})"
    if decoder.fit != "crop" and decoder.size is None:
        yield f"data.fit={decoder.fit}: has no effect without data.size=N"

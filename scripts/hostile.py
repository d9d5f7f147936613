"""Give `train` hostile inputs, and look at what each of them touches.

    python scripts/hostile.py --inputs 500

Runs and sweeps from somebody else, forged in every file; links, pipes, sockets and devices in runs, outputs, caches
and folders of images; folders of options, tables, images and IDX files that nobody sane would write; overrides and
flags. Each command has 20 seconds and 12 GiB. It must change no file outside its own output, leave no process, show no
traceback, and succeed or end with the code 2, 3 or 4 and at most two lines. The last lines are a table; the exit code
is 0 if there was no fault.
"""

import argparse
import gzip
import io
import json
import os
import random
import shutil
import socket
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import children
import torch
import yaml

SHORT = "model=mlp model.hidden=[8] epochs=1 threads=1 device=cpu".split()
RUN = ("data=iris", *SHORT)
MEMORY = 12 * 2**30  # bytes of address space for a command
SCRATCH = ("outputs", "run", "sweep", "out", "multirun")  # what a command may write to, in its own folder
VALUES = (
    *(None, True, -1, 0, 10**400, 1e308, float("nan"), float("inf"), "", "x" * 100_000, [], {}, [[]], {"a": [1]}),
    *("${oc.env:HOME}", "${seed}", "${nothing}", "\x1b[2J\x1b]0;title\x07", "line\nbreak", "\u202egnp.exe", "\ud800"),
    *("<script>alert(1)</script>", "![x](http://127.0.0.1/x.png)", "=1+1", "$\\frac{1}{0}$", "%s%n{0}", "../../x"),
    *("/dev/zero", "/dev/tty", {"_target_": "os.system", "_args_": ["touch marker"]}, "!!python/object:os.system"),
)
TASKS = (("resume=run",), ("task=evaluate", "runs=[run]", "threads=1"), ("task=compare", "runs=[run]", "output=out"))

Words = tuple[str, ...]
Attack = tuple[str, Words]  # what was done, and the command


def mutate(node: object, rng: random.Random) -> str:
    """Replace a random value in nested dicts and lists, or remove it or add one; return what was done."""
    path = []
    while True:
        keys = [*node] if isinstance(node, dict) else [*range(len(node))]
        if not keys:
            break
        key = rng.choice(keys)
        path.append(str(key))
        child = node[key]
        if not (isinstance(child, dict | list) and child and rng.random() < 0.8):
            how = rng.random()
            if how < 0.1:
                del node[key]
                return f"{'.'.join(path)} removed"
            if how < 0.2 and isinstance(node, dict):
                node[rng.choice(["\x1b[31m", "a.b", "_target_", "x" * 5000, "${seed}"])] = rng.choice(VALUES)
                return f"a key beside {'.'.join(path)}"
            node[key] = value = rng.choice(VALUES)
            return f"{'.'.join(path)} = {str(value)[:40]!r}"
        node = child
    return "nothing"


def forged_config(place: Path, rng: random.Random) -> Attack:
    path = place / "run" / "config.yaml"
    saved = yaml.safe_load(path.read_text())
    done = mutate(saved, rng)
    path.write_text(yaml.safe_dump(saved), errors="replace")
    return done, rng.choice(TASKS)


def forged_yaml(place: Path, rng: random.Random) -> Attack:
    text = rng.choice([*YAMLS])
    name = rng.choice(["config.yaml", "overrides.txt", "summary.json", "metrics.jsonl"])
    (place / "run" / name).write_bytes(YAMLS[text])
    return f"{name}: {text}", rng.choice(TASKS)


YAMLS = {
    "a tag": b"a: !!python/object/apply:os.system ['touch marker']\n",
    "a loop": b"a: &a\n  b: *a\n",
    "a billion laughs": b"a: &a [x,x]\n"
    + b"".join(b"%c: &%c [*%c,*%c]\n" % (i, i, i - 1, i - 1) for i in range(98, 122)),
    "deep": b"[" * 100_000,
    "deep JSON": b'{"a":' * 100_000,
    "deep keys": b"".join(b" " * n + b"a:\n" for n in range(2000)),
    "binary": bytes(range(256)) * 50,
    "UTF-16": "seed: 1\n".encode("utf-16"),
    "empty": b"",
    "only a line break": b"\n",
    "zeros": bytes(5000),
    "a list": b"- 1\n- 2\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "a number": b"1e999999\n",
    "a date that does not exist": b"a: 2024-99-99\n",
    "4 MB": b"a: " + b"x" * 4_000_000,
    "a long number": b'{"steps": ' + b"9" * 10_000 + b', "status": "finished"}',
    "half of a surrogate pair": b'{"status": "\\ud800", "notes": ["\\udfff"]}',
}
LINES = (
    *("allow=[planted]", "+hydra.callbacks.a={_target_:os.system}", "hydra.searchpath=[file://.]", "--multirun", "-m"),
    *("output=../beside", "data.cache=../beside/cache", "data.download=true", "data.root=/", "data.path=/dev/zero"),
    *("model._target_=os.system", "seed=${oc.env:HOME}", "seed=\x1b[2J", "threads=100000"),
    *(
        "model.hidden=[99999999999]",
        "batch_size=99999999999999999999",
        "experiment=../../x",
        "data=csv",
        "task=compare",
    ),
    *("seed=1,2,3", "seed=range(1,1e9)", "resume=/", "runs=[/]", "=", "a", "\u202e=1", "reg=[l2,l2]", "workers=99999"),
    *(
        "model.hidden=[" + "8," * 5000 + "8]",
        "optimizer.lr=1e400",
        "optimizer.lr=nan",
        "~model",
        "+x.y.z=1",
        "device=cuda",
    ),
)


def forged_overrides(place: Path, rng: random.Random) -> Attack:
    path, lines = place / "run" / "overrides.txt", rng.sample(LINES, rng.choice([1, 2]))
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))
    return f"overrides.txt: {' '.join(lines)[:90]!r}", rng.choice(TASKS)


def forged_summary(place: Path, rng: random.Random) -> Attack:
    path = place / "run" / "summary.json"
    saved = json.loads((place / "whole" / "summary.json").read_text())
    done = [mutate(saved, rng) for _ in range(rng.choice([1, 3]))]
    path.write_text(json.dumps(saved))
    return f"summary.json: {done}", rng.choice([*TASKS, TASKS[2], (*TASKS[0], "epochs=+1")])


def forged_rows(place: Path, rng: random.Random) -> Attack:
    path = place / "run" / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    done = [mutate(rows, rng) for _ in range(rng.choice([1, 3]))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"metrics.jsonl: {done}", rng.choice([TASKS[0], TASKS[2]])


def forged_state(place: Path, rng: random.Random) -> Attack:
    """Put values of wrong kinds into a checkpoint, with the right digest."""
    path = max((place / "run" / "checkpoints").glob("step-*.pt"), key=lambda path: int(path.stem.partition("-")[2]))
    state = torch.load(path, weights_only=True)
    done = mutate(state, rng)
    for key in [key for key in (*state,) if rng.random() < 0.02]:
        state[key] = rng.choice([torch.zeros(3), torch.tensor(float("nan")), torch.zeros(0, 2), -(2**70), "x"])
        done = f"{done}, {key}"
    payload = io.BytesIO()
    torch.save(state, payload)
    path.write_bytes(payload.getvalue())
    path.with_name(f"{path.name}.sha256").write_text(sha256(payload.getvalue()).hexdigest())
    return f"{path.name}: {done}", rng.choice(TASKS[:2])


def forged_pointer(place: Path, rng: random.Random) -> Attack:
    folder = place / "run" / "checkpoints"
    text = rng.choice(
        ["../../../home/step-1.pt", "/etc/passwd", "\x1b[2J", "step-99999999999999999999999.pt", "x" * 5000]
    )
    name = rng.choice(["best", "last", "step-9999.pt", f"step-{'9' * 100}.pt", "step-1.pt.sha256", "step-\u0661.pt"])
    (folder / name).write_text(text)
    return f"checkpoints/{name}: {text[:40]!r}", rng.choice(TASKS)


def named_run(place: Path, rng: random.Random) -> Attack:
    name = rng.choice(
        ["a\x1b[31mb", "a\nb", "a b", "=1+1", "<b>x<", "$x$", "a,b", "[x]", "..x", "a'b", 'a"b', "%s", "\u202ex", "-x"]
    )
    (place / "run").rename(place / name)
    quoted = "'" + name.replace("'", "\\'") + "'"
    words = rng.choice([(f"resume={quoted}",), ("task=evaluate", f"runs=[{quoted}]", "threads=1")])
    return f"a run named {name!r}", rng.choice([words, ("task=compare", "runs=[.]", "output=out")])


def oddity(path: Path, rng: random.Random, home: Path) -> str:
    """Put something that is no file in the place of a file or folder; return its kind."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = rng.choice(
        [
            "a link to a file",
            "a link to a folder",
            "a pipe",
            "a socket",
            "a link to a pipe",
            "a link to /dev/zero",
            "a link to itself",
            "a folder",
            "a broken link",
            "a hard link",
        ]
    )
    if kind in ("a pipe", "a link to a pipe"):
        pipe = path if kind == "a pipe" else path.with_name(".pipe")
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    if kind == "a socket":
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name[:90])
        os.chdir(here)
    targets = {
        "a link to a file": home / ".profile",
        "a link to a folder": home,
        "a link to a pipe": path.with_name(".pipe"),
    }
    targets |= {"a link to /dev/zero": "/dev/zero", "a link to itself": path.name, "a broken link": home / "new"}
    if kind in targets:
        path.symlink_to(targets[kind])
    if kind == "a folder":
        path.mkdir()
    if kind == "a hard link":
        os.link(home / ".bashrc", path)
    return kind


def odd_run(place: Path, rng: random.Random) -> Attack:
    inside = [
        *(place / "run").rglob("*"),
        place / "run",
        place / "run" / ".new",
        place / "run" / "test",
        place / "run" / "weights.safetensors",
    ]
    path = rng.choice(inside)
    kind = oddity(path, rng, place.parent / "home")
    return f"{path.relative_to(place)} is {kind}", rng.choice(TASKS)


def odd_sweep(place: Path, rng: random.Random) -> Attack:
    path = rng.choice(
        [*(place / "sweep").rglob("*"), place / "sweep", place / "sweep" / "ranking.md", place / "sweep" / ".stop"]
    )
    kind = oddity(path, rng, place.parent / "home")
    again = ("-m", *RUN, "seed=0,1", "hydra.sweep.dir=sweep")
    return f"{path.relative_to(place)} is {kind}", rng.choice([again, ("task=compare", "runs=[sweep]", "output=out")])


def odd_output(place: Path, rng: random.Random) -> Attack:
    from datetime import datetime

    path = place / rng.choice(["outputs", f"outputs/{datetime.now():%Y-%m-%d}", "outputs/sweeps", "out", "out/x"])
    kind = oddity(path, rng, place.parent / "home")
    words = rng.choice(
        [
            RUN,
            ("-m", *RUN, "seed=0,1"),
            (*RUN, "output=out"),
            (*RUN, "hydra.run.dir=out/x"),
            ("-m", *RUN, "seed=0,1", "hydra.sweep.dir=out/x"),
        ]
    )
    return f"{path.relative_to(place)} is {kind}", words


def pictures(folder: Path, *classes: str) -> None:
    """Make a folder of images with a few classes."""
    from PIL import Image

    for place, name in enumerate(classes or ("ant", "bee")):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (number * 20, 100 * place, 0)).save(folder / name / f"{number}.png")


def images(*more: str) -> Words:
    return ("data=image_folder", "data.root=pictures", *more, *SHORT)


def odd_picture(place: Path, rng: random.Random) -> Attack:
    pictures(place / "pictures")
    path = (
        place
        / "pictures"
        / rng.choice(["ant/0.png", "ant/new.jpg", "ant/noending", "ant", "ant/deeper", "cat", "train", "x.png"])
    )
    kind = oddity(path, rng, place.parent / "home")
    return f"{path.relative_to(place)} is {kind}", images(
        *rng.choice([(), ("data.on_error=skip",), ("data.cache=none",)])
    )


def forged_picture(place: Path, rng: random.Random) -> Attack:
    pictures(place / "pictures")
    name, content = rng.choice([*PICTURES.items()])
    path = place / "pictures" / "ant" / rng.choice(["0.png", "new.jpg", "new.tif", "new.tga", "noending", "new.gif"])
    path.write_bytes(content)
    return f"{path.name}: {name}", images(
        *rng.choice([(), ("data.on_error=skip",), ("data.cache=none",), ("data.size=8",)])
    )


def png(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds no pixels."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


PICTURES = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(marker) (w) file closefile\nshowpage\n",
    "a huge PNG": png(100_000, 100_000),
    "a wide PNG": png(2**31 - 1, 1),
    "a PNG without height": png(8, 0),
    "a cut PNG": png(8, 8)[:40],
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "a shell script": b"#!/bin/sh\ntouch marker\n",
    "empty": b"",
    "zeros": bytes(100_000),
    "a JPEG of markers": b"\xff\xd8\xff\xe0" + bytes(3_000_000),
    "a JPEG of fill bytes": b"\xff\xd8" + b"\xff" * 3_000_000,
    "a PPM that claims a size": b"P6 99999 99999 255\n",
    "a PPM of digits": b"P3 " + b"1" * 1_000_000,
    "a TIFF that points to itself": struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 256, 4, 1, 8, 8),
    "a GIF without an image": b"GIF89a\x08\x00\x08\x00\x00\x00\x00;",
    "a TGA of nothing": bytes(18),
    "an icon": b"\x00\x00\x01\x00\xff\xff" + bytes(100),
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch marker'\ntR.",
}  # fmt: skip


def named_classes(place: Path, rng: random.Random) -> Attack:
    names = rng.sample(
        [
            "$\\frac{1}{0}$",
            "$",
            "a$b",
            "$x^{$",
            "\x1b[31mred",
            "a\nb",
            "=cmd|' /C calc'!A0",
            "<script>x<",
            "**bold**",
            "|",
            "\u202eabc",
            "x" * 200,
            "..a",
            " ",
            "'",
            "%s",
            "{0}",
            "[a]",
        ],
        2,
    )
    pictures(place / "pictures", "bee", *(name.replace("/", "_") for name in names))
    if rng.random() < 0.3:
        bad = os.fsencode(place / "pictures") + b"/\xff\xfe"
        shutil.copytree(place / "pictures" / "bee", os.fsdecode(bad))
        names.append("not UTF-8")
    return f"classes {names}", images(*rng.choice([(), ("aug=[mixup]",), ("task=preview",)]))


def odd_cache(place: Path, rng: random.Random) -> Attack:
    pictures(place / "pictures")
    path = place / rng.choice(["out", "out/cache"])
    kind = oddity(path, rng, place.parent / "home")
    return f"data.cache={path.relative_to(place)} is {kind}", images(f"data.cache={path.relative_to(place)}")


def idx(*shape: int, content: bytes | None = None, kind: int = 8) -> bytes:
    """Return an IDX file: its header, and content of zeros where none is given."""
    size = 1
    for length in shape:
        size *= length
    head = bytes([0, 0, kind, len(shape)]) + b"".join(struct.pack(">I", length) for length in shape)
    return head + (bytes(size) if content is None else content)


def forged_idx(place: Path, rng: random.Random) -> Attack:
    folder = place / "root" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    labels = bytes(number % 10 for number in range(100))
    good = {"images-idx3-ubyte": idx(100, 28, 28), "labels-idx1-ubyte": idx(100, content=labels)}
    for part in ("train", "t10k"):
        for name, content in good.items():
            (folder / f"{part}-{name}").write_bytes(content)
    path = folder / rng.choice([f"{part}-{name}" for part in ("train", "t10k") for name in good])
    bad = {
        "more than the others": idx(200, 28, 28) if "images" in path.name else idx(200, content=labels * 2),
        "fewer than the others": idx(50, 28, 28) if "images" in path.name else idx(50, content=labels[:50]),
        "none": idx(0, 28, 28) if "images" in path.name else idx(0),
        "another rank": idx(100) if "images" in path.name else idx(100, 1),
        "labels of 255": idx(100, content=b"\xff" * 100),
        "a large header": idx(2**31 - 1, 28, 28, content=b"x"),
        "images of another size": idx(100, 1, 1),
        "images without pixels": idx(100, 0, 0),
        "floats": idx(100, content=bytes(400), kind=13),
        "empty": b"",
        "zeros": bytes(1000),
        "an unknown kind": idx(100, content=labels, kind=99),
    }
    name = rng.choice([*bad])
    path.write_bytes(bad[name])
    if rng.random() < 0.2:
        name = oddity(path, rng, place.parent / "home")
    return f"{path.name}: {name}", ("data=mnist", "data.root=root", *SHORT)


TABLES = {
    "formulas": b"a,b,y\n" + b"=1+1,@x,+cmd\n-1,=2,=3\n" * 20,
    "zeros": bytes(10_000),
    "one long line": b"1," * 300_000 + b"1\n",
    "an open quote": b'a,b,y\n1,"2,3\n' * 50,
    "control characters": b"a,\x1b[31mb,y\n" + b"1,2,0\n3,4,1\n" * 30,
    "huge numbers": b"a,b,y\n" + b"1e400,2,0\n-1e308,4,1\n" * 30,
    "long numbers": b"a,b,y\n" + b"9" * 10_000 + b",2,0\n" + b"3,4,1\n" * 30,
    "NaN": b"a,b,y\n" + b"nan,inf,0\n-inf,4,1\n" * 30,
    "only a header": b"a,b,y\n",
    "one column": b"y\n" + b"1\n2\n" * 30,
    "the same name thrice": b"a,a,y\n" + b"1,2,0\n3,4,1\n" * 30,
    "UTF-16": ("a,b,y\n" + "1,2,0\n3,4,1\n" * 30).encode("utf-16"),
    "not UTF-8": b"\xff\xfe\xfd,b,y\n" + b"1,2,0\n3,4,1\n" * 30,
    "formulas of TeX": b"$\\frac{1}$,b,y\n" + b"1,2,$x_{$\n3,4,$\\bad$\n" * 30,
    "a bomb": gzip.compress(bytes(300_000_000)),
    "a bomb of text": gzip.compress(b"a,b,y\n" + b"1,2,0\n" * 10_000_000),
    "cut gzip": gzip.compress(b"a,b,y\n1,2,0\n" * 100)[:40],
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch marker'\ntR.",
    "ragged": b"a,b,y\n1\n1,2,3,4,5\n\n,,\n" * 20,
    "dates that do not exist": b"a,b,y\n" + b"2024-99-99,1,0\n0000-00-00,2,1\n" * 30,
    "many classes": b"a,y\n" + b"".join(b"%d,c%d\n" % (n, n) for n in range(3000)),
    "empty": b"",
}  # fmt: skip


def forged_table(place: Path, rng: random.Random) -> Attack:
    name = rng.choice([*TABLES])
    path = place / "table.csv"
    path.write_bytes(TABLES[name])
    if rng.random() < 0.25:
        name = oddity(path, rng, place.parent / "home")
    target = rng.choice(["y", "-1", "1", "'=1+1'", "nothing"])
    more = rng.choice(
        [
            (),
            ("data.missing=impute",),
            ("data.missing=drop",),
            ("data.header=no",),
            ("data.encoding=utf-16",),
            ("data.encoding=zlib",),
        ]
    )
    return f"a table: {name}", ("data=csv", "data.path=table.csv", f"data.target={target}", *more, *SHORT)


OPTIONS = {
    **YAMLS,
    "a target": b"# Evil.\n_target_: os.system\n_args_: [touch marker]\n",
    "a callback": b"# @package _global_\n# Evil.\nhydra:\n  callbacks:\n    a: {_target_: os.system}\n",
    "the environment": b"# Evil.\n_target_: trainer.model.mlp.Mlp\nhidden: [${oc.env:HOME}]\n",
    "a search path": b"# @package _global_\n# Evil.\nhydra:\n  searchpath: [file:///]\n",
    "defaults of nothing": b"# Evil.\ndefaults:\n  - /nothing/at/all\n",
    "defaults of itself": b"# Evil.\ndefaults:\n  - evil\n",
    "defaults of a number": b"# Evil.\ndefaults: 7\n",
    "defaults above": b"# Evil.\ndefaults:\n  - ../../home/x\n",
    "a package of its own": b"# @package hydra.callbacks\n# Evil.\na: {_target_: os.system}\n",
    "no comment": b"_target_: trainer.model.mlp.Mlp\nhidden: [8]\n",
    "a list": b"# Evil.\n- 1\n",
    "a text": b"# Evil.\njust text\n",
    "a key twice": b"# Evil.\na: 1\na: 2\n",
    "tabs": b"# Evil.\n\ta: 1\n",
}  # fmt: skip


def forged_options(place: Path, rng: random.Random) -> Attack:
    group, name = (
        rng.choice(["model", "experiment", "optimizer", "data", "reg", "hydra/launcher", "new"]),
        rng.choice([*OPTIONS]),
    )
    path = place / "mine" / group / "evil.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(OPTIONS[name])
    if rng.random() < 0.2:
        name = oddity(path if rng.random() < 0.7 else path.parent, rng, place.parent / "home")
    use = rng.choice([f"{group}=evil", f"+{group}=evil", "seed=1", f"{group}=[evil]"])
    words = rng.choice(
        [
            (*RUN, "--config-dir", "mine", use),
            ("--config-dir", "mine", "--help", group),
            ("-m", *RUN, "--config-dir", "mine", use, "seed=0,1"),
        ]
    )
    return f"mine/{group}/evil.yaml: {name}", words


FLAGS = (
    ("threads=100000",), ("threads=-1",), ("threads=99999999999999999999",), ("seed=range(1,1e9)",),
    ("--resolve",),
    ("-m", "seed=range(1,1e9)"), ("-m", "seed=range(0,1000000000)"), ("-m", "optimizer.lr=interval(0,1)"),
    ("-m", "seed=range(1,1000)", "optimizer.lr=range(1,1000)"), ("-m", "seed=range(1,10,0)"),
    ("-m", "seed=range(2)"),
    ("--shell-completion",), ("--shell-completion", "install=bash"), ("--shell-completion", "query=bash"),
    ("-sc",),
    ("--hydra-help",), ("--hydra-help", "seed=1"), ("--info",), ("--info", "all"), ("--info", "nothing"),
    ("--cfg",),
    ("--cfg", "job"), ("--cfg", "all"), ("--cfg", "hydra"), ("--cfg", "job", "--resolve"), ("--resolve", "-m"),
    ("--package", "x"), ("--cfg", "job", "--package", "model"), ("--cfg", "job", "--package", "nothing"),
    ("--run",),
    ("--config-dir", "/"), ("--config-dir", "/dev"), ("--config-dir", "nothing"),
    ("--config-dir", "home.txt"), ("-cd",),
    ("--config-name", "x"), ("--config-path", "/"), ("--experimental-rerun", "x.pkl"), ("--version", "--help"),
    ("--help", "\x1b[2J"), ("--help", "../../x"), ("--help=model", "seed=1"), ("--" + "x" * 5000,), ("-",),
    ("--",),
    ("=",), ("a=b=c",), ("seed=",), ("=1",), ("seed=\x00",), ("seed=1\n2",), ("\ud800=1",),
    ("seed='" + "x" * 50_000,),
    ("seed=" + "[" * 3000,), ("model.hidden=" + "[" * 500 + "]" * 500,), ("seed={a:" * 300,), ("seed=${seed}",),
    ("seed=${oc.env:HOME}",), ("model.hidden=[${oc.decode:1}]",), ("output=${oc.env:HOME}",), ("output=\x1b[2J",),
    ("output=/proc",), ("output=/dev/null",), ("output=/sys/x",), ("output=" + "x" * 5000,), ("output=",),
    ("output=~x",),
    ("output=../beside/..//../../../../proc/1",), ("hydra.run.dir=/proc/1/x",), ("hydra.run.dir=.",),
    ("hydra.run.dir=",),
    ("resume=/",), ("resume=/proc/1",), ("resume=/dev/zero",), ("resume=auto", "output=/dev"),
    ("resume=.",), ("resume=..",),
    ("task=compare", "runs=[/]", "output=out"), ("task=compare", "runs=[/dev/zero]"),
    ("task=compare", "runs=[**]"),
    ("task=evaluate", "runs=[/proc]"), ("task=evaluate", "runs=[/dev/zero]"), ("task=evaluate", "runs=[../*]"),
    ("task=compare", "runs=[" + "../" * 300 + "]"), ("task=evaluate", "runs=['\x1b']"),
    ("task=evaluate", "runs=['a\\nb']"),
    ("epochs=0",), ("epochs=1e400",),
    ("epochs=-1", "data.split_seed=-1"),
    ("batch_size=99999999999999999999999",), ("batch_size=2147483648",), ("eval_batch_size=99999999999999",),
    ("model.hidden=[100000000000]",), ("model.hidden=[999999999999999999999]",),
    ("model.hidden=[100000,1000000]",),
    ("accumulate=99999999999999",), ("log_every=99999999999999999999",),
    ("seed=99999999999999999999999999",), ("seed=-1",),
    ("save_every=1e400",), ("optimizer.lr=1e400",), ("optimizer.lr=nan",), ("optimizer.momentum=1e308",),
    ("workers=99999",),
    ("data=image_folder", "data.root=/dev"), ("data=image_folder", "data.root=/proc/self"),
    ("data=csv", "data.path=/dev/stdin"),
    ("data=csv", "data.path=/dev/zero", "data.target=1"), ("data=csv", "data.path=/proc/kmsg", "data.target=1"),
    ("data=mnist", "data.root=/dev"), ("data=mnist", "data.root=\x1b[2J"), ("data.cache=/proc",),
    ("data=photos", "data.cache=/proc/x"),
    ("device=cuda:99",), ("device=meta",), ("device=cpu:5",), ("device=xla",), ("device=\x1b[2J",),
    ("precision=fp64",),
    ("allow=[os]", "model._target_=os.system"), ("allow=[/]",), ("allow=[..]",), ("allow=['import os']",),
    ("allow=[antigravity]",),
    ("hydra/launcher=joblib", "-m", "seed=0,1", "hydra.launcher.n_jobs=99999"), ("hydra.launcher.n_jobs=1",),
    ("hydra.job.chdir=true",), ("hydra.verbose=true",), ("hydra.output_subdir=/",),
    ("hydra.sweep.subdir=/", "-m", "seed=0,1"),
    ("-m", "hydra.sweep.dir=/proc/1/x", "seed=0,1"), ("-m", "hydra.sweep.dir=.", "seed=0,1"),
    ("-m", "hydra.sweep.dir=home.txt", "seed=0,1"),
    ("-m", "seed=glob(*)"), ("-m", "model=glob(*)", "epochs=0"), ("-m", "seed=choice()"),
    ("-m", "seed=shuffle(range(1,1e9))"),
    ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=99999999999", "seed=0"),
    ("-m", "hydra.sweeper.storage=/dev/zero"),
)  # fmt: skip


def hostile_words(place: Path, rng: random.Random) -> Attack:
    (place / "home.txt").write_text("canary\n")
    words = rng.choice(FLAGS)
    alone = any(word.startswith(("task=", "resume=")) for word in words)
    given = (
        words
        if alone
        else (*(() if any(word.startswith("data=") for word in words) else ("data=iris",)), *SHORT, *words)
    )
    keys = {word.partition("=")[0] for word in words}
    given = tuple(word for word in given if word in words or word.partition("=")[0] not in keys)
    return " ".join(words)[:90], given


FAMILIES: dict[str, Callable[[Path, random.Random], Attack]] = {
    "config.yaml": forged_config,
    "text files of runs": forged_yaml,
    "overrides.txt": forged_overrides,
    "summary.json": forged_summary,
    "metrics.jsonl": forged_rows,
    "checkpoints": forged_state,
    "pointers": forged_pointer,
    "names of runs": named_run,
    "links in runs": odd_run,
    "links in sweeps": odd_sweep,
    "links at outputs": odd_output,
    "links at caches": odd_cache,
    "links in images": odd_picture,
    "images": forged_picture,
    "class names": named_classes,
    "IDX files": forged_idx,
    "tables": forged_table,
    "--config-dir": forged_options,
    "words": hostile_words,
}
OFTEN = {"words": 4, "checkpoints": 2, "links in runs": 2, "--config-dir": 2}  # times as many as of the others


def plan(count: int) -> Iterator[str]:
    """Yield the family of each input: every one before any comes again."""
    deck = [*FAMILIES, *(name for name, times in OFTEN.items() for _ in range(times - 1))]
    for number in range(count):
        yield deck[number % len(deck)]


def make_bases(folder: Path, home: Path) -> None:
    """Make a run, the same without its end, and a sweep, for strangers to change."""
    folder.mkdir()
    for words in ((*RUN, "hydra.run.dir=whole"), ("-m", *RUN, "seed=0,1", "hydra.sweep.dir=sweep")):
        ended = children.run(folder, *words, home=home)
        if ended.code:
            raise SystemExit(f"a run to begin with failed: {ended.text}")
    shutil.copytree(folder / "whole", folder / "run")
    (folder / "run" / "summary.json").unlink()


def attack(
    family: str, seed: object, base: Path, folder: Path, home: Path, limit: float = children.LIMIT
) -> tuple[str, Words, str | None]:
    """Give `train` a hostile input; return what it was, the command, and the fault.

    Args:
        limit: seconds for the command.
    """
    place = folder / "here"
    shutil.copytree(base, place)
    done, words = FAMILIES[family](place, random.Random(f"{family} {seed}"))
    watched = {name: children.snapshot(folder / name) for name in ("home", "beside")}
    inside = own_files(place)
    ended = children.run(place, *words, home=home, memory=MEMORY, limit=limit)
    fault = ended.fault()
    for name, before in watched.items():
        if changed := children.differences(before, children.snapshot(folder / name)):
            fault = f"{name} has changed: {changed[:3]}"
    if changed := children.differences(inside, own_files(place)):
        fault = fault or f"files beside the output have changed: {changed[:3]}"
    if [*place.rglob("marker")]:
        fault = "code has run"
    shutil.rmtree(place)
    return done, words, fault


def own_files(place: Path) -> dict[str, tuple]:
    """Return a snapshot of a command's folder without its output."""
    runs = {path.parent.name for path in place.glob("*/overrides.txt")}
    return {
        name: found for name, found in children.snapshot(place).items() if name.split("/")[0] not in {*SCRATCH, *runs}
    }


def hostile(count: int, seed: int, limit: float, families: list[str] | None = None, verbose: bool = False) -> int:
    """Try so many inputs; print the faults and the table, and return the number of faults."""
    counts, faults = Counter(), 0
    with tempfile.TemporaryDirectory(dir=children.scratch()) as name:
        folder = Path(name)
        children.prepare(folder / "imports")
        home = children.make_canary(folder)
        (folder / "beside").mkdir()
        (folder / "beside" / "file").write_text("canary\n")
        make_bases(folder / "base", home)
        for number, family in enumerate(plan(count)):
            if families and family not in families:
                continue
            done, words, fault = attack(family, f"{seed} {number}", folder / "base", folder, home, limit)
            counts[family, bool(fault)] += 1
            if fault or verbose:
                faults += bool(fault)
                text = f"{number}: {family}: {done}: {' '.join(words)[:150]}: {fault or 'well'}"
                print(text.encode("ascii", "backslashreplace").decode().replace("\n", "\\n")[:600], flush=True)
    print(f"{'input':20} {'tried':>6} {'faults':>6}")
    for family in FAMILIES:
        bad = counts[family, True]
        print(f"{family:20} {bad + counts[family, False]:6} {bad:6}")
    print(f"{sum(counts.values())} hostile inputs: {faults} faults")
    return faults


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--limit", type=float, default=children.LIMIT, help="seconds for a command; more if others work"
    )
    parser.add_argument("--only", nargs="*", choices=[*FAMILIES], help="families of inputs")
    parser.add_argument("--verbose", action="store_true", help="print every input")
    arguments = parser.parse_args()
    sys.exit(bool(hostile(arguments.inputs, arguments.seed, arguments.limit, arguments.only, arguments.verbose)))

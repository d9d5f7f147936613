"""TensorBoard of a sweep and of a resumed run, read in a browser. TENSORBOARD_SCREENSHOTS=DIR keeps pictures."""

import base64
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import numpy
import pytest
from PIL import Image

from trainer.config import catalog

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
websocket = pytest.importorskip("websocket", reason="needs the extra: pip install -e '.[browser]'")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

SWEEP = (
    "-m",
    "model=mlp",
    "model.hidden=[16]",
    "optimizer=sgd,momentum",
    "seed=0,1",
    "epochs=3",
    "threads=1",
    "device=cpu",
)

# Much of TensorBoard is in shadow trees, which document.querySelectorAll does not enter.
DEEP = """
window.deep = (css, root = document) => [
    ...root.querySelectorAll(css),
    ...[...root.querySelectorAll('*')].filter(element => element.shadowRoot)
        .flatMap(element => deep(css, element.shadowRoot)),
].filter(element => element.checkVisibility());
window.until = async look => {
    const pause = () => new Promise(done => setTimeout(done, 50));
    for (const end = Date.now() + 30000; Date.now() < end; await pause()) if (look()) return look();
    throw 'not within 30 s';
};
"""


@contextmanager
def started(command, announcement):
    """A process that ends with the block; yields what it announces on standard error."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    alarm = threading.Timer(60, process.kill)
    alarm.start()
    try:
        found = next(filter(None, (re.search(announcement, line) for line in process.stderr)), None)
        assert found, f"{command} ended, or said nothing for 60 s"
        alarm.cancel()
        yield found[1]
    finally:
        alarm.cancel()
        process.terminate()
        process.communicate(timeout=30)


class Page:
    """One page of the browser, over its debugging protocol."""

    def __init__(self, port, pictures):
        with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            (address,) = (target["webSocketDebuggerUrl"] for target in json.load(answer) if target["type"] == "page")
        self.socket = websocket.create_connection(address, suppress_origin=True, timeout=60)
        self.pictures = pictures
        self.numbers = itertools.count(1)
        self.ask("Page.enable")
        self.ask("Page.addScriptToEvaluateOnNewDocument", source=DEEP)

    def ask(self, method, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != number:
            pass
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def value(self, expression):
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, expression):
        """The expression's value once it is one, at most 30 s later."""
        return self.value(f"until(() => {expression})")

    def box(self, element):
        """Left, top, right and bottom, in pixels."""
        return self.value(
            f"(box => [box.left, box.top, box.right, box.bottom].map(Math.round))(({element}).getBoundingClientRect())"
        )

    def picture(self, name):
        """Keep what is seen, and return it: (H, W, 3)."""
        png = base64.b64decode(self.ask("Page.captureScreenshot")["data"])
        (self.pictures / f"{name}.png").write_bytes(png)
        return numpy.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)

    def drawn(self, element, name):
        """Keep a picture once there are coloured lines in the element, a canvas whose content only a picture shows."""
        left, top, right, bottom = self.box(element)
        for _ in range(100):
            seen = self.picture(name)[top:bottom, left:right]
            if (numpy.ptp(seen, axis=2) > 80).sum() > 200:
                return
        raise AssertionError(f"{name}: no line is drawn in {seen.shape}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pictures = Path(os.environ.get("TENSORBOARD_SCREENSHOTS") or tmp_path_factory.mktemp("pictures")).absolute()
    pictures.mkdir(parents=True, exist_ok=True)
    # Without a sandbox, as root has none to use; the pages are our own.
    flags = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--log-level=3",
        "--remote-debugging-port=0",
        "--window-size=1600,1200",
    )
    with started(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "about:blank"],
        r" ws://127.0.0.1:(\d+)/",
    ) as port:
        yield Page(port, pictures)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A folder of runs: a sweep of four, and one that was killed after its only checkpoint and resumed."""
    folder = tmp_path_factory.mktemp("runs")
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *SWEEP], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    # A rate that moves no weight: the first evaluation stays the best one, and step 20 the only one to resume from.
    words = (
        "model=mlp",
        "model.hidden=[8]",
        "optimizer.lr=1e-30",
        "epochs=100",
        "save_every=100ep",
        "log_every=10",
        "threads=1",
        "device=cpu",
    )
    killed = subprocess.Popen(
        [sys.executable, "-m", "trainer", *words, "output=killed"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    with killed.stdout:
        assert any(line.startswith("epoch   4/") for line in killed.stdout)
        killed.kill()
    assert killed.wait(timeout=60) == -signal.SIGKILL
    (run,) = (path.parent for path in (folder / "killed").rglob("config.yaml"))
    done = subprocess.run(
        [sys.executable, "-m", "trainer", f"resume={run}"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "resumed after step 20 of 2,000" in done.stdout, done.stdout + done.stderr
    return folder


@contextmanager
def tensorboard(logdir, *flags):
    command = (
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(logdir),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        *flags,
    )
    with started(command, r" at (http://\S+?/) ") as address:
        yield address


@pytest.fixture(scope="module")
def sweep(outputs, browser):
    """The sweep's runs by the names TensorBoard gives them, and a way to open a tab."""
    runs = {
        str(path.parent.relative_to(outputs / "outputs")): path.parent
        for path in (outputs / "outputs").rglob("summary.json")
    }
    with tensorboard(outputs / "outputs") as address:

        def show(tab):
            browser.ask(
                "Page.navigate", url="about:blank"
            )  # else only the fragment changes, and nothing is loaded anew
            browser.ask("Page.navigate", url=f"{address}#{tab}")
            return browser

        yield runs, show


def last(run, split):
    return [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if row["split"] == split][
        -1
    ]


def parts(runs, *splits):
    return {f"{name}/{split}" for name in runs for split in splits}


def test_time_series_draws_train_val_and_test_of_all_runs_on_one_chart_with_no_setting(sweep):
    runs, show = sweep
    page = show("timeseries")
    groups = page.wait(
        r"(all => all.length > 7 && all.map(one => one.innerText.replace(/\d+ cards/, '').trim()))"
        "(deep('metrics-card-group-toolbar'))"
    )
    assert groups == ["accuracy", "first_batch", "grad_norm", "hparams", "loss", "lr", "throughput", "update_ratio"]
    listed = page.value(
        "deep('runs-data-table tb-data-table-content-cell.table-column-run').map(cell => cell.innerText)"
    )
    assert set(listed) == parts(runs, "train", "val", "test") | set(runs)  # no sub-run for the hparams
    for tag in ("accuracy", "loss"):
        group = f"deep('metrics-card-group-toolbar').find(one => one.innerText.trim() == '{tag}')"
        card = f"deep('scalar-card').find(card => card.innerText.trim().startsWith('{tag}'))"
        page.value(f"{group}.scrollIntoView(); if (!{card}) deep('button', {group})[0].click()")
        cells = (
            f"deep('tb-data-table-content-row', {card})"
            ".map(row => deep('tb-data-table-content-cell', row).map(cell => cell.innerText.trim()))"
        )
        rows = page.wait(f"{card} && (rows => rows.length > 11 && rows)({cells})")
        page.drawn(f"deep('canvas', {card})[0]", f"time_series_{tag}")
        shown = {name: (float(value), step) for _, name, _, value, step, *_ in rows}
        assert set(shown) == parts(runs, "train", "val", "test") and len(rows) == 12
        for name, run in runs.items():
            for split in ("train", "val", "test"):
                assert shown[f"{name}/{split}"] == (
                    pytest.approx(last(run, split)[tag], abs=6e-5),
                    "60",
                )  # four decimals; 3 ceil(1259 / 64) updates


def test_scalars_draw_a_line_for_train_and_val_of_each_run_on_one_chart(sweep):
    runs, show = sweep
    page = show("scalars")
    card = "deep('tf-scalar-card').find(card => card.tag == 'accuracy')"
    page.wait(f"{card} && deep('path.line', {card}.shadowRoot).length")
    left, top, right, bottom = page.box(
        f"deep('svg', {card}.shadowRoot).sort((a, b) => b.clientWidth - a.clientWidth)[0]"
    )
    page.ask("Input.dispatchMouseEvent", type="mouseMoved", x=left + 0.8 * (right - left), y=(top + bottom) / 2)
    rows = page.wait("(rows => rows.length > 7 && rows)(deep('tr').map(row => row.innerText.trim().split('\\t')))")
    page.picture("scalars")
    assert (
        parts(runs, "train", "val") <= {row[0] for row in rows} <= parts(runs, "train", "val", "test")
    )  # a lone test point may be out of view


def test_hparams_has_a_row_for_every_job_with_its_decisions_and_metrics(sweep):
    runs, show = sweep
    page = show("hparams")
    page.wait("deep('.metric-checkbox').length > 5 && deep('tr').length > 4")
    page.picture("hparams")
    page.value("deep('.hparam-checkbox, .metric-checkbox').filter(box => !box.checked).forEach(box => box.click())")
    boxes = page.value("deep('.hparam-checkbox, .metric-checkbox').map(box => box.innerText.trim())")
    cells = (
        "deep('tr').map(row => [...row.querySelectorAll('slot')]"
        ".map(slot => slot.assignedNodes().map(node => node.innerText).join('')))"
    )
    head, *rows = page.wait(
        f"(rows => rows.length > 4 && rows.every(row => row.length > {len(boxes)}) && rows)({cells})"
    )
    page.picture("hparams_all")
    table = {row[0]: dict(zip(head[2:], row[2 : len(head)])) for row in rows}
    assert set(table) == set(runs) and len(rows) == 4 and set(head[2:]) == set(boxes)
    groups = {*catalog.groups()}
    assert groups | {"seed", "epochs", "batch_size", "lr", "overrides"} <= set(boxes) and len(groups) >= 19
    for name, run in runs.items():
        row = table[name]
        assert not set(row.values()) & {"", "None", "null", "NaN", "undefined"}
        told = json.loads((run / "summary.json").read_text())
        for when, scores in {"final": told["final"]["val"], "best": told["best"], "test": told["test"]}.items():
            for metric in ("loss", "accuracy"):
                assert float(row[f"hparams/{when}_{metric}"]) == pytest.approx(
                    scores[metric], rel=1e-4
                )  # five digits are shown
        typed = dict(word.split("=", 1) for word in (run / "overrides.txt").read_text().split())
        assert (row["model"], row["optimizer"]) == ("mlp", typed["optimizer"])
        assert (float(row["seed"]), float(row["epochs"]), row["batch_size"]) == (float(typed["seed"]), 3, "64")


def test_images_show_the_first_batch_and_text_what_was_typed_and_its_configuration(sweep):
    runs, show = sweep
    page = show("images")
    sizes = page.wait(
        "(all => all.length > 3 && all.every(one => one[0]) && all)"
        "(deep('img').map(one => [one.naturalWidth, one.naturalHeight]))"
    )
    page.picture("images")
    assert (
        sizes == [[8 * (8 + 2), 4 * (8 + 2)]] * 4
    )  # 8 columns and 4 rows of digits of 8 x 8, a frame of one pixel round each
    page = show("text")
    texts = page.wait("(all => all.length > 3 && all.map(one => one.innerText))(deep('pre'))")
    page.picture("text")
    by_words = {text.strip().partition("\n")[0]: text.splitlines() for text in texts}
    for run in runs.values():
        told = by_words.pop(" ".join(["train", *(run / "overrides.txt").read_text().split()]))
        assert set((run / "config.yaml").read_text().splitlines()) <= set(told)
    assert not by_words


@pytest.mark.parametrize("fast", ["true", "false"])  # TensorBoard has two readers
def test_a_run_that_was_killed_and_resumed_has_every_point_once(fast, outputs, browser):
    with tensorboard(outputs / "killed", f"--load_fast={fast}") as address:
        browser.ask("Page.navigate", url=f"{address}#timeseries")
        browser.wait("deep('scalar-card canvas').length && deep('scalar-card tb-data-table-content-row').length > 2")
        browser.drawn("deep('scalar-card canvas')[0]", f"resumed_{fast}")
        names = browser.value("fetch('data/runs').then(answer => answer.json())")
        for split, tag, steps in (("train", "loss", 10), ("val", "loss", 20), ("", "lr", 10)):
            name = min(
                name for name in names if name.endswith(split)
            )  # without a split the shortest, which is the run's own
            points = browser.value(
                f"fetch('data/plugin/scalars/scalars?tag={tag}&run={quote(name)}').then(answer => answer.json())"
            )
            assert [step for _, step, _ in points] == list(range(steps, 2001, steps)), split

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

SCORES = ["accuracy", *(f"hparams/{when}_{name}" for when in ("best", "test") for name in ("accuracy", "loss")), "loss"]
GRID = (
    *("-m", "model=linear", "epochs=2", "threads=1", "device=cpu", "sched=constant,cosine"),
    *("optimizer=sgd,momentum,adam", "optimizer.lr=0.1,0.01,0.001", "hydra.sweep.dir=eighteen"),
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
    for (const end = Date.now() + 60000; Date.now() < end; await pause()) if (look()) return look();
    throw 'not within 60 s';
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
        self.socket = websocket.create_connection(address, suppress_origin=True, timeout=90)
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
        """The expression's value once it is one, at most 60 s later."""
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


@pytest.fixture(scope="module")
def eighteen(tmp_path_factory):
    """A sweep of 18 jobs without seeds."""
    folder = tmp_path_factory.mktemp("grid")
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *GRID], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder / "eighteen"


@pytest.fixture(scope="module")
def hundred(eighteen, tmp_path_factory):
    """A hundred jobs: copies of those eighteen, under the names that a larger grid would give them."""
    folder, names = tmp_path_factory.mktemp("hundred"), sorted(path.parent for path in eighteen.glob("*/config.yaml"))
    for number in range(100):
        source = names[number % 18]
        shutil.copytree(source, folder / f"{source.name}+batch_size-{2 ** (number // 18)}")
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


def means(runs):
    """Each setting's mean over its two seeds, by the name of its run, with the runs behind it."""
    found = {}
    for name, run in runs.items():
        place, _, job = name.rpartition("/")
        found.setdefault(f"{place}/MEAN of {job.partition('+')[0]}", []).append(run)
    return found


def test_time_series_draws_train_and_val_of_all_runs_and_means_on_one_chart_with_no_setting(sweep):
    runs, show = sweep
    page = show("timeseries")
    groups = page.wait(
        r"(all => all.length > 8 && all.map(one => one.innerText.replace(/\d+ cards/, '').trim()))"
        "(deep('metrics-card-group-toolbar'))"
    )
    own = ["accuracy", "first_batch", "grad_norm", "hparams", "loss", "lr", "param_norm", "throughput", "update_ratio"]
    assert groups == [*own, "within_std"]
    listed = page.value(
        "deep('runs-data-table tb-data-table-content-cell.table-column-run').map(cell => cell.innerText)"
    )
    assert set(listed) == parts({**runs, **means(runs)}, "train", "val")  # none for hparams or test
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
        assert set(shown) == set(listed) and len(rows) == 12
        for name, behind in {**{name: [run] for name, run in runs.items()}, **means(runs)}.items():
            for split in ("train", "val"):
                mean = sum(last(run, split)[tag] for run in behind) / len(behind)
                assert shown[f"{name}/{split}"] == (
                    pytest.approx(mean, abs=6e-5),
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
    assert {row[0] for row in rows} == parts({**runs, **means(runs)}, "train", "val")


def test_custom_scalars_draw_the_band_of_each_mean(sweep):
    runs, show = sweep
    page = show("custom_scalars")
    charts = "deep('tf-custom-scalar-margin-chart-card')"
    page.wait(f"{charts}.length == 2 && deep('path.line').length && deep('path.area').length")
    page.picture("custom_scalars")
    bands = page.value("deep('path.area').filter(one => one.getAttribute('d').length > 20).length")
    assert bands >= 2 * len(parts(means(runs), "val"))  # of two metrics


def test_hparams_has_a_row_for_every_job_with_its_decisions_and_metrics(sweep):
    runs, show = sweep
    page = show("hparams")
    page.wait("deep('.metric-checkbox').length > 5 && deep('tr').length > 4")
    opened = page.value("deep('.hparam-checkbox, .metric-checkbox').map(box => box.innerText.trim())")
    assert opened == ["optimizer", "seed", *SCORES]
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
    assert set(table) == parts(runs, "val") and len(rows) == 4 and set(head[2:]) == set(boxes)
    for name, run in runs.items():
        row = table[f"{name}/val"]
        assert not set(row.values()) & {"", "None", "null", "NaN", "undefined"}
        told = json.loads((run / "summary.json").read_text())
        for when, scores in {
            "": told["final"]["val"],
            "hparams/best_": told["best"],
            "hparams/test_": told["test"],
        }.items():
            for metric in ("loss", "accuracy"):
                assert float(row[f"{when}{metric}"]) == pytest.approx(scores[metric], rel=1e-4)  # five digits are shown
        typed = dict(word.split("=", 1) for word in (run / "overrides.txt").read_text().split())
        assert (row["optimizer"], float(row["seed"])) == (typed["optimizer"], float(typed["seed"]))


def test_images_show_the_first_batch_and_text_what_was_typed_and_its_configuration(sweep):
    runs, show = sweep
    page = show("images")
    sizes = page.wait(
        "(all => all.length > 3 && all.every(one => one[0]) && all)"
        "(deep('img').map(one => [one.naturalWidth, one.naturalHeight]))"
    )
    page.picture("images")
    assert sizes == [[4 * (9 * 8 + 4), 4 * (9 * 8 + 14 + 4)]] * 4  # 4 x 4 digits of 8 x 8, enlarged, and their classes
    page = show("text")
    texts = page.wait("(all => all.length > 3 && all.map(one => one.innerText))(deep('pre'))")
    page.picture("text")
    configurations = [text for text in texts if "\n" in text.strip()]  # the commands of verdicts are one line
    by_words = {text.strip().partition("\n")[0]: text.splitlines() for text in configurations}
    for run in runs.values():
        told = by_words.pop(" ".join(["train", *(run / "overrides.txt").read_text().split()]))
        assert set((run / "config.yaml").read_text().splitlines()) <= set(told)
    assert not by_words


@pytest.mark.parametrize("fast", ["true", "false"])  # TensorBoard has two readers
def test_a_run_that_was_killed_and_resumed_has_every_point_once(fast, outputs, browser):
    with tensorboard(outputs / "killed", f"--load_fast={fast}") as address:
        browser.ask("Page.navigate", url=f"{address}#timeseries")
        browser.wait("deep('scalar-card canvas').length && deep('scalar-card tb-data-table-content-row').length > 1")
        browser.drawn("deep('scalar-card canvas')[0]", f"resumed_{fast}")
        names = browser.value("fetch('data/runs').then(answer => answer.json())")
        assert len(names) == 2
        logged = sorted({1, 2, 4, 8, 16, 32, 64, *range(10, 2001, 10)})
        for split, tag, steps in (
            ("train", "loss", logged),
            ("val", "loss", [*range(0, 2001, 20)]),
            ("train", "lr", logged),
        ):
            (name,) = (name for name in names if name.endswith(split))
            points = browser.value(
                f"fetch('data/plugin/scalars/scalars?tag={tag}&run={quote(name)}').then(answer => answer.json())"
            )
            assert [step for _, step, _ in points] == steps, split


RUN_NAMES = "deep('runs-data-table tb-data-table-content-cell.table-column-run')"
IMAGES = "deep('img').filter(one => one.naturalWidth > 100)"


@contextmanager
def opened(browser, logdir, tab):
    """A tab of a TensorBoard of its own."""
    with tensorboard(logdir) as address:
        browser.ask("Page.navigate", url="about:blank")
        browser.ask("Page.navigate", url=f"{address}#{tab}")
        yield browser


def test_eighteen_jobs_are_thirty_six_rows_whose_names_begin_with_what_varies_and_take_two_lines(eighteen, browser):
    with opened(browser, eighteen, "timeseries") as page:
        names = page.wait(f"(all => all.length > 35 && all.map(cell => cell.innerText.trim()))({RUN_NAMES})")
        page.picture("eighteen_time_series")
        jobs = [path.parent.name for path in eighteen.glob("*/config.yaml")]
        assert len(jobs) == 18 and sorted(names) == sorted(parts(jobs, "train", "val"))
        assert {name.partition("+")[0] for name in names} == {"constant", "cosine"}
        lines = page.value(
            f"{RUN_NAMES}.map(cell => {{ const text = document.createRange(); text.selectNodeContents(cell);"
            "const boxes = [...text.getClientRects()].filter(one => one.width);"
            "return new Set(boxes.map(one => Math.round(one.top))).size })"
        )
        assert max(lines) <= 2


@pytest.mark.parametrize("tab, content", [("images", IMAGES), ("text", "deep('pre')")])
def test_images_and_text_of_eighteen_jobs_open_with_all_selected(tab, content, eighteen, browser):
    with opened(browser, eighteen, tab) as page:
        assert page.wait(f"(all => all.length > 11 && all.length)({content})") == 12  # a page
        page.picture(f"eighteen_{tab}")


@pytest.mark.parametrize("count", ["eighteen", "hundred"])
def test_parallel_coordinates_open_with_what_varies_and_a_line_for_every_job(count, request, browser):
    folder = request.getfixturevalue(count)
    jobs = len([*folder.glob("*/config.yaml")])
    with opened(browser, folder, "hparams") as page:
        page.wait("deep('tr').length > 18")
        page.value("deep('paper-tab').find(tab => /PARALLEL/i.test(tab.innerText)).click()")
        page.wait(f"deep('.foreground path').length == {jobs}")
        page.picture(f"{count}_parallel_coordinates")
        assert page.value("deep('.axis-title').map(one => one.textContent)") == [
            "optimizer",
            "optimizer.lr",
            "sched",
            *SCORES[:5],
        ]
        rate = "deep('paper-radio-button').find(one => one.id == 'logScaleButton_optimizer.lr')"
        assert not page.value(f"{rate}.disabled")  # a number: TensorBoard lets the user choose the axis
        page.value(f"{rate}.click()")
        axis = "deep('.axis').find(one => one.textContent.includes('optimizer.lr')).textContent"
        page.wait(f"/1e-3|0.001/.test({axis})")
        page.picture(f"{count}_parallel_coordinates_log")


def test_a_hundred_jobs_show_curves_and_images_with_no_setting(hundred, browser):
    with opened(browser, hundred, "timeseries") as page:
        page.wait(f"{RUN_NAMES}.length > 99")
        card = "deep('scalar-card').find(card => card.innerText.trim().startsWith('accuracy'))"
        page.wait(f"{card} && deep('canvas', {card}).length")
        page.drawn(f"deep('canvas', {card})[0]", "hundred_time_series")
        group = "deep('metrics-card-group-toolbar').find(one => one.innerText.trim().startsWith('first_batch'))"
        page.wait(f"{group} && true")
        page.value(f"{group}.scrollIntoView()")
        page.wait(f"{IMAGES}.length")
        page.picture("hundred_time_series_images")
        assert "100 cards" in page.value(f"{group}.innerText")


@pytest.mark.parametrize("tab, content", [("images", IMAGES), ("text", "deep('pre')")])
def test_a_hundred_jobs_show_images_and_text_once_all_runs_are_toggled(tab, content, hundred, browser):
    with opened(browser, hundred, tab) as page:
        page.wait("deep('#toggle-all').length && deep('paper-checkbox').length > 99")
        page.value("deep('#toggle-all')[0].click()")
        assert page.wait(f"(all => all.length > 11 && all.length)({content})") == 12  # a page
        page.picture(f"hundred_{tab}")


def test_a_folder_with_sweeps_and_single_runs_has_a_line_for_every_run(eighteen, outputs, browser, tmp_path):
    shutil.copytree(eighteen, tmp_path / "a")
    shutil.copytree(next((outputs / "outputs" / "sweeps").glob("*/*")), tmp_path / "b")
    shutil.copytree(outputs / "killed", tmp_path / "c")
    with opened(browser, tmp_path, "hparams") as page:
        page.wait("deep('tr').length > 18")
        page.picture("mixed_table")
        page.value("deep('paper-tab').find(tab => /PARALLEL/i.test(tab.innerText)).click()")
        page.wait("deep('.foreground path').length == 18 + 4 + 1")
        page.picture("mixed_parallel_coordinates")


def test_one_run_has_two_rows(outputs, browser):
    with opened(browser, outputs / "killed", "timeseries") as page:
        names = page.wait(f"(all => all.length > 1 && all.map(cell => cell.innerText.trim()))({RUN_NAMES})")
        page.picture("one_time_series")
        assert sorted(name.rpartition("/")[2] for name in names) == ["train", "val"]

"""The report in a real browser: Chromium, headless. Without it these tests are skipped."""

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from samfleet.cells import read_csv
from samfleet.evaluation.marks import read_marks
from samfleet.results import filtering_file, report_file, summary_file
from tests.filter_cases import CASES, for_javascript, in_python
from tests.reported import Collection

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="Chromium is not installed (Debian: apt install chromium chromium-driver)",
    ),
]
HOSTILE = "<img src=x onerror=document.title='attacked'>.png"
RIGHT = [(24, 30, 12, 200), (60, 96, 13, 180)]
WRONG = [(76, 20, 5, 60), (20, 100, 6, 50)]


@pytest.fixture(scope="session")
def downloads(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def browser(downloads) -> Iterator[Any]:
    """A browser that notes what it is asked for and what its console says."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1300,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def collection(tmp_path_factory) -> Collection:
    """Two images with two good and two bad objects each, one that failed, and names that are markup."""
    collection = Collection(tmp_path_factory.mktemp("collection"))
    for name in ("plate_A01.png", HOSTILE):
        collection.add(name, *RIGHT, *WRONG)
    collection.add("plate_B02.png", (30, 30, 10, 90), (34, 34, 10, 95))
    collection.add("bad.png", status="error", reason="<b id=markup>why</b>")
    collection.report()
    return collection


def opened(browser: Any, collection: Collection) -> Any:
    """A fresh page of the report, without marks of other tests."""
    browser.get_log("browser")
    browser.get(report_file(collection.results).resolve().as_uri())
    wait_for(browser, "return document.documentElement.dataset.ready")
    browser.execute_script(
        "localStorage.clear(); samfleet.explorer.marks.clear(); samfleet.explorer.marksChanged()"
    )
    settle(browser)
    return browser


@pytest.fixture
def page(browser, collection):
    return opened(browser, collection)


def wait_for(browser: Any, script: str) -> Any:
    for _ in range(600):
        if value := browser.execute_script(script):
            return value
        time.sleep(0.05)
    raise AssertionError(f"never: {script}; console: {browser.get_log('browser')}")


def settle(browser: Any) -> None:
    """Wait until what was asked for is drawn."""
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
    )


def text_of(browser: Any, selector: str) -> str:
    return browser.execute_script(
        "return document.querySelector(arguments[0]).textContent", selector
    )


def set_filter(browser: Any, key: str, value: object) -> None:
    """Type a limit, as a user does."""
    browser.execute_script(
        "const input = document.getElementById(`filter-${arguments[0]}`);"
        "input.value = arguments[1]; input.dispatchEvent(new Event('change'))",
        *(key, str(value)),
    )
    settle(browser)


def open_picture(browser: Any, image: str) -> None:
    browser.execute_script(
        "[...document.querySelectorAll('.tile')].find((tile) => tile.title === arguments[0]).click()",
        image,
    )
    settle(browser)


def click_outline(browser: Any, candidate: int) -> None:
    browser.execute_script(
        "document.querySelector(`#stage path[data-candidate='${arguments[0]}']`)"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))",
        candidate,
    )
    settle(browser)


def in_the_page(browser: Any, case: dict[str, Any]) -> tuple[list[int], list[str | None]]:
    """What `in_python` returns, by the page's scripts."""
    result = browser.execute_script(
        """
        const {raw, filters, settings} = JSON.parse(arguments[0]);
        const {kept, failed} = samfleet.applyFilters(samfleet.prepare(raw, filters), settings);
        return [[...kept.keys()].filter((index) => kept[index]), [...failed].map((place) => filters[place].key)];
        """,
        json.dumps(for_javascript(case)),
    )
    return result[0], [None if name == "max_overlap" else name for name in result[1]]


def test_the_page_filters_as_the_table_says(page):
    for case in CASES:
        assert in_the_page(page, case) == (case["kept"], case["dropped_by"]), case["name"]


def random_case(source: random.Random) -> dict[str, Any]:
    """Candidates with few different values, so that limits are met and scores are equal."""
    count = source.randint(0, 12)
    candidates = [
        {
            "predicted_iou": source.choice([0.7, 0.8, 0.9]),
            "stability_score": source.choice([0.8, 0.9]),
            "area": source.choice([50, 100, 150]),
            "intensity_mean": source.choice([None, 8.0, 8.1, 8.2]),
            "contrast": source.choice([None, -1.0, 0.0, 0.1 + 0.2]),
            "circularity": source.choice([None, 0.7, 0.9]),
            "touches_edge": source.random() < 0.2,
        }
        for _ in range(count)
    ]
    pairs = [
        [first, second, source.choice([1, 25, 50, 51, 75])]
        for first in range(count)
        for second in range(first + 1, count)
        if source.random() < 0.4
    ]
    settings = {
        "min_predicted_iou": source.choice([None, 0.8]),
        "min_stability_score": source.choice([None, 0.9]),
        "min_area": source.choice([0, 100]),
        "max_area": source.choice([100, 1000]),
        "min_mean_intensity": source.choice([0, 8.1]),
        "min_contrast": source.choice([None, 0, 0.3]),
        "min_circularity": source.choice([None, 0.9]),
        "exclude_edge": source.random() < 0.5,
        "max_overlap": source.choice([0, 0.5, 1]),
    }
    return {"candidates": candidates, "pairs": pairs, "settings": settings}


def test_page_and_summary_agree_on_random_candidates(page):
    source = random.Random(0)
    for case in (random_case(source) for _ in range(300)):
        assert in_the_page(page, case) == in_python(case), case


def test_the_page_opens_in_two_seconds_asks_for_nothing_and_reports_no_error(browser, collection):
    browser.get("about:blank")
    browser.get_log("performance")
    start = time.perf_counter()
    page = opened(browser, collection)
    assert time.perf_counter() - start < 10  # two seconds on a machine that has nothing else to do
    page.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    open_picture(page, "plate_A01.png")
    sent = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [
        each["params"]["request"]["url"]
        for each in sent
        if each["method"] == "Network.requestWillBeSent"
    ]
    assert {address.split(":")[0] for address in asked} <= {"file", "data", "blob"}
    assert sum(address.startswith("file:") for address in asked) == 1
    assert page.get_log("browser") == []


def test_what_the_page_may_not_do_fails(page):
    blocked = page.execute_async_script(
        """
        const done = arguments[0];
        const seen = [];
        document.addEventListener('securitypolicyviolation', ({effectiveDirective}) => seen.push(effectiveDirective));
        const script = document.createElement('script');
        script.textContent = "document.title = 'attacked'";
        document.body.append(script);
        const image = new Image();
        image.src = 'http://127.0.0.1:9/x.png';
        fetch('http://127.0.0.1:9/').catch(() => 0).then(() => setTimeout(() => done(seen), 200));
        """
    )
    assert {"connect-src", "img-src"} <= set(blocked)
    assert any(directive.startswith("script-src") for directive in blocked)
    assert page.title == "images · samfleet report"


def test_a_hostile_name_stays_text_everywhere(page):
    open_picture(page, HOSTILE)
    assert text_of(page, "#viewer-title") == HOSTILE
    assert page.execute_script(
        "return [...document.querySelectorAll('.tabulator-cell')].some((cell) => cell.textContent === arguments[0])",
        HOSTILE,
    )
    assert (
        page.execute_script("return document.querySelectorAll('img[src=x], #markup').length") == 0
    )
    assert "<b id=markup>why</b>" in text_of(page, "#failures")
    assert page.title == "images · samfleet report"


def test_limits_change_the_counts_and_the_outlines_and_can_be_taken_back(page):
    page.execute_script("document.getElementById('gallery').scrollIntoView()")
    wait_for(page, "return document.querySelector('.tile path.kept')")
    assert text_of(page, "#kept") == "9"
    before = page.execute_script(
        "return document.querySelector('.tile path.kept').getAttribute('d')"
    )
    set_filter(page, "min_mean_intensity", 100)
    assert text_of(page, "#kept") == "4"
    assert text_of(page, "#change") == "5 dropped, 0 new"
    after = page.execute_script(
        "return document.querySelector('.tile path.kept').getAttribute('d')"
    )
    assert after != before and after.count("z") == 2
    assert (
        page.execute_script(
            "return document.querySelector('.tile path.gone').getAttribute('d')"
        ).count("z")
        == 2
    )
    page.execute_script("document.getElementById('reset').click()")
    settle(page)
    assert text_of(page, "#kept") == "9"
    assert text_of(page, "#change") == "as in this run"


def test_a_slider_sets_the_limit_and_its_start_turns_it_off(page):
    move = (
        "const slider = document.querySelector(`[aria-label='Predicted IoU, at least']`);"
        "slider.value = arguments[0]; slider.dispatchEvent(new Event('input'))"
    )
    page.execute_script(move, 400)
    settle(page)
    assert page.execute_script("return samfleet.explorer.settings.min_predicted_iou") > 0
    page.execute_script(move, 0)
    settle(page)
    assert page.execute_script("return samfleet.explorer.settings.min_predicted_iou") is None


@pytest.mark.parametrize(
    "limits",
    [
        {"min_mean_intensity": 100},
        {"min_area": 100, "max_area": 500, "max_overlap": 0.1},
        {"min_mean_intensity": 70.5, "min_contrast": 75, "max_overlap": 0.9},
        {"max_overlap": 0.0, "min_stability_score": 0.5, "min_area": 300},
    ],
)
def test_the_yaml_gives_the_summary_these_counts_exactly(browser, tmp_path, limits):
    collection = Collection(tmp_path)
    for name in ("a.png", "b.png"):
        collection.add(name, *RIGHT, *WRONG, (30, 34, 11, 190))
    (collection.images / "copy.png").write_bytes((collection.images / "a.png").read_bytes())
    collection.report()
    page = opened(browser, collection)
    for key, value in limits.items():
        set_filter(page, key, value)
    promised = int(text_of(page, "#kept"))
    dropped = page.execute_script(
        "const {explorer} = samfleet; return explorer.data.filters.map(({key}, place) => [key, explorer.count("
        "explorer.result.failed.map((failed, index) => failed === place && !explorer.result.kept[index]))])"
    )
    section = yaml.safe_load(text_of(page, "#yaml"))["fluorescence"]
    usual = {
        "min_area": 1500,
        "min_mean_intensity": 8.1,
    }  # what `Collection.settings` would set otherwise
    collection.summarize(fluorescence=usual | section)
    assert (
        sum(int(row["n_objects"]) for row in read_csv(summary_file(collection.results))) == promised
    )
    counts = {
        row["filter"]: int(row["count"]) for row in read_csv(filtering_file(collection.results))
    }
    assert {key: counts[key] for key, _ in dropped} == dict(dropped)
    assert 0 < promised < 15


def test_marks_propose_thresholds_that_separate_them(page):
    open_picture(page, "plate_A01.png")
    for candidate in (0, 1):
        click_outline(page, candidate)
    assert page.execute_script("return document.getElementById('propose').disabled")
    for candidate in (2, 2, 3, 3):
        click_outline(page, candidate)
    assert "keep 2 of 2 right and drop 0 of 2 wrong" in text_of(page, "#marks-account")
    page.execute_script(
        "document.getElementById('viewer').close(); document.getElementById('propose').click()"
    )
    settle(page)
    assert "keeps 2 of 2 right, drops 2 of 2 wrong" in text_of(page, "#proposal")
    assert "keep 2 of 2 right and drop 2 of 2 wrong" in text_of(page, "#marks-account")
    kept = page.execute_script(
        "return [...samfleet.explorer.result.kept.subarray(...(({start, count}) => [start, start + count])"
        "(samfleet.explorer.data.gallery.find(({image}) => image === 'plate_A01.png')))]"
    )
    assert kept == [1, 1, 0, 0]


def test_a_third_click_takes_a_mark_away_and_the_keyboard_marks_too(page):
    open_picture(page, "plate_A01.png")
    for _ in range(3):
        click_outline(page, 0)
    assert page.execute_script("return samfleet.explorer.marks.size") == 0
    page.execute_script("document.querySelector('#object-rows button.no').focus()")
    page.switch_to.active_element.send_keys(" ")
    settle(page)
    assert page.execute_script("return [...samfleet.explorer.marks.values()]") == [False]
    label = page.switch_to.active_element.get_attribute("aria-label")
    assert label.endswith("wrong")  # the focus stays where it was


def test_marks_are_saved_loaded_and_read_by_the_evaluation(page, downloads, tmp_path):
    open_picture(page, "plate_A01.png")
    for candidate in (0, 2, 2):
        click_outline(page, candidate)
    page.execute_script(
        "document.getElementById('viewer').close(); document.getElementById('save-marks').click()"
    )
    path = downloads / "marks.json"
    for _ in range(200):
        if path.exists():
            break
        time.sleep(0.05)
    marks = read_marks(path)
    assert {candidate: right for (_, candidate), right in marks.right.items()} == {
        0: True,
        2: False,
    }
    page.execute_script("document.getElementById('clear-marks').click()")
    settle(page)
    page.find_element("id", "marks-file").send_keys(str(path))
    wait_for(page, "return samfleet.explorer.marks.size === 2")
    assert text_of(page, "#proposal") == "2 marks loaded."
    other = tmp_path / "other.json"
    other.write_text(path.read_text().replace(marks.model_key, "another"))
    page.find_element("id", "marks-file").send_keys(str(other))
    wait_for(
        page, "return document.getElementById('proposal').textContent.includes('another model')"
    )
    other.write_text("{}")
    page.find_element("id", "marks-file").send_keys(str(other))
    wait_for(
        page,
        "return document.getElementById('proposal').textContent.includes('not a file of marks')",
    )
    path.unlink()


def test_marks_are_kept_for_the_next_visit_of_this_page_and_of_no_other(
    browser, collection, tmp_path
):
    """Pages on a disk share what a browser keeps, and reports of one model share its key."""
    page = opened(browser, collection)
    open_picture(page, "plate_A01.png")
    click_outline(page, 0)
    marks = "return samfleet.explorer.marks.size"
    page.refresh()
    wait_for(page, "return document.documentElement.dataset.ready")
    assert page.execute_script(marks) == 1
    other = Collection(tmp_path)
    other.add("plate_A01.png", *WRONG)
    other.report()
    page.get(report_file(other.results).resolve().as_uri())
    wait_for(page, "return document.documentElement.dataset.ready")
    assert page.execute_script(marks) == 0


def test_the_table_is_searched_and_sorted(page):
    page.execute_script(
        "const search = document.getElementById('search'); search.value = 'PLATE b02'; search.dispatchEvent(new Event('input'))"
    )
    wait_for(page, "return document.getElementById('found').textContent === '1 found'")
    names = "return samfleet.table.getRows('active').map((row) => row.getData().c0)"
    assert page.execute_script(names) == ["plate_B02.png"]
    page.execute_script(
        "document.getElementById('search').value = ''; document.getElementById('search').dispatchEvent(new Event('input'))"
    )
    wait_for(page, "return samfleet.table.getRows('active').length === 4")
    assert page.execute_script(names)[0] == "bad.png"  # failures first
    page.execute_script("samfleet.table.setSort('c3', 'desc')")
    assert page.execute_script(names)[-1] == "bad.png"


def test_counts_of_a_sample_are_estimates_and_say_so(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("samfleet.report.selection.MOST_CANDIDATES", 8)
    monkeypatch.setattr("samfleet.report.selection.choose_sample.__defaults__", (8,))
    collection = Collection(tmp_path)
    for number in range(4):
        collection.add(f"{number}.png", *RIGHT, *WRONG)
    page = opened(browser, _reported(collection))
    assert text_of(page, "#kept") == "≈\u200916"
    set_filter(page, "min_mean_intensity", 100)
    assert text_of(page, "#kept") == "≈\u20098"
    assert "estimates from 8 of 16 candidates" in text_of(page, "#thresholds")


def _reported(collection: Collection) -> Collection:
    collection.report()
    return collection


@pytest.fixture(params=[390, 1300])
def width(request, browser) -> Iterator[int]:
    """The width of the window, of a phone and of a desktop."""
    size = {"width": request.param, "height": 800, "deviceScaleFactor": 1}
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", size | {"mobile": request.param < 500}
    )
    yield request.param
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_is_wider_than_the_window(width, page):
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


CUT_OFF = """
const words = ".tabulator-col-title, .tabulator-cell, .tile .numbers, .card dt, .card dd, #run td, #run dd";
return [...document.querySelectorAll(words)]
  .filter((element) => element.scrollWidth > element.clientWidth + 1 && element.clientWidth)
  .map((element) => element.textContent);
"""


def test_without_candidates_charts_are_flat(browser, tmp_path):
    collection = Collection(tmp_path)
    collection.add("a.png")
    page = opened(browser, _reported(collection))
    heights = page.execute_script(
        "return [...document.querySelectorAll('.filter .plot rect')].map((bar) => bar.getBBox().height)"
    )
    assert heights and not any(heights)


def test_no_words_and_numbers_are_cut_off(width, browser, tmp_path):
    collection = Collection(tmp_path)
    long = "a_plate_with_a_name_that_says_all_that_is_known_of_it/" * 3
    collection.add(f"{long}a.png", *RIGHT, *WRONG, warning="out of focus, it seems: " * 4)
    collection.add("b.png", status="error", reason="what went wrong is told in many words " * 6)
    page = opened(browser, _reported(collection))
    assert page.execute_script(CUT_OFF) == []
    table = "const table = document.querySelector('.tabulator-tableholder'); return [table.scrollWidth, table.clientWidth]"
    wide, window = page.execute_script(table)
    assert wide <= window or width < 500  # of a phone, the table scrolls
    widths = page.execute_script(
        "const chart = document.querySelector('#stages figure > svg, #stages > div > svg');"
        "return [chart.getBoundingClientRect().width, Number(chart.getAttribute('width'))]"
    )
    assert widths[0] == widths[1]  # letters of a chart that shrinks with its window cannot be read


def test_controls_have_names_and_the_picture_closes_with_escape(page):
    unnamed = page.execute_script(
        """
        const named = (element) => element.getAttribute('aria-label') || element.labels?.length || element.textContent.trim();
        return [...document.querySelectorAll('button, input, select')].filter((element) => !named(element)).map((e) => e.outerHTML);
        """
    )
    assert unnamed == []
    open_picture(page, "plate_A01.png")
    assert page.execute_script("return document.getElementById('viewer').open")
    page.switch_to.active_element.send_keys("\ue00c")
    assert not page.execute_script("return document.getElementById('viewer').open")


def test_the_theme_can_be_switched(page):
    before = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    page.execute_script("document.getElementById('theme').click()")
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") != before

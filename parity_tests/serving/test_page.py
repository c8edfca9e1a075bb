"""The live page, in a real browser: it shows what the service answers, and says plainly when it does not."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from parity_tests.serving.browser import CONTRASTS, Browser, chromium
from parity_tests.serving.live_documents import EMPTY, ODD, READERS, alarmed, document, odd, places, redis_down, without
from parity_tests.serving.page_contents import DASH, MINUS, expected, expected_rows
from parity_tests.serving.page_server import PAGE, PageServer, serving

STATES = {"normal": document(1), "empty": EMPTY, "redis down": redis_down(2), "alarm": alarmed(3), "odd ids": odd(4)}
LOOKS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]

WATCH = """
window.seen = [];
const see = (changes) => changes.forEach((each) => each.addedNodes.forEach((node) => seen.push(node.textContent)));
for (const css of ["#banners", "[data-at=as_of]"])
  new MutationObserver(see).observe(document.querySelector(css), { childList: true });
"""
"""Keeps what the banners and the clock of the page say from now on."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def server() -> Iterator[PageServer]:
    with serving() as started:
        yield started


def shown(browser: Browser, made: dict[str, Any]) -> None:
    """Wait until the page shows a document."""
    browser.wait(lambda: browser.at("as_of").startswith(made["as_of"][:19].replace("T", " ")), "the document is shown")


def assert_shows(browser: Browser, made: dict[str, Any]) -> None:
    """The page shows a document, and nothing else."""
    shown(browser, made)
    assert {place: browser.at(place) for place in expected(made)} == expected(made)
    assert {cells: browser.texts(cells) for cells in expected_rows(made)} == expected_rows(made)
    assert browser.texts("#banners p") == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_the_page_shows_the_values_of_the_answer_and_then_those_of_the_next(
    browser: Browser, server: PageServer, width: int, scheme: str
) -> None:
    server.says(document(1))
    browser.open(server.url, width=width, scheme=scheme)
    assert_shows(browser, document(1))
    browser.run("window.still = true")
    server.says(document(2))
    assert_shows(browser, document(2))
    assert browser.run("return window.still"), "the page was loaded anew"
    assert browser.texts("#profile .changed") == [
        expected(document(2))["reader.clicks_5min"],
        *(f"{value:.2f}" for value in document(2)["reader"]["interest"].values()),
    ]
    assert browser.complaints() == []


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_state_fits_the_window_and_is_easy_to_read(
    browser: Browser, server: PageServer, width: int, scheme: str, state: str, tmp_path: Path
) -> None:
    server.says(STATES[state])
    browser.open(server.url, width=width, scheme=scheme)
    shown(browser, STATES[state])
    needed, given = browser.run("return ['scrollWidth', 'clientWidth'].map((each) => document.documentElement[each])")
    assert needed == given <= width
    contrasts = browser.run(CONTRASTS)
    assert len(contrasts) > 50
    assert min(contrasts)[0] >= 4.5, min(contrasts)
    assert browser.complaints() == []
    browser.keep(str(tmp_path / f"{state} {width} {scheme}.png"))


def test_light_and_dark_are_two_schemes(browser: Browser, server: PageServer) -> None:
    server.says(document(1))
    papers = set()
    for scheme in ("light", "dark"):
        browser.open(server.url, scheme=scheme)
        papers.add(browser.run("return getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2


def test_odd_ids_are_text(browser: Browser, server: PageServer) -> None:
    server.says(odd(4))
    browser.open(server.url)
    shown(browser, odd(4))
    for css in ("#interest .name", "#feed .code", "#variants td", "#legend span", "#psi .name", "#stages td", "#alarm"):
        assert browser.text(css) == ODD
    for place in ("reader.known", "reader.decision_id", "experiment.name", "experiment.sentence", "policy.hash"):
        assert browser.at(place) == ODD
    assert browser.run("return document.getElementById('reader').value") == ODD
    assert browser.run("return document.querySelectorAll('[onclick]').length") == 0
    browser.wait(lambda: server.asked[-1] == ODD, "the reader is asked for by its id, whatever is in it")


def test_any_member_may_be_null(browser: Browser, server: PageServer) -> None:
    """Each poll is asked for by the picker, which does not wait for the second to pass."""
    server.says(EMPTY)
    browser.open(server.url)
    shown(browser, EMPTY)
    for number, place in enumerate(p for p in places(document(1)) if p != ("as_of",)):
        made = without(document(1), place) | {"as_of": f"2026-11-27T{number // 60:02}:{number % 60:02}:00.000000Z"}
        server.says(made)
        browser.run("document.getElementById('reader').dispatchEvent(new Event('change'))")
        shown(browser, made)
        said = browser.text("body")
        assert [word for word in ("null", "undefined", "NaN", "cannot show") if word in said] == [], place
    assert browser.complaints() == []


def test_a_service_without_data_says_what_is_missing(browser: Browser, server: PageServer) -> None:
    server.says(EMPTY)
    browser.open(server.url)
    shown(browser, EMPTY)
    for what in ("interest", "feed", "experiment", "regret", "clicks", "psi", "stages"):
        assert browser.shows(f"#no-{what}"), what
    for what in ("#simulation", "#trial", "#alarm", "#degraded"):
        assert not browser.shows(what), what
    assert browser.at("reader.clicks_5min") == browser.at("policy.hash") == DASH


def test_redis_that_is_down_is_said_in_a_banner_until_it_is_back(browser: Browser, server: PageServer) -> None:
    server.says(redis_down(2))
    browser.open(server.url)
    shown(browser, redis_down(2))
    browser.wait(lambda: browser.texts("#banners p"), "a banner is shown")
    assert browser.text("#banners p").startswith("Redis is down.")
    assert browser.text("#degraded").startswith("Without features")
    assert browser.text("#no-interest") == "The profile could not be read."
    assert [browser.at("health.redis"), browser.at("health.breaker")] == ["down", "open"]
    server.says(document(3))
    browser.wait(lambda: not browser.texts("#banners p"), "the banner is gone")
    assert_shows(browser, document(3))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b"{}", "The service answers with status 500."),
        (200, b"<html>", "The service answers with something that is not JSON."),
        (200, b"[]", "This page cannot show what the service answers"),
        (200, b"null", "This page cannot show what the service answers"),
    ],
)
def test_an_answer_that_is_none_is_said_in_a_banner_and_the_last_one_stays(
    browser: Browser, server: PageServer, status: int, body: bytes, said: str
) -> None:
    server.says(document(1))
    browser.open(server.url)
    shown(browser, document(1))
    server.answer = lambda reader: (status, body)
    browser.wait(lambda: browser.texts("#banners p"), "a banner is shown")
    [banner] = browser.texts("#banners p")
    assert banner.startswith(said)
    assert "what was known at 2026-11-26 12:01:07 UTC" in banner
    assert browser.at("requests") == expected(document(1))["requests"]
    server.says(document(2))
    assert_shows(browser, document(2))


def test_a_key_in_the_address_is_shown_to_the_service_alone(browser: Browser, server: PageServer) -> None:
    server.answer = lambda reader: (401, b"")
    browser.open(server.url)
    browser.wait(lambda: browser.texts("#banners p"), "a banner is shown")
    assert "wants an API key" in browser.text("#banners p")
    server.says(document(1))
    browser.open("about:blank")  # else only what follows # changes, and nothing is loaded
    browser.open(f"{server.url}#key=secret")
    shown(browser, document(1))
    assert server.key == "Bearer secret"


def test_a_service_that_hangs_is_said_in_a_banner(browser: Browser, server: PageServer) -> None:
    server.says(document(1))
    browser.open(server.url)
    shown(browser, document(1))
    over = threading.Event()

    def answer(reader: str) -> dict[str, Any]:
        over.wait(60)
        return document(2)

    server.says(answer)
    browser.wait(lambda: browser.texts("#banners p"), "a banner is shown")
    assert browser.text("#banners p").startswith("The service does not answer.")
    over.set()
    assert_shows(browser, document(2))


def test_a_service_that_is_gone_is_said_in_a_banner_until_it_is_back(browser: Browser) -> None:
    with serving() as first:
        first.says(document(1))
        browser.open(first.url)
        shown(browser, document(1))
    browser.wait(lambda: browser.texts("#banners p"), "a banner is shown")
    assert browser.text("#banners p").startswith("The service does not answer.")
    with serving(first.server_port) as second:
        second.says(document(2))
        assert_shows(browser, document(2))


def test_an_alarm_is_shown_with_its_reason(browser: Browser, server: PageServer) -> None:
    server.says(alarmed(3))
    browser.open(server.url)
    shown(browser, alarmed(3))
    assert browser.text("#alarm") == alarmed(3)["loop"]["alarm"]
    assert browser.at("loop.z") == f"{MINUS}7.2"
    assert browser.at("experiment.sample_ratio_p") == "below 0.001: mismatch"
    assert browser.text("#decided") == "not decided yet"
    assert browser.texts("#psi [data-mood=bad] .name") == ["interest"]
    server.says(document(4))
    browser.wait(lambda: not browser.shows("#alarm"), "the alarm is over")


def test_the_picker_asks_for_another_reader_at_once_and_a_reload_keeps_it(browser: Browser, server: PageServer) -> None:
    server.says(lambda reader: document(1 + READERS.index(reader), reader) if reader else document(1))
    browser.open(server.url)
    shown(browser, document(1))
    Select(browser.driver.find_element(By.ID, "reader")).select_by_value(READERS[2])
    assert_shows(browser, document(3, READERS[2]))
    assert browser.texts(".changed") == [], "another reader's values are no change"
    browser.driver.refresh()
    assert_shows(browser, document(3, READERS[2]))


def test_a_late_answer_for_a_reader_who_is_not_shown_any_more_is_not_shown(
    browser: Browser, server: PageServer
) -> None:
    late = threading.Event()

    def answer(reader: str) -> dict[str, Any]:
        if server.asked.count(READERS[1]) == 1 and reader == READERS[1]:
            late.wait(20)
        return document(1 + READERS.index(reader or READERS[0]), reader or READERS[0])

    server.says(answer)
    browser.open(server.url)
    shown(browser, document(1))
    picker = Select(browser.driver.find_element(By.ID, "reader"))
    picker.select_by_value(READERS[1])
    browser.wait(lambda: READERS[1] in server.asked, "the slow answer is on its way")
    browser.run(WATCH)
    picker.select_by_value(READERS[3])
    shown(browser, document(4))
    late.set()
    before = len(server.asked)
    browser.wait(lambda: len(server.asked) > before + 1, "another answer was shown since")
    assert_shows(browser, document(4, READERS[3]))
    assert browser.run("return seen") == [browser.at("as_of")], "neither the late answer nor a banner was shown between"


def test_the_keyboard_reaches_the_picker_and_its_focus_is_seen(browser: Browser, server: PageServer) -> None:
    server.says(lambda reader: document(1 + READERS.index(reader or READERS[0]), reader or READERS[0]))
    browser.open(server.url)
    shown(browser, document(1))
    browser.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    focused = browser.driver.switch_to.active_element
    assert focused.get_attribute("id") == "reader"
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    focused.send_keys(Keys.ARROW_DOWN)
    assert_shows(browser, document(2, READERS[1]))


def test_a_chart_says_in_words_what_it_draws(browser: Browser, server: PageServer) -> None:
    made = document(1)
    server.says(made)
    browser.open(server.url)
    shown(browser, made)
    labels = [each.get_attribute("aria-label") for each in browser.driver.find_elements(By.CSS_SELECTOR, "[role=img]")]
    low, high = made["experiment"]["interval"]
    regret = ", ".join(f"{name} {values[-1]:.1f}" for name, values in made["simulation"]["regret"].items())
    assert labels == [
        f"Difference +{100 * made['experiment']['difference']:.1f} points, "
        f"always-valid interval from +{100 * low:.1f} points to +{100 * high:.1f} points",
        f"Regret after 4,100 decisions: {regret}",
    ]
    assert browser.run("return document.querySelectorAll('#lines polyline').length") == 2
    names = browser.run(
        "return [...document.querySelectorAll('section')].map((s) => s.getAttribute('aria-labelledby'))"
    )
    assert all(browser.driver.find_elements(By.ID, name) for name in names)


def test_a_line_goes_through_the_values_in_their_order(browser: Browser, server: PageServer) -> None:
    made = document(1)
    made["simulation"] = {"decisions": [100, 200, 300], "regret": {"bandit": [10, 15], "uniform": [10, 20, 30]}}
    server.says(made)
    browser.open(server.url)
    shown(browser, made)
    bandit, uniform = (
        [tuple(map(float, point.split(","))) for point in each.split(" ")]
        for each in browser.run(
            "return [...document.querySelectorAll('#lines polyline')].map((p) => p.getAttribute('points'))"
        )
    )
    assert bandit[:2] == uniform[:2]
    (x0, y0), *_, (x3, y3) = uniform
    assert uniform == [pytest.approx((x0 + (x3 - x0) * n / 3, y0 + (y3 - y0) * n / 3)) for n in range(4)]
    assert bandit[2] == pytest.approx((uniform[2][0], (uniform[1][1] + uniform[2][1]) / 2))
    assert x3 > x0
    assert y3 < y0


def test_the_page_takes_nothing_from_elsewhere_and_makes_no_markup_of_data() -> None:
    written = "".join(file.read_text() for file in PAGE.iterdir())
    for word in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "@import", "https://", "url("):
        assert word not in written
    assert written.count("http://") == 1, "the name of SVG is the only address"

"""The page in a real Chromium, used as a person would: by pointer, by finger and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fcp.report.entries import ReportPicture

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 400, "height": 800}
PATIENCE = 60_000  # ms; a busy machine is slow, and waiting costs nothing where it is not


@pytest.fixture
def visit(browser) -> Iterator[Callable]:
    """Return a function: page's path and what the screen is like → the page.

    At the end nothing may have gone wrong in it, and it may have asked for nothing but itself.
    """
    trouble: list[str] = []
    asked: list[str] = []

    def visit_page(path: Path, viewport=WIDE, **screen):
        page = browser.new_page(viewport=viewport, **screen)
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield visit_page
    for context in browser.contexts:
        context.close()
    assert trouble == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def wait_for_focus(page, name: str) -> None:
    """Wait until a card has the focus."""
    page.locator(".card:focus .name", has_text=re.compile(f"^{re.escape(name)}$")).wait_for()


def names(page) -> list[str]:
    """Return the names on the cards."""
    return page.locator(".card .name").all_text_contents()


def choose(page, group: str, label: str) -> None:
    """Click a class or a state."""
    page.locator(f"#{group} .option", has=page.get_by_text(label, exact=True)).click()


def number(picture: ReportPicture) -> int:
    return int(re.search(r"\d+", picture.file)[0])


def found(picture: ReportPicture, wanted: Sequence[str]) -> list:
    return [c for c in picture.classes if c.here and c.name in wanted]


def by_score(pictures, *, sign=-1, wanted=("dog", "cat", "ball")) -> list[str]:
    """Return the names as the page should sort them: found, absent, failed."""

    def key(picture):
        here = found(picture, wanted)
        if picture.error:
            return 2, 0.0, number(picture)
        if here:
            return 0, sign * max(round(c.score, 4) for c in here), number(picture)
        presence = max(c.presence for c in picture.classes if c.name in wanted)
        return 1, sign * presence, number(picture)

    return [picture.file.split("/")[1] for picture in sorted(pictures, key=key)]


def test_title_facts_and_sorting(visit, report, pictures):
    page = visit(report)
    assert page.title() == page.locator("h1").text_content() == "A trip"
    assert page.locator("#facts").text_content() == "ModeltinyExamples3 of each"
    assert names(page) == by_score(pictures)[:60]
    areas = {p: sum(c.area for c in found(p, ("dog", "cat"))) for p in pictures}
    shown = [p for p in pictures if areas[p] > 0]
    orders = {
        "score-up": by_score(pictures, sign=1),
        "area-down": [p.file[5:] for p in sorted(shown, key=lambda p: -areas[p])],
        "area-up": [p.file[5:] for p in sorted(shown, key=lambda p: areas[p])],
        "name": [p.file[5:] for p in pictures],
    }
    for order, expected in orders.items():
        page.locator("#order").select_option(order)
        assert names(page) == expected[:60], order


def test_classes_and_not_here(visit, report, pictures):
    page = visit(report)
    failed = sum(p.error is not None for p in pictures)
    dogs = sum(bool(found(p, ["dog"])) for p in pictures)
    counts = page.locator("#classes .count").all_text_contents()
    assert counts[1:] == [
        str(sum(bool(found(p, [c])) for p in pictures)) for c in ("dog", "cat", "ball")
    ]
    choose(page, "classes", "dog")
    expected = [130, dogs, 130 - dogs - failed, failed]
    assert page.locator("#states .count").all_text_contents() == [str(n) for n in expected]
    order = by_score(pictures, wanted=["dog"])
    choose(page, "states", "Found")
    assert names(page) == order[: min(dogs, 60)]
    choose(page, "states", "Not here")
    assert names(page) == order[dogs : 130 - failed][:60]
    assert page.locator(".card").first.locator(".finding").text_content().startswith("not here")
    choose(page, "classes", "ball")
    choose(page, "states", "Found")
    assert names(page) == []
    assert page.locator("#nothing").is_visible()
    page.locator("#clear").click()
    assert names(page) == by_score(pictures)[:60]
    assert page.locator("#clear").is_hidden()


def test_search(visit, report):
    page = visit(report)
    page.locator("#search").fill("img_12")
    assert sorted(names(page)) == sorted(f"IMG_{n}.jpg" for n in (12, *range(120, 130)))
    page.locator("#search").fill("TRIP/")
    assert len(names(page)) == 60


def test_threshold_by_keyboard_and_by_dragging(visit, report, pictures):
    page = visit(report)
    scores = [max((c.score for c in found(p, ("dog", "cat"))), default=-1) for p in pictures]
    slider = page.locator("#least")
    slider.fill("70")
    kept = sum(score >= 0.7 for score in scores)
    assert page.locator("#range").text_content() == f"1–{kept} of {kept}"
    slider.press("ArrowLeft")
    assert page.locator("#least-shown").text_content() == "0.69"
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 0.69 * box["width"], box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 10, steps=3)
    page.mouse.up()
    assert 0.2 < float(page.locator("#least-shown").text_content()) < 0.4
    choose(page, "states", "Failed")
    assert slider.is_disabled()
    assert len(names(page)) == 10


def test_pages_and_what_they_hold(visit, report, pictures):
    page = visit(report)
    page.locator("img[src]").first.wait_for()
    assert page.locator("#grid > li").count() == 60
    assert 0 < page.locator("#grid img[src]").count() < 60
    expected = by_score(pictures)
    page.get_by_role("button", name="Next page").click()
    assert names(page) == expected[60:120]
    page.get_by_role("button", name="Next", exact=True).click()
    assert names(page) == expected[120:]
    assert page.locator("#range").text_content() == "121–130 of 130"
    assert page.get_by_role("button", name="Next page").is_disabled()
    assert page.evaluate("document.getElementById('results').getBoundingClientRect().top") >= -1
    page.locator("#search").fill("IMG_1.jpg")
    assert names(page) == ["IMG_1.jpg"]


def test_large_view_goes_on_over_the_end_of_a_page(visit, report, pictures):
    page = visit(report)
    expected = by_score(pictures)
    page.locator(".card").nth(59).click()
    assert page.locator("#large-name").text_content() == expected[59]
    assert (
        page.locator("#large-image").evaluate(
            "image => image.decode().then(() => image.naturalWidth)"
        )
        == 40
    )
    page.keyboard.press("ArrowRight")
    assert page.locator("#large-place").text_content() == "61 of 130"
    page.get_by_role("button", name="Previous photo").click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    wait_for_focus(page, expected[60])
    assert page.locator("#large").is_hidden()
    assert page.locator("#range").text_content() == "61–120 of 130"


def test_large_view_tells_all(visit, report):
    page = visit(report)
    page.locator("#search").fill("IMG_33.jpg")
    page.locator(".card").click()
    rows = page.locator("#large-classes tr")
    cells = [row.locator("th, td").all_text_contents() for row in rows.all()]
    assert cells == [
        ["cat", "0.32", "0.53", "3.3 %66 px"],
        ["dog", "0.09", "0.53", "3.3 %66 px"],
        ["ball", "–", "0.03", "not here"],
    ]
    assert (
        page.locator("#large-facts").text_content() == "Filetrip/IMG_33.jpgSize50 × 40 pxTime3.30 s"
    )
    page.locator("#large-close").click()
    wait_for_focus(page, "IMG_33.jpg")
    assert page.locator("#large").is_hidden()


def test_failed_photo_shows_its_error(visit, report):
    page = visit(report)
    page.locator("#search").fill("IMG_26.jpg")
    error = "trip/IMG_26.jpg: truncated; save it again"
    assert page.locator(".card .error").text_content() == error
    page.locator(".card").click()
    assert page.locator("#large-error").text_content() == error
    assert page.locator("#large-table").is_hidden()


def test_keyboard_alone(visit, report, pictures):
    page = visit(report)
    expected = by_score(pictures)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the link to the photos
    page.wait_for_url("**#results")
    page.locator("a:focus").wait_for(state="detached")  # at the next frame, the link loses it
    page.keyboard.press("/")
    page.keyboard.type("trip")
    assert page.locator("#search").input_value() == "trip"
    page.locator(".card").first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
    columns = page.evaluate("getComputedStyle(grid).gridTemplateColumns.split(' ').length")
    page.keyboard.press("Enter")
    assert page.locator("#large-name").text_content() == expected[columns]
    page.keyboard.press("Escape")
    wait_for_focus(page, expected[columns])
    page.locator(".card").nth(59).focus()  # the last of the first page of cards
    page.keyboard.press("ArrowRight")
    assert page.locator(":focus .name").text_content() == expected[60]


def test_a_closed_photo_takes_the_focus_from_no_later_card(visit, report, pictures):
    page = visit(report)
    page.locator(".card").first.click()
    page.evaluate(
        """async () => {
            document.getElementById("large").dispatchEvent(new Event("cancel", {cancelable: true}));
            document.querySelectorAll(".card")[7].focus();
            for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
        }"""
    )
    assert page.locator("#large").is_hidden()
    assert page.locator(":focus .name").text_content() == by_score(pictures)[7]


def test_hostile_names_stay_text(visit, hostile_report, hostile_name):
    page = visit(hostile_report)
    file = hostile_name.split("/")[-1]
    assert names(page) == [file, file]
    for part in ("#facts dt", "#facts dd", "#classes bdi >> nth=1", ".card .error >> nth=1"):
        assert page.locator(part).text_content() == hostile_name
    page.locator(".card").first.click()
    assert page.locator("#large-classes bdi").text_content() == hostile_name
    assert page.locator("img[onerror]").count() == 0
    assert page.title() != "run"


def overflow(page, selector: str) -> int:
    """Return by how many px a part's content is wider than the part."""
    return page.locator(selector).evaluate("part => part.scrollWidth - part.clientWidth")


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("kind", ["report", "hostile_report"])
def test_nothing_is_wider_than_the_screen(visit, request, kind, viewport):
    page = visit(request.getfixturevalue(kind), viewport)
    assert overflow(page, "html") <= 0
    assert overflow(page, "#filters" if viewport is WIDE else "#score") <= 0
    page.locator(".card").first.click()
    assert overflow(page, "html") <= 0
    assert overflow(page, "#large .body") <= 0


def test_targets_are_large_enough_for_a_finger(visit, report):
    page = visit(report, NARROW, has_touch=True)
    # A tap is a click a moment after the finger left.
    page.locator("summary").tap()
    page.locator("#least").wait_for()
    choose(page, "classes", "dog")
    page.locator(".card").first.tap()
    page.locator("#large-close").wait_for()
    sizes = page.locator("button, .option, select, summary, #search, #least").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect())"
        ".filter(({ width }) => width).map(({ width, height }) => Math.min(width, height))"
    )
    assert len(sizes) > 60
    assert min(sizes) >= 40


CONTRAST = """([front, back]) => {
  const channels = (name) => {
    const probe = document.createElement("i");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    return getComputedStyle(probe).color.match(/\\d+/g).slice(0, 3).map((c) => c / 255);
  };
  const luminance = (name) => channels(name)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const [dark, bright] = [luminance(front), luminance(back)].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(visit, report, scheme):
    page = visit(report, color_scheme=scheme)
    for front in ("--ink", "--quiet", "--bad", "--focus"):
        for back in ("--paper", "--raised", "--soft"):
            assert page.evaluate(CONTRAST, [front, back]) >= 4.5, (front, back)
    assert page.evaluate(CONTRAST, ["--paper", "--chosen"]) > 1.1
    assert page.evaluate(CONTRAST, ["--bar", "--paper"]) >= 3


def test_paper_is_white_and_holds_the_whole_page_of_photos(visit, report):
    page = visit(report, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 29, 27)"
    for hidden in ("#search", "#least", ".pager button", "#order"):
        assert page.locator(hidden).first.is_hidden()
    assert page.locator("#classes bdi").last.is_visible()
    assert len(page.pdf()) > 1000
    failed = page.locator("#grid .error:not(:empty)").count()
    assert page.locator("#grid img[src]").count() == 60 - failed


def test_nothing_moves_for_who_wants_no_motion(visit, report):
    page = visit(report)
    for motion, moves in (("no-preference", True), ("reduce", False)):
        page.emulate_media(reduced_motion=motion)
        duration = "getComputedStyle(document.querySelector('.option')).transitionDuration"
        assert (page.evaluate(duration) != "0s") == moves

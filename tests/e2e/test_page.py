"""The page in a real browser: headless Chromium against the real interface around a service that answers by script."""

import json
import socket
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from models.errors import ImageTooLarge, ImageUnreadable, TaggingError
from serve_app.api import make_asgi
from serve_app.errors import FeedbackUnavailable, KeyMissing, KeyRefused, Overloaded
from serve_app.metrics import NullMeter
from serve_app.openapi import openapi_document, openapi_routes
from serve_app.schemas import FeedbackRequest, TagResponse
from serve_app.web import web_routes
from tests.e2e.page import BOXES, CHROMIUM, DESKTOP, DRIVER, PHONE, Page, ScriptedService, start_browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's packages chromium and chromium-driver"),
]


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    service = ScriptedService()
    yield service
    service.gate.set()


@pytest.fixture
def url(service: ScriptedService) -> Iterator[str]:
    app = make_asgi(service, NullMeter(), [*web_routes(), *openapi_routes()])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        service.gate.set()
        server.should_exit = server.force_exit = True
        thread.join(timeout=20)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = start_browser(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver: Any, url: str) -> Iterator[Page]:
    page = Page(driver, url)
    yield page
    assert page.problems() == []
    driver.get("about:blank")  # closes the connections, so that the server may stop


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"photo-{number}.jpg" for number in range(5)]
    for number, path in enumerate(paths):
        Image.new("RGB", (300, 400), (40 * number, 90, 120)).save(path)
    return paths


@pytest.mark.parametrize("size", [pytest.param(DESKTOP, id="desktop"), pytest.param(PHONE, id="phone")])
@pytest.mark.parametrize(
    ("photo_size", "orientation"),
    [
        pytest.param((300, 400), 1, id="portrait"),
        pytest.param((1600, 500), 1, id="wide"),
        pytest.param((120, 1400), 1, id="tall"),
        pytest.param((400, 300), 6, id="turned_by_exif"),
    ],
)
def test_boxes_lie_on_the_garments(
    page: Page, tmp_path: Path, size: tuple[int, int], photo_size: tuple[int, int], orientation: int
) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", photo_size, "teal").save(path, exif=exif)
    page.open(size).add(path)
    page.until("done")
    left, top, right, bottom = page.rect(page.one(".frame img"))
    upright = photo_size if orientation == 1 else photo_size[::-1]
    assert (right - left) / (bottom - top) == pytest.approx(upright[0] / upright[1], rel=0.01)
    for box, (x1, y1, x2, y2) in zip(page.all(".box"), BOXES.values(), strict=True):
        expected = (
            left + x1 * (right - left),
            top + y1 * (bottom - top),
            left + x2 * (right - left),
            top + y2 * (bottom - top),
        )
        assert page.rect(box) == pytest.approx(expected, abs=1.0)
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")


def test_answer_is_shown_with_bars_and_swatches(page: Page, photos: list[Path]) -> None:
    page.open().add(photos[0])
    page.until("done")
    assert page.one(".garment table").text.split() == ["Colour", "red", "88", "%", "Neckline", "V-neck", "91", "%"]
    track, bar = page.rect(page.all(".bar")[0]), page.rect(page.all(".bar > span")[0])
    assert (bar[2] - bar[0]) / (track[2] - track[0]) == pytest.approx(0.88, abs=0.02)
    assert (
        page.js("return getComputedStyle(document.querySelector('.strip span')).backgroundColor") == "rgb(179, 40, 45)"
    )
    assert page.one("#live").get_attribute("textContent") == "photo-0.jpg: dress, skirt."


def test_filter_works_without_asking_again(page: Page, photos: list[Path], service: ScriptedService) -> None:
    page.open().add(photos[0])
    page.until("done")
    set_slider = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    threshold = page.one("#threshold")

    page.js(set_slider, threshold, 60)
    assert page.box_names() == ["Dress"]
    page.js(set_slider, threshold, 20)
    assert page.box_names() == ["Dress", "Skirt"]
    assert "navy" in page.one(".garment table").text
    page.one("#categories .chip:nth-child(3)").click()  # dress
    assert page.box_names() == ["Skirt"]
    page.one("#attributes .chip:nth-child(1)").click()  # colour
    assert page.one(".garment table").text.split() == ["Hemline", "slit", "check", "35", "%"]
    page.js(set_slider, threshold, 50)
    assert page.one(".garment table").text.split() == ["Hemline", "unsure"]
    page.js(set_slider, threshold, 90)
    assert page.one(".card h3").text == "Nothing passes the filter"
    page.one("#categories .chip:nth-child(3)").click()
    page.js(set_slider, threshold, 98)
    assert page.one(".card h3").text == "Only unsure guesses"
    assert "The best is dress with 97 %." in page.one(".failure").text
    page.one("#show-all").click()
    assert page.box_names() == ["Dress", "Skirt"]
    assert len(service.bodies) == 1


@pytest.mark.parametrize("size", [pytest.param(DESKTOP, id="desktop"), pytest.param(PHONE, id="phone")])
def test_nothing_jumps_when_answers_and_errors_come(
    page: Page, photos: list[Path], service: ScriptedService, size: tuple[int, int]
) -> None:
    service.gate.clear()
    service.script = [ImageUnreadable("broken")]
    page.open(size).add(*photos[:3])
    page.wait(lambda: service.num_inside == 2)
    page.until("looking", 2)
    before = [page.rect(part) for part in page.all(".card, .stage, .panel, .frame img")]
    service.gate.set()
    page.until("done", 2)
    page.until("error", 1)
    assert [page.rect(part) for part in page.all(".card, .stage, .panel, .frame img")] == before
    assert page.layout_shifts() == []


def test_two_uploads_at_a_time_and_photos_arrive_whole(
    page: Page, photos: list[Path], service: ScriptedService
) -> None:
    service.gate.clear()
    page.open().add(*photos)
    page.wait(lambda: service.num_inside == 2)
    page.until("waiting", 3)
    service.gate.set()
    page.until("done", 5)
    assert service.most_inside == 2
    assert sorted(service.bodies) == sorted(path.read_bytes() for path in photos)


@pytest.mark.parametrize(
    ("refusal", "heading", "can_retry"),
    [
        pytest.param(ImageUnreadable("no picture"), "This file is not a photo we can read", False, id="broken"),
        pytest.param(ImageTooLarge("the limit is 20971520 bytes"), "This photo is too large", False, id="too_large"),
        pytest.param(TaggingError("secret", "secret"), "Something went wrong on our side", True, id="internal"),
    ],
)
def test_refusal_is_said_in_words(
    page: Page, photos: list[Path], service: ScriptedService, refusal: TaggingError, heading: str, can_retry: bool
) -> None:
    service.script = [refusal]
    page.open().add(photos[0])
    page.until("error")
    assert page.one(".failure h3").text == heading
    assert heading in str(page.one("#live").get_attribute("textContent"))
    assert ("The limit is 20 MB. Make it" in page.one(".failure").text) is isinstance(refusal, ImageTooLarge)
    assert "secret" not in page.one(".failure").text
    assert [button.text for button in page.all(".retry")] == ["Try again"] * can_retry
    if can_retry:
        page.one(".retry").click()
        page.until("done")


def test_busy_service_is_asked_again_by_itself(page: Page, photos: list[Path], service: ScriptedService) -> None:
    service.script = [Overloaded("full")]
    page.open().add(photos[0])
    page.until("done")
    assert len(service.bodies) == 2


def test_key_is_asked_for_and_sent_from_then_on(page: Page, photos: list[Path], service: ScriptedService) -> None:
    service.script = [KeyMissing("no key")]
    page.open().add(photos[0])
    page.until("error")
    page.one("#key").send_keys("s3cret", Keys.ENTER)
    page.until("done")
    assert not page.one("#key").is_displayed()
    page.add(photos[1])
    page.until("done", 2)
    assert service.keys == [None, "Bearer s3cret", "Bearer s3cret"]
    page.js("sessionStorage.clear()")


def test_a_key_that_is_refused_is_asked_for_again(page: Page, photos: list[Path], service: ScriptedService) -> None:
    service.script = [KeyMissing("no key"), KeyRefused("unknown")]
    page.open().add(photos[0])
    page.until("error")
    page.one("#key").send_keys("typo", Keys.ENTER)
    page.wait(lambda: page.one("#key-form label").text == "The access key was refused; enter another one")
    page.one("#key").send_keys("s3cret", Keys.ENTER)
    page.until("done")
    assert service.keys == [None, "Bearer typo", "Bearer s3cret"]
    page.js("sessionStorage.clear()")


def test_names_are_in_the_language_chosen_now_and_next_time(
    page: Page, photos: list[Path], service: ScriptedService
) -> None:
    page.open().add(photos[0])
    page.until("done")
    Select(page.one("#language")).select_by_visible_text("Deutsch")
    assert page.box_names() == ["Kleid", "Rock"]
    assert page.one(".garment table").text.split() == [
        "Farbe",
        "rot",
        "88",
        "%",
        "Ausschnitt",
        "V-Ausschnitt",
        "91",
        "%",
    ]
    page.open().add(photos[0])
    page.until("done")
    assert page.box_names() == ["Kleid", "Rock"]
    assert service.languages == ["en", "de"]
    page.js("localStorage.clear()")


def test_a_correction_is_kept_and_shown(page: Page, photos: list[Path], service: ScriptedService) -> None:
    page.open().add(photos[0])
    page.until("done")
    page.one(".fix[aria-label='Correct neckline']").click()
    assert page.one("#fix-title").text == "Dress: neckline"
    assert page.one("#fix-choices :checked").get_attribute("value") == "v_neck"
    page.one("#fix-choices [value=square]").send_keys(Keys.SPACE)
    service.script = [FeedbackUnavailable("disk full")]
    page.one("#fix [type=submit]").click()
    page.wait(lambda: page.one("#fix-problem").text == "The correction cannot be kept now. Try again in a moment.")
    page.one("#fix [type=submit]").click()
    page.wait(lambda: not page.one("#fix").is_displayed())
    (kept,) = service.corrections
    garment = FeedbackRequest.model_validate_json(json.dumps(kept)).garment
    assert (kept["attribute"], kept["values"], kept["photo"]) == ("neckline", ["square"], "photo-0.jpg")
    assert (garment.category, garment.box) == ("dress", (30, 20, 240, 380))
    assert page.all(".garment tbody")[1].text.split() == ["Neckline", "square", "neck", "corrected"]
    assert page.driver.switch_to.active_element.accessible_name == "Correct neckline"
    page.one(".fix-category").click()
    page.one("#fix-choices [value=skirt]").send_keys(Keys.SPACE)
    page.one("#fix [type=submit]").click()
    page.wait(lambda: page.all(".note.corrected"))
    assert service.corrections[1]["values"] == ["skirt"]


def test_no_correction_is_offered_where_none_is_taken(page: Page, photos: list[Path], service: ScriptedService) -> None:
    service.takes_feedback = False
    page.open().add(photos[0])
    page.until("done")
    assert page.all(".fix, .fix-category") == []


def test_examples_are_photos_to_try(page: Page, service: ScriptedService) -> None:
    page.open()
    names = [image.get_attribute("src").rsplit("/", 1)[1] for image in page.all(".examples img")]
    page.all(".examples button")[1].click()
    page.until("done")
    assert page.one(".card h2").text == names[1]
    web = resources.files("serve_app").joinpath("web")
    assert service.bodies == [web.joinpath(names[1]).read_bytes()]
    assert all(web.joinpath(name).is_file() for name in names)


def test_file_of_another_kind_is_refused_without_an_upload(
    page: Page, tmp_path: Path, service: ScriptedService
) -> None:
    path = tmp_path / "list.pdf"
    path.write_bytes(b"%PDF-1.7")
    page.open().js("document.getElementById('file').removeAttribute('accept')")
    page.add(path)
    page.until("error")
    assert page.one(".failure h3").text == "This kind of file is not supported"
    assert service.bodies == []


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_photos_are_taken_by(page: Page, kind: str) -> None:
    script = """
        const [kind, done] = arguments;
        const canvas = Object.assign(document.createElement("canvas"), { width: 30, height: 40 });
        canvas.toBlob((blob) => {
          const data = new DataTransfer();
          data.items.add(new File([blob], "dropped.png", { type: "image/png" }));
          const options = { bubbles: true, cancelable: true };
          const event = kind === "drop" ? new DragEvent("drop", { ...options, dataTransfer: data })
                                        : new ClipboardEvent("paste", { ...options, clipboardData: data });
          document.body.dispatchEvent(event);
          done();
        });"""
    page.open().driver.execute_async_script(script, kind)
    page.until("done")
    assert page.one(".card h2").text == ("dropped.png" if kind == "drop" else "Pasted photo")


def test_keyboard_alone_suffices(page: Page, photos: list[Path]) -> None:
    page.open().add(photos[0])
    page.until("done")

    def focused() -> WebElement:
        return page.driver.switch_to.active_element  # type: ignore[no-any-return]

    page.js("document.querySelector('[role=tab][aria-selected=true]').focus()")
    focused().send_keys(Keys.ARROW_RIGHT)
    assert focused().text == "Skirt 55 %"
    assert [box.get_attribute("aria-pressed") for box in page.all(".box")] == ["false", "true"]
    focused().send_keys(Keys.ARROW_RIGHT)
    assert focused().text == "Dress 97 %"
    page.all(".box")[1].send_keys(Keys.ENTER)
    assert (focused().get_attribute("class"), focused().text.split("\n")[0]) == ("box", "Skirt")
    page.one(".remove").send_keys(Keys.ENTER)
    assert page.all(".card") == []
    assert focused().get_attribute("id") == "file"


CONTROLS = ":is(button, input, select, summary, a, dialog, [role=group], [role=tab], [role=tabpanel], table, progress)"


def test_every_control_has_a_name(page: Page, photos: list[Path]) -> None:
    page.open(path="/docs")
    page.wait(lambda: page.all("#operations details"))
    assert page.nameless(f"body {CONTROLS}") == []
    page.open()
    assert page.nameless(f"body {CONTROLS}") == []
    page.add(photos[0])
    page.until("done")
    assert page.nameless(f"body {CONTROLS}") == []
    page.all(".fix")[0].click()
    assert page.nameless("#fix, #fix " + CONTROLS) == []


def test_json_is_copied_as_it_came(page: Page, photos: list[Path]) -> None:
    page.open().add(photos[0])
    page.until("done")
    answer = TagResponse.model_validate(json.loads(page.copied(".copy-json")))
    assert [garment.category for garment in answer.garments] == ["dress", "skirt"]


def test_tags_are_copied_as_they_are_shown(page: Page, photos: list[Path], service: ScriptedService) -> None:
    page.open().add(photos[0])
    page.until("done")
    assert page.copied(".copy-tags") == "dress, red, V-neck, skirt, black"
    page.js("document.querySelector('#categories input[value=dress]').click()")
    assert page.copied(".copy-tags") == "skirt, black"


def test_colours_follow_the_visitors_scheme(page: Page) -> None:
    brightness = "return getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)"
    assert max(page.open(scheme="dark").js(brightness)) < 60
    assert min(page.open(scheme="light").js(brightness)) > 200


def test_documentation_shows_every_operation(page: Page) -> None:
    page.open(path="/docs")
    page.wait(lambda: page.all("#schemas details"))
    shown = [summary.text for summary in page.all("#operations summary code")]
    assert shown == [path for path, item in openapi_document()["paths"].items() for _ in item]
    assert "could not be loaded" not in page.one("#operations").text
    assert page.layout_shifts() == []
    assert f"{page.url}/v1/tag" in page.one("#curl").text

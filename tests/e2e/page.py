"""What the tests of the page stand on: a service that answers by script, and the page as a person speaks of it."""

import asyncio
import io
import shutil
import threading
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from starlette.requests import Request

from models.errors import TaggingError
from models.ontology import load_ontology
from models.vocabulary import load_languages
from serve_app.naming import Names
from serve_app.ontology_answer import ontology_response
from serve_app.schemas import BundleResponse, Colour, Garment, ImageSize, OntologyResponse, TagResponse, Timing, Value

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
DESKTOP, PHONE = (1360, 900), (390, 844)
BOXES = {"dress": (0.1, 0.05, 0.8, 0.95), "skirt": (0.25, 0.5, 0.6, 0.75)}
"""Where the service sees garments: x1, y1, x2, y2 as shares of the upright photo."""


FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
]
WATCH_SHIFTS = """
window.shifts = [];
const note = (list) => window.shifts.push(...list.getEntries().map((entry) => [entry.startTime, entry.value]));
new PerformanceObserver(note).observe({ type: "layout-shift", buffered: true });
"""


def start_browser(profile: Path) -> Any:
    """Headless Chromium that notes every layout shift; the caller quits it."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH_SHIFTS})
    return driver


def values(*pairs: tuple[str, float]) -> list[Value]:
    return [Value(value=value, score=score) for value, score in pairs]


class ScriptedService:
    """Sees a dress and a skirt in every photo, unless `script` holds an error; answers while its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.script: list[TaggingError] = []
        self.bodies: list[bytes] = []
        self.keys: list[str | None] = []
        self.languages: list[str | None] = []
        self.takes_feedback = True
        self.corrections: list[Any] = []
        self.num_inside = self.most_inside = 0

    async def tag(self, request: Request, request_id: str) -> TagResponse:
        body = await request.body()
        self.bodies.append(body)
        self.keys.append(request.headers.get("authorization"))
        self.languages.append(request.query_params.get("lang"))
        self.num_inside += 1
        self.most_inside = max(self.most_inside, self.num_inside)
        try:
            assert await asyncio.to_thread(self.gate.wait, 30)
            if self.script:
                raise self.script.pop(0)
            return _answer(body, request_id)
        finally:
            self.num_inside -= 1

    def ontology(self) -> OntologyResponse:
        return ontology_response(load_ontology(), Names(load_languages()), takes_feedback=self.takes_feedback)

    async def take_feedback(self, request: Request) -> None:
        if self.script:
            raise self.script.pop(0)
        self.corrections.append(await request.json())

    def bundle(self) -> BundleResponse:
        return BundleResponse(name="demo", version="1.0.0", digest="0", ontology="garments@1.0", categories=[])

    async def check_ready(self) -> None:
        """Always ready."""


def _answer(body: bytes, request_id: str) -> TagResponse:
    with Image.open(io.BytesIO(body)) as image:
        width, height = image.size
        if image.getexif().get(0x0112) in (5, 6, 7, 8):
            width, height = height, width
    scores = {"dress": 0.97, "skirt": 0.55}
    attributes = {
        "dress": {"colour": values(("red", 0.88), ("navy", 0.3)), "neckline": values(("v_neck", 0.91))},
        "skirt": {"colour": values(("black", 0.8)), "hemline": values(("slit", 0.35))},
    }
    garments = [
        Garment(
            category=category,
            score=scores[category],
            box=(x1 * width, y1 * height, x2 * width, y2 * height),
            status="ok",
            attributes=attributes[category],
            needs_review=["hemline"] if category == "skirt" else [],
            probabilities=None,
            colours=[Colour(name="red", hex="#b3282d", share=0.8), Colour(name="white", hex="#f4f1ee", share=0.2)],
        )
        for category, (x1, y1, x2, y2) in BOXES.items()
    ]
    return TagResponse(
        request_id=request_id,
        bundle="demo@1.0.0",
        image=ImageSize(width=width, height=height),
        garments=garments,
        tags=["dress", "red", "v neck"],
        timing_ms=Timing(decode=1, detect=2, classify=3, total=6),
    )


class Page:
    """The open page, as a person would speak of it."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, size: tuple[int, int] = DESKTOP, scheme: str = "light", path: str = "/") -> "Page":
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.driver.get(self.url + path)
        if path == "/":
            self.wait(lambda: self.all("#categories input"))
        return self

    def wait(self, condition: Any) -> Any:
        return WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda driver: condition())

    def all(self, selector: str) -> list[WebElement]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def one(self, selector: str) -> WebElement:
        (found,) = self.all(selector)
        return found

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def add(self, *paths: Path) -> None:
        self.one("#file").send_keys("\n".join(map(str, paths)))

    def until(self, state: str, count: int = 1) -> None:
        self.wait(lambda: len(self.all(f'.card[data-state="{state}"]')) == count)

    def rect(self, element: WebElement) -> tuple[float, float, float, float]:
        script = "const r = arguments[0].getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]"
        left, top, right, bottom = self.js(script, element)
        return left, top, right, bottom

    def box_names(self) -> list[str]:
        return [box.text.split("\n")[0] for box in self.all(".box")]

    def nameless(self, selector: str) -> list[str | None]:
        """Controls to be seen that a screen reader could not name."""
        seen = [element for element in self.all(selector) if self.js("return arguments[0].checkVisibility()", element)]
        assert len(seen) > 5
        return [element.get_attribute("outerHTML") for element in seen if not element.accessible_name.strip()]

    def copied(self, button: str) -> str:
        """What a button copies."""
        grant = {"origin": self.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        self.driver.execute_cdp_cmd("Browser.grantPermissions", grant)
        self.wait(lambda: self.one(button).text.startswith("Copy "))
        self.one(button).click()
        self.wait(lambda: self.one(button).text == "Copied")
        return str(self.js("return navigator.clipboard.readText()"))

    def layout_shifts(self) -> list[Any]:
        """All since the page was opened, once the last frame was drawn."""
        drawn = "requestAnimationFrame(() => setTimeout(() => done(window.shifts)))"
        return list(self.js(f"return new Promise(done => {drawn})"))

    def problems(self) -> list[str]:
        """What the console says, but for the browser's own note of a response that is an error."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["source"] != "network"]

"""The dashboard in a browser: headless Chromium, driven by Playwright, before a fleet that does what a test says."""

import re
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from splitplace.placement.http.tokens import add_token
from splitplace.records.fleet_status import PolicyEstimate, ResourceUse
from tests.placement.dashboard.conftest import Told

pytestmark = pytest.mark.slow

PATIENCE_MS = 240_000


@pytest.fixture(scope="module")
def chromium():
    """A browser for the tests of this file."""
    program = shutil.which("chromium")
    assert program, "chromium is not installed: `apt-get install chromium`, or run .ci/run"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Its sandbox takes what a container seldom allows, and it shows nothing but our own page.
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=program, args=options, timeout=PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """A page to look at; it must have nothing to complain of, and ask nobody but the front door."""
    complaints, asked, contexts = [], set(), []
    foreseen = []

    def make(door, path="/dashboard", **options):
        context = chromium.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.add(request.url.split("/")[2]))
        page.goto(door.url + path)
        return page

    make.foresee = foreseen.extend
    yield make
    for context in contexts:
        context.close()
    assert [said for said in complaints if not any(word in said for word in foreseen)] == []
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", host) for host in asked)


@pytest.fixture
def busy(front, broker):
    """A front door before a fleet that has done something: two devices, one down; a task under way, some that left."""
    use = ResourceUse(
        cpu=0.25, memory_bytes=50_000_000, sent_bytes_per_s=10.0, received_bytes_per_s=20.0, disk_read_bytes_per_s=None
    )
    up = broker.devices[0].model_copy(
        update={
            "name": "edge-0", "measured": use, "memory_bytes": 400_000_000, "memory_used_bytes": 100_000_000,
            "power_w": 2.5, "energy_j": 100.0, "fragments": ("toy.tiny.layer-2/a", "toy.tiny.layer-2/b"),
        }
    )  # fmt: skip
    broker.devices = (up, up.model_copy(update={"name": "edge-1", "up": False, "measured": None, "power_w": None}))
    broker.estimates = (
        PolicyEstimate(name="layer, deadline >= R", unit="reward", value=0.75, count=4),
        PolicyEstimate(name="R, toy", unit="s", value=0.5),
    )
    broker.now_s = 9.0
    for event in (
        *Told(0, 1.0).whole(1.9),
        *Told(1, 2.0, deadline_s=0.5).whole(2.9),
        *(Told(2, 3.0).arrive(), Told(2, 3.0).finish(4.0, "its deadline of 1 s has passed")),
        *Told(3, 5.0, deadline_s=10.0).whole(5.8)[:4],
    ):
        broker.book.append(event)
    return front()


def row(page, number):
    """The row of a task."""
    return page.locator(f'#rows li[data-key="{number}"] button')


def test_what_the_fleet_is_doing_is_shown(tab, busy):
    """Devices with their state, memory and fragments; tallies; tasks by how they ended; estimates by their names."""
    page = tab(busy)
    expect(page.locator("#connection")).to_have_text("live")
    cards = page.locator("#devices > li")
    expect(cards).to_have_count(2)
    for said in ("edge-0", "up", "25 %", "100 MB of 400 MB", "50.0 MB resident", "2.5 W, 100 J", "holds 2 fragments"):
        expect(cards.first).to_contain_text(said)
    expect(cards.nth(1).locator(".badge")).to_have_text("down")
    expect(page.locator("#summary")).to_contain_text("67 %")  # two of three that left
    expect(page.locator("#policy")).to_contain_text("0.750, 4 taken")
    expect(page.locator("#policy figure")).to_have_count(5)
    for number, state in enumerate(("answered", "late", "failed", "running")):
        expect(row(page, number).locator(".badge")).to_have_text(state)
    expect(page.locator("#spent .spent")).to_have_count(1)


def test_what_changes_is_shown_without_a_reload(tab, busy, broker):
    """A task comes and leaves; the filter shows violations alone; a paused page stays as it is."""
    page = tab(busy)
    expect(row(page, 3)).to_be_visible()
    for event in Told(3, 5.0, deadline_s=10.0).whole(5.8)[4:]:
        broker.book.append(event)
    expect(row(page, 3).locator(".badge")).to_have_text("answered")
    page.get_by_role("button", name="violations 2").click()
    expect(page.locator("#rows li")).to_have_count(2)
    page.get_by_role("button", name="Pause").click()
    for event in Told(4, 6.0, deadline_s=0.1).whole(6.9):
        broker.book.append(event)
    busy.service.watch._tick_s = 0.05
    with page.expect_event("console", lambda said: said.text == "told") as _:
        page.evaluate("new EventSource('/v2/splitplace/events').addEventListener('state', () => console.log('told'))")
    expect(page.locator("#rows li")).to_have_count(2)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#rows li")).to_have_count(3)


def test_a_tasks_waterfall_by_the_keyboard(tab, busy):
    """Enter opens it on its row, arrows go to the next, Escape closes it, and the focus is where it was."""
    page = tab(busy)
    row(page, 1).focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.locator("h2")).to_have_text("Task 1 · toy")
    expect(dialog.locator(".lane:not(.axis) .name")).to_have_text(["broker", "a on d-0", "answer to the broker"])
    expect(dialog.locator("tbody tr")).to_have_count(6)
    expect(dialog.locator("tbody tr").nth(3)).to_contain_text("450 ms50 %")
    expect(dialog.locator("tbody tr").nth(5)).to_contain_text("unexplained")
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("h2")).to_have_text("Task 0 · toy")
    page.keyboard.press("ArrowLeft")
    expect(dialog.locator("h2")).to_have_text("Task 1 · toy")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    page.wait_for_function("document.activeElement.closest('li')?.dataset.key === '1'")


def test_every_control_is_reached_by_tab(tab, busy):
    """In the order of the page: the link past it, pause, what a device holds, the filter, each task."""
    page = tab(busy)
    expect(row(page, 0)).to_be_visible()
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent"))
    starts = ["To the tasks", "Pause", "holds", "holds", "all", "under way", "violations", "#3", "#2", "#1", "#0"]
    assert [text.startswith(start) for text, start in zip(reached, starts, strict=False)] == [True] * len(starts)


def test_names_that_look_like_markup_are_shown_as_text(tab, front, broker):
    """Of a device, a policy, an application's split, an error, an estimate, a fragment: no element comes of any."""
    bad = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    broker.policy = bad
    broker.devices = (broker.devices[0].model_copy(update={"name": bad, "fragments": (f"{bad}/{bad}",)}),)
    broker.estimates = (PolicyEstimate(name=bad, unit=bad, value=0.5),)
    task = Told(0)
    placed = task.place(0.2, "a", "d-0").model_copy(update={"device": bad, "fragment": bad})
    ran = task.run(0.3, 0.3, 0.4).model_copy(update={"device": bad, "fragment": bad})
    for event in (task.arrive(), task.decide(0.1, split=bad), placed, ran, task.finish(0.5, bad)):
        broker.book.append(event)
    page = tab(front())
    for place in ("#about", "#devices", "#policy"):
        expect(page.locator(place)).to_contain_text(bad)
    page.locator("#devices summary").click()
    row(page, 0).click()
    dialog = page.get_by_role("dialog")
    for place in (".error", ".lane .name >> nth=1"):
        expect(dialog.locator(place)).to_contain_text(bad)
    assert page.locator("img").count() == 0
    assert page.locator("body script").count() == 0 and page.title() == "SplitPlace"


def test_the_pages_policy_would_stop_a_script_that_came_through(tab, busy):
    """Were there a mistake after all: no HTML is parsed, no inline script runs, nothing is fetched from elsewhere."""
    tab.foresee(["TrustedHTML", "TrustedScript", "Content Security Policy"])
    page = tab(busy)
    expect(page.locator("#connection")).to_have_text("live")
    tries = """async () => {
      const found = [];
      try { document.body.innerHTML = '<p>x</p>'; found.push('parsed'); } catch { found.push('refused'); }
      const script = document.createElement('script');
      try { script.textContent = 'document.title = "taken"'; document.body.append(script); found.push('ran'); }
      catch { found.push('refused'); }
      try { await fetch('http://127.0.0.1:9/'); found.push('asked'); } catch { found.push('refused'); }
      return [...found, document.title];
    }"""
    assert page.evaluate(tries) == ["refused", "refused", "refused", "SplitPlace"]


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_nothing_is_wider_than_the_window(tab, busy, width):
    """On a phone, too, with a waterfall open."""
    page = tab(busy, viewport={"width": width, "height": 740})
    expect(row(page, 1)).to_be_visible()
    fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert page.evaluate(fits)
    row(page, 1).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("tbody")).to_be_visible()
    assert page.evaluate(fits)
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")


CONTRAST = """(pairs) => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    const [r, g, b] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return pairs.map(([ink, ground]) => {
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
}"""
"""WCAG 2.2's contrast ratio of two colours of the sheet."""
TEXT = [(ink, ground) for ground in ("--card", "--page") for ink in ("--ink", "--faint")]
TEXT += [(ink, "--card") for ink in ("--good", "--bad", "--warn", "--accent")]
PARTS = [(f"--{kind}", "--card") for kind in ("wait", "queue", "load", "compute", "link", "unexplained")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dark_and_light_can_be_read(tab, busy, scheme):
    """By what the reader prefers; text has a contrast of 4.5 (WCAG 2.2, 1.4.3), bars have one of 3 (1.4.11)."""
    page = tab(busy, color_scheme=scheme)
    expect(row(page, 0)).to_be_visible()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in re.findall(r"\d+", ground)) / 3
    assert brightness > 200 if scheme == "light" else brightness < 60
    text = page.evaluate(CONTRAST, [list(pair) for pair in TEXT])
    assert {pair: ratio for pair, ratio in zip(TEXT, text, strict=True) if ratio < 4.5} == {}
    parts = page.evaluate(CONTRAST, [list(pair) for pair in PARTS])
    assert {pair: ratio for pair, ratio in zip(PARTS, parts, strict=True) if ratio < 3} == {}


def test_a_token_is_handed_in_once(tab, front, broker, tmp_path):
    """The page leads to the form; a wrong one is said; with the right one it is the page, until one signs out."""
    tab.foresee(["401"])
    ann = add_token(tmp_path / "tokens.json", "ann")
    page = tab(front(tokens=tmp_path / "tokens.json"), "/")
    assert page.url.endswith("/dashboard/login")
    page.get_by_label("Token").fill("sp_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not known")
    page.get_by_label("Token").fill(ann)
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_have_text("live")
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and cookie["value"] not in ann
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/dashboard/login")
    assert page.context.cookies() == []


def test_a_fleet_that_is_gone_is_said(tab, busy, broker):
    """What was known stays on the page; it goes on when the fleet is back."""
    from splitplace.errors import NotReadyError

    page = tab(busy)
    expect(row(page, 0)).to_be_visible()
    status = broker.status

    def gone():
        raise NotReadyError("no fleet runs in /data")

    broker.status = gone
    expect(page.locator("#connection")).to_have_text("no fleet")
    expect(page.locator("#notice")).to_have_text("no fleet runs in /data")
    expect(row(page, 0)).to_be_visible()
    broker.status = status
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#notice")).to_be_hidden()

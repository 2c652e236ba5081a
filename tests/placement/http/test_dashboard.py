"""The dashboard as a browser's requests see it: what is told, to whom, and within which bounds."""

import http.client
import json
import re
import socket
import threading
from contextlib import closing

import pytest

from splitplace.placement.http import sessions
from splitplace.placement.http.guard import Guard
from splitplace.placement.http.sessions import Sessions
from splitplace.placement.http.tokens import add_token, revoke_token
from tests.placement.dashboard.conftest import Told
from tests.placement.http.conftest import PATIENCE_S

EVENTS = "/v2/splitplace/events"
FORM = {"Content_Type": "application/x-www-form-urlencoded"}


class Listener:
    """A client of server-sent events."""

    def __init__(self, door, **headers):
        self._connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=PATIENCE_S)
        self._connection.request("GET", EVENTS, headers=headers)
        self.answer = self._connection.getresponse()

    def message(self):
        """The next one, as (kind, document); none at the stream's end."""
        kind, data = "", ""
        while line := self.answer.readline():
            text = line.decode().rstrip("\n")
            if text.startswith("event: "):
                kind = text.removeprefix("event: ")
            elif text.startswith("data: "):
                data += text.removeprefix("data: ")
            elif not text and data:
                return kind, json.loads(data)
        return None

    def until(self, what):
        """The first document for which something holds."""
        while (found := self.message()) is not None:
            if what(found[1]):
                return found[1]
        raise AssertionError("the stream ended before")

    def close(self):
        """Hang up."""
        self.answer.close()
        self._connection.close()


@pytest.fixture
def file(tmp_path):
    """Where tokens are kept."""
    return tmp_path / "tokens.json"


def listen(door, **headers):
    """A listener that hangs up with its block."""
    return closing(Listener(door, **headers))


def handed_in(door, token):
    """The answer to the form with a token."""
    return door.ask("POST", "/dashboard/login", f"token={token}".encode(), **FORM)


def session(door, token):
    """The cookie that a browser has when it has handed in a token."""
    answer = handed_in(door, token)
    assert answer.status == 303 and answer.headers["location"] == "/dashboard"
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


def watching(door, count):
    """Whether so many watch, within some patience."""
    for _ in range(int(PATIENCE_S / 0.02)):
        if door.service.watch.watchers == count:
            return True
        threading.Event().wait(0.02)
    return False


def test_what_happens_is_told_as_it_happens(door, broker):
    """Devices, tallies, tasks, choices; where the time of a task went, to whoever asks for one."""
    for event in Told(0).whole():
        broker.book.append(event)
    with listen(door) as listener:
        assert listener.answer.headers["content-type"].startswith("text/event-stream")
        kind, told = listener.message()
        assert kind == "state" and told["since"] == 0 and told["policy"] == "p" and told["tasks"]["answered"] == 0
        assert [(device["name"], device["state"], device["booked_bytes"]) for device in told["devices"]] == [
            ("d", "up", 3)
        ]
        assert [(task["id"], task["state"]) for task in told["left"]] == [(0, "answered")]
        for event in Told(1).whole()[:4]:
            broker.book.append(event)
        (task,) = listener.until(lambda told: told["open"])["open"]
        assert (task["id"], task["state"], task["devices"]) == (1, "running", ["d-0"])
        story = door.ask("GET", f"{EVENTS}/0").json
        assert {one["kind"] for one in story["stretches"]} == {"wait", "orders", "link", "queue", "compute"}
        assert sum(story["parts"].values()) == pytest.approx(story["response_s"], abs=1e-5)
    assert watching(door, 0)


def test_the_page_is_whole_and_its_own(door):
    """All that it names is there; nothing of it comes from elsewhere, and nothing is written into it."""
    assert door.ask("GET", "/").headers["location"] == "/dashboard"
    page = door.ask("GET", "/dashboard")
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    wanted, seen = re.findall(r'(?:href|src)="(/[^"]+)"', page.body.decode()), set()
    while wanted:
        path = wanted.pop()
        if path in seen:
            continue
        seen.add(path)
        found = door.ask("GET", path)
        assert found.status == 200 and found.headers["x-content-type-options"] == "nosniff", path
        text = found.body.decode()
        wanted += [f"/dashboard/{name}" for name in re.findall(r'from "\./([a-z]+\.js)"', text)]
        assert "//" not in re.sub(r"(?m)^\s*//.*$|http://www\.w3\.org/2000/svg| // .*$", "", text), path
        for forbidden in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            'setAttribute("style',
        ):
            assert forbidden not in text, path
    assert len(seen) >= 12
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page.body.decode())


@pytest.mark.parametrize(
    "path", ["/dashboard/none.js", "/dashboard/README.md", "/dashboard/..%2Fplan.py", "/dashboard/%2e%2e"]
)
def test_nothing_but_the_pages_own_files(door, path):
    """Not the room's README, nor what lies beside."""
    assert door.ask("GET", path).status == 404


@pytest.mark.parametrize("task", ["99", "-1", "x", "1" * 30, "1/2"])
def test_a_task_that_is_not_there(door, task):
    """A number that is none, or of no task."""
    assert door.ask("GET", f"{EVENTS}/{task}").status == 404


def test_who_only_asks_for_the_headers_does_not_watch(door):
    """HEAD, as the page does to learn why it may not listen."""
    answer = door.ask("HEAD", EVENTS)
    assert answer.status == 200 and answer.body == b"" and door.service.watch.watchers == 0


def test_without_tokens_other_sites_pages_are_not_told(door):
    """By their names, in `Host` or `Origin`."""
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        for path in ("/", "/dashboard", EVENTS, f"{EVENTS}/0"):
            assert door.ask("GET", path, **headers).status == 403
    assert door.ask("GET", "/dashboard/login").headers["location"] == "/dashboard"  # there is nothing to hand in
    assert b"Sign out" not in door.ask("GET", "/dashboard").body


def test_with_tokens_a_browser_hands_in_its_own_once(front, file, broker):
    """The page sends it to the form; a cookie that no script reads opens the page, and the token is not in it."""
    ann, door = add_token(file, "ann"), front(tokens=file)
    for path in ("/", "/dashboard"):
        answer = door.ask("GET", path)
        assert answer.status == 303 and answer.headers["location"] == "/dashboard/login"
    assert b'type="password"' in door.ask("GET", "/dashboard/login").body
    assert door.ask("GET", "/dashboard/style.css").status == 200
    for path in ("/dashboard/main.js", EVENTS, f"{EVENTS}/0"):
        assert door.ask("GET", path).status == 401
    flags = handed_in(door, ann).headers["set-cookie"]
    assert "HttpOnly" in flags and "SameSite=Strict" in flags and "Path=/" in flags and ann not in flags
    cookie = session(door, ann)
    for path in ("/dashboard", "/dashboard/main.js"):
        assert door.ask("GET", path, **cookie).status == 200
    assert b"Sign out" in door.ask("GET", "/dashboard", **cookie).body
    with listen(door, **cookie) as listener:
        assert listener.message()[0] == "state"
    with listen(door, Authorization=f"Bearer {ann}") as listener:
        assert listener.message()[0] == "state"


def test_a_wrong_token_opens_nothing(front, file):
    """The form again, with a word on it and without the text that was sent; no cookie."""
    add_token(file, "ann")
    door = front(tokens=file)
    for sent in (
        b"token=sp_%3Cscript%3Ealert(1)%3C/script%3E",
        b"token=",
        b"",
        b"other=1",
        b"\xff\xfe",
        b"token=a&" * 3,
    ):
        answer = door.ask("POST", "/dashboard/login", sent, **FORM)
        assert answer.status in (400, 401) and "set-cookie" not in answer.headers and b"alert(1)" not in answer.body
    assert b"not known, or was revoked" in handed_in(door, "sp_x").body
    assert door.ask("POST", "/dashboard/login", b"token=" + b"x" * 2**20, **FORM).status == 413


def test_a_session_opens_the_dashboard_and_nothing_else(front, file, broker, image):
    """Not a model, not a task, not the metrics: nothing that another page could have a browser do."""
    ann, door = add_token(file, "ann"), front(tokens=file)
    cookie = session(door, ann)
    assert door.infer({"inputs": [image]}, **cookie).status == 401
    for method, path in (
        *(("GET", path) for path in ("/metrics", "/v2", "/v2/models/pixels", "/v2/splitplace/tasks/0")),
        *(("DELETE", "/v2/splitplace/tasks/0"), ("POST", "/v2/repository/models/pixels/unload")),
        *(("GET", "/dashboardx"), ("GET", "/v2/splitplace/eventsx")),
    ):
        assert door.ask(method, path, **cookie).status == 401, path
    assert broker.tasks == {} and broker.cancelled == []


def test_another_sites_form_is_refused(front, file):
    """For signing in and out, by where the browser says that it was."""
    ann, door = add_token(file, "ann"), front(tokens=file)
    cookie = session(door, ann)
    for path in ("/dashboard/login", "/dashboard/logout"):
        refused = door.ask("POST", path, f"token={ann}".encode(), Origin="https://evil.example", **FORM, **cookie)
        assert refused.status == 403 and "set-cookie" not in refused.headers
    assert door.ask("GET", "/dashboard", **cookie).status == 200
    for odd in ("http://[", "null", ""):
        assert door.ask("POST", "/dashboard/login", f"token={ann}".encode(), Origin=odd, **FORM).status == 403
    own = door.ask("POST", "/dashboard/logout", b"", Origin=door.url, **FORM, **cookie)
    assert own.status == 303 and "Max-Age=0" in own.headers["set-cookie"]
    again = door.ask("POST", "/dashboard/logout", b"", Origin=door.url, **FORM, **cookie)  # on a page left open
    assert again.status == 303 and again.headers["location"] == "/dashboard/login"
    assert door.ask("GET", "/dashboard/main.js", **cookie).status == 401


def test_whose_token_is_revoked_is_told_nothing_more(front, file):
    """The stream ends, and the session with it."""
    ann, door = add_token(file, "ann"), front(tokens=file)
    cookie = session(door, ann)
    with listen(door, **cookie) as listener:
        assert listener.message() is not None
        revoke_token(file, "ann")
        while listener.message() is not None:
            pass
    assert door.ask("GET", EVENTS, **cookie).status == 401


def test_who_has_signed_out_is_told_nothing_more(front, file):
    """The stream that the session had opened ends with it; another one of the same token goes on."""
    ann, door = add_token(file, "ann"), front(tokens=file)
    cookie = session(door, ann)
    with listen(door, **cookie) as listener, listen(door, Authorization=f"Bearer {ann}") as other:
        assert listener.message() is not None
        assert door.ask("POST", "/dashboard/logout", b"", Origin=door.url, **FORM, **cookie).status == 303
        while listener.message() is not None:
            pass
        assert other.message() is not None and other.message() is not None


def test_sessions_end_with_time_and_are_bounded():
    """By a clock of the test: half a day, and the oldest goes where there are too many."""
    now = [0.0]
    kept = Sessions(lambda: now[0])
    first = kept.begin("a" * 64)
    said = f"other=1; {sessions.COOKIE}={first}; more=2"
    assert kept.digest(said) == "a" * 64 and kept.digest(f"{sessions.COOKIE}=x") is None and kept.digest("") is None
    now[0] = sessions.LASTS_S
    assert kept.digest(said) is None
    again = kept.begin("b" * 64)
    for _ in range(2 * sessions.MOST):
        newest = kept.begin("c" * 64)
    assert kept.digest(f"{sessions.COOKIE}={again}") == "b" * 64  # one token's many end no other's
    assert kept.digest(f"{sessions.COOKIE}={newest}") == "c" * 64 and len(kept._open) == 2 + sessions.MOST_OF_ONE
    for number in range(sessions.MOST):
        kept.begin(f"{number:064x}")
    assert kept.digest(f"{sessions.COOKIE}={again}") is None and len(kept._open) == sessions.MOST


def test_over_tls_the_cookie_is_sent_over_tls_alone():
    """`Secure`, where the front door speaks it."""
    assert "; Secure" in sessions.cookie("x", True) and "Secure" not in sessions.cookie("x", False)


def test_the_pages_files_do_not_use_up_a_tokens_rate(front, file):
    """A token of one request a second loads the page; what the page is told counts."""
    ann, now = add_token(file, "ann", 1.0), [0.0]
    guard = Guard(file, lambda: now[0])
    cookie = {"cookie": f"{sessions.COOKIE}={guard.begin_session(ann)}"}
    for _ in range(20):
        assert guard.admit(cookie, "/dashboard/main.js").name == "ann"
    now[0] = 10.0
    assert guard.admit(cookie, EVENTS).name == "ann"
    with pytest.raises(ValueError, match="more than 1 requests a second"):
        guard.admit(cookie, EVENTS)


def test_so_many_may_watch(front):
    """One more is told to come again; whoever hangs up makes room."""
    door = front(watchers=2)
    with listen(door) as one, listen(door) as other:
        assert one.message() and other.message()
        refused = door.ask("GET", EVENTS)
        assert refused.status == 429 and "retry-after" in refused.headers and "2 pages" in refused.error
    assert watching(door, 0)
    with listen(door) as again:
        assert again.message()


def test_one_token_may_not_watch_for_all(front, file):
    """Its pages beyond its own number are told to come again, by its name; another token's is told all along."""
    ann, bob, door = add_token(file, "ann"), add_token(file, "bob"), front(tokens=file, watchers_of_one=1)
    with listen(door, **session(door, ann)) as one, listen(door, Authorization=f"Bearer {bob}") as other:
        assert one.message() and other.message()
        refused = door.ask("GET", EVENTS, Authorization=f"Bearer {ann}")
        assert (
            refused.status == 429 and "retry-after" in refused.headers and "1 pages of the token ann" in refused.error
        )


def test_who_does_not_read_is_shown_out_and_holds_up_nobody(front, broker, monkeypatch):
    """His connection ends when he has not taken a piece in time, which the test lets pass; another is told on."""
    door = front(send_s=(never_s := 1e6))
    door.service.watch._tick_s = 0.01
    broker.devices = tuple(
        broker.devices[0].model_copy(update={"name": f"d-{row}", "fragments": ("x" * 100,) * 50}) for row in range(200)
    )
    deaf = socket.create_connection(("127.0.0.1", door.port), PATIENCE_S)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with closing(deaf), listen(door) as listener:
        assert listener.message() is not None
        loop, timers = door.service.watch._loop, []
        call_later = loop.call_later

        def noted(delay_s, callback, *args):
            if delay_s == never_s and callback.__self__.get_extra_info("peername") == deaf.getsockname():
                timers.append(callback)
            return call_later(delay_s, callback, *args)

        monkeypatch.setattr(loop, "call_later", noted)
        deaf.sendall(f"GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        for _ in range(3_000):
            assert listener.message() is not None
            if timers:
                break
        assert len(timers) == 1 and watching(door, 2)  # he does not read, and has his time
        loop.call_soon_threadsafe(timers[0])
        assert watching(door, 1)
        assert listener.message() is not None


def test_the_door_closes_though_somebody_watches(front):
    """At once, and the watcher's stream ends as it should."""
    door = front()
    with listen(door) as listener:
        assert listener.message()
        door.server.__exit__(None, None, None)
        while listener.message() is not None:
            pass
    assert not door.server._thread.is_alive()


def test_names_that_look_like_markup_are_data(door, broker):
    """Whatever a policy, a split or an error is called comes through as the text that it is, within one event."""
    bad = "</script><script>alert(1)</script>\n\nevent: state\ndata: {}"
    broker.policy = bad
    broker.devices = (broker.devices[0].model_copy(update={"name": bad, "fragments": (bad,)}),)
    task = Told(0)
    for event in (task.arrive(), task.decide(0.1, split=bad), task.finish(0.5, bad)):
        broker.book.append(event)
    with listen(door) as listener:
        kind, told = listener.message()
    assert kind == "state" and told["policy"] == bad
    assert told["devices"][0]["name"] == bad and told["devices"][0]["fragments"] == [bad]
    assert told["left"][0]["error"] == bad

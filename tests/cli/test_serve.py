"""`splitplace serve` as users have it: a catalog behind HTTP in one process; a front door before a fleet that dies."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton

import splitplace as sp
from splitplace.splitting import split_folder
from splitplace.splitting.artifact import SplitArtifact
from tests.cli.brightest import FLEET, MODEL

pytestmark = pytest.mark.slow

MAIN = "from splitplace.cli import main; main()"
PATIENCE_S = 240


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, brightest):
    """Of one split, profiled and evaluated."""
    folder = tmp_path_factory.mktemp("served")
    x, y = np.eye(4, dtype=np.uint8).reshape(4, 1, 2, 2), np.arange(4)
    split_folder.write(SplitArtifact(brightest(MODEL), {"full": MODEL}), folder / "split")
    sp.export(folder / "split", folder / "catalog")
    sp.profile(folder / "catalog", quick=True, kind="test")
    sp.evaluate(str(folder / "catalog"), images=x, labels=y)
    (folder / "fleet.toml").write_text(FLEET)
    return folder


class Called:
    """Commands under way; they are ended with the test."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def popen(self, *tokens):
        """One more; its document, once it has printed it, and its process."""
        command = [sys.executable, "-c", MAIN, *tokens, "--json"]
        process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=(self.folder / "err").open("ab"), text=True,
            start_new_session=True,
        )  # fmt: skip
        self.running.append(process)
        text = ""
        for line in process.stdout:
            text += line
            if line == "}\n":
                return json.loads(text), process
        raise AssertionError((self.folder / "err").read_text())

    def fleet(self, *options):
        """`fleet start`, in the foreground of a process of its own."""
        usual = "--devices", "fleet.toml", "--catalog", "catalog", "--policy", "full+least-loaded"
        return self.popen("fleet", "start", *usual, *options)

    def end(self, process, number=signal.SIGTERM):
        """Its exit code."""
        os.kill(process.pid, number)
        return process.wait(PATIENCE_S)


@pytest.fixture
def called(catalog, tmp_path):
    """In a folder with the catalog and the fleet's file."""
    for name in ("catalog", "fleet.toml"):
        (tmp_path / name).symlink_to(catalog / name)
    called = Called(tmp_path)
    yield called
    for process in called.running:
        if process.poll() is None:
            called.end(process)
        process.stdout.close()


def tensor(x):
    """As Triton's client sends it."""
    made = triton.InferInput("image", x.shape, "UINT8")
    made.set_data_from_numpy(x)
    return made


def asking(url):
    """Triton's client."""
    return triton.InferenceServerClient(
        url.removeprefix("http://"), concurrency=1, connection_timeout=PATIENCE_S, network_timeout=PATIENCE_S
    )


def test_a_catalog_behind_http_and_grpc(called):
    """The same logits as `infer`, by Triton's clients and by curl; SIGTERM ends it all; the access log is on stderr."""
    told, process = called.popen(
        "serve", "catalog", "--devices", "fleet.toml", "--policy", "full+random", "--port", "0", "--grpc-port", "0"
    )
    assert told["models"] == ["pixels"] and told["url"].startswith("http://127.0.0.1:")
    x = np.random.default_rng(0).integers(0, 256, (200, 1, 2, 2), np.uint8)
    expected = sp.infer(str(called.folder / "catalog"), x).logits
    with asking(told["url"]) as client:
        assert client.is_model_ready("pixels")
        answer = client.infer("pixels", [tensor(x)], parameters={"deadline_s": 1000.0})
        np.testing.assert_array_equal(answer.as_numpy("logits"), expected)
        parameters = answer.get_response()["parameters"]
        assert parameters["devices"] in ("d-0", "d-1") and parameters["p_source"] == "prior"
    with triton_grpc.InferenceServerClient(told["grpc"]) as client:
        asked = triton_grpc.InferInput("image", x.shape, "UINT8")
        asked.set_data_from_numpy(x)
        np.testing.assert_array_equal(client.infer("pixels", [asked]).as_numpy("logits"), expected)
    (called.folder / "x.raw").write_bytes(x.tobytes())
    url = f"{told['url']}/v2/models/pixels/infer"
    curl = ["curl", "-sfD", "head", "--data-binary", "@x.raw", "-H", "Inference-Header-Content-Length: 0", url]
    done = subprocess.run(curl, cwd=called.folder, capture_output=True, timeout=PATIENCE_S, check=True)
    head = int(re.search(r"(?i)inference-header-content-length: (\d+)", (called.folder / "head").read_text())[1])
    assert done.stdout[head:] == expected.tobytes()
    devices = psutil.Process(process.pid).children(recursive=True)
    assert devices and called.end(process) == 0
    assert not [device for device in devices if device.is_running() and device.status() != psutil.STATUS_ZOMBIE]
    lines = [json.loads(line) for line in (called.folder / "err").read_text().splitlines() if line.startswith("{")]
    assert {line["route"] for line in lines} >= {"/v2/models/{model}/infer", "/v2/models/{model}/ready"}


def ends(data):
    """How often each task ended, by the history of all brokers; a line that the kill cut off is none."""
    lines = [line for file in data.glob("history.jsonl*") for line in file.read_text().splitlines() if line[-1:] == "}"]
    events = [json.loads(line) for line in lines if '"finish"' in line]
    return Counter(event["outcome"]["id"] for event in events if event["event"] == "finish")


def test_a_device_and_the_broker_die_under_many_clients(called):
    """Every request is answered right or with a clear error, and by its id comes to its answer in the end, run once."""
    _, first = called.fleet()
    told, front = called.popen("serve", "--fleet", "splitplace-fleet", "--port", "0")
    asked, refusals, wrong, done = 32, [], [], [0] * 32
    killed = threading.Event()

    def ask(number):
        x = np.random.default_rng(number).integers(0, 256, (50, 1, 2, 2), np.uint8)
        with asking(told["url"]) as client:
            for turn in range(6):
                if turn == 3:
                    killed.wait(PATIENCE_S)
                for attempt in range(6000):
                    try:
                        answer = client.infer(
                            "pixels", [tensor(x)], request_id=f"{number}-{turn}", parameters={"deadline_s": 1000.0}
                        )
                    except triton.InferenceServerException as error:
                        refusals.append((error.status(), str(error.message())))
                        threading.Event().wait(0.1)
                        continue
                    if not np.array_equal(answer.as_numpy("logits"), x.reshape(50, 4).astype(np.float32)):
                        wrong.append((number, turn, attempt))
                    done[number] += 1
                    break

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(asked)]
    for client in clients:
        client.start()
    with sp.Client(called.folder / "splitplace-fleet") as client:
        os.kill(client.status().devices[0].pid, signal.SIGKILL)
    assert called.end(first, signal.SIGKILL) == -signal.SIGKILL
    killed.set()
    called.fleet()
    for client in clients:
        client.join(PATIENCE_S)
    assert done == [6] * asked and wrong == []
    assert {status for status, _ in refusals} <= {"503", "429"}
    finished = [
        event.task for event in sp.fleet_history(called.folder / "splitplace-fleet") if event.kind == "accepted"
    ]
    assert len(finished) == len(set(finished)) == 6 * asked
    assert set(ends(called.folder / "splitplace-fleet").values()) == {1}
    assert called.end(front) == 0


def command(folder, *tokens):
    """One that ends by itself."""
    return subprocess.run(
        [sys.executable, "-c", MAIN, *tokens], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S
    )


def test_submit_by_url_is_submit(called):
    """The same document as by the folder, but for numbers and times; labels, detach, answer and cancel likewise."""
    called.fleet()
    told, _ = called.popen("serve", "--fleet", "splitplace-fleet", "--port", "0")
    x = np.random.default_rng(0).integers(0, 256, (40, 1, 2, 2), np.uint8)
    np.save(called.folder / "x.npy", x)
    np.save(called.folder / "y.npy", x.reshape(40, 4).argmax(axis=1))
    asked = ("submit", "pixels", "--input", "x.npy", "--labels", "y.npy", "--deadline", "1000", "--json")
    documents = []
    for where in (("--data", "splitplace-fleet"), ("--url", told["url"])):
        done = command(called.folder, *asked, *where, "--out", "logits.npy")
        assert done.returncode == 0, done.stderr
        documents.append(json.loads(done.stdout))
        np.testing.assert_array_equal(np.load(called.folder / "logits.npy"), x.reshape(40, 4).astype(np.float32))
    by_folder, by_url = (document.pop("outcome") for document in documents)
    assert documents[0] == documents[1]
    its_own = {"id", "arrival_s", "deadline_s", "wait_s", "execute_s", "transfer_s", "response_s", "devices"}
    assert {k: v for k, v in by_folder.items() if k not in its_own} == {
        k: v for k, v in by_url.items() if k not in its_own
    }
    assert by_url["correct"] == 40 and by_url["p_source"] == "labels" and 500 < by_url["deadline_s"] <= 1000
    left = json.loads(command(called.folder, *asked, "--url", told["url"], "--detach").stdout)["task"]
    found = command(called.folder, "fleet", "answer", str(left), "--url", told["url"], "--json")
    assert json.loads(found.stdout)["outcome"]["id"] == left
    found = command(called.folder, "fleet", "cancel", str(left), "--url", told["url"], "--json")
    assert json.loads(found.stdout) == {"task": left, "was_under_way": False}


def test_ctrl_c_takes_back_what_was_submitted_by_url(called):
    """The fleet decides once an hour, so that the task waits; it is cancelled, and the command says so: exit 130."""
    called.fleet("--interval", "3600")
    told, _ = called.popen("serve", "--fleet", "splitplace-fleet", "--port", "0")
    np.save(called.folder / "x.npy", np.zeros((4, 1, 2, 2), np.uint8))
    with sp.Client(called.folder / "splitplace-fleet") as client:
        task = ("submit", "pixels", "--input", "x.npy", "--deadline", "1000")
        asking = subprocess.Popen(
            [sys.executable, "-c", MAIN, *task, "--url", told["url"]],
            cwd=called.folder, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not client.status().tasks.waiting:
            time.sleep(0.05)
        asking.send_signal(signal.SIGINT)
        _, err = asking.communicate(timeout=PATIENCE_S)
        assert asking.returncode == 130 and err.count("\n") == 1
        assert client.status().tasks.cancelled == 1


def test_mistakes_with_a_url_are_one_line(called):
    """No URL, nobody there, both ways at once, what goes with --url alone."""
    np.save(called.folder / "x.npy", np.zeros((4, 1, 2, 2), np.uint8))
    for tokens, code, said in (
        (("--url", "localhost:8000"), 2, "expected http://HOST:PORT"),
        (("--url", "http://127.0.0.1:9"), 1, "does not answer"),
        (("--url", "http://127.0.0.1:9", "--data", "x"), 2, "--data and --url: expected one of them"),
        (("--token-file", "x"), 2, "--token-file and --ca go with --url"),
        (("--url", "http://127.0.0.1:9", "--token-file", "missing"), 2, "no such file"),
        (("--url", "https://127.0.0.1:9", "--ca", "missing"), 2, "no such file"),
    ):
        done = command(called.folder, "submit", "pixels", "--input", "x.npy", "--deadline", "1", *tokens)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1) and said in done.stderr, (
            done.stderr
        )


def test_a_user_s_mistakes_are_one_line(called):
    """Before there is a fleet: nothing to serve, both, no such fleet, an address beyond this machine."""
    for tokens, said in (
        ((), "expected a catalog to serve"),
        (("catalog", "--fleet", "x"), "expected a catalog to serve"),
        (("--fleet", "nowhere"), "no fleet runs in"),
        (("--fleet", "nowhere", "--wire", "encoded"), "--wire with --fleet"),
        (("catalog", "--host", "192.0.2.1"), "takes --tokens, --tls-cert and --tls-key"),
        (("catalog", "--port", "99999"), "--port 99999"),
        (("catalog", "--tokens", "nowhere"), "splitplace token add"),
    ):
        command = [sys.executable, "-c", MAIN, "serve", *tokens]
        done = subprocess.run(command, cwd=called.folder, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode in (1, 2) and done.stderr.count("\n") == 1 and said in done.stderr, done.stderr
    assert not (called.folder / "splitplace-fleet").exists()


def test_images_travel_to_the_devices_as_png_if_asked(called):
    """However they came in, and though no request waits for a thread else: each is answered as ever."""
    told, _ = called.popen("serve", "catalog", "--devices", "fleet.toml", "--port", "0", "--wire", "encoded")
    x = np.eye(4, dtype=np.uint8).reshape(4, 1, 2, 2)
    with sp.RemoteClient(told["url"]) as client:
        assert client.submit("pixels", x, 1000.0).result(PATIENCE_S).logits.argmax(1).tolist() == [0, 1, 2, 3]
    given = triton.InferInput("image", x.shape, "UINT8")
    given.set_data_from_numpy(x)
    with triton.InferenceServerClient(told["url"].removeprefix("http://")) as client:  # without an id: volatile
        answer = client.infer("pixels", [given], parameters={"deadline_s": 1000.0})
        assert answer.as_numpy(answer.get_response()["outputs"][0]["name"]).argmax(1).tolist() == [0, 1, 2, 3]
    with sp.Client(called.folder / "splitplace-fleet") as client:
        assert client.status().wire == "encoded"


def test_a_result_is_kept_for_as_long_as_is_stated(called):
    """It can be asked for, then it cannot, and another request may have its key; without --retain it could for ever."""
    told, _ = called.popen(
        "serve", "catalog", "--devices", "fleet.toml", "--policy", "full+random", "--port", "0", "--retain", "20"
    )
    x = np.zeros((1, 1, 2, 2), np.uint8)
    with sp.RemoteClient(told["url"]) as client:
        task = client.submit("pixels", x, 1000.0, key="mine", keep=True).task_id
        first = client.answer(task).result(PATIENCE_S)
        while True:
            try:
                client.answer(task).result(PATIENCE_S)
            except sp.NotFoundError as error:
                assert "not kept any more" in str(error)
                break
            time.sleep(0.2)
        again = client.submit("pixels", x + 1, 1000.0, key="mine")
        assert again.result(PATIENCE_S).logits.tolist() != first.logits.tolist() and again.task_id > task

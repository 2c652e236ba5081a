"""What the process has grown by is given back; held against made-up sizes, and once against the C library's own."""

import ctypes
import subprocess

import pytest

from splitplace.children import child_env, python_code
from splitplace.inference import memory
from splitplace.placement.http.spare_memory import GROWN_BYTES, SpareMemory


class Process:
    """Holds so much, of which so much is in use."""

    def __init__(self):
        self.used = self.held = 100 * 2**20
        self.given_back = 0

    def give_back(self):
        """What is free goes."""
        self.given_back += 1
        self.held = self.used


@pytest.fixture
def process():
    """One that has just started."""
    return Process()


@pytest.fixture
def spare(process):
    """What looks after it."""
    return SpareMemory(lambda: process.held, process.give_back)


def test_what_has_grown_is_given_back_once(process, spare):
    """And again only where it has grown anew."""
    process.held += GROWN_BYTES
    assert [spare.look(), spare.look()] == [True, False]
    assert (process.held, process.given_back) == (process.used, 1)
    process.held += GROWN_BYTES
    assert spare.look() and process.given_back == 2


def test_what_has_hardly_grown_is_left_alone(process, spare):
    """It takes milliseconds, and the next request may want the memory again."""
    process.held += GROWN_BYTES - 1
    assert not spare.look() and process.given_back == 0


def test_what_is_in_use_is_no_cause_for_ever(process, spare):
    """Memory that stays in use is looked at once, and counts as held from then on."""
    process.used = process.held = process.held + 4 * GROWN_BYTES
    assert [spare.look(), spare.look()] == [True, False]


def test_memory_that_lies_free_below_what_is_used_goes_back():
    """64 MiB in pieces below the size that the system is asked for by itself, the topmost still in use."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    pieces = [library.malloc(2**16) for _ in range(1024)]
    for piece in pieces:
        ctypes.memset(piece, 1, 2**16)
    spare = SpareMemory()
    spare._least = 0
    for piece in pieces[:-1]:
        library.free(piece)
    before = memory.rss_bytes()
    assert spare.look()
    library.free(pieces[-1])
    assert memory.rss_bytes() < before - 2**25


COUNT_ARENAS = """
import ctypes, re, tempfile, threading
from splitplace.inference import memory

memory.few_arenas(2)
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.fopen.restype, library.fopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p] * 2
library.malloc_info.argtypes, library.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
all_there, done = threading.Barrier(13), threading.Event()

def take():
    library.malloc(1000)
    all_there.wait()
    done.wait()

for thread in [threading.Thread(target=take) for _ in range(12)]:
    thread.start()
all_there.wait()
with tempfile.NamedTemporaryFile() as file:
    stream = library.fopen(file.name.encode(), b"w")
    library.malloc_info(0, stream)
    library.fclose(stream)
    print(len(re.findall(rb"<heap nr", file.read())))
done.set()
"""


def test_many_threads_share_few_arenas():
    """Twelve that are there at once have two of the C library's; by default as many as eight for each core."""
    done = subprocess.run(python_code(COUNT_ARENAS), env=child_env(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 2

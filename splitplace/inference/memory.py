"""How onnxruntime's memory is kept small and predictable in this process.

By default each session has an arena of its own that grows by powers of two and keeps its weights in it: what a fragment
takes then jumps over the batch size, differs from run to run, and adds up over the fragments of a device although only
one runs at a time. Here all sessions of a process share one arena that grows by exactly what is asked for; weights stay
outside it. Measured on 24 fragments of three families: smaller, straight over the batch size, the same in every
process, and no slower.
"""

import ctypes
import os
from functools import cache
from importlib.resources import files

import numpy as np
import onnxruntime as ort
import psutil

_EXTEND_AS_REQUESTED = 1
_CHUNK_BYTES = 64 * 1024


def session_options(threads: int) -> ort.SessionOptions:
    """Options of a session on the CPU with a pinned number of threads and the shared arena."""
    _share_arena()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would eat the CPU share of the neighbours on one machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    # A pattern is one block for a whole run, beside what the arena holds from runs before: up to twice the memory, in
    # jumps over the batch size. Measured on MobileNetV2 fragments at batch 1 to 64: no slower without.
    options.enable_mem_pattern = False
    # onnxruntime multiplies by weights of four bits that it finds dequantised in 8-bit integers by default, where it
    # fuses the two, which hangs on what is around them: up to a hundredth of the answers apart.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    options.log_severity_level = 4  # what fails is raised as well
    return options


@cache
def _share_arena() -> None:
    """Once a process."""
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    growth = {"arena_extend_strategy": _EXTEND_AS_REQUESTED, "initial_chunk_size_bytes": _CHUNK_BYTES}
    ort.create_and_register_allocator(info, ort.OrtArenaCfg({"max_mem": 0, "max_dead_bytes_per_chunk": -1} | growth))


def rss_bytes() -> int:
    """Resident memory of this process; can be had where no file can be opened any more, too."""
    statm = _statm(os.getpid())
    if statm is None:
        return int(psutil.Process().memory_info().rss)
    return int(os.pread(statm, 200, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")


@cache
def _statm(pid: int) -> int | None:
    """What Linux tells of this process's memory, opened once; None where there is no such file."""
    try:
        return os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def anonymous_bytes() -> int:
    """The part of it that no file backs and nobody shares: what was allocated, without the libraries' code."""
    info = psutil.Process().memory_info()
    return int(info.rss - info.shared)


_M_ARENA_MAX = -8
"""Of glibc's `mallopt`."""


def few_arenas(most: int) -> None:
    """Have threads that begin from now on share so many of the C library's arenas (glibc's; eight a core by default).

    Each keeps what its largest moment took, at its top even when it is asked to give back.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        adjust(_M_ARENA_MAX, most)


def trim() -> None:
    """Give freed memory back to the system, where the C library can (glibc).

    Loading parses and copies the model: without this, two to three times its size stay with the process, by chance
    more or less, and a device's memory is neither small nor predictable.
    """
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)


def release() -> None:
    """Give back what ended sessions left in the shared arena, which by itself never shrinks; takes milliseconds."""
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    model = (files("splitplace.inference") / "probe.onnx").read_bytes()  # any small model: a run is what shrinks
    session = ort.InferenceSession(model, session_options(1), providers=["CPUExecutionProvider"])
    session.run(["y"], {"x": np.zeros((1, 24, 28, 28), np.float32)}, options)
    del session
    trim()

"""The device runtime: a process with onnxruntime sessions and a tensor stream. Needs neither torch nor onnx.

    python -m splitplace.placement.device.__main__ < configuration

Standard input carries the configuration (a `DeviceConfig` on one line) and then stays open: when it ends, whoever
launched the device is gone, and the device goes too. So it does when its parent is another: a process that the launcher
forked may keep the pipe open for as long as it lives.
"""

import logging
import os
import selectors
import signal
import sys
import threading
import time
from typing import NoReturn

from splitplace.children import tell_crashes
from splitplace.errors import SplitPlaceError
from splitplace.inference import memory
from splitplace.inference.cpu_share import open_share
from splitplace.inference.encoded_images import check_decodes, load_decoder
from splitplace.placement.device.config import DeviceConfig
from splitplace.placement.device.host import DeviceRuntime
from splitplace.placement.protocol import fields, messages
from splitplace.placement.protocol.stream import StreamNode

EXIT_S = 5.0
"""How long a running session may delay the end of an orphaned device."""
LOOK_S = 1.0
"""How often it looks whether whoever launched it is still its parent."""


def main() -> NoReturn:
    """Be a device runtime until standard input ends or the broker says stop.

    Raises:
        SplitPlaceError: The configuration, the catalog or the CPU share is not to be had, or images are to come as PNG
            and Pillow is not installed.
    """
    tell_crashes()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    launcher = os.getppid()
    config = DeviceConfig.parse(sys.stdin.buffer.readline(2**20), "standard input")
    if config.wire == "encoded":
        check_decodes()
        load_decoder()
    share = open_share(config.cpu_share, config.threads, config.cpu_share_method)
    code = 0
    try:
        node = StreamNode(config.access, config.max_frame_bytes, config.incarnation, config.relay)
        node.expect(fields.BROKER, config.broker_incarnation)
        node.connect(fields.BROKER, config.broker_endpoint)
        device = DeviceRuntime(config, node, share)
        signal.signal(signal.SIGTERM, lambda *_: device.stop())
        threading.Thread(target=_end_with_launcher, args=(device, launcher), daemon=True).start()
        node.send(
            fields.BROKER,
            messages.Hello(
                protocol=messages.PROTOCOL,
                endpoint=node.endpoint,
                pid=os.getpid(),
                cpu_share=share.share,
                cpu_share_method=share.method,
                rss_bytes=memory.rss_bytes(),
            ),
        )
        device.serve()
    except Exception as error:
        logging.exception("the device ends")
        sys.stderr.write(f"{type(error).__name__}: {fields.text(error)}\n")  # the last line is what the broker tells
        code = 1
    finally:
        share.close()
    # Not through the interpreter's own exit, which would wait for a session that still runs.
    sys.stderr.flush()
    os._exit(code)


def _end_with_launcher(device: DeviceRuntime, launcher: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while os.getppid() == launcher:
            if selector.select(LOOK_S) and not os.read(sys.stdin.fileno(), 4096):
                break
    device.stop()
    time.sleep(EXIT_S)
    device.share.close()
    os._exit(1)


if __name__ == "__main__":
    try:
        main()
    except SplitPlaceError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)

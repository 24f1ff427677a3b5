#!/usr/bin/env python3
"""An SPDK target on 127.0.0.1 for tests, and what can happen to it.

    target.py FOLDER VERB [NUMBER]

FOLDER keeps its state, so that a test can name this program and the folder as a command:
  start [--port N]   nvmf_tgt with one subsystem: namespace 1 is a file that survives the target,
                     namespace 2 is memory, namespace 3 keeps metadata, namespace 4 has blocks of 4 KiB
  stop, kill         ends it, politely or not; the file stays, the memory is gone
  drop               takes the listener away, which cuts every connection, and puts it back
  remove N           namespace N vanishes
  blank              the file of a target that is not running is another one, of zeros
  hold N             the next N reads of namespace 1 are swallowed
  fail N             the next N reads of namespace 1 end with an error
  let-go             ends what hold and fail began
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

NQN = "nqn.2024-01.org.kvpool:test"
MIB = 1 << 20
FILE_BYTES = 64 * MIB
PATIENCE_S = 30


class RpcError(Exception):
    """What the target answered."""


class Target:
    def __init__(self, folder, program=None):
        self.folder = pathlib.Path(folder)
        self.program = program or shutil.which("nvmf_tgt")
        self.socket = self.folder / "rpc.sock"
        self.state = self.folder / "state.json"

    # --- its process

    def start(self, port=4420):
        if not (self.folder / "drive").exists():
            with open(self.folder / "drive", "wb") as file:
                file.truncate(FILE_BYTES)
        self.socket.unlink(missing_ok=True)
        log = open(self.folder / "target.log", "ab")
        # The last processor: the tests run on the others.
        core = max(os.sched_getaffinity(0))
        process = subprocess.Popen(
            [self.program, "--no-huge", "-s", "512", "--lcores", f"0@{core}", "-r", str(self.socket)],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        self.state.write_text(json.dumps({"pid": process.pid, "port": port}))
        self.await_rpc(process)
        self.set_up(port)

    def await_rpc(self, process):
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.rpc("framework_wait_init")
                return
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"nvmf_tgt did not start: see {self.folder}/target.log") from None
                time.sleep(0.05)

    def set_up(self, port):
        self.rpc("nvmf_create_transport", trtype="TCP")
        self.rpc("bdev_aio_create", name="drive", filename=str(self.folder / "drive"), block_size=512)
        self.rpc("bdev_error_create", base_name="drive")
        self.rpc("bdev_malloc_create", name="memory", num_blocks=32 * MIB // 512, block_size=512)
        self.rpc("bdev_malloc_create", name="metadata", num_blocks=16 * MIB // 512, block_size=512,
                 md_size=8, md_interleave=True)
        self.rpc("bdev_malloc_create", name="large", num_blocks=32 * MIB // 4096, block_size=4096)
        self.rpc("nvmf_create_subsystem", nqn=NQN, allow_any_host=True, serial_number="KVPOOL1",
                 model_number="target for tests")
        for number, name in enumerate(("EE_drive", "memory", "metadata", "large"), 1):
            self.rpc("nvmf_subsystem_add_ns", nqn=NQN, namespace={"bdev_name": name, "nsid": number})
        self.rpc("nvmf_subsystem_add_listener", nqn=NQN, listen_address=self.listener(port))

    @staticmethod
    def listener(port):
        return {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": str(port)}

    def read_state(self):
        return json.loads(self.state.read_text())

    def end(self, how):
        """Ends the process, if there is one, and waits until it is gone."""
        if not self.state.exists():
            return
        pid = self.read_state()["pid"]
        try:
            os.kill(pid, how)
            end = time.monotonic() + PATIENCE_S
            while pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():  # empty once it is a zombie
                if time.monotonic() > end:
                    how = signal.SIGKILL
                    os.kill(pid, how)
                time.sleep(0.01)
        except (ProcessLookupError, FileNotFoundError):
            pass
        self.state.unlink()

    # --- its remote procedures

    def rpc(self, method, **params):
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params:
            request["params"] = params
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(PATIENCE_S)
            link.connect(str(self.socket))
            link.sendall(json.dumps(request).encode())
            answer = b""
            while True:
                piece = link.recv(1 << 16)
                if not piece:
                    raise OSError("the target hung up")
                answer += piece
                try:
                    parsed = json.loads(answer)
                    break
                except json.JSONDecodeError:
                    continue
        if "error" in parsed:
            raise RpcError(f"{method}: {parsed['error']['message']}")
        return parsed["result"]

    def drop(self):
        address = self.listener(self.read_state()["port"])
        self.rpc("nvmf_subsystem_remove_listener", nqn=NQN, listen_address=address)
        self.rpc("nvmf_subsystem_add_listener", nqn=NQN, listen_address=address)

    def remove(self, number):
        self.rpc("nvmf_subsystem_remove_ns", nqn=NQN, nsid=number)

    def inject(self, error, count):
        self.rpc("bdev_error_inject_error", name="EE_drive", io_type="read", error_type=error, num=count)

    def let_go(self):
        self.rpc("bdev_error_inject_error", name="EE_drive", io_type="clear", error_type="failure")

    def address(self, number):
        return (f"trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:{self.read_state()['port']} "
                f"subnqn:{NQN} ns:{number}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("folder")
    parser.add_argument("verb", choices=("start", "stop", "kill", "drop", "remove", "blank", "hold", "fail", "let-go"))
    parser.add_argument("number", type=int, nargs="?", default=1)
    parser.add_argument("--port", type=int, default=4420)
    asked = parser.parse_args()
    target = Target(asked.folder)
    {"start": lambda: target.start(asked.port),
     "stop": lambda: target.end(signal.SIGTERM),
     "kill": lambda: target.end(signal.SIGKILL),
     "drop": target.drop,
     "remove": lambda: target.remove(asked.number),
     "blank": (target.folder / "drive").unlink,
     "hold": lambda: target.inject("pending", asked.number),
     "fail": lambda: target.inject("failure", asked.number),
     "let-go": target.let_go}[asked.verb]()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Drives a microVM with a Firecracker client library as its users do; `library.rs` has prepared the machine around it.

Arguments: the kernel, the root disk, the second disk, a larger one for its place. Prints `done` at the end.
"""

import http.server
import os
import socket
import socketserver
import sys
import threading
import time

KERNEL, ROOT, DATA, LARGER = sys.argv[1:5]
# How long something may take that the guest does: this bounds a hang, and asserts nothing about speed.
PATIENCE = 800


class NoDocker(http.server.BaseHTTPRequestHandler):
    """The library asks Docker for its version before anything else, also where no image is to be built."""

    def do_GET(self):
        body = b'{"ApiVersion": "1.41"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "client"

    def log_message(self, *_):
        pass


def fake_docker():
    path = os.path.abspath("docker.sock")
    server = socketserver.ThreadingUnixStreamServer(path, NoDocker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["DOCKER_HOST"] = "unix://" + path


fake_docker()
from firecracker.api import Api  # noqa: E402
from firecracker.exceptions import APIError  # noqa: E402
from firecracker.microvm import MicroVM  # noqa: E402


def step(what):
    print(what, flush=True)


def line(stream):
    """The next line, without reading ahead."""
    text = b""
    while not text.endswith(b"\n"):
        byte = stream.recv(1)
        if not byte:
            return None
        text += byte
    return text.decode().strip()


def over_vsock(path, words):
    """One exchange with the guest's port 5000, in Firecracker's way; None while nobody listens."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(PATIENCE)
        stream.connect(path)
        stream.sendall(b"CONNECT 5000\n")
        try:
            said = line(stream)
        except ConnectionResetError:
            return None
        if said is None:
            return None
        assert said.startswith("OK "), said
        stream.sendall(words.encode() + b"\n")
        return line(stream)


def over_tap(words):
    with socket.create_connection(("172.16.0.2", 5000), timeout=PATIENCE) as stream:
        stream.sendall(words.encode() + b"\n")
        return line(stream)


def wait_for(what, look):
    end = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.2)


vm = MicroVM(
    name="guest",
    kernel_file=KERNEL,
    base_rootfs=ROOT,
    overlayfs=True,
    overlayfs_file=DATA,
    memory=128,
    vsock_enabled=True,
)
said = vm.create()
assert said.endswith(" created"), said
(listed,) = MicroVM.list()
vmm = listed["id"]
place = f"/var/lib/firecracker/{vmm}"
api = Api(f"{place}/firecracker.socket")
assert api.describe.get().json()["state"] == "Running"
assert api.version.get().json()["firecracker_version"].startswith("1."), "no version of Firecracker"
step("it runs")

vsock = f"{place}/v.sock"
heard = wait_for("the guest", lambda: over_vsock(vsock, "over vsock"))
assert heard == "guest heard over vsock", heard
step("vsock carries")
assert over_tap("over TAP") == "guest heard over TAP"
step("the TAP carries")



def console():
    with open(f"{place}/firecracker.log") as output:
        return output.read()


wait_for("the guest's output", lambda: "the guest listens" in console())
step("the console is on standard output")

config = vm.config()
assert config["boot-source"]["kernel_image_path"] == KERNEL, config
assert "console=ttyS0 reboot=k pci=off panic=1" in config["boot-source"]["boot_args"], config
root, data = config["drives"]
assert (root["drive_id"], root["is_root_device"], root["is_read_only"]) == ("rootfs", True, True), root
assert (data["drive_id"], data["path_on_host"], data["is_read_only"]) == ("overlayfs", DATA, False), data
(network,) = config["network-interfaces"]
assert (network["iface_id"], network["host_dev_name"]) == ("eth0", f"tap_{vmm}"), network
assert config["vsock"]["guest_cid"] == 3 and config["vsock"]["uds_path"] == vsock, config
assert config["machine-config"]["mem_size_mib"] == 128, config
step("/vm/config is as configured")

before = os.stat(DATA).st_size
assert over_vsock(vsock, "size /dev/vdb") == str(before)
api.drive.patch(drive_id="overlayfs", path_on_host=LARGER)
after = os.stat(LARGER).st_size
wait_for("the new size", lambda: over_vsock(vsock, "size /dev/vdb") == str(after))
step("a drive is patched")

try:
    api.drive.patch(drive_id="overlayfs", path_on_host="/nowhere")
except APIError as error:
    assert "API fault" in str(error) and "/nowhere" in str(error), error
else:
    raise AssertionError("a drive without a file was taken")
step("errors have their fault_message")

vm.pause()
assert api.describe.get().json()["state"] == "Paused"
vm.resume()
assert api.describe.get().json()["state"] == "Running"
assert over_vsock(vsock, "still there") == "guest heard still there"
step("it was paused and goes on")

pid = listed["pid"]
said = vm.delete()
assert said.endswith("is deleted"), said
assert MicroVM.list() == [] and not os.path.exists(place), "something is left"
step("it is stopped")
print("done")

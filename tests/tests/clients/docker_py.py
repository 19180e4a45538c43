"""docker-py's calls of containers, execs, images, volumes and networks, each used once and its effect looked at."""

import struct
import sys

import docker
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound

address, archive, networks = sys.argv[1:]
client = docker.DockerClient(base_url=address, version="auto", timeout=300)


def fails(kind, status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except kind as error:
        assert error.response.status_code == status, error
        return error
    raise AssertionError(f"{call} did not fail")


def frame(socket):
    """One frame of a stream without a terminal."""

    def exactly(count):
        data = b""
        while len(data) < count:
            more = socket._sock.recv(count - len(data))
            assert more, data
            data += more
        return data

    stream, length = struct.unpack(">BxxxL", exactly(8))
    return stream, exactly(length)


# The daemon.
assert client.ping()
assert client.version()["ApiVersion"] == "1.51"
assert client.info()["OSType"] == "linux"
assert client.df()["Images"]
events = client.events(decode=True, filters={"type": "container", "event": ["create", "die"]})

# Images.
box = client.images.get("busybox")
assert "busybox:latest" in box.tags
assert box.short_id in [one.short_id for one in client.images.list(name="busybox")]
assert box.tag("example.org/team/box", "1")
assert client.images.list(filters={"reference": "example.org/team/box"})[0].id == box.id
client.images.remove("example.org/team/box:1")
fails(ImageNotFound, 404, client.images.get, "example.org/team/box:1")
with open(archive, "rb") as data:
    assert client.images.load(data)[0].id == box.id
assert client.images.prune(filters={"dangling": True})["SpaceReclaimed"] >= 0

# A program that ends.
assert client.containers.run("busybox", ["echo", "hi"], remove=True) == b"hi\n"
try:
    client.containers.run("busybox", ["sh", "-c", "echo oops >&2; exit 7"], remove=True)
    raise AssertionError("a program that fails is an error")
except ContainerError as error:
    assert error.exit_status == 7 and b"oops" in error.stderr, error
fails(APIError, 400, client.containers.create, "busybox", "true", pid_mode="host")

# One that runs, with a volume.
volume = client.volumes.create("data", labels={"a": "b"})
assert client.volumes.get("data").attrs["Labels"] == {"a": "b"}
assert [one.name for one in client.volumes.list(filters={"label": "a=b"})] == ["data"]
script = "trap 'exit 3' TERM; echo one; echo two >&2; touch /data/x; while read line; do echo got $line; done; while :; do sleep 1; done"
web = client.containers.create(
    "busybox",
    ["sh", "-c", script],
    name="web",
    labels={"tier": "front"},
    environment={"COLOUR": "red"},
    stdin_open=True,
    volumes={"data": {"bind": "/data", "mode": "rw"}},
)
assert web.status == "created"
socket = web.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
web.start()
assert {frame(socket), frame(socket)} == {(1, b"one\n"), (2, b"two\n")}
socket._sock.sendall(b"typed\n")
assert frame(socket) == (1, b"got typed\n")
socket.close()
web.reload()
assert web.status == "running" and web.labels == {"tier": "front"} and web.image.id == box.id
assert client.containers.get("web").id == web.id
assert [one.id for one in client.containers.list(filters={"label": "tier=front"})] == [web.id]
assert web.logs(stdout=True, stderr=False) == b"one\ngot typed\n"
assert web.logs(tail=1, timestamps=True).endswith(b" got typed\n")
stream = web.logs(stream=True, follow=True)
assert b"one" in next(stream)
stream.close()

code, output = web.exec_run(["sh", "-c", "echo $COLOUR; ls /data; exit 5"])
assert (code, output) == (5, b"red\nx\n"), (code, output)
code, (out, err) = web.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
assert (code, out, err) == (0, b"out\n", b"err\n")
_, output = web.exec_run(["sh", "-c", "echo a; echo b"], stream=True)
assert b"".join(output) == b"a\nb\n"
_, shell = web.exec_run(["cat"], stdin=True, socket=True)
shell._sock.sendall(b"echoed\n")
assert frame(shell) == (1, b"echoed\n")
shell.close()

web.pause()
web.reload()
assert web.status == "paused"
web.unpause()
web.rename("shop")
assert client.containers.get("shop").id == web.id
web.update(restart_policy={"Name": "on-failure", "MaximumRetryCount": 2})
web.reload()
assert web.attrs["HostConfig"]["RestartPolicy"]["Name"] == "on-failure"
web.update(restart_policy={"Name": "no"})
fails(APIError, 409, web.remove)
web.stop(timeout=60)
assert web.wait()["StatusCode"] == 3
web.start()
web.restart(timeout=0)
web.kill()
assert web.wait()["StatusCode"] == 137
assert client.containers.list() == []
web.remove()
fails(NotFound, 404, client.containers.get, "shop")
volume.remove()
fails(NotFound, 404, client.volumes.get, "data")

# One with a terminal, in the background.
tty = client.containers.run("busybox", ["sh"], tty=True, stdin_open=True, detach=True)
tty.resize(40, 120)
tty.remove(force=True)
client.containers.create("busybox", "true", labels={"old": "1"})
pruned = client.containers.prune(filters={"label": "old=1"})
assert len(pruned["ContainersDeleted"]) == 1
client.volumes.create(labels={"old": "1"})
assert len(client.volumes.prune(filters={"label": "old=1"})["VolumesDeleted"]) == 1
client.volumes.prune()

# Networks, where they may be made.
if networks == "networks":
    pool = docker.types.IPAMPool(subnet="10.66.0.0/24", gateway="10.66.0.7")
    ipam = docker.types.IPAMConfig(pool_configs=[pool])
    front = client.networks.create("front", driver="bridge", ipam=ipam, labels={"tier": "front"})
    assert client.networks.get("front").id == front.id
    assert front.attrs["Labels"] == {"tier": "front"}
    assert front.attrs["IPAM"]["Config"][0]["Gateway"] == "10.66.0.7"
    assert [one.id for one in client.networks.list(filters={"label": "tier=front"})] == [front.id]
    fails(APIError, 409, client.networks.create, "front")
    back = client.networks.create("back", internal=True)
    member = client.containers.run("busybox", ["sleep", "100000"], network="front", detach=True)
    back.connect(member, aliases=["other"])
    member.reload()
    assert set(member.attrs["NetworkSettings"]["Networks"]) == {"front", "back"}
    back.reload()
    assert [one.id for one in back.containers] == [member.id]
    fails(APIError, 403, back.remove)
    back.disconnect(member)
    member.reload()
    assert set(member.attrs["NetworkSettings"]["Networks"]) == {"front"}
    member.remove(force=True)
    back.remove()
    fails(NotFound, 404, client.networks.get, "back")
    assert client.networks.prune(filters={"label": "tier=front"})["NetworksDeleted"] == ["front"]

seen = next(events)
assert seen["Type"] == "container" and seen["Action"] == "create", seen
events.close()
print("done")

"""What code can do that runs in the service: told as JSON, the system's word for each attempt.

The variable PLACES names a file of JSON: what is written, read and connected to; RESULTS one that is made.
"""

import ctypes
import errno
import json
import mmap
import os
import socket

libc = ctypes.CDLL(None, use_errno=True)
SYSCALLS = {
    "open_by_handle_at": (304, 265), "ptrace": (101, 117), "process_vm_readv": (310, 270), "bpf": (321, 280),
    "perf_event_open": (298, 241), "init_module": (175, 105), "keyctl": (250, 219), "userfaultfd": (323, 282),
    "pivot_root": (155, 41), "reboot": (169, 142), "settimeofday": (164, 170), "swapon": (167, 224),
    "syslog": (103, 116), "kexec_load": (246, 104), "fanotify_init": (300, 262), "acct": (163, 89),
    "io_uring_setup": (425, 425), "pidfd_send_signal": (424, 424), "quotactl": (179, 60), "setns": (308, 268),
}


def syscall(name, *arguments):
    number = SYSCALLS[name][os.uname().machine == "aarch64"]
    arguments = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    check(libc.syscall(ctypes.c_long(number), *arguments))


def check(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def write(path):
    path = os.path.join(path, "written-by-escape") if os.path.isdir(path) else path
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def read(path):
    """Something of it: where a path is hidden there is nothing."""
    if os.path.isdir(path):
        content = os.listdir(path)
    else:
        with open(path, "rb") as file:
            content = file.read(1)
    if not content:
        raise OSError(errno.ENODATA, "nothing there")


def start(*command):
    """A program, which ends well."""
    process = os.posix_spawn(command[0], command, {})
    if os.waitpid(process, 0)[1]:
        raise OSError(errno.ENOEXEC, "it did not run")


def start_own(folder):
    """A program that the attacker brings."""
    path = os.path.join(folder, "program")
    with open(path, "wb") as file:
        file.write(b"#!/bin/true\n")
    os.chmod(path, 0o700)
    start(path)


def map_code(folder):
    """Code that the attacker brings."""
    with open(os.path.join(folder, "code"), "w+b") as file:
        file.write(bytes(4096))
        file.flush()
        mmap.mmap(file.fileno(), 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)


def listen(family, address):
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()


def by_handle(folder, victim):
    """The file behind another mount of the same file system, opened through the one that may be written to."""
    handle = ctypes.create_string_buffer(8 + 128)
    ctypes.c_uint.from_buffer(handle).value = 128
    mount = ctypes.c_int()
    check(libc.name_to_handle_at(-100, victim.encode(), handle, ctypes.byref(mount), 0))
    syscall("open_by_handle_at", os.open(folder, os.O_RDONLY), handle, os.O_WRONLY)


def connect(path):
    socket.socket(socket.AF_UNIX).connect(path)


def find_door():
    """The service's connection to the dialer, among its descriptors."""
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(descriptor)))
            if found.getpeername() == "/run/akvvm/dialer":
                return found
        except OSError:
            pass
    raise OSError(errno.ENOTCONN, "no dialer")


def dial(request):
    """What the dialer, which connects for the service, does for who speaks as the service does."""
    with find_door() as door:
        door.sendall(b".")
        _, channels, _, _ = socket.recv_fds(door, 1, 1)
    with socket.socket(fileno=channels[0]) as channel:
        channel.sendall(json.dumps(request).encode())
        channel.shutdown(socket.SHUT_WR)
        answer, descriptors, _, _ = socket.recv_fds(channel, 16384, 1)
    if b"Failure" in answer:
        raise OSError(errno.EACCES, answer)
    if descriptors:
        with socket.socket(fileno=descriptors[0]) as connection:
            connection.getpeername()
    return json.loads(answer)


def look_up(place):
    return dial({"Addresses": {"place": place}})


def dial_address(place, address):
    dial({"Connection": {"place": place, "address": address, "patience": {"secs": 5, "nanos": 0}}})


def dial_name(place):
    dial_address(place, look_up(place)["Addresses"][0])


def make_mode(folder, mode):
    path = os.path.join(folder, "mode")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    os.chmod(path, mode)


def executable_memory():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def read_memory():
    byte = ctypes.create_string_buffer(1)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(byte), 1)
    syscall("process_vm_readv", 1, ctypes.addressof(vector), 1, ctypes.addressof(vector), 1, 0)


def attempts(places):
    store = places["written"]["the store"]
    for name, path in places["written"].items():
        yield f"write to {name}", lambda path=path: write(path)
    for name, path in places["read"].items():
        yield f"read {name}", lambda path=path: read(path)
    for path in ["/etc", "/etc/systemd/system", "/etc/cron.d", "/usr/bin", "/boot", "/root", "/home", "/opt", "/srv", "/var",
                 "/var/lib", "/var/spool", "/run", "/tmp", "/var/tmp", "/sys/fs/cgroup", "/proc/sys/kernel/core_pattern",
                 "/proc/sysrq-trigger", "/opt/akvvm"]:
        yield f"write to {path}", lambda path=path: write(path)
    for path in ["/proc/1/environ", "/proc/1/root/etc", "/proc/kcore", "/proc/kallsyms", "/dev/kmsg", "/dev/mem"]:
        yield f"read {path}", lambda path=path: read(path)
    for path in ["/run/systemd/private", "/run/dbus/system_bus_socket", "/run/docker.sock", "/run/containerd/containerd.sock",
                 "/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket"]:
        yield f"connect to {path}", lambda path=path: connect(path)
    yield "open a file by its handle, past the mounts", lambda: by_handle(store, places["victim"])
    yield "make a set-user-id program", lambda: make_mode(store, 0o4755)
    yield "make a device", lambda: os.mknod(os.path.join(store, "device"), 0o20600, os.makedev(1, 1))
    yield "link a file from elsewhere into the store", lambda: os.link(places["victim"], os.path.join(store, "linked"))
    yield "start a program", lambda: start("/bin/true")
    yield "start a shell", lambda: start("/bin/sh", "-c", "true")
    yield "start a program by the loader of programs", lambda: start(places["loader"], "/bin/true")
    yield "start a program from the store", lambda: start_own(store)
    yield "run code from the store", lambda: map_code(store)
    yield "become another user", lambda: os.setuid(1)
    yield "mount", lambda: check(libc.mount(b"tmpfs", store.encode(), b"tmpfs", 0, None))
    yield "remount writable", lambda: check(libc.mount(None, b"/", None, 32 | 4096, None))
    yield "unmount", lambda: check(libc.umount2(b"/run", 2))
    yield "a user namespace", lambda: check(libc.unshare(0x10000000))
    yield "a mount namespace", lambda: check(libc.unshare(0x20000))
    yield "another's namespace", lambda: syscall("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0)
    yield "chroot", lambda: os.chroot("/")
    yield "executable memory that can be written", executable_memory
    yield "signal another process", lambda: os.kill(1, 0)
    yield "signal through a descriptor", lambda: syscall("pidfd_send_signal", os.pidfd_open(1), 0, 0, 0)
    yield "memory shared by name", lambda: write("/dev/shm")
    yield "the host's name", lambda: socket.sethostname(socket.gethostname())
    yield "a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
    yield "a packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    yield "a socket to the hypervisor", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    yield "listen on a port", lambda: listen(socket.AF_INET, ("127.0.0.1", 0))
    yield "listen on a socket without a name in the file system", lambda: listen(socket.AF_UNIX, "\0escape")
    yield "listen on a port below 1024", lambda: socket.socket().bind(("127.0.0.1", 81))
    yield "more priority", lambda: os.nice(-5)
    yield "trace another process", lambda: syscall("ptrace", 16, 1, 0, 0)
    yield "read another's memory", read_memory
    for name in ["bpf", "perf_event_open", "init_module", "keyctl", "userfaultfd", "pivot_root", "settimeofday", "swapon", "syslog",
                 "kexec_load", "fanotify_init", "acct", "io_uring_setup", "quotactl"]:
        yield f"call {name}", lambda name=name: syscall(name, 0, 0, 0, 0, 0)
    yield "call reboot", lambda: syscall("reboot", 0, 0, 0, 0)
    other = "%s:%d" % tuple(places["another address"])
    metadata, vault = "169.254.169.254:80", "contoso.vault.azure.net:443"
    yield "connect to the metadata service", lambda: socket.socket().connect(("169.254.169.254", 80))
    yield "connect to another address", lambda: socket.socket().connect(tuple(places["another address"]))
    yield "connect to another address by IPv6", lambda: socket.socket(socket.AF_INET6).connect(("::1", 443))
    yield "send a datagram to another address", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.2", 9))
    yield "ask the kernel about networks", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).bind((0, 0))
    yield "be connected to the metadata service", lambda: dial_address(metadata, metadata)
    yield "be connected to the vault", lambda: dial_name(vault)
    yield "be connected to another address", lambda: dial_address(other, other)
    yield "be connected to another address as if it were the vault's", lambda: dial_address(vault, other)
    yield "be connected to another port of the vault's", lambda: dial_name("contoso.vault.azure.net:80")
    yield "have another name looked up", lambda: look_up("key.attacker.example:443")
    yield "have an account looked up that the settings do not name", lambda: dial({"Account": {"User": "daemon"}})
    yield "connect to the dialer once more", lambda: connect("/run/akvvm/dialer")
    yield "connect to a socket beside the store", lambda: connect(places["socket"])
    yield "connect to a socket beside the store, newer than the sandbox", lambda: connect(places["newer socket"])
    yield "send a datagram to a socket beside the store, newer than the sandbox", lambda: socket.socket(
        socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", places["newer datagrams"])
    yield "send a datagram to the journal", lambda: socket.socket(
        socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", "/run/systemd/journal/dev-log")
    yield "send a message to a socket beside the store, newer than the sandbox", lambda: socket.socket(
        socket.AF_UNIX, socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, places["newer datagrams"])
    yield "connect to a socket without a name in the file system", lambda: connect("\0" + places["nameless"])


def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done"


with open(os.environ["PLACES"]) as file:
    results = {name: outcome(attempt) for name, attempt in attempts(json.load(file))}
unfinished = os.environ["RESULTS"] + ".part"
with open(unfinished, "w") as file:
    json.dump(results, file)
os.rename(unfinished, os.environ["RESULTS"])

"""The shapes of what is sent: endpoint telemetry, network traffic, file hashes, Windows events without an envelope."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from random import Random

START = datetime(2026, 11, 2, 9, 0, 0, tzinfo=timezone.utc)
SECONDS = 240.0
SYSMON = "Microsoft-Windows-Sysmon/Operational"


@dataclass(frozen=True)
class Event:
    at: float  # seconds into the play
    kind: str  # the envelope's type, or raw
    payload: dict


class Dice(Random):
    """Randomness that is the same for the same name on every version of Python: built on random() alone."""

    def __init__(self, name):
        super().__init__(f"cybervault samples 2026 {name}")

    def between(self, low, high):
        return low + int(self.random() * (high - low + 1))

    def pick(self, options):
        return options[int(self.random() * len(options))]


def stamp(at, form="%Y-%m-%dT%H:%M:%S"):
    """The time `at` seconds into the play, in RFC 3339 with milliseconds."""
    time = START + timedelta(milliseconds=round(at * 1000))
    return f"{time.strftime(form)}.{time.microsecond // 1000:03}" + ("Z" if "T" in form else "")


def digest(of, algorithm="sha256"):
    """An invented file's hash: that of its name. content/rules lists those of the attackers' files."""
    return hashlib.new(algorithm, f"cybervault sample {of}".encode()).hexdigest()


def number_of(*parts):
    """A number below 2^16 that looks arbitrary and is the same for the same parts: process ids and ports."""
    return int(digest("|".join(map(str, parts)))[:4], 16)


def base_name(path):
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def signer_of(path):
    """Who signed a Windows program, judged by where it lies; None for what nobody signed."""
    if path.startswith("C:\\Windows\\"):
        return "Microsoft Windows"
    for folder, signer in SIGNERS:
        if folder in path:
            return signer
    return None


SIGNERS = (
    ("\\Microsoft", "Microsoft Corporation"),
    ("\\Windows Defender", "Microsoft Corporation"),
    ("\\Google\\", "Google LLC"),
    ("\\Mozilla Firefox\\", "Mozilla Corporation"),
    ("\\Program Files", "Trusted Vendor GmbH"),
    ("C:\\Tools\\", "Microsoft Corporation"),
)


def endpoint(
    at,
    host,
    image,
    command,
    *,
    parent,
    user=None,
    parent_command=None,
    original=None,
    signed=None,
    level="Medium",
    folder=None,
    content=None,
    **observed,
):
    """A process on `host` and what it was `observed` to do: file_writes, network_connections, registry, …

    `content` names what a renamed program really is, so that it keeps that file's hashes.
    """
    windows = host.os == "windows"
    payload = {
        "hostname": host.name,
        "os": host.os,
        "user": user or host.user,
        "process_name": base_name(image),
        "process_path": image,
        "command_line": command,
        "pid": 600 + number_of(host.name, image, command, int(at)),
        "parent_process_name": base_name(parent),
        "parent_process_path": parent,
        "parent_command_line": parent_command or (f'"{parent}"' if windows else parent),
        "parent_pid": 400 + number_of(host.name, parent),
        "current_directory": folder or ("C:\\Windows\\System32\\" if windows else "/"),
    }
    if windows:
        signer = signer_of(image)
        payload["integrity_level"] = "System" if payload["user"].startswith("NT AUTH") else level
        payload["original_file_name"] = original or base_name(image)
        payload["signed"] = signer is not None if signed is None else signed
        if payload["signed"]:
            payload["signer"] = signer or "Trusted Vendor GmbH"
    name = content or base_name(image)
    payload["hash_sha256"] = digest(name)
    payload["hash_sha1"] = digest(name, "sha1")
    payload["hash_md5"] = digest(name, "md5")
    return Event(at, "endpoint_telemetry", {**payload, **observed})


def connection(host, ip, port, name=None, protocol="TCP"):
    """One entry of network_connections."""
    entry = {"src_ip": host.ip, "src_port": 49152 + number_of(host.name, ip, port) % 16000, "dst_ip": ip}
    if name:
        entry["dst_host"] = name
    return {**entry, "port": port, "protocol": protocol, "initiated": True}


def traffic(at, host, ip, port, *, sent, received, direction="outbound", protocol="tcp", duration=None, **seen):
    """A flow between `host` and the other side; for `inbound` ones the other side began it, and sent and received are
    still `host`'s."""
    other_port = 1024 + number_of(host.name, ip, port, round(at * 10)) % 60000
    source, destination = (
        ((ip, other_port), (host.ip, port)) if direction == "inbound" else ((host.ip, other_port), (ip, port))
    )
    return Event(
        at,
        "network_traffic",
        {
            "hostname": host.name,
            "src_ip": source[0],
            "src_port": source[1],
            "dst_ip": destination[0],
            "dst_port": destination[1],
            "protocol": protocol,
            "bytes_in": received,
            "bytes_out": sent,
            "packets": 2 + (sent + received) // 900,
            "duration_ms": duration if duration is not None else 40 + number_of(ip, at) % 9000,
            "direction": direction,
            **seen,
        },
    )


def file(at, host, path, size, mime, *, signed=None, source=None, user=None, content=None):
    """A file seen on `host`, by its hashes; `content` as for `endpoint`."""
    name = content or base_name(path)
    payload = {
        "hostname": host.name,
        "user": user or host.user,
        "file_name": base_name(path),
        "file_path": path,
        "file_size": size,
        "mime_type": mime,
        "hash_sha256": digest(name),
        "hash_sha1": digest(name, "sha1"),
        "hash_md5": digest(name, "md5"),
    }
    if signed is not None:
        payload["signed"] = signed
        if signed:
            payload["signer"] = signer_of(path) or "Trusted Vendor GmbH"
    if source:
        payload["source_url"] = source
    return Event(at, "file_hash", payload)


SYSMON_TITLES = {
    1: "Process Create",
    3: "Network connection detected",
    7: "Image loaded",
    10: "Process accessed",
    11: "File created",
    13: "Registry value set",
    22: "Dns query",
}


def sysmon(at, host, event_id, domain, **fields):
    """An event of Sysmon in the flat form in which collectors forward it."""
    fields = {
        "UtcTime": stamp(at, "%Y-%m-%d %H:%M:%S"),
        "ProcessId": str(600 + number_of(host.name, *fields.values())),
        **fields,
    }
    message = "\r\n".join([f"{SYSMON_TITLES[event_id]}:", *(f"{name}: {value}" for name, value in fields.items())])
    return windows_log(at, host, SYSMON, event_id, domain, message, fields)


def windows_log(at, host, channel, event_id, domain, message, fields):
    """Any Windows event in the same form."""
    return Event(
        at,
        "raw",
        {
            "@timestamp": stamp(at + 0.35),
            "EventTime": stamp(at, "%Y-%m-%d %H:%M:%S"),
            "Hostname": f"{host.name}.{domain.lower()}.example",
            "Channel": channel,
            "EventID": event_id,
            "SourceName": channel.split("/")[0] if "/" in channel else "Microsoft-Windows-Security-Auditing",
            "Severity": "INFO",
            "SourceModuleType": "im_msvistalog",
            **fields,
            "Message": message,
        },
    )

#!/usr/bin/env python3
"""Writes the sample telemetry beside this file: the same bytes on every run.

    python3 content/samples/generate.py

Ordinary days come from generator/ordinary.py, attacks from generator/stories.py, the customers from generator/world.py.
Only Python's standard library is needed, version 3.10 or later.
"""

import json
from pathlib import Path

from generator import malformed, ordinary, records, stories, world

FOLDER = Path(__file__).resolve().parent


def events_of(tenant):
    """All that a tenant's hosts tell, ordinary events and those of its story, in the order of time."""
    events = ordinary.day(tenant)
    events += stories.of(tenant.tenant_id)
    return sorted(events, key=lambda event: event.at)


def envelope_lines(tenant, events):
    """Events as a producer sends them in CyberVault's envelope, numbered in the order of time."""
    for number, event in enumerate(events, 1):
        yield {
            "event_id": f"evt-{tenant.short}-{number:06}",
            "tenant_id": tenant.tenant_id,
            "type": event.kind,
            "occurred_at": records.stamp(event.at),
            "payload": event.payload,
        }


def raw_lines(events):
    """Events as a Windows collector forwards them, without an envelope; the record's key names the tenant."""
    for number, event in enumerate(events, 1):
        yield {**event.payload, "RecordNumber": 418_000 + number}


def write(name, lines):
    """Writes one JSON object a line."""
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")
    print(f"{name}: {text.count(chr(10))} events, {len(text.encode()) / 1000:.0f} kB")


def main():
    for tenant in world.TENANTS:
        events = events_of(tenant)
        write(f"{tenant.tenant_id}.ndjson", envelope_lines(tenant, [e for e in events if e.kind != "raw"]))
        raw = [e for e in events if e.kind == "raw"]
        if raw:
            write(f"{tenant.tenant_id}.raw.ndjson", raw_lines(raw))
    (FOLDER / "malformed.ndjson").write_bytes(b"".join(line + b"\n" for line in malformed.LINES))


if __name__ == "__main__":
    main()

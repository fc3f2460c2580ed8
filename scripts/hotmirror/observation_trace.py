# SPDX-License-Identifier: GPL-2.0-only
"""OUT/trace.json of an observation: Chrome's trace event format, which Perfetto opens.

One process stands for all threads, one for each device. On a track of that format events
must nest; ours do by nature, but for the few ns between the end of an operation and the
clock that its probe reads. What sticks out of the event around it is cut there.
"""

import json

THREADS = 1                    # pid of the process that has the core's events
DEVICES = 1000                 # and of device N: 1000 + N


def _track(event):
    return (THREADS if event.device is None else DEVICES + event.device, event.tid)


def _nested(events):
    """(event, start, end) of one track, each inside of the ones that it began in."""
    open_ends = []
    for event in events:
        while open_ends and open_ends[-1] <= event.start:
            open_ends.pop()
        end = min([event.end, *open_ends[-1:]])
        open_ends.append(end)
        yield event, event.start, end


def _slice(track, event, start, end, zero):
    return {"ph": "X", "name": event.name, "cat": event.kind, "ts": (start - zero) / 1000, "dur": (end - start) / 1000,
            "pid": track[0], "tid": track[1], "args": {**event.words, "cpu": event.cpu, "ns": event.ns}}


def _metadata(kind, pid, tid, **args):
    return {"ph": "M", "name": kind, "ts": 0, "pid": pid, "tid": tid, "args": args}


def _names(observed, tracks):
    for number, pid in enumerate(sorted({pid for pid, _ in tracks})):
        name = "threads" if pid == THREADS else f"hotmirror{pid - DEVICES}"
        yield _metadata("process_name", pid, 0, name=name)
        yield _metadata("process_sort_index", pid, 0, sort_index=number)
    for pid, tid in sorted(tracks):
        yield _metadata("thread_name", pid, tid, name=observed.comm(tid) or f"thread {tid}")


def trace(observed):
    """The whole document."""
    tracks = {}
    for event in observed.events:
        tracks.setdefault(_track(event), []).append(event)
    zero = observed.span()[0]
    slices = [_slice(track, *nested, zero) for track, events in tracks.items() for nested in _nested(events)]
    return {
        "displayTimeUnit": "ns",
        "otherData": {"verdict": observed.verdict, "reasons": "; ".join(observed.reasons),
                      "kernel": observed.session.get("kernel") or "not known", "zero_boottime_ns": str(zero)},
        "traceEvents": [*_names(observed, tracks), *sorted(slices, key=lambda entry: entry["ts"])],
    }


def write(observed, path):
    """One event a line, so that the file can be read and compared."""
    document = trace(observed)
    events = document.pop("traceEvents")
    lines = ",\n".join(json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in events)
    head = json.dumps(document, ensure_ascii=False)[:-1]
    path.write_text(f'{head}, "traceEvents": [\n{lines}\n]}}\n', encoding="utf-8")

"""Byte for byte: what goes into podspan-cri is what comes out, with the appended field as the only difference."""

import concurrent.futures
import os
import random
import signal
import socket
import threading
import time

import grpc
import hpack
import pytest

from lib import h2wire as h2
from lib.process import wait_for
from lib.spans import Caller
from lib.tap import RUN, STOP, VERSION, Backend, making, run_request, varint


@pytest.fixture(name="make_tap")
def fixture_make_tap(tmp_path):
    """Makes taps, ends them, and checks that they were still alive."""
    with making(tmp_path) as make:
        yield make


def check_appended(sent, received, stream):
    """The received bytes are the sent ones with one literal field appended to the stream's first block. Returns it."""
    decoders = hpack.Decoder(), hpack.Decoder()
    seen, appended = set(), None
    ours, theirs = h2.blocks(sent), h2.blocks(received)
    assert [block[0] for block in ours] == [block[0] for block in theirs]
    for (number, before, _), (_, after, _) in zip(ours, theirs):
        first = number not in seen
        seen.add(number)
        lists = [decoder.decode(block) for decoder, block in zip(decoders, (before, after))]
        if number == stream and first:
            assert after[:len(before)] == before, "bytes before the appended field have changed"
            tail = after[len(before):]
            assert tail[0] & 0xf0 == 0, "not a literal without indexing"
            assert lists[1][:-1] == lists[0] and lists[1][-1][0] == "traceparent"
            appended = lists[1][-1][1]
        else:
            assert before == after
    assert appended is not None
    others = lambda data: [part for part in h2.frames(data) if part[0] not in (h2.HEADERS, h2.CONTINUATION)]
    assert others(sent) == others(received)
    return appended


def exchange(client_peer, runtime_peer, calls, rng):
    """A conversation of both sides: many calls with indexed headers, big and small messages, resets, pings, padding."""
    up = h2.settings(initial_window_size=1 << 24) + h2.frame(h2.WINDOW_UPDATE, 0, 0, (1 << 24).to_bytes(4, "big"))
    down = h2.settings(max_frame_size=16384)
    for number in range(calls):
        stream = 2 * number + 1
        path = rng.choice([RUN, VERSION, STOP, "/runtime.v1.RuntimeService/ListContainers", "/future.v2.Service/DoIt"])
        extra = [("x-custom", f"value-{rng.randint(0, 5)}"), ("grpc-timeout", "10S")]
        if rng.random() < 0.5:
            extra.append(("traceparent", Caller(rng.random() < 0.5).traceparent))
        block = client_peer.block(h2.request_headers(path, extra))
        up += h2.header_frames(stream, block, split=rng.choice([(), (1,), (3, 5)]), pad=rng.choice([None, 0, 7, 255]),
                               priority=rng.random() < 0.3)
        message = run_request(padding=rng.choice([0, 10, 70000])) if path == RUN else os.urandom(rng.choice([0, 3, 900]))
        up += h2.data_frames(stream, h2.grpc_message(message), size=rng.choice([1, 7, 16384]) if len(message) < 2000
                             else 16384, pad=rng.choice([0, 0, 9]))
        if rng.random() < 0.15:
            down += h2.frame(h2.RST_STREAM, 0, stream, (8).to_bytes(4, "big"))
        elif rng.random() < 0.15:
            up += h2.frame(h2.RST_STREAM, 0, stream, (8).to_bytes(4, "big"))
        else:
            down += runtime_peer.reply(stream, os.urandom(rng.choice([0, 5, 30000])) if rng.random() < 0.3 else b"",
                                       status=rng.choice([0, 0, 2, 5]), text="no such%20thing")
        if rng.random() < 0.2:
            up += h2.frame(h2.PING, 0, 0, os.urandom(8))
            down += h2.frame(h2.PING, h2.ACK, 0, os.urandom(8))
        if rng.random() < 0.1:
            up += h2.frame(0xbe, 0x55, stream, os.urandom(20))
    return up, down + h2.frame(h2.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4))


@pytest.mark.parametrize("seed", range(6))
def test_random_segments(make_tap, seed):
    """Both directions of a busy connection, in random pieces, at once."""
    rng = random.Random(seed)
    tap = make_tap()
    client, runtime = tap.connect()
    up, down = exchange(h2.Peer(), h2.Peer(), 40, rng)
    sender = threading.Thread(target=runtime.send, args=(down, random.Random(seed + 100)))
    client.send(h2.PREFACE)
    sender.start()
    client.send(up, rng)
    sender.join()
    runtime.expect(h2.PREFACE + up)
    client.expect(down)


@pytest.mark.parametrize("size", [16 << 20])
def test_message_of_16_mib(make_tap, size):
    """A RunPodSandbox whose pod identity comes after 16 MiB, and a reply as large; identity is still found."""
    tap = make_tap()
    client, runtime = tap.connect()
    mine, theirs = h2.Peer(), h2.Peer()
    caller = Caller()
    message = run_request(name="far-behind", padding=size - 200)
    up = h2.PREFACE + h2.settings() + mine.call(1, RUN, message, extra=[("traceparent", caller.traceparent)])
    client.send(up, random.Random(16), most=1 << 18)
    runtime.expect(up, 60)
    down = h2.settings() + theirs.reply(1, b"\x0a\x04sand" + b"\x12" + varint(size) + b"z" * size)
    runtime.send(down)
    client.expect(down, 60)
    span, = tap.wait_spans(1)
    assert span.resource["k8s.pod.name"] == "far-behind"
    assert (span.trace_id, span.parent_id) == (caller.trace_id, caller.span_id)
    assert span.attributes["podspan.sandbox.id"] == "sand"


def test_table_size_changes_in_flight(make_tap):
    """The runtime shrinks and regrows the client's table; the client goes on with the old one until it acknowledges."""
    tap = make_tap()
    client, runtime = tap.connect()
    mine, theirs = h2.Peer(), h2.Peer()
    call = lambda stream: mine.call(stream, RUN, run_request(f"pod-{stream}"), extra=[
        ("x-fill", "y" * 200), ("traceparent", Caller().traceparent)])
    sent_up, sent_down = h2.PREFACE + h2.settings() + call(1), h2.settings() + theirs.reply(1, b"\x0a\x01a")
    client.send(sent_up)
    runtime.until(len(sent_up))
    runtime.send(sent_down)
    client.until(len(sent_down))
    client.send(h2.SETTINGS_ACK)
    sent_up += h2.SETTINGS_ACK
    stream = 3
    for size in (0, 4096, 64, 65536, 1000):
        change = h2.settings(header_table_size=size)
        runtime.send(change)
        sent_down += change
        client.until(len(sent_down))
        in_flight = call(stream)
        mine.encoder.header_table_size = size
        after = h2.SETTINGS_ACK + call(stream + 2)
        client.send(in_flight + after)
        sent_up += in_flight + after
        runtime.until(len(sent_up))
        answer = theirs.reply(stream, b"\x0a\x02s" + bytes([64 + stream])) + theirs.reply(stream + 2)
        runtime.send(answer)
        sent_down += answer
        stream += 4
    runtime.expect(sent_up)
    client.expect(sent_down)
    names = {span.resource.get("k8s.pod.name") for span in tap.wait_spans(11)}
    assert names == {f"pod-{number}" for number in range(1, stream, 2)}, "a connection gave up decoding"


def test_announced_before_the_last_byte(make_tap):
    """Who has the last byte of a request finds the call, under its own trace; it has a file when it has lasted, and
    nothing is left of it when it is over, however short it was."""
    tap = make_tap()
    client, runtime = tap.connect()
    mine, theirs = h2.Peer(), h2.Peer()
    client.send(h2.PREFACE + h2.settings())
    runtime.until(len(h2.PREFACE + h2.settings()))
    runtime.send(h2.settings())
    folder, sent = tap.state / "context" / "live", len(h2.PREFACE + h2.settings())
    for number in range(200):
        caller, stream = Caller(), 2 * number + 1
        call = mine.call(stream, RUN, run_request(f"pod-{number}"), extra=[("traceparent", caller.traceparent)])
        client.send(call)
        sent += len(call)
        while len(runtime.data) < sent:
            pass
        # In this order: a call goes from the one to the other.
        young, names = tap.young(), tap.live()
        texts = young + [(folder / name).read_text(encoding="utf-8") for name in names]
        assert any(caller.trace_id in text and f"pod_name=pod-{number}\n" in text for text in texts), (names, young)
        if number == 0:
            wait_for(lambda: len(tap.live()) == 1 and not tap.young(), "the file of a call that lasts", interval=0.001)
        runtime.send(theirs.reply(stream, b"\x0a\x02sb"))
        wait_for(lambda: not tap.live() and not tap.young(), "the end of the call", interval=0.001)
    assert f"pod-{number}".encode() not in (folder / ".young").read_bytes()


def test_resets_end_spans(make_tap):
    """RST from either side, GOAWAY's last stream id and the connection's end each end a span."""
    tap = make_tap()
    client, runtime = tap.connect()
    mine = h2.Peer()
    up = h2.PREFACE + h2.settings()
    for stream in (1, 3, 5, 7):
        up += mine.call(stream, RUN, run_request(f"pod-{stream}"), extra=[("traceparent", Caller().traceparent)])
    client.send(up)
    runtime.expect(up)
    runtime.send(h2.settings())
    wait_for(lambda: len(tap.live()) == 4, "four calls in flight")
    client.send(h2.frame(h2.RST_STREAM, 0, 1, (8).to_bytes(4, "big")))
    assert {span.resource["k8s.pod.name"] for span in tap.wait_spans(1)} == {"pod-1"}
    runtime.send(h2.frame(h2.RST_STREAM, 0, 3, (2).to_bytes(4, "big")))
    assert {span.resource["k8s.pod.name"] for span in tap.wait_spans(2)} == {"pod-1", "pod-3"}
    runtime.send(h2.frame(h2.GOAWAY, 0, 0, (5).to_bytes(4, "big") + bytes(4)))
    assert {span.resource["k8s.pod.name"] for span in tap.wait_spans(3)} == {"pod-1", "pod-3", "pod-7"}
    assert len(tap.live()) == 1
    client.close()
    found = tap.wait_spans(4)
    assert {span.resource["k8s.pod.name"] for span in found} == {"pod-1", "pod-3", "pod-5", "pod-7"}
    assert all(span.attributes.get("error.type") for span in found)
    assert tap.live() == []


def test_termination_ends_spans(make_tap):
    """SIGTERM in the middle of a call: its span is written, its context file goes, and the exit is clean."""
    tap = make_tap()
    client, runtime = tap.connect()
    up = h2.PREFACE + h2.settings() + h2.Peer().call(1, RUN, run_request("cut"), extra=[
        ("traceparent", Caller().traceparent)])
    client.send(up)
    runtime.expect(up)
    wait_for(tap.live, "the call is in flight")
    tap.daemon.signal(signal.SIGTERM)
    assert tap.daemon.wait() == 0, tap.daemon.log()
    span, = tap.spans()
    assert span.resource["k8s.pod.name"] == "cut" and span.attributes["error.type"]
    assert os.listdir(tap.state / "context" / "live") == []
    tap.ended = True


def test_nothing_is_held_for_a_call_that_is_over(make_tap):
    """Bytes behind a call that waited for its identity go on when the runtime ends that call."""
    tap = make_tap(rate=1000000)
    client, runtime = tap.connect()
    start = h2.PREFACE + h2.settings()
    client.send(start)
    runtime.until(len(start))
    runtime.send(h2.settings())
    client.until(9)
    headers = h2.header_frames(1, h2.Peer().block(h2.request_headers("/runtime.v1.RuntimeService/CreateContainer")))
    ping = h2.frame(h2.PING, 0, 0, b"12345678")
    client.send(headers + ping)
    runtime.send(h2.frame(h2.GOAWAY, 0, 0, bytes(8)))
    runtime.until(len(start + headers + ping), 2)
    assert runtime.quiet().endswith(ping)


def test_http1(make_tap):
    """CRI-O speaks HTTP/1 on the same socket."""
    tap = make_tap(rate=1000000)
    client, runtime = tap.connect()
    request = b"GET /info HTTP/1.1\r\nHost: crio\r\nContent-Length: 0\r\n\r\n"
    for byte in request:
        client.send(bytes([byte]))
    runtime.expect(request)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    runtime.send(answer)
    client.expect(answer)
    runtime.socket.shutdown(socket.SHUT_WR)
    wait_for(lambda: client.eof, "the end of the answer")
    late = b"GET /again HTTP/1.1\r\n\r\n"
    client.send(late)
    runtime.expect(request + late)


@pytest.mark.parametrize("garbage", [
    b"\x00" * 4000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + b"a" * 300, h2.PREFACE + b"\xff" * 5000,
    h2.PREFACE + h2.settings() + h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
    h2.PREFACE + h2.settings() + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, b"\x82"),
    h2.PREFACE + h2.settings() + h2.frame(h2.HEADERS, h2.PADDED | h2.END_HEADERS, 1, b"\xff\x82"),
    h2.PREFACE + h2.settings() + b"".join(h2.frame(h2.HEADERS if n == 0 else h2.CONTINUATION, 0, 1, b"\x40\x01a\x7f" + b"b" * 127)
                                         for n in range(3000)),
    h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0, b"\x00\x01\x00"),
    h2.PREFACE + h2.frame(h2.GOAWAY, 0, 0, b"\x00"),
], ids=lambda value: f"{len(value)}-bytes-{value[-1]:02x}")
def test_garbage(make_tap, garbage):
    """Garbage is forwarded as it is, also its answer, and hurts no other connection."""
    tap = make_tap(rate=1000000)
    other_client, other_runtime = tap.connect()
    mine, theirs = h2.Peer(), h2.Peer()
    up = h2.PREFACE + h2.settings() + mine.call(1, VERSION, b"")
    other_client.send(up)
    other_runtime.expect(up)
    client, runtime = tap.connect()
    client.send(garbage, random.Random(1), most=700)
    runtime.expect(garbage)
    noise = os.urandom(3000)
    runtime.send(noise, random.Random(2))
    client.expect(noise)
    call = mine.call(3, RUN, run_request("unhurt"), extra=[("traceparent", Caller().traceparent)])
    other_client.send(call)
    other_runtime.expect(up + call)
    down = h2.settings() + theirs.reply(1) + theirs.reply(3, b"\x0a\x01s")
    other_runtime.send(down)
    other_client.expect(down)
    assert "unhurt" in {span.resource.get("k8s.pod.name") for span in tap.wait_spans(1)}


@pytest.mark.parametrize("options", [
    {}, {"pad": 0}, {"pad": 200}, {"priority": True}, {"pad": 3, "priority": True}, {"split": (1,)}, {"split": (5, 0, 9)},
    {"pad": 9, "priority": True, "split": (4, 4)}], ids=str)
@pytest.mark.parametrize("segmented", [False, True])
def test_appended_field(make_tap, options, segmented):
    """A sampled mutating call without a traceparent gets one, at the end of its first header block, and nothing else."""
    tap = make_tap(rate=1000000)
    client, runtime = tap.connect()
    mine, theirs = h2.Peer(), h2.Peer()
    up = h2.PREFACE + h2.settings() + mine.call(1, VERSION, b"") + mine.call(3, RUN, run_request(), **options)
    up += mine.call(5, VERSION, b"") + mine.call(7, STOP, b"", extra=[("traceparent", Caller().traceparent)])
    client.send(up, random.Random(7) if segmented else None, most=60)
    grown = len(up) + 56
    runtime.until(grown)
    received = runtime.quiet()
    traceparent = check_appended(up[len(h2.PREFACE):], received[len(h2.PREFACE):], 3)
    runtime.send(h2.settings() + b"".join(theirs.reply(stream) for stream in (1, 3, 5, 7)))
    span = next(span for span in tap.wait_spans(2) if span.method == "RunPodSandbox")
    assert traceparent.split("-")[1:3] == [span.trace_id, span.span_id]
    assert int(traceparent.split("-")[3], 16) & 1


def test_trailers_get_no_field(make_tap):
    """A request's trailers stay as they are."""
    tap = make_tap(rate=1000000)
    client, runtime = tap.connect()
    mine = h2.Peer()
    up = h2.PREFACE + h2.settings() + h2.header_frames(1, mine.block(h2.request_headers(RUN)))
    up += h2.data_frames(1, h2.grpc_message(run_request()), end=False)
    up += h2.header_frames(1, mine.block([("x-checksum", "1234")]), end_stream=True)
    client.send(up)
    runtime.until(len(up) + 20)
    check_appended(up[len(h2.PREFACE):], runtime.quiet()[len(h2.PREFACE):], 1)


def block_of_size(peer, size):
    """A header block of exactly that size: a request for RunPodSandbox with a filler field."""
    block = peer.block(h2.request_headers(RUN))
    prefix = b"\x00\x06x-fill"
    for encoded in (1, 2, 3, 4):
        value = size - len(block) - len(prefix) - encoded
        length = bytes([value]) if value < 127 else b"\x7f" + varint(value - 127)
        if len(length) == encoded:
            return block + prefix + length + b"z" * value
    raise ValueError(size)


@pytest.mark.parametrize("room", [0, 1, 60, 69, 70, 71, 200])
def test_full_frame_gets_a_continuation(make_tap, room):
    """A HEADERS frame that cannot grow within MAX_FRAME_SIZE: the field goes into one more CONTINUATION."""
    tap = make_tap(rate=1000000)
    client, runtime = tap.connect()
    runtime.send(h2.settings())
    client.until(9)
    block = block_of_size(h2.Peer(), 16384 - room)
    up = h2.PREFACE + h2.settings() + h2.header_frames(1, block) + h2.data_frames(1, h2.grpc_message(run_request()))
    client.send(up)
    runtime.until(len(up) + 50)
    received = runtime.quiet()
    check_appended(up[len(h2.PREFACE):], received[len(h2.PREFACE):], 1)
    parts = h2.frames(received[len(h2.PREFACE):])
    assert max(len(payload) for _, _, _, payload in parts) <= 16384
    assert [count for _, _, count in h2.blocks(received[len(h2.PREFACE):])] == [2 if room < 60 else 1] or 60 <= room < 80


@pytest.mark.parametrize("limit", [0, 1, 68, 69, 100, 16383])
def test_frame_size_against_the_rfc(make_tap, limit):
    """A runtime that announces a MAX_FRAME_SIZE below 16384: no frame that is added is larger, everything else arrives as
    it was sent, and the connection is traced on."""
    tap = make_tap(rate=1000000)
    client, runtime = tap.connect()
    settings = h2.settings(max_frame_size=limit)
    runtime.send(settings)
    client.until(len(settings))
    peer = h2.Peer()
    up = h2.PREFACE + h2.settings() + peer.call(1, RUN, run_request()) + peer.call(3, VERSION, b"")
    client.send(up)
    runtime.until(len(up))
    received = runtime.quiet()
    sent_frames, frames = h2.frames(up[len(h2.PREFACE):]), h2.frames(received[len(h2.PREFACE):])
    if limit < 69:
        assert received == up
    else:
        check_appended(up[len(h2.PREFACE):], received[len(h2.PREFACE):], 1)
        added = [frame for frame in frames if frame not in sent_frames and frame[0] == h2.CONTINUATION]
        assert len(frames) == len(sent_frames) + len(added)
        assert all(len(frame[3]) <= limit for frame in added)
    assert tap.count("cri_plain") == 0
    assert tap.count("cri_injected") == (0 if limit < 69 else 1)


@pytest.mark.parametrize("path,extra,conf,rate", [
    (VERSION, (), "", 1000000),
    ("/runtime.v1.RuntimeService/ExecSync", (), "", 1000000),
    ("/future.v2.Service/Create", (), "", 1000000),
    (RUN, (("traceparent", Caller().traceparent),), "", 1000000),
    (RUN, (("traceparent", Caller(sampled=False).traceparent),), "", 1000000),
    (RUN, (("traceparent", "nonsense"),), "", 1000000),
    (RUN, (), "", 0),
    (RUN, (), "inject_traceparent = false", 1000000),
    (RUN, (), "enable_tracing = false", 1000000),
], ids=["poll", "probe", "unknown method", "caller's", "caller's, not sampled", "malformed", "rate 0", "switched off",
        "tracing off"])
def test_nothing_appended(make_tap, path, extra, conf, rate):
    """Where a field must not be appended, not a bit differs."""
    tap = make_tap(rate=rate, extra=conf)
    client, runtime = tap.connect()
    up = h2.PREFACE + h2.settings() + h2.Peer().call(1, path, run_request() if path == RUN else b"", extra=extra)
    client.send(up, random.Random(3))
    runtime.expect(up)


@pytest.mark.parametrize("limit,grows", [(16 << 10, True), (300, False), (0, False)])
def test_header_list_limit(make_tap, limit, grows):
    """Above the runtime's MAX_HEADER_LIST_SIZE nothing is appended."""
    tap = make_tap(rate=1000000)
    client, runtime = tap.connect()
    runtime.send(h2.settings(max_header_list_size=limit))
    client.until(15)
    up = h2.PREFACE + h2.settings() + h2.SETTINGS_ACK + h2.Peer().call(1, RUN, run_request())
    client.send(up)
    runtime.until(len(up))
    received = runtime.quiet()
    if grows:
        check_appended(up[len(h2.PREFACE):], received[len(h2.PREFACE):], 1)
    else:
        assert received == up


@pytest.mark.parametrize("downwards", [False, True])
def test_slow_reader(make_tap, downwards):
    """A reader that stops makes the writer wait, not the tap grow; then everything arrives."""
    tap = make_tap()
    client, runtime = tap.connect()
    reader, writer = (client, runtime) if downwards else (runtime, client)
    start = h2.PREFACE + h2.settings() + h2.Peer().call(1, VERSION, b"")
    client.send(start)
    runtime.expect(start)
    reader.pause()
    stream = h2.data_frames(1, os.urandom(24 << 20), end=False)
    sender = threading.Thread(target=writer.send, args=(stream,))
    sender.start()
    sender.join(1)
    assert sender.is_alive(), "24 MiB went into a tap nobody reads from"
    with open(f"/proc/{tap.daemon.pid}/smaps_rollup", encoding="ascii") as rollup:
        pss = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    assert pss < 4096, f"{pss} KiB"
    reader.resume()
    sender.join(30)
    assert not sender.is_alive()
    reader.expect(stream if downwards else start + stream, 30)


def test_half_close_and_ends(make_tap):
    """The end of one direction is passed on, the other one goes on; a runtime that dies ends the client's connection."""
    tap = make_tap()
    client, runtime = tap.connect()
    client.send(h2.PREFACE)
    client.socket.shutdown(socket.SHUT_WR)
    wait_for(lambda: runtime.eof, "the end of what the client sends")
    runtime.send(h2.settings())
    client.expect(h2.settings())
    runtime.close()
    wait_for(lambda: client.eof, "the end")
    client, runtime = tap.connect()
    client.send(h2.PREFACE)
    runtime.expect(h2.PREFACE)
    runtime.close()
    wait_for(lambda: client.eof, "the end after the runtime's death")


def test_recorded_client(make_tap, tmp_path):
    """What a real gRPC client sent, recorded, is replayed in random pieces and arrives unchanged."""
    recorder = Backend(tmp_path / "recorder.sock")
    channel = grpc.insecure_channel(f"unix:{tmp_path}/recorder.sock")
    calls = [channel.unary_unary(path).future(run_request(padding=size), timeout=1.0, metadata=(("x-n", str(size)),))
             for path, size in ((RUN, 5), (VERSION, 0), (RUN, 20000), (STOP, 9))]
    end = recorder.connection(0)
    end.send(h2.settings() + h2.SETTINGS_ACK)
    for call in calls:
        with pytest.raises(grpc.RpcError):
            call.result()
    channel.close()
    wait_for(lambda: end.eof, "the recording's end")
    recorded = end.data
    recorder.close()
    assert recorded.startswith(h2.PREFACE) and len(h2.blocks(recorded[len(h2.PREFACE):])) >= 4
    tap = make_tap()
    for seed in range(5):
        client, runtime = tap.connect()
        runtime.send(h2.settings() + h2.SETTINGS_ACK, random.Random(seed))
        client.send(recorded, random.Random(seed))
        runtime.expect(recorded)
        client.close()


def test_runtime_absent(make_tap):
    """No runtime: UNAVAILABLE, as without us; and the client is back no later than without us."""
    tap = make_tap()
    tap.backend.close()
    os.unlink(tap.runtime)
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
               ("grpc.max_reconnect_backoff_ms", 3000)]

    def measure(path):
        channel = grpc.insecure_channel(f"unix:{path}", options=[*options, ("grpc.use_local_subchannel_pool", 1)])
        call = channel.unary_unary(VERSION)
        begin = time.monotonic()
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        return channel, call, time.monotonic() - begin

    direct, through = measure(tap.runtime), measure(tap.listen)
    assert through[2] < direct[2] + 0.5
    runtime = RealBackend(tap.runtime)
    try:
        for name, (channel, call, _) in (("direct", direct), ("through", through)):
            begin = time.monotonic()
            while True:
                try:
                    assert call(b"", timeout=5) == b"ok"
                    break
                except grpc.RpcError as error:
                    assert error.code() is grpc.StatusCode.UNAVAILABLE
                    assert time.monotonic() - begin < 4, name
                    time.sleep(0.02)
            channel.close()
    finally:
        runtime.stop()


class RealBackend:
    """A gRPC server that answers every call with "ok"."""

    def __init__(self, path):
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))

        class Handler(grpc.GenericRpcHandler):
            """Takes any method."""

            def service(self, _):
                return grpc.unary_unary_rpc_method_handler(lambda request, context: b"ok")

        self._server.add_generic_rpc_handlers((Handler(),))
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def stop(self):
        """Ends it."""
        self._server.stop(0).wait()

"""Calls grpc_server.py through a proxy: grpc_client.py ADDRESS [CA CERT KEY]. Each check prints its name."""

import sys
import threading
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

address = sys.argv[1]
options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
if len(sys.argv) > 2:
    ca, cert, key = (open(name, "rb").read() for name in sys.argv[2:5])
    options.append(("grpc.ssl_target_name_override", "localhost"))
    channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert), options)
else:
    channel = grpc.insecure_channel(address, options)

WAIT = 20


def method(kind, name):
    return getattr(channel, kind)(f"/check.Check/{name}", _registered_method=False)


def unary(name, message=b"", **more):
    return method("unary_unary", name)(message, **{"timeout": WAIT, **more})


def failure(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded")


def check_unary():
    for size in [0, 1, 16_384, 65_535, 65_536]:
        message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert unary("Unary", message) == message, size


def check_metadata():
    sent = [("x-text", "one"), ("x-text", "two"), ("x-raw-bin", bytes(range(256))), ("x-empty", "")]
    answer, call = method("unary_unary", "Unary").with_call(b"m", metadata=sent, timeout=WAIT)
    assert answer == b"m"
    for came in [call.initial_metadata(), call.trailing_metadata()]:
        for name in ["x-raw-bin", "x-empty"]:
            assert [v for n, v in came if n == name] == [v for n, v in sent if n == name], (name, came)
        joined = ",".join(v for n, v in came if n == "x-text").replace(" ", "")
        assert joined == "one,two", came


def check_large_messages():
    message = bytes(5 << 20)
    assert unary("Unary", message) == message
    assert len(unary("Large", b"8000000")) == 8_000_000


def check_server_stream():
    numbers = [int(m) for m in method("unary_stream", "Count")(b"2000", timeout=WAIT)]
    assert numbers == list(range(2000))
    assert list(method("unary_stream", "Count")(b"0", timeout=WAIT)) == []


def check_client_stream():
    parts = [bytes([n % 256]) * (n % 977) for n in range(1000)]
    assert method("stream_unary", "Join")(iter(parts), timeout=WAIT) == b"".join(parts)
    assert method("stream_unary", "Join")(iter([]), timeout=WAIT) == b""


def check_both_streams():
    """Each message is sent when the last one is back: nothing in between may wait for more."""
    turn = threading.Semaphore(1)

    def messages():
        for number in range(100):
            assert turn.acquire(timeout=WAIT)
            yield b"%d" % number

    came = []
    for message in method("stream_stream", "Echo")(messages(), timeout=WAIT):
        came.append(int(message))
        turn.release()
    assert came == list(range(100)), came


def check_statuses():
    for code in list(grpc.StatusCode)[1:]:
        details = f"über {code.name}, 100 %"
        error = failure(lambda: unary("Fail", f"{code.value[0]}:{details}".encode()))
        assert (error.code(), error.details()) == (code, details), error
    late = method("unary_stream", "FailLate")(b"9:late", timeout=WAIT)
    assert next(late) == b"one"
    error = failure(lambda: next(late))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "late"), error
    assert failure(lambda: unary("Nothing")).code() == grpc.StatusCode.UNIMPLEMENTED


def check_deadlines():
    left = int(unary("Remaining", timeout=10))
    # gRPC rounds up what it writes into the header.
    assert 0 < left <= 10_500, left
    begin = time.monotonic()
    error = failure(lambda: unary("Hang", timeout=0.3))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - begin < WAIT
    wait_gone(1)


def check_cancellation():
    before = int(unary("Gone"))
    call = method("unary_unary", "Hang").future(b"", timeout=60)
    time.sleep(0.2)
    call.cancel()
    wait_gone(before + 1)
    # In the middle of a stream, with both sides still sending.
    stream = method("stream_stream", "Echo")(iter(lambda: b"again", None), timeout=60)
    for _ in range(20):
        assert next(stream) == b"again"
    stream.cancel()
    assert failure(lambda: [next(stream) for _ in range(10_000)]).code() == grpc.StatusCode.CANCELLED
    assert unary("Unary", b"still here") == b"still here"


def wait_gone(count):
    """Waits until the server knows that so many callers have gone."""
    for _ in range(WAIT * 20):
        if int(unary("Gone")) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("the server was not told that its caller went away")


def check_many_at_once():
    calls = [method("unary_unary", "Unary").future(b"%d" % n, timeout=WAIT) for n in range(500)]
    assert [int(call.result()) for call in calls] == list(range(500))


def check_health():
    stub = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    ask = lambda name: stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=WAIT)
    assert ask("check.Check").status == serving
    assert ask("other").status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert failure(lambda: ask("unknown")).code() == grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="check.Check"), timeout=WAIT)
    assert next(watch).status == serving
    watch.cancel()


def check_no_upstream():
    """The proxy's own answer is a gRPC status too."""
    error = failure(lambda: channel.unary_unary("/down.Down/Call", _registered_method=False)(b"", timeout=WAIT))
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error


for name, run in list(globals().items()):
    if name.startswith("check_"):
        run()
        print(name, flush=True)
channel.close()
print("all is well")

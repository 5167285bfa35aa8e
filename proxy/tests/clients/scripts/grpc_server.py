"""A gRPC server whose methods are checks; prints its port. grpc_server.py [CHAIN KEY CA] for mutual TLS.

Service check.Check, messages are plain bytes:
  Unary         the message, and the metadata named x-* as initial and trailing metadata
  Large         as many bytes as the message says
  Count         server stream: the numbers below the message's
  Join          client stream: all messages joined
  Echo          both: each message comes back before the next is read
  Fail          ends with a status: the message is CODE:DETAILS
  FailLate      the same after one message
  Remaining     the milliseconds that are left of the deadline
  Hang          never answers, and counts whose caller went away
  Gone          how many those were
"""

import sys
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

gone = 0
lock = threading.Lock()


def unary(message, context):
    fields = [(name, value) for name, value in context.invocation_metadata() if name.startswith("x-")]
    context.send_initial_metadata(fields)
    context.set_trailing_metadata(fields)
    return message


def count(message, context):
    for number in range(int(message)):
        yield b"%d" % number


def fail(message, context):
    code, details = message.decode().split(":", 1)
    context.abort(next(known for known in grpc.StatusCode if known.value[0] == int(code)), details)


def fail_late(message, context):
    yield b"one"
    fail(message, context)


def hang(message, context):
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(60)
    global gone
    with lock:
        gone += 1
    return b""


def echo(messages, context):
    yield from messages


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Large": grpc.unary_unary_rpc_method_handler(lambda message, _: bytes(int(message))),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Join": grpc.stream_unary_rpc_method_handler(lambda messages, _: b"".join(messages)),
    "Echo": grpc.stream_stream_rpc_method_handler(echo),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "Remaining": grpc.unary_unary_rpc_method_handler(
        lambda _, context: b"%d" % int((context.time_remaining() or 0) * 1000)
    ),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "Gone": grpc.unary_unary_rpc_method_handler(lambda *_: b"%d" % gone),
}

options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
server = grpc.server(futures.ThreadPoolExecutor(32), options=options)
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("check.Check", METHODS)])
status = health.HealthServicer()
status.set("check.Check", health_pb2.HealthCheckResponse.SERVING)
status.set("other", health_pb2.HealthCheckResponse.NOT_SERVING)
health_pb2_grpc.add_HealthServicer_to_server(status, server)
if len(sys.argv) > 1:
    chain, key, ca = (open(name, "rb").read() for name in sys.argv[1:4])
    credentials = grpc.ssl_server_credentials([(key, chain)], ca, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
# It ends with the test that started it.
sys.stdin.read()
server.stop(0)

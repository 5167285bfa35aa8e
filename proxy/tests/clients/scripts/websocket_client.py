"""Talks WebSocket to an echo server through a proxy: websocket_client.py URL CA CERT KEY."""

import asyncio
import ssl
import sys

import websockets

url, ca, cert, key = sys.argv[1:5]
context = None
if url.startswith("wss"):
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(cert, key)


def connect(**options):
    return websockets.connect(url, ssl=context, max_size=None, open_timeout=20, **options)


async def echo(connection, message):
    await connection.send(message)
    answer = await asyncio.wait_for(connection.recv(), 20)
    assert answer == message, f"{len(answer)} of {len(message)} came back, or others"


async def main():
    async with connect() as connection:
        for message in ["", "héllo", b"", bytes(range(256)), "x" * 65_536, bytes(2 << 20)]:
            await echo(connection, message)
        for number in range(200):
            await echo(connection, f"message {number}")
        await asyncio.wait_for(await connection.ping(b"are you there"), 20)
    assert connection.close_code == 1000, connection.close_code

    # Many on their way at once: nothing waits for an answer before it is sent.
    async with connect(compression=None) as connection:
        messages = [bytes([number % 256]) * (number * 37 % 5_000) for number in range(500)]

        async def send():
            for message in messages:
                await connection.send(message)

        sending = asyncio.create_task(send())
        for message in messages:
            assert await asyncio.wait_for(connection.recv(), 20) == message
        await sending

    # A close code of the client's own comes back.
    connection = await connect()
    await connection.close(4321, "enough")
    assert connection.close_code == 4321, connection.close_code
    print("all is well")


asyncio.run(main())

"""Asks the origin of pinion-load for several things through a proxy: http2_client.py URL CA CERT KEY."""

import asyncio
import ssl
import sys

import httpx

url, ca, cert, key = sys.argv[1:5]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(cert, key)


def lines(size):
    """The origin's body of that size."""
    return b"".join(b"%015x\n" % (number % 16_384) for number in range(size // 16 + 1))[:size]


async def stream(size):
    """A body whose length is not told."""
    for _ in range(size // 10_000):
        yield b"x" * 10_000


async def main():
    options = {"http1": False, "http2": True, "verify": context, "timeout": 20, "base_url": url}
    async with httpx.AsyncClient(**options) as client:
        for size in [0, 1, 16_384, 65_536, 1_000_000]:
            answer = await client.get(f"/bytes/{size}")
            assert (answer.status_code, answer.http_version) == (200, "HTTP/2"), answer
            assert answer.content == lines(size), f"{len(answer.content)} of {size}"
            assert int(answer.headers["content-length"]) == size
        answers = await asyncio.gather(*[client.get(f"/chunked/{1_000 + number}") for number in range(50)])
        for number, answer in enumerate(answers):
            assert answer.content == lines(1_000 + number)

        cookies = {"a": "1", "b": "2"}
        client.cookies.update(cookies)
        seen = (await client.post("/echo?q=1", content=b"y" * 300_000, headers={"X-Upper": "Value"})).json()
        assert (seen["method"], seen["target"], seen["body_length"]) == ("POST", "/echo?q=1", 300_000), seen
        fields = {name.lower(): value for name, value in seen["headers"]}
        assert fields["x-upper"] == "Value" and fields["cookie"] == "a=1; b=2", fields
        seen = (await client.post("/echo", content=stream(500_000))).json()
        assert seen["body_length"] == 500_000, seen

        head = await client.head("/bytes/1000")
        assert head.headers["content-length"] == "1000" and head.content == b""
        for code in [204, 304, 404, 500]:
            assert (await client.get(f"/status/{code}")).status_code == code
        assert (await client.get("/down/x")).status_code == 503
        # The connection has survived all that.
        assert (await client.get("/bytes/10")).content == lines(10)
    print("all is well")


asyncio.run(main())

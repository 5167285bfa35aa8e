// Talks WebSocket to an echo server through a proxy: websocket_client.js URL CA CERT KEY.

'use strict';

const assert = require('assert');
const fs = require('fs');
const WebSocket = require('ws');

const [url, ca, cert, key] = process.argv.slice(2);
const files = () => ({ ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key) });
const secure = url.startsWith('wss') ? files() : {};

function connect(options = {}) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { ...secure, maxPayload: 0, ...options });
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
  });
}

function closed(socket) {
  return new Promise((resolve) => socket.once('close', (code) => resolve(code)));
}

function echo(socket, message) {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('message', (data, isBinary) => {
      socket.off('error', reject);
      assert.strictEqual(isBinary, typeof message !== 'string');
      assert.ok(Buffer.from(message).equals(data), `${data.length} bytes came back of ${message.length}`);
      resolve();
    });
    socket.send(message);
  });
}

async function main() {
  const socket = await connect();
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
  for (const message of ['', 'héllo', Buffer.alloc(0), bytes, 'x'.repeat(65536), Buffer.alloc(2 << 20, 7)]) {
    await echo(socket, message);
  }
  for (let number = 0; number < 200; number += 1) await echo(socket, `message ${number}`);
  const pong = new Promise((resolve) => socket.once('pong', resolve));
  socket.ping('are you there');
  assert.strictEqual(String(await pong), 'are you there');
  socket.close(1000);
  assert.strictEqual(await closed(socket), 1000);

  // Many on their way at once: nothing waits for an answer before it is sent.
  const busy = await connect({ perMessageDeflate: false });
  const sizes = Array.from({ length: 500 }, (_, number) => (number * 37) % 5000);
  const came = [];
  const all = new Promise((resolve) => {
    busy.on('message', (data) => {
      came.push(data.length);
      if (came.length === sizes.length) resolve();
    });
  });
  for (const size of sizes) busy.send(Buffer.alloc(size, 1));
  await all;
  assert.deepStrictEqual(came, sizes);
  busy.close();
  await closed(busy);

  // A close code of the client's own comes back.
  const last = await connect();
  last.close(4321, 'enough');
  assert.strictEqual(await closed(last), 4321);
  console.log('all is well');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

// Calls grpc_server.py through a proxy: grpc_client.js ADDRESS [CA CERT KEY].

'use strict';

const assert = require('assert');
const fs = require('fs');
const grpc = require('@grpc/grpc-js');

const [address, ...files] = process.argv.slice(2);
const [ca, cert, key] = files.map((name) => fs.readFileSync(name));
const credentials = ca ? grpc.credentials.createSsl(ca, key, cert) : grpc.credentials.createInsecure();
const client = new grpc.Client(address, credentials, {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  ...(ca && { 'grpc.ssl_target_name_override': 'localhost' }),
});
const raw = (bytes) => bytes;
const path = (name) => `/check.Check/${name}`;
const deadline = (ms = 20000) => ({ deadline: Date.now() + ms });

function unary(name, message, options = deadline(), metadata = new grpc.Metadata()) {
  return new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(answer));
    client.makeUnaryRequest(path(name), raw, raw, Buffer.from(message), metadata, options, done);
  });
}

function collect(stream) {
  return new Promise((resolve, reject) => {
    const came = [];
    stream.on('data', (message) => came.push(message));
    stream.on('error', reject);
    stream.on('end', () => resolve(came));
  });
}

async function failure(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error('the call succeeded');
}

async function gone(count) {
  for (let tries = 0; tries < 400; tries += 1) {
    if (Number(await unary('Gone', '')) >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('the server was not told that its caller went away');
}

async function main() {
  for (const size of [0, 1, 65536, 3 << 20]) {
    const message = Buffer.alloc(size, 7);
    assert.ok(message.equals(await unary('Unary', message)), `${size}`);
  }
  const counted = await collect(client.makeServerStreamRequest(path('Count'), raw, raw, Buffer.from('500'), deadline()));
  assert.deepStrictEqual(counted.map(Number), Array.from({ length: 500 }, (_, n) => n));

  const joined = await new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(answer));
    const stream = client.makeClientStreamRequest(path('Join'), raw, raw, new grpc.Metadata(), deadline(), done);
    for (let n = 0; n < 300; n += 1) stream.write(Buffer.from('ab'));
    stream.end();
  });
  assert.strictEqual(String(joined), 'ab'.repeat(300));

  const both = client.makeBidiStreamRequest(path('Echo'), raw, raw, deadline());
  const back = collect(both);
  for (let n = 0; n < 300; n += 1) both.write(Buffer.from(`${n}`));
  both.end();
  assert.strictEqual((await back).length, 300);

  const failed = await failure(unary('Fail', '5:nöt there'));
  assert.deepStrictEqual([failed.code, failed.details], [5, 'nöt there']);
  const before = Number(await unary('Gone', ''));
  assert.strictEqual((await failure(unary('Hang', '', deadline(300)))).code, grpc.status.DEADLINE_EXCEEDED);
  await gone(before + 1);
  const hanging = client.makeUnaryRequest(path('Hang'), raw, raw, Buffer.alloc(0), deadline(60000), () => {});
  setTimeout(() => hanging.cancel(), 200);
  await gone(before + 2);

  const all = Array.from({ length: 200 }, (_, n) => unary('Unary', `${n}`));
  assert.deepStrictEqual((await Promise.all(all)).map(Number), Array.from({ length: 200 }, (_, n) => n));
  client.close();
  console.log('all is well');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

// The scenario of README.md with @google-cloud/pubsub.
import {PubSub} from '@google-cloud/pubsub';

const TIMEOUT_MS = 30_000;
const suffix = process.argv[2];
const client = new PubSub({projectId: process.env.GOOGLE_CLOUD_PROJECT});

async function topic(name) {
  const [created] = await client.createTopic(`node-${name}-${suffix}`);
  return created;
}

async function subscription(name, of, settings = {}) {
  const [created] = await of.createSubscription(`node-${name}-${suffix}`, settings);
  return created;
}

/** Receives until `handle` has returned true once. */
async function receive(from, handle) {
  let timer;
  try {
    await new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`${from.name}: not all messages came in time`)), TIMEOUT_MS);
      from.on('error', reject);
      from.on('message', message => {
        if (handle(message)) resolve();
      });
    });
  } finally {
    clearTimeout(timer);
    await from.close();
  }
}

async function plain() {
  const to = await topic('plain');
  const from = await subscription('plain', to);
  const published = await Promise.all(
    Array.from({length: 20}, (_, n) => to.publishMessage({data: Buffer.from(`message-${n}`), attributes: {n: `${n}`}})),
  );
  const received = new Map();
  await receive(from, message => {
    message.ack();
    received.set(message.id, [message.data.toString(), message.attributes.n]);
    return received.size === 20;
  });
  return {
    received: [...received.values()].sort((one, other) => (one[0] < other[0] ? -1 : 1)),
    ids_match: new Set(published).size === 20 && published.every(id => received.has(id)),
  };
}

async function ordered() {
  const made = await topic('ordered');
  const from = await subscription('ordered', made, {enableMessageOrdering: true});
  const to = client.topic(made.name, {messageOrdering: true});
  const sent = [];
  for (let n = 0; n < 10; n++) {
    for (const key of ['a', 'b']) {
      sent.push(to.publishMessage({data: Buffer.from(`${key}-${n}`), orderingKey: key}));
    }
  }
  await Promise.all(sent);
  const received = {a: [], b: []};
  await receive(from, message => {
    message.ack();
    received[message.orderingKey].push(message.data.toString());
    return received.a.length + received.b.length === 20;
  });
  return received;
}

async function nacked() {
  const to = await topic('nacked');
  const from = await subscription('nacked', to);
  await to.publishMessage({data: Buffer.from('again')});
  const ids = [];
  await receive(from, message => {
    ids.push(message.id);
    if (ids.length === 1) {
      message.nack();
      return false;
    }
    message.ack();
    return true;
  });
  return {deliveries: ids.length, same_id: new Set(ids).size === 1};
}

async function deadLetter() {
  const deadTopic = await topic('dead');
  const dead = await subscription('dead', deadTopic);
  const to = await topic('poison');
  const from = await subscription('poison', to, {
    deadLetterPolicy: {deadLetterTopic: deadTopic.name, maxDeliveryAttempts: 5},
  });
  await to.publishMessage({data: Buffer.from('poison'), attributes: {kind: 'bad'}});
  const attempts = [];
  // Open until the dead letter is there: close() drops a nack that was given just before it.
  from.on('message', message => {
    attempts.push(message.deliveryAttempt);
    message.nack();
  });
  let seen;
  await receive(dead, message => {
    seen = {data: message.data.toString(), attributes: {...message.attributes}};
    message.ack();
    return true;
  });
  await from.close();
  return {attempts, ...seen};
}

const report = {...(await plain()), ordered: await ordered(), nacked: await nacked(), dead_letter: await deadLetter()};
console.log(JSON.stringify(report));
await client.close();

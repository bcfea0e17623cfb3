// @platformatic/kafka: node with_platformatic.mjs ADDRESS TOPIC CODEC [write NAME]. It fetches by the ids of topics.
import { Admin, compatibilityPartitioner, Consumer, Producer, stringDeserializers, stringSerializers } from "@platformatic/kafka";

const [address, topic, codec, mode, name] = process.argv.slice(2);
const RECORDS = 50;
const base = { clientId: "smoke", bootstrapBrokers: [address] };
const text = (value, number) => `${value} ${number} `.repeat(20);

function assert(condition, what) {
  if (!condition) throw new Error(what);
}

function records(value, count = RECORDS) {
  return Array.from({ length: count }, (_, number) => ({
    topic, key: `key ${number}`, value: text(value, number), headers: { h: `${number}` },
  }));
}

function newProducer(more = {}) {
  // Its own takes the sign of the hash as another bit, which no other client does.
  const settings = { serializers: stringSerializers, compression: codec, partitioner: compatibilityPartitioner };
  return new Producer({ ...base, ...settings, ...more });
}

async function transactions() {
  const producer = newProducer({ idempotent: true, transactionalId: topic });
  const aborted = await producer.beginTransaction();
  await aborted.send({ messages: records("aborted", 7) });
  await aborted.abort();
  const committed = await producer.beginTransaction();
  await committed.send({ messages: records("value") });
  await committed.commit();
  await producer.close();
}

// A consumer whose `assigned` is the number of its partitions, and what it reads.
async function newMember(groupProtocol, found) {
  const consumer = new Consumer({
    ...base, deserializers: stringDeserializers, groupId: `${topic}-${groupProtocol}`, groupProtocol, autocommit: false,
    sessionTimeout: 6000, rebalanceTimeout: 6000, heartbeatInterval: 100, maxWaitTime: 100, isolationLevel: 1,
  });
  const stream = await consumer.consume({ topics: [topic], mode: "committed", fallbackMode: "earliest" });
  let isOpen = true;
  const member = {
    assigned: () => (consumer.assignments?.[0]?.partitions ?? []).length,
    close: async () => {
      isOpen = false;
      await stream.close();
      await consumer.close();
    },
  };
  stream.on("data", (message) => {
    found.set(message.key, message.value + message.headers.get("h"));
  });
  stream.on("error", (error) => {
    // It may be about to fetch when it is closed.
    if (isOpen) throw error;
  });
  return member;
}

async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

async function rebalance(groupProtocol) {
  const found = new Map();
  const first = await newMember(groupProtocol, found);
  await until(() => first.assigned() === 3);
  const second = await newMember(groupProtocol, found);
  await until(() => first.assigned() + second.assigned() === 3 && second.assigned() > 0);
  await second.close();
  await until(() => first.assigned() === 3 && found.size === RECORDS);
  await first.close();
  for (let number = 0; number < RECORDS; number++) {
    assert(found.get(`key ${number}`) === text("value", number) + number, `record ${number}`);
  }
}

async function administer(admin) {
  const own = `${topic}-admin`;
  await admin.createTopics({ topics: [own], partitions: 1, replicas: 1 });
  await admin.createPartitions({ topics: [{ name: own, count: 3, assignments: [] }] });
  const metadata = await admin.metadata({ topics: [own], forceUpdate: true });
  assert(metadata.topics.get(own).partitionsCount === 3, "partitions");
  const [resource] = await admin.describeConfigs({ resources: [{ resourceType: 2, resourceName: own }] });
  assert(resource.configs.some((entry) => entry.name === "retention.ms"), "describeConfigs");
  const groups = await admin.describeGroups({ groups: [`${topic}-classic`] });
  assert(groups.get(`${topic}-classic`).state === "EMPTY", JSON.stringify([...groups]));
  const asked = [{ name: topic, partitions: [{ partitionIndex: 0, timestamp: -1n }] }];
  const [offsets] = await admin.listOffsets({ topics: asked });
  assert(offsets.partitions[0].offset > 0n, "listOffsets");
  await admin.deleteGroups({ groups: [`${topic}-classic`] });
  await admin.deleteTopics({ topics: [own] });
  assert(!(await admin.listTopics({})).includes(own), "deleteTopics");
}

if (mode === "write") {
  const producer = newProducer();
  await producer.send({ messages: records(name) });
  await producer.close();
} else {
  const admin = new Admin(base);
  await admin.createTopics({ topics: [topic], partitions: 3, replicas: 1 });
  await transactions();
  await rebalance("classic");
  await rebalance("consumer");
  await administer(admin);
  await admin.close();
}
console.log("ok rebalance transactions admin");
// One of its connections stays open when all of it is closed, and the process with it.
process.exit(0);

// kafkajs: node with_kafkajs.js ADDRESS TOPIC CODEC [write NAME | read].
const {
  AssignerProtocol, CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, Partitioners, logLevel,
} = require("kafkajs");

const [address, topic, codec, mode, name] = process.argv.slice(2);
const RECORDS = 50;
const COMPRESSIONS = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
};
const compression = COMPRESSIONS[codec];
const kafka = new Kafka({ brokers: [address], logLevel: logLevel.ERROR });
const text = (value, number) => `${value} ${number} `.repeat(20);

// Of the codecs only gzip is built in.
function addCodecs() {
  CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");
  const lz4 = require("lz4js");
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: async (encoder) => Buffer.from(lz4.compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
  });
  return new Promise((resolve) => {
    require("zstd-codec").ZstdCodec.run((zstd) => {
      const simple = new zstd.Simple();
      CompressionCodecs[CompressionTypes.ZSTD] = () => ({
        compress: async (encoder) => Buffer.from(simple.compress(encoder.buffer, 3)),
        decompress: async (buffer) => Buffer.from(simple.decompress(buffer)),
      });
      resolve();
    });
  });
}

function assert(condition, what) {
  if (!condition) throw new Error(what);
}

function records(value, count = RECORDS) {
  return Array.from({ length: count }, (_, number) => ({
    key: `key ${number}`, value: text(value, number), headers: { h: `${number}` },
  }));
}

async function newProducer(more = {}) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...more });
  await producer.connect();
  return producer;
}

async function transactions() {
  const producer = await newProducer({ transactionalId: topic, idempotent: true, maxInFlightRequests: 1 });
  const aborted = await producer.transaction();
  await aborted.send({ topic, messages: records("aborted", 7), compression });
  await aborted.abort();
  const committed = await producer.transaction();
  await committed.send({ topic, messages: records("value"), compression });
  const topics = [{ topic, partitions: [{ partition: 0, offset: "1" }] }];
  await committed.sendOffsets({ consumerGroupId: `${topic}-sent`, topics });
  await committed.commit();
  await producer.disconnect();
  const admin = kafka.admin();
  await admin.connect();
  const [sent] = await admin.fetchOffsets({ groupId: `${topic}-sent`, topics: [topic] });
  assert(sent.partitions.find((one) => one.partition === 0).offset === "1", JSON.stringify(sent));
  await admin.disconnect();
}

// A consumer whose `assigned` is the number of its partitions.
async function newMember(found) {
  const consumer = kafka.consumer({
    groupId: topic, readUncommitted: false, heartbeatInterval: 100, sessionTimeout: 6000, rebalanceTimeout: 3000, maxWaitTimeInMs: 100,
  });
  const member = { consumer, assigned: -1 };
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    member.assigned = (payload.memberAssignment[topic] || []).length;
  });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      found.set(message.key.toString(), message.value.toString() + message.headers.h.toString());
    },
  });
  return member;
}

async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

async function rebalance() {
  const found = new Map();
  const first = await newMember(found);
  await until(() => first.assigned === 3);
  const second = await newMember(found);
  await until(() => first.assigned + second.assigned === 3 && second.assigned > 0);
  await second.consumer.disconnect();
  await until(() => first.assigned === 3 && found.size === RECORDS);
  await first.consumer.disconnect();
  for (let number = 0; number < RECORDS; number++) {
    assert(found.get(`key ${number}`) === text("value", number) + number, `record ${number}`);
  }
}

async function administer() {
  const admin = kafka.admin();
  await admin.connect();
  const own = `${topic}-admin`;
  const configEntries = [{ name: "retention.ms", value: "1000000" }];
  await admin.createTopics({ topics: [{ topic: own, numPartitions: 1, configEntries }] });
  const resource = { type: ConfigResourceTypes.TOPIC, name: own };
  const value = async (key) => {
    const answer = await admin.describeConfigs({ includeSynonyms: false, resources: [resource] });
    return answer.resources[0].configEntries.find((entry) => entry.configName === key).configValue;
  };
  assert((await value("retention.ms")) === "1000000", "retention.ms");
  const changes = [{ name: "segment.bytes", value: "54321" }];
  await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries: changes }] });
  assert((await value("segment.bytes")) === "54321", "segment.bytes");
  await admin.createPartitions({ topicPartitions: [{ topic: own, count: 3 }] });
  const metadata = await admin.fetchTopicMetadata({ topics: [own] });
  assert(metadata.topics[0].partitions.length === 3, "partitions");
  const { groups } = await admin.listGroups();
  assert(groups.some((group) => group.groupId === topic), "listGroups");
  const described = await admin.describeGroups([topic]);
  assert(described.groups[0].state === "Empty", described.groups[0].state);
  const producer = await newProducer();
  await producer.send({ topic: own, messages: records("value"), compression });
  await producer.disconnect();
  await admin.deleteTopicRecords({ topic: own, partitions: [{ partition: 0, offset: "3" }] });
  const offsets = await admin.fetchTopicOffsets(own);
  assert(offsets.find((one) => one.partition === 0).low === "3", JSON.stringify(offsets));
  await admin.deleteGroups([topic]);
  await admin.deleteTopics({ topics: [own] });
  assert(!(await admin.listTopics()).includes(own), "deleteTopics");
  await admin.disconnect();
}

async function main() {
  await addCodecs();
  if (mode === "write") {
    const producer = await newProducer();
    await producer.send({ topic, messages: records(name), compression });
    await producer.disconnect();
  } else {
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic, numPartitions: 3 }] });
    await admin.disconnect();
    await transactions();
    await rebalance();
    await administer();
  }
  console.log("ok rebalance transactions admin");
}

main().catch((error) => { console.error(error); process.exit(1); });

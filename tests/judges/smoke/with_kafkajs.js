// Smoke test of kafkajs: node with_kafkajs.js ADDRESS TOPIC CODEC (none or gzip: the others are packages of their own).
const { Kafka, CompressionTypes, Partitioners, logLevel } = require("kafkajs");

const [address, topic, codec] = process.argv.slice(2);
const RECORDS = 50;

async function main() {
  const kafka = new Kafka({ brokers: [address], logLevel: logLevel.ERROR });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 3 }] });
  await admin.disconnect();
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner, transactionalId: topic, idempotent: true, maxInFlightRequests: 1,
  });
  await producer.connect();
  const messages = [];
  for (let number = 0; number < RECORDS; number++) {
    messages.push({ key: `key ${number}`, value: `value ${number} `.repeat(20), headers: { h: `${number}` } });
  }
  const compression = codec === "gzip" ? CompressionTypes.GZIP : CompressionTypes.None;
  const transaction = await producer.transaction();
  await transaction.send({ topic, messages, compression });
  await transaction.commit();
  await producer.disconnect();
  const found = new Map();
  const consumer = kafka.consumer({ groupId: topic });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await new Promise((resolve) => {
    consumer.run({
      eachMessage: async ({ message }) => {
        found.set(message.key.toString(), message.value.toString() + message.headers.h.toString());
        if (found.size === RECORDS) resolve();
      },
    });
  });
  await consumer.disconnect();
  for (let number = 0; number < RECORDS; number++) {
    if (found.get(`key ${number}`) !== `value ${number} `.repeat(20) + number) throw new Error(`record ${number}`);
  }
  console.log("ok");
}

main().catch((error) => { console.error(error); process.exit(1); });

// Kafka's own client: java -cp CLASSES:'JARS/*' WithJava ADDRESS TOPIC CODEC [write NAME | read].
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class WithJava {
    static final int RECORDS = 50;
    static String address, topic, codec;

    public static void main(String[] args) throws Exception {
        address = args[0];
        topic = args[1];
        codec = args[2];
        String mode = args.length > 3 ? args[3] : "";
        if (mode.equals("write")) {
            try (var producer = producer(Map.of())) {
                produce(producer, topic, args[4], RECORDS);
            }
        } else if (mode.equals("read")) {
            read();
        } else {
            try (Admin admin = Admin.create(properties())) {
                admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))).all().get();
                transactions(admin);
                rebalance("classic");
                rebalance("consumer");
                administer(admin);
            }
        }
        System.out.println("ok rebalance transactions admin");
    }

    static Properties properties() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", address);
        return properties;
    }

    static KafkaProducer<String, String> producer(Map<String, String> more) {
        Properties properties = properties();
        properties.put("compression.type", codec);
        properties.put("linger.ms", "20");
        properties.putAll(more);
        return new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
    }

    static void produce(KafkaProducer<String, String> producer, String topic, String value, int count) {
        for (int i = 0; i < count; i++) {
            var record = new ProducerRecord<>(topic, "key " + i, (value + " " + i + " ").repeat(20));
            record.headers().add("h", ("" + i).getBytes());
            producer.send(record);
        }
        producer.flush();
    }

    static KafkaConsumer<String, String> member(Map<String, String> more) {
        Properties properties = properties();
        properties.put("auto.offset.reset", "earliest");
        properties.put("isolation.level", "read_committed");
        properties.put("enable.auto.commit", "false");
        properties.putAll(more);
        return new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer());
    }

    static void check(boolean condition, Object what) {
        if (!condition) throw new AssertionError(what);
    }

    static void transactions(Admin admin) throws Exception {
        var place = new TopicPartition(topic, 0);
        try (var producer = producer(Map.of("transactional.id", topic))) {
            producer.initTransactions();
            producer.beginTransaction();
            produce(producer, topic, "aborted", 7);
            producer.abortTransaction();
            producer.beginTransaction();
            produce(producer, topic, "value", RECORDS);
            var group = new ConsumerGroupMetadata(topic + "-sent");
            producer.sendOffsetsToTransaction(Map.of(place, new OffsetAndMetadata(1)), group);
            producer.commitTransaction();
        }
        var sent = admin.listConsumerGroupOffsets(topic + "-sent").partitionsToOffsetAndMetadata().get();
        check(sent.get(place).offset() == 1, sent);
    }

    // What the first reads is found: nobody commits, so it reads again what was taken from it meanwhile.
    static void poll(Map<String, String> found, List<KafkaConsumer<String, String>> members, BooleanSupplier until) {
        while (!until.getAsBoolean()) {
            for (var member : members) {
                for (var record : member.poll(Duration.ofMillis(50))) {
                    if (member == members.get(0)) found.put(record.key(), record.value() + new String(record.headers().lastHeader("h").value()));
                }
            }
        }
    }

    static void rebalance(String protocol) {
        Map<String, String> settings = new HashMap<>(Map.of("group.id", topic + protocol, "group.protocol", protocol));
        if (protocol.equals("classic")) settings.put("heartbeat.interval.ms", "100");
        Map<String, String> found = new HashMap<>();
        try (var first = member(settings)) {
            first.subscribe(List.of(topic));
            poll(found, List.of(first), () -> first.assignment().size() == 3);
            try (var second = member(settings)) {
                second.subscribe(List.of(topic));
                poll(found, List.of(first, second), () ->
                    first.assignment().size() + second.assignment().size() == 3 && second.assignment().size() > 0);
            }
            poll(found, List.of(first), () -> first.assignment().size() == 3 && found.size() == RECORDS
                && first.assignment().stream().mapToLong(first::position).sum() >= RECORDS);
            first.commitSync();
        }
        for (int i = 0; i < RECORDS; i++) {
            check(found.get("key " + i).equals(("value " + i + " ").repeat(20) + i), "record " + i);
        }
    }

    static String config(Admin admin, ConfigResource resource, String key) throws Exception {
        return admin.describeConfigs(List.of(resource)).all().get().get(resource).get(key).value();
    }

    static void alter(Admin admin, ConfigResource resource, String key, String value, AlterConfigOp.OpType type) throws Exception {
        var change = new AlterConfigOp(new ConfigEntry(key, value), type);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all().get();
    }

    static void administer(Admin admin) throws Exception {
        String own = topic + "-admin";
        var created = new NewTopic(own, 1, (short) 1).configs(Map.of("retention.ms", "1000000"));
        admin.createTopics(List.of(created)).all().get();
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, own);
        check(config(admin, resource, "retention.ms").equals("1000000"), "retention.ms");
        alter(admin, resource, "segment.bytes", "54321", AlterConfigOp.OpType.SET);
        check(config(admin, resource, "segment.bytes").equals("54321"), "segment.bytes");
        alter(admin, resource, "cleanup.policy", "compact", AlterConfigOp.OpType.APPEND);
        check(config(admin, resource, "cleanup.policy").contains("compact"), "append");
        alter(admin, resource, "cleanup.policy", "compact", AlterConfigOp.OpType.SUBTRACT);
        check(config(admin, resource, "cleanup.policy").equals("delete"), "subtract");
        admin.createPartitions(Map.of(own, NewPartitions.increaseTo(3))).all().get();
        var partitions = admin.describeTopics(List.of(own)).allTopicNames().get().get(own).partitions();
        check(partitions.size() == 3, partitions);
        check(admin.describeCluster().nodes().get().size() == 1, "describeCluster");
        for (String group : List.of(topic + "classic", topic + "consumer")) {
            var all = admin.listConsumerGroups().all().get();
            check(all.stream().anyMatch(one -> one.groupId().equals(group)), all);
            var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
            check(described.state().toString().equals("Empty"), described);
            var offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
            check(offsets.values().stream().mapToLong(OffsetAndMetadata::offset).sum() >= RECORDS, offsets);
            admin.deleteConsumerGroups(List.of(group)).all().get();
        }
        try (var producer = producer(Map.of())) {
            produce(producer, own, "value", RECORDS);
        }
        var place = new TopicPartition(own, 0);
        long end = admin.listOffsets(Map.of(place, OffsetSpec.latest())).all().get().get(place).offset();
        var cut = admin.deleteRecords(Map.of(place, RecordsToDelete.beforeOffset(end))).lowWatermarks();
        check(end > 0 && cut.get(place).get().lowWatermark() == end, end);
        admin.deleteTopics(List.of(own)).all().get();
        check(!admin.listTopics().names().get().contains(own), "deleteTopics");
    }

    static void read() {
        var range = "org.apache.kafka.clients.consumer.RangeAssignor";
        try (var consumer = member(Map.of("group.id", topic, "partition.assignment.strategy", range))) {
            consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {}

                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    var line = new StringBuilder("assigned");
                    for (var partition : partitions) line.append(" ").append(partition.partition());
                    System.out.println(line);
                }
            });
            while (true) {
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    System.out.println("record " + record.partition() + " " + record.key() + " " + record.value());
                }
            }
        }
    }
}

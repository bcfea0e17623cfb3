// Smoke test of Kafka's own client: java -cp '.../*' WithJava.java ADDRESS TOPIC CODEC.
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class WithJava {
    static final int RECORDS = 50;

    public static void main(String[] args) throws Exception {
        String topic = args[1];
        Properties common = new Properties();
        common.put("bootstrap.servers", args[0]);
        try (Admin admin = Admin.create(common)) {
            admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))).all().get();
        }
        Properties p = new Properties();
        p.putAll(common);
        p.put("compression.type", args[2]);
        p.put("transactional.id", topic);
        p.put("linger.ms", "20");
        try (var producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer())) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, "aborted", "aborted"));
            producer.abortTransaction();
            producer.beginTransaction();
            for (int i = 0; i < RECORDS; i++) {
                var record = new ProducerRecord<>(topic, "key " + i, ("value " + i + " ").repeat(20));
                record.headers().add("h", ("" + i).getBytes());
                producer.send(record);
            }
            producer.commitTransaction();
        }
        for (String protocol : List.of("classic", "consumer")) {
            Properties c = new Properties();
            c.putAll(common);
            c.put("group.id", topic + protocol);
            c.put("group.protocol", protocol);
            c.put("auto.offset.reset", "earliest");
            c.put("isolation.level", "read_committed");
            Map<String, String> found = new HashMap<>();
            try (var consumer = new KafkaConsumer<>(c, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(topic));
                while (found.size() < RECORDS) {
                    for (var record : consumer.poll(Duration.ofMillis(200))) {
                        found.put(record.key(), record.value() + new String(record.headers().lastHeader("h").value()));
                    }
                }
                consumer.commitSync();
            }
            for (int i = 0; i < RECORDS; i++) {
                if (!found.get("key " + i).equals(("value " + i + " ").repeat(20) + i)) throw new Exception("record " + i);
            }
        }
        System.out.println("ok");
    }
}

// Writes one batch of three records to partition 2 of `golden`, as the Java client does it.

import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

class Batch {
    public static void main(String[] arguments) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("enable.idempotence", "true");
        settings.put("acks", "all");
        settings.put("linger.ms", "500");
        settings.put("batch.size", "100000");
        try (var producer = new KafkaProducer<String, String>(settings, new StringSerializer(), new StringSerializer())) {
            producer.send(new ProducerRecord<>("golden", 2, 1705234800123L, null, "short"));
            producer.send(new ProducerRecord<>("golden", 2, 1705234800999L, null, "x".repeat(300)));
            producer.send(new ProducerRecord<>("golden", 2, 1705234800100L, null, "y".repeat(9000)));
        }
    }
}

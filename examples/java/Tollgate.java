import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** What the three programs share: where Kafka is, and how an event looks. */
final class Tollgate {
    /** Names this service. Source and id together are an event's identity. */
    static final String SOURCE = "chat-api";

    static final ObjectMapper JSON = new ObjectMapper();

    private static final String SERVERS =
            System.getenv().getOrDefault("TOLLGATE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092");

    private Tollgate() {}

    static String topic(String name) {
        return System.getenv().getOrDefault("TOLLGATE_TOPIC_PREFIX", "tollgate.") + name;
    }

    /** An id that nobody else makes. */
    static String newId() {
        return UUID.randomUUID().toString();
    }

    /** An event of now, of the kind usage, reservation or release. */
    static ObjectNode event(String kind, String id, String user, JsonNode data) {
        return JSON.createObjectNode()
                .put("specversion", "1.0")
                .put("type", "tollgate." + kind + ".v1")
                .put("source", SOURCE)
                .put("id", id)
                .put("subject", user)
                .put("time", Instant.now().truncatedTo(ChronoUnit.MILLIS).toString())
                .set("data", data);
    }

    static ObjectNode release(String reservationId, String user) {
        var data = JSON.createObjectNode().put("reservation_id", reservationId);
        return event("release", reservationId + "/release", user, data);
    }

    /** By default this producer is idempotent, waits for all replicas and places a key by murmur2. */
    static KafkaProducer<String, String> newProducer() {
        Map<String, Object> config = Map.of("bootstrap.servers", SERVERS, "client.id", SOURCE);
        return new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
    }

    /** A reader without a group: it is told which partitions to read. */
    static KafkaConsumer<String, String> newConsumer() {
        Map<String, Object> config = Map.of(
                "bootstrap.servers", SERVERS, "client.id", SOURCE, "isolation.level", "read_committed",
                "enable.auto.commit", false, "auto.offset.reset", "earliest");
        return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
    }

    /** Returns once Kafka has stored the event. When it fails, publish the same event again: its id counts once. */
    static void publish(KafkaProducer<String, String> producer, ObjectNode event)
            throws ExecutionException, InterruptedException {
        String value;
        try {
            value = JSON.writeValueAsString(event);
        } catch (JsonProcessingException error) {
            throw new IllegalArgumentException(error);
        }
        producer.send(new ProducerRecord<>(topic("usage"), event.get("subject").textValue(), value)).get();
    }
}

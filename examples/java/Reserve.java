import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.TopicPartition;

/**
 * Sets money aside for a call, `Reserve u-42 0.10`, and prints the decision; the status is 1 when it is denied.
 * With what the call used as a third argument, '{"input_tokens": 1200, "output_tokens": 300}', the reservation is
 * settled; without, as when the call failed, it is released.
 */
final class Reserve implements AutoCloseable {
    private final KafkaProducer<String, String> producer = Tollgate.newProducer();
    private final KafkaConsumer<String, String> decisions = Tollgate.newConsumer();

    /** Decisions come to one partition, under a key that no other process has. */
    private final String replyTo = Tollgate.SOURCE + "-" + Tollgate.newId();

    private final TopicPartition partition;

    /** Reads decisions from now on. A service does this once. */
    Reserve() {
        var topic = Tollgate.topic("decisions");
        var count = decisions.partitionsFor(topic).size();
        partition = new TopicPartition(topic, ThreadLocalRandom.current().nextInt(count));
        decisions.assign(List.of(partition));
        decisions.seek(partition, decisions.endOffsets(List.of(partition)).get(partition));
    }

    /** Publishes a reservation and waits for its decision; empty when none comes in time. */
    Optional<JsonNode> ask(String id, String user, ObjectNode data, Duration patience) throws Exception {
        data.put("reply_to", replyTo).put("reply_partition", partition.partition());
        Tollgate.publish(producer, Tollgate.event("reservation", id, user, data));
        var deadline = System.nanoTime() + patience.toNanos();
        while (System.nanoTime() < deadline) {
            for (var record : decisions.poll(Duration.ofMillis(100))) {
                if (!replyTo.equals(record.key())) {
                    continue;
                }
                var decision = Tollgate.JSON.readTree(record.value());
                if (decision.get("reservation_id").textValue().equals(id)) {
                    return Optional.of(decision);
                }
            }
        }
        return Optional.empty();
    }

    @Override
    public void close() {
        producer.close();
        decisions.close();
    }

    /** What the call used is null when it failed. Whether the reservation was granted. */
    boolean call(String user, String amount, String used) throws Exception {
        var call = Tollgate.JSON.createObjectNode().put("provider", "openai").put("model", "gpt-4o");
        var asked = call.deepCopy().put("amount_usd", amount).put("ttl_seconds", 60);
        var id = Tollgate.newId();
        var release = Tollgate.release(id, user);
        var decision = ask(id, user, asked, Duration.ofSeconds(5));
        if (decision.isEmpty()) {
            // It may be granted all the same. Whether the call goes ahead now is the service's choice.
            Tollgate.publish(producer, release);
            throw new IllegalStateException("no decision within 5 s: does a worker run?");
        }
        System.out.println(decision.get());
        if (!decision.get().get("granted").asBoolean()) {
            return false;
        }
        if (used == null) {
            Tollgate.publish(producer, release);
        } else {
            call.put("reservation_id", id).set("usage", Tollgate.JSON.readTree(used));
            Tollgate.publish(producer, Tollgate.event("usage", Tollgate.newId(), user, call));
        }
        return true;
    }

    public static void main(String[] args) throws Exception {
        boolean granted;
        try (var reserve = new Reserve()) {
            granted = reserve.call(args[0], args[1], args.length > 2 ? args[2] : null);
        }
        System.exit(granted ? 0 : 1);
    }
}

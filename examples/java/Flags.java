import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InterruptException;

/**
 * May a call go ahead? One call a line on stdin, {"user": "u-42", "model": "gpt-4o"}, answered from memory.
 * The flags are read to their end first, and then followed.
 */
final class Flags {
    /** In the order in which a combined scope names them. */
    private static final List<String> DIMENSIONS =
            List.of("user", "org", "service", "provider", "model", "agent", "campaign", "feature", "product");

    private static final Pattern JOINT =
            Pattern.compile("(?:\\+|%(?:25)*2B)(?=(?:" + String.join("|", DIMENSIONS) + ")/)");

    private final Map<String, JsonNode> flags = new ConcurrentHashMap<>();

    /** Reads the flags to their end as of now, and goes on in the background. */
    void follow(KafkaConsumer<String, String> consumer) {
        var partitions = consumer.partitionsFor(Tollgate.topic("flags")).stream()
                .map(info -> new TopicPartition(info.topic(), info.partition()))
                .toList();
        consumer.assign(partitions);
        consumer.seekToBeginning(partitions);
        // By position, because compaction and the marks of transactions leave holes in the offsets.
        var ends = consumer.endOffsets(partitions);
        while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
            consumer.poll(Duration.ofMillis(100)).forEach(this::take);
        }
        var reader = new Thread(() -> {
            try (consumer) {
                while (true) {
                    consumer.poll(Duration.ofSeconds(1)).forEach(this::take);
                }
            } catch (InterruptException stopped) {
                // The process ends.
            }
        });
        reader.setDaemon(true);
        reader.start();
    }

    /** The last record of a scope counts; an older revision can only be a repeat. */
    private void take(ConsumerRecord<String, String> record) {
        if (record.value() == null) {
            flags.remove(record.key());
            return;
        }
        try {
            var flag = Tollgate.JSON.readTree(record.value());
            var held = flags.get(record.key());
            if (held == null || flag.get("revision").asLong() >= held.get("revision").asLong()) {
                flags.put(record.key(), flag);
            }
        } catch (Exception error) {
            System.err.println("ignored a record that is no flag: " + error.getMessage());
        }
    }

    /** Whether a call with these names may go ahead now. */
    ObjectNode check(Map<String, String> call, Instant now) {
        var scopes = scopesOf(call);
        var blocking = Stream.concat(Stream.of("global"), scopes.stream())
                .map(flags::get)
                .filter(flag -> flag != null && flag.get("blocked").asBoolean() && now.isBefore(until(flag)))
                .filter(flag -> excepted(flag).noneMatch(scopes::contains));
        // A stop of all spending is told first, and then the block that lasts longest.
        var found = blocking.max(Comparator.comparing(Flags::stops).thenComparing(Flags::until));
        var decision = Tollgate.JSON.createObjectNode().put("allowed", found.isEmpty());
        found.ifPresent(flag -> {
            decision.put("http_status", stops(flag) ? 503 : 429);
            decision.put("error", stops(flag) ? "spending_stopped" : "usage_limit_exceeded");
            decision.put("scope", flag.get("scope").textValue());
            // A lifetime ends in the year 9999, which is no time to wait for.
            if (until(flag).isBefore(Instant.parse("3000-01-01T00:00:00Z"))) {
                decision.put("retry_after_seconds", (Duration.between(now, until(flag)).toMillis() + 999) / 1000);
            }
        });
        return decision;
    }

    private static boolean stops(JsonNode flag) {
        return flag.get("reason").asText().equals("spending_stopped");
    }

    private static Instant until(JsonNode flag) {
        return flag.hasNonNull("until") ? Instant.parse(flag.get("until").textValue()) : Instant.MAX;
    }

    private static Stream<String> excepted(JsonNode flag) {
        return StreamSupport.stream(flag.path("except").spliterator(), false).map(JsonNode::asText);
    }

    /** The single scopes of a call, such as user/u-42, and their combinations of two and three. */
    private static List<String> scopesOf(Map<String, String> call) {
        var singles = DIMENSIONS.stream()
                .filter(dimension -> call.get(dimension) != null && !call.get(dimension).isEmpty())
                .map(dimension -> dimension + "/" + escaped(call.get(dimension)))
                .toList();
        var scopes = new ArrayList<>(singles);
        for (int i = 0; i < singles.size(); i++) {
            for (int j = i + 1; j < singles.size(); j++) {
                var pair = singles.get(i) + "+" + singles.get(j);
                scopes.add(pair);
                singles.stream().skip(j + 1L).forEach(third -> scopes.add(pair + "+" + third));
            }
        }
        return scopes;
    }

    /** The name as it stands in a scope: a plus that would look like the joint of two names is escaped. */
    private static String escaped(String name) {
        return JOINT.matcher(name)
                .replaceAll(found -> found.group().equals("+") ? "%2B" : "%25" + found.group().substring(1));
    }

    public static void main(String[] args) throws Exception {
        var flags = new Flags();
        flags.follow(Tollgate.newConsumer());
        var calls = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (var line = calls.readLine(); line != null; line = calls.readLine()) {
            var call = Tollgate.JSON.readValue(line, new TypeReference<Map<String, String>>() {});
            System.out.println(flags.check(call, Instant.now()));
        }
    }
}

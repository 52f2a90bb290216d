import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;

/**
 * Records calls: one JSON object a line on stdin, {"user": "u-42", "provider": "openai", "model": "gpt-4o",
 * "usage": {"input_tokens": 1200, "output_tokens": 300}}. Prints the id of each event once Kafka has stored it.
 */
final class Usage {
    public static void main(String[] args) throws Exception {
        var stdin = new InputStreamReader(System.in, StandardCharsets.UTF_8);
        try (var producer = Tollgate.newProducer();
                var calls = Tollgate.JSON.readerFor(ObjectNode.class).<ObjectNode>readValues(stdin)) {
            while (calls.hasNext()) {
                var call = calls.next();
                var user = call.remove("user").textValue();
                var event = Tollgate.event("usage", Tollgate.newId(), user, call);
                Tollgate.publish(producer, event);
                System.out.println(event.get("id").textValue());
            }
        }
    }
}

package settlement;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;

/** What a payer needs of a message of reward.decisions. */
record Decision(UUID id, String claimId, int revision, String word, String seal) {
    private static final ObjectMapper JSON =
            new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

    /** The message is no decision of a kind that this program knows. */
    static final class NotUnderstood extends Exception {
        private static final long serialVersionUID = 1;

        NotUnderstood(String reason) {
            // A reason may quote the message, and is stored: it must be text that PostgreSQL takes.
            super(utf8(reason.substring(0, Math.min(200, reason.length())).replace('\0', '?')));
        }

        private static String utf8(String text) {
            return new String(text.getBytes(StandardCharsets.UTF_8), StandardCharsets.UTF_8);
        }
    }

    static Decision parse(ConsumerRecord<byte[], byte[]> message) throws NotUnderstood {
        String schema = header(message, "claimgate-schema");
        if (!"decision.v1".equals(schema)) {
            throw new NotUnderstood("claimgate-schema is " + schema);
        }
        if (message.value() == null) {
            throw new NotUnderstood("the value is null");
        }
        try {
            JsonNode event = JSON.readTree(message.value());
            UUID id = UUID.fromString(text(event, "decision_id"));
            String seal = header(message, "claimgate-seal");
            return new Decision(id, text(event, "claim_id"), revision(event),
                    text(event, "decision"), checked("seal", seal == null ? "none" : seal));
        } catch (IOException | IllegalArgumentException error) {
            throw new NotUnderstood(error.getClass().getSimpleName() + ": " + error.getMessage());
        }
    }

    private static String text(JsonNode event, String field) throws NotUnderstood {
        return checked(field, event.path(field).textValue());
    }

    private static String checked(String name, String text) throws NotUnderstood {
        // PostgreSQL takes neither NUL nor half of a surrogate pair; JSON has both.
        if (text == null || text.isEmpty() || text.indexOf('\0') >= 0
                || !StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
            throw new NotUnderstood(name + " must be text");
        }
        return text;
    }

    private static int revision(JsonNode event) throws NotUnderstood {
        JsonNode revision = event.path("revision");
        if (revision.isMissingNode()) {
            return 0; // A worker decided, and no person.
        }
        if (!revision.isIntegralNumber() || !revision.canConvertToInt()
                || revision.intValue() < 0) {
            throw new NotUnderstood("revision must be a whole number");
        }
        return revision.intValue();
    }

    private static String header(ConsumerRecord<byte[], byte[]> message, String name) {
        Header header = message.headers().lastHeader(name);
        return header == null || header.value() == null
                ? null : new String(header.value(), StandardCharsets.US_ASCII);
    }
}

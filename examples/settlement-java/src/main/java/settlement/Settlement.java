package settlement;

import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Reads reward.decisions and pays each approved claim once: a row of {@code payments}.
 *
 * <p>docs/settlement.md explains the rules. Settings are environment variables:
 *
 * <ul>
 *   <li>SETTLEMENT_DATABASE_URL: jdbc:postgresql://host/database?user=…, with
 *       examples/settlement.sql in it
 *   <li>SETTLEMENT_KAFKA_…: properties of the client, {@code _} for {@code .};
 *       SETTLEMENT_KAFKA_BOOTSTRAP_SERVERS is required, SETTLEMENT_KAFKA_GROUP_ID is
 *       {@code settlement} unless set
 *   <li>SETTLEMENT_TOPIC: {@code reward.decisions} unless set
 *   <li>SETTLEMENT_BATCH: most messages of one database transaction, 500 unless set
 * </ul>
 */
public final class Settlement {
    private static final Logger LOG = LoggerFactory.getLogger("settlement");
    private static final String PREFIX = "SETTLEMENT_KAFKA_";

    private static volatile boolean stopping;

    private Settlement() {}

    private static String setting(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }

    private static Properties kafkaSettings() {
        Properties settings = new Properties();
        settings.put("group.id", "settlement");
        settings.put("max.poll.records", setting("SETTLEMENT_BATCH", "500"));
        System.getenv().forEach((name, value) -> {
            if (name.startsWith(PREFIX)) {
                String property = name.substring(PREFIX.length()).toLowerCase(Locale.ROOT);
                settings.put(property.replace('_', '.'), value);
            }
        });
        // These are what the guarantee rests on: the environment does not change them.
        settings.put("isolation.level", "read_committed");
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        return settings;
    }

    private static void run(Payments payments) throws SQLException, InterruptedException {
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<>(kafkaSettings(), bytes, bytes)) {
            consumer.subscribe(List.of(setting("SETTLEMENT_TOPIC", "reward.decisions")));
            while (!stopping) {
                var messages = consumer.poll(Duration.ofMillis(200));
                if (!messages.isEmpty()) {
                    var done = payments.settle(messages);
                    commit(consumer, messages);
                    LOG.info("{}", done);
                }
            }
        } finally {
            payments.disconnect();
        }
    }

    /** Commits what was paid. A commit that fails costs reading it again. */
    private static void commit(
            KafkaConsumer<byte[], byte[]> consumer, ConsumerRecords<byte[], byte[]> messages) {
        try {
            consumer.commitSync(messages.nextOffsets());
        } catch (KafkaException error) {
            LOG.warn("offsets were not committed: {}", error.getMessage());
        }
    }

    /** After SIGTERM the batch in hand ends, then Java ends with 143. */
    public static void main(String[] arguments) {
        var ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            try {
                ended.await(30, TimeUnit.SECONDS);
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
        }));
        int code = 0;
        try {
            run(new Payments(setting("SETTLEMENT_DATABASE_URL", ""), () -> stopping));
        } catch (SQLException | KafkaException | InterruptedException error) {
            // Whoever supervises this starts it again; nothing is lost meanwhile.
            LOG.error("giving up: {}", error.getMessage());
            code = 1;
        } finally {
            ended.countDown();
        }
        System.exit(code);
    }
}

package settlement;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import settlement.Decision.NotUnderstood;

/** The tables of examples/settlement.sql, and the rules by which decisions change them. */
final class Payments {
    private static final Logger LOG = LoggerFactory.getLogger("settlement");
    private static final int TRIES = 8;
    private static final Set<String> KNOWN = Set.of("approve", "challenge", "review", "reject");

    /** Changes no row where the message repeats what is known, or is older. */
    private static final String KEEP_LATEST = """
            insert into decisions as known (decision_id, claim_id, revision, decision, seal)
            values (?, ?, ?, ?, ?)
            on conflict (decision_id) do update set revision = excluded.revision,
                decision = excluded.decision, seal = excluded.seal, read_at = now()
            where known.revision < excluded.revision""";
    private static final String FIND_CONTRADICTION = """
            select from decisions where decision_id = ? and (claim_id <> ?
                or (revision = ? and decision <> ?))""";
    private static final String PAY = """
            insert into payments (decision_id, claim_id, revision)
            values (?, ?, ?) on conflict do nothing""";
    private static final String NOTE_REVISED = """
            insert into revised_payments (decision_id, revision, decision)
            select decision_id, ?, ? from payments
            where decision_id = ? on conflict do nothing""";
    private static final String SET_ASIDE = """
            insert into set_aside (topic, partition, record_offset, record_time, reason, key, value)
            values (?, ?, ?, ?, ?, ?, ?) on conflict do nothing""";

    private final String url;
    private final BooleanSupplier stopping;
    private Connection connection;

    Payments(String url, BooleanSupplier stopping) {
        this.url = url;
        this.stopping = stopping;
    }

    /**
     * Settles these messages in one transaction; says how many came to what. What a broken
     * transaction did is undone, or done again without effect: so trying again is safe.
     */
    Map<String, Integer> settle(ConsumerRecords<byte[], byte[]> messages)
            throws SQLException, InterruptedException {
        for (int triesLeft = TRIES - 1; ; triesLeft--) {
            try {
                if (connection == null) {
                    connection = DriverManager.getConnection(url);
                    connection.setAutoCommit(false);
                }
                return settleAll(messages);
            } catch (SQLException error) {
                disconnect();
                if (triesLeft == 0 || stopping.getAsBoolean() || !isTransient(error)) {
                    throw error;
                }
                LOG.warn("the database failed, {} tries left: {}", triesLeft, error.getMessage());
                long most = Math.min(10_000, 200L << (TRIES - triesLeft));
                Thread.sleep(ThreadLocalRandom.current().nextLong(100, most));
            }
        }
    }

    /** Ends the connection, and the transaction that may be open on it. */
    void disconnect() {
        try {
            if (connection != null) {
                connection.close();
            }
        } catch (SQLException error) {
            LOG.debug("the connection was broken already", error);
        }
        connection = null;
    }

    private Map<String, Integer> settleAll(ConsumerRecords<byte[], byte[]> messages)
            throws SQLException {
        Map<String, Integer> done = new TreeMap<>();
        for (ConsumerRecord<byte[], byte[]> message : messages) {
            try {
                done.merge(settle(Decision.parse(message)), 1, Integer::sum);
            } catch (NotUnderstood error) {
                LOG.warn("set aside {}/{}/{}: {}", message.topic(), message.partition(),
                        message.offset(), error.getMessage());
                execute(SET_ASIDE, message.topic(), message.partition(), message.offset(),
                        new Timestamp(message.timestamp()), error.getMessage(), message.key(),
                        message.value());
                done.merge("set aside", 1, Integer::sum);
            }
        }
        connection.commit();
        return done;
    }

    /** Does what one decision calls for, and says in a word what that was. */
    private String settle(Decision decision) throws SQLException, NotUnderstood {
        var id = decision.id();
        var claim = decision.claimId();
        var revision = decision.revision();
        var word = decision.word();
        if (!execute(KEEP_LATEST, id, claim, revision, word, decision.seal())) {
            if (execute(FIND_CONTRADICTION, id, claim, revision, word)) {
                throw new NotUnderstood("it contradicts what was read before");
            }
            return "known";
        }
        if (word.equals("approve") && execute(PAY, id, claim, revision)) {
            return "paid";
        }
        // Money that is out cannot be called back by a message: a person decides.
        boolean revised = execute(NOTE_REVISED, revision, word, id);
        if (!KNOWN.contains(word)) {
            throw new NotUnderstood("unknown decision '" + word + "'");
        }
        return revised ? "revised" : "not paid";
    }

    /** Whether the statement changed or found a row. */
    private boolean execute(String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int index = 0; index < values.length; index++) {
                statement.setObject(index + 1, values[index]);
            }
            boolean isQuery = statement.execute();
            return isQuery ? statement.getResultSet().next() : statement.getUpdateCount() > 0;
        }
    }

    /** Connections, deadlocks, resources, a server that stops. No waiting mends the rest. */
    private static boolean isTransient(SQLException error) {
        String state = error.getSQLState();
        var classes = List.of("08", "40", "53", "57", "58");
        return state != null && classes.contains(state.substring(0, 2));
    }
}

import java.nio.file.Files;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** Dedup by record key on Kafka Streams, one thread: Dedup BROKER TOPIC EVENTS GUARANTEE. Prints events/s. */
public final class Dedup {
    private static final String STORE = "seen";
    private static final byte[] SEEN = {1};

    private static final class FirstOnly extends ContextualProcessor<byte[], byte[], byte[], byte[]> {
        // One instance per partition, all on the one thread: the count is theirs together.
        private static long started;
        private static long handled;
        private final long events;

        FirstOnly(long events) {
            this.events = events;
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            if (handled == 0) {
                started = System.nanoTime();
            }
            KeyValueStore<byte[], byte[]> store = context().getStateStore(STORE);
            if (store.get(record.key()) == null) {
                store.put(record.key(), SEEN);
                context().forward(record);
            }
            if (++handled == events) {
                System.out.println(events / ((System.nanoTime() - started) / 1e9));
                Runtime.getRuntime().halt(0);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        long events = Long.parseLong(arguments[2]);
        Serde<byte[]> bytes = Serdes.ByteArray();
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), bytes, bytes));
        builder.stream(arguments[1], Consumed.with(bytes, bytes))
                .process(() -> new FirstOnly(events), STORE)
                .to(arguments[1] + "-streams", Produced.with(bytes, bytes));
        Properties settings = new Properties();
        settings.put("application.id", "dedup-" + System.nanoTime());
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("processing.guarantee", arguments[3]);
        settings.put("num.stream.threads", 1);
        settings.put("state.dir", Files.createTempDirectory("dedup").toString());
        settings.put("auto.offset.reset", "earliest");
        settings.put("compression.type", "snappy");
        settings.put("linger.ms", "5");
        settings.put("replication.factor", 1);
        new KafkaStreams(builder.build(), settings).start();
    }
}

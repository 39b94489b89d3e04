package secondlook.peers;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** The moderation job as a Kafka Streams application: `documented` as one writes it by its documentation, or `tuned`. */
public final class Main {
    private static final Map<String, String> ENV = System.getenv();

    public static void main(String[] arguments) throws Exception {
        boolean tuned = arguments[0].equals("tuned");
        Card card = Card.read(Path.of(given("PARAMETERS")));
        // Each stream task has its own: they keep buffers, and tasks run in several threads.
        Work.Maker maker = tuned ? () -> new TunedWork(card) : () -> new DocumentedWork(card, given("MODEL_FILE"));

        Topology topology = new Topology();
        topology.addSource("requests", given("REQUESTS")).addSource("responses", given("RESPONSES"));
        topology.addProcessor("decide", () -> new Matching(given("REQUESTS"), maker.make()), "requests", "responses");
        for (String store : new String[] {Matching.REQUESTS, Matching.RESPONSES}) {
            topology.addStateStore(store(store, tuned), "decide");
        }
        topology.addSink(Matching.AUTO, given("AUTO_ACTION"), "decide");
        topology.addSink(Matching.HUMAN, given("HUMAN_REVIEW"), "decide");
        topology.addSink(Matching.VECTORS, given("VECTORS"), "decide");

        KafkaStreams streams = new KafkaStreams(topology, settings(tuned));
        streams.setUncaughtExceptionHandler(problem -> {
            problem.printStackTrace();
            Runtime.getRuntime().halt(1); // the harness must see that it ended
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
    }

    /** By the documentation a store is RocksDB; by hand it is memory. Both write every change to a changelog topic. */
    private static StoreBuilder<?> store(String name, boolean tuned) {
        KeyValueBytesStoreSupplier supplier =
                tuned ? Stores.inMemoryKeyValueStore(name) : Stores.persistentKeyValueStore(name);
        return Stores.keyValueStoreBuilder(supplier, Serdes.Bytes(), Serdes.ByteArray());
    }

    private static Properties settings(boolean tuned) throws Exception {
        Serde<byte[]> bytes = Serdes.ByteArray();
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given("GROUP"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given("BROKER"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, given("THREADS"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, given("STATE"));
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, bytes.getClass());
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, bytes.getClass());
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4"); // as all contenders
        if (tuned) {
            // Larger requests both ways, and fewer commits: each is a round through the transaction's coordinator.
            settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, ENV.getOrDefault("BENCH_COMMIT_MS", "200"));
            settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
            settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 << 20);
        }
        Files.createDirectories(Path.of(given("STATE")));
        return settings;
    }

    private static String given(String name) {
        return ENV.get("BENCH_" + name);
    }
}

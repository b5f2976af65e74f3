import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

/** BOOTSTRAP TOPIC COUNT [REGISTRY]: prints key, id and score of so many assessments, JSON or, with a registry, Avro. */
public class Reader {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Map<Integer, Schema> SCHEMAS = new HashMap<>();

    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("group.id", args[1] + ".java");
        settings.put("auto.offset.reset", "earliest");
        settings.put("isolation.level", "read_committed");
        secure(settings);
        int left = Integer.parseInt(args[2]);
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(args[1]));
            while (left > 0) {
                for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    String[] found = args.length > 3 ? avro(record.value(), args[3]) : json(record.value());
                    System.out.println(record.key() + "\t" + String.join("\t", found));
                    left--;
                }
            }
        }
    }

    private static String[] json(byte[] value) throws Exception {
        JsonNode assessment = JSON.readTree(value);
        return new String[] {assessment.get("assessment_id").asText(), assessment.get("risk_score").asText()};
    }

    /** Confluent's wire format: 0, the schema's id, the body. */
    private static String[] avro(byte[] value, String registry) throws Exception {
        ByteBuffer buffer = ByteBuffer.wrap(value);
        if (buffer.get() != 0) {
            throw new IllegalArgumentException("no wire format");
        }
        int id = buffer.getInt();
        if (!SCHEMAS.containsKey(id)) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + id)).build();
            String answer = HttpClient.newHttpClient().send(request, BodyHandlers.ofString()).body();
            SCHEMAS.put(id, new Schema.Parser().parse(JSON.readTree(answer).get("schema").asText()));
        }
        var decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null);
        GenericRecord assessment = new GenericDatumReader<GenericRecord>(SCHEMAS.get(id)).read(null, decoder);
        return new String[] {assessment.get("assessment_id").toString(), assessment.get("risk_score").toString()};
    }

    /** A secured broker is reached with what the environment has for the product. */
    private static void secure(Properties settings) {
        Map<String, String> environment = System.getenv();
        String options = "CYBERVAULT_KAFKA__CLIENT__";
        if (environment.containsKey(options + "SECURITY_PROTOCOL")) {
            settings.put("security.protocol", environment.get(options + "SECURITY_PROTOCOL"));
            settings.put("sasl.mechanism", environment.get(options + "SASL_MECHANISM"));
            settings.put("sasl.jaas.config", String.format(
                "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"%s\" password=\"%s\";",
                environment.get(options + "SASL_USERNAME"), environment.get(options + "SASL_PASSWORD")));
            settings.put("ssl.truststore.type", "PEM");
            settings.put("ssl.truststore.location", environment.get(options + "SSL_CA_LOCATION"));
        }
    }
}

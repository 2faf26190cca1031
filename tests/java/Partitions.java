import java.util.HexFormat;
import java.util.Scanner;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** In which of so many partitions Java's producer puts each key; keys come as hex, one a line. */
class Partitions {
    public static void main(String[] words) {
        var keys = new Scanner(System.in);
        while (keys.hasNextLine()) {
            byte[] key = HexFormat.of().parseHex(keys.nextLine());
            System.out.println(BuiltInPartitioner.partitionForKey(key, Integer.parseInt(words[0])));
        }
    }
}

package secondlook.peers;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** What the harness tells of the model: lines of a name and what belongs to it, as `parameters.py` writes them. */
record Card(Map<String, String[]> lines) {
    static Card read(Path path) throws IOException {
        Map<String, String[]> lines = new HashMap<>();
        for (String line : Files.readAllLines(path)) {
            String[] fields = line.split("\t");
            lines.put(fields[0], Arrays.copyOfRange(fields, 1, fields.length));
        }
        return new Card(lines);
    }

    String word(String name) {
        return lines.get(name)[0];
    }

    List<String> words(String name) {
        return List.of(lines.get(name));
    }

    double number(String name) {
        return Double.parseDouble(word(name));
    }

    double[] numbers(String name) {
        return Arrays.stream(lines.get(name)).mapToDouble(Double::parseDouble).toArray();
    }

    int[] indices(String name) {
        return Arrays.stream(lines.get(name)).mapToInt(Integer::parseInt).toArray();
    }
}

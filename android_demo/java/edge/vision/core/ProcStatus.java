package edge.vision.core;

import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;

/** What Linux says of this process, on a phone and on any other machine with Linux. */
public final class ProcStatus {
    private ProcStatus() {}

    /** Returns a value of /proc/self/status, such as "0-7" for "Cpus_allowed_list"; "" where it is not told. */
    public static String value(String key) {
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(
                new FileInputStream("/proc/self/status"), StandardCharsets.US_ASCII))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (line.startsWith(key + ":")) {
                    return line.substring(key.length() + 1).trim();
                }
            }
        } catch (IOException notTold) {
            return "";
        }
        return "";
    }

    /** Returns the most memory that this process has held, bytes; 0 where it is not told. */
    public static long peakBytes() {
        String[] words = value("VmHWM").split(" ");
        try {
            return 1024 * Long.parseLong(words[0]);
        } catch (NumberFormatException notTold) {
            return 0;
        }
    }
}

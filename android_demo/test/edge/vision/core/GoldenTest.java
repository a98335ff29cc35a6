package edge.vision.core;

import java.io.IOException;
import java.nio.file.Paths;
import java.util.List;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.junit.runners.Parameterized;

/** Every golden vector of the folder that the property {@code edge.golden} names, a test each. */
@RunWith(Parameterized.class)
public final class GoldenTest {
    private final Golden.Case item;

    public GoldenTest(Golden.Case item, String name) {
        this.item = item;
    }

    @Parameterized.Parameters(name = "{1}")
    public static Object[][] cases() throws IOException {
        List<Golden.Case> cases = Golden.read(Paths.get(System.getProperty("edge.golden")));
        Object[][] rows = new Object[cases.size()][];
        for (int i = 0; i < rows.length; i++) {
            rows[i] = new Object[] {cases.get(i), cases.get(i).name};
        }
        return rows;
    }

    @Test
    public void equalsPython() {
        item.check();
    }
}

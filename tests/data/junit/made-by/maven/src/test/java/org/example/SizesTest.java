package org.example;

import static org.junit.Assert.assertTrue;

import java.util.Arrays;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.junit.runners.Parameterized;

@RunWith(Parameterized.class)
public class SizesTest {
    @Parameterized.Parameters(name = "{0}")
    public static Iterable<Object[]> sizes() { return Arrays.asList(new Object[] {"klein", 1}, new Object[] {"groß", 20}); }
    private final int size;
    public SizesTest(String name, int size) { this.size = size; }
    @Test public void fits() { assertTrue("too large", size < 10); }
}

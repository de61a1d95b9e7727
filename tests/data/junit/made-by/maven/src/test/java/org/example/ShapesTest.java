package org.example;

import static org.junit.Assert.assertEquals;
import static org.junit.Assume.assumeTrue;

import org.junit.Ignore;
import org.junit.Test;

public class ShapesTest {
    @Test public void square() { assertEquals(4, 2 * 2); }
    @Test public void wrong() { assertEquals("größe <&>", "klein"); }
    @Test public void error() { throw new IllegalStateException("no such shape: größe"); }
    @Ignore("later") @Test public void ignored() { }
    @Test public void assumed() { assumeTrue("not on this machine", false); }
    @Test public void größe() { System.out.println("printed größe"); System.err.println("to the error output"); }
}

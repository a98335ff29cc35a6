package edge.vision.core;

import java.lang.reflect.Method;

/** Methods that a class does not show. */
public final class Declared {
    private Declared() {}

    /** Returns a method without arguments of a class, or the one that it inherits, whoever may call it. */
    public static Method method(Class<?> type, String name) throws NoSuchMethodException {
        for (Class<?> owner = type; owner != null; owner = owner.getSuperclass()) {
            try {
                return owner.getDeclaredMethod(name);
            } catch (NoSuchMethodException further) {
                continue; // a class declares only what is its own
            }
        }
        throw new NoSuchMethodException(type.getName() + "." + name);
    }
}

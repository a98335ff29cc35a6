package edge.vision.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** People put together from joints and limbs, limb by limb, by the rules of {@code runtime/people.py}. */
final class People {
    static final int ABSENT = -1;

    /** A person in the reference's own terms: joint ids by part, and a score. */
    static final class Entry {
        final int[] joints = new int[Skeleton.JOINTS];
        double score;
        /** Joints that were given, also those that took another's place. */
        int count = 2;
    }

    private final List<List<Entry>> holders = new ArrayList<>(); // by joint id

    private People() {}

    /** Returns the people that the limbs form, in the order they were begun. */
    static List<Entry> assemble(List<List<Limbs.Limb>> limbs, List<Peak> joints, int minKeypoints, double minScore) {
        People people = new People();
        for (int i = 0; i < joints.size(); i++) {
            people.holders.add(new ArrayList<>(2));
        }
        List<Entry> entries = new ArrayList<>();
        for (int number = 0; number < limbs.size(); number++) {
            for (Limbs.Limb limb : limbs.get(number)) {
                if (number >= Skeleton.FILL_FROM) {
                    people.fillGaps(number, limb);
                } else {
                    people.extend(number, limb, entries);
                }
            }
        }
        List<Entry> kept = new ArrayList<>();
        for (Entry entry : entries) {
            if (entry.count >= minKeypoints && entry.score / entry.count >= minScore) {
                kept.add(entry);
            }
        }
        return kept;
    }

    private void fillGaps(int number, Limbs.Limb limb) {
        int startPart = Skeleton.start(number);
        int endPart = Skeleton.end(number);
        List<Entry> atEnd = new ArrayList<>(holders.get(limb.end.id));
        for (Entry entry : new ArrayList<>(holders.get(limb.start.id))) {
            if (entry.joints[endPart] == ABSENT) {
                give(entry, endPart, limb.end.id);
            }
        }
        for (Entry entry : atEnd) {
            if (entry.joints[startPart] == ABSENT) {
                give(entry, startPart, limb.start.id);
            }
        }
    }

    private void extend(int number, Limbs.Limb limb, List<Entry> entries) {
        int endPart = Skeleton.end(number);
        List<Entry> atStart = holders.get(limb.start.id);
        for (Entry entry : atStart) {
            if (entry.joints[endPart] != limb.end.id) {
                give(entry, endPart, limb.end.id);
            }
            entry.score += limb.end.height + limb.affinity;
            entry.count++;
        }
        if (atStart.isEmpty()) {
            Entry entry = new Entry();
            Arrays.fill(entry.joints, ABSENT);
            entry.joints[Skeleton.start(number)] = limb.start.id;
            entry.joints[endPart] = limb.end.id;
            entry.score = (double) limb.start.height + limb.end.height + limb.affinity;
            atStart.add(entry);
            holders.get(limb.end.id).add(entry);
            entries.add(entry);
        }
    }

    private void give(Entry entry, int part, int joint) {
        int before = entry.joints[part];
        if (before != ABSENT) {
            holders.get(before).remove(entry); // by identity: an entry has no equals of its own
        }
        entry.joints[part] = joint;
        holders.get(joint).add(entry);
    }
}

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import java.util.zip.CRC32;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;

/**
 * Threads that work on native memory: direct buffers, zlib, the compiler's own
 * memory while methods become hot. What is printed is the same on every malloc.
 */
public final class Threads {
    private static byte[] bytes(int seed, int size) {
        byte[] made = new byte[size];
        int state = seed;
        for (int i = 0; i < size; i++) {
            state = state * 1103515245 + 12345;
            made[i] = (byte) ("arena pool block ".charAt((state >>> 16) % 17) + (state >>> 30));
        }
        return made;
    }

    private static long packed(int seed) throws IOException {
        byte[] text = bytes(seed, 20_000 + seed * 13);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try (GZIPOutputStream gzip = new GZIPOutputStream(out)) {
            gzip.write(text);
        }
        byte[] back = new GZIPInputStream(new ByteArrayInputStream(out.toByteArray())).readAllBytes();
        CRC32 sum = new CRC32();
        sum.update(back);
        return sum.getValue() + out.size();
    }

    private static long direct(int seed) {
        List<ByteBuffer> buffers = new ArrayList<>();
        long sum = 0;
        for (int i = 0; i < 200; i++) {
            ByteBuffer buffer = ByteBuffer.allocateDirect(1 + (seed * 7919 + i * 104729) % 60_000);
            sum += buffer.get(buffer.capacity() / 2);
            while (buffer.remaining() >= 4) {
                buffer.putInt(seed + i);
            }
            buffers.add(buffer);
        }
        for (ByteBuffer buffer : buffers) {
            sum += buffer.capacity() + (buffer.capacity() >= 4 ? buffer.getInt(0) : 0);
        }
        return sum;
    }

    private static long shortLives() throws InterruptedException {
        ConcurrentHashMap<Integer, String> names = new ConcurrentHashMap<>();
        for (int round = 0; round < 40; round++) {
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < 10; i++) {
                int key = round * 10 + i;
                Thread thread = new Thread(() -> names.put(key, "thread " + key));
                thread.start();
                threads.add(thread);
            }
            for (Thread thread : threads) {
                thread.join();
            }
        }
        return names.values().stream().mapToLong(String::length).sum();
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        Map<String, List<Future<Long>>> work = new TreeMap<>();
        for (int i = 0; i < 64; i++) {
            int seed = i;
            work.computeIfAbsent("zlib", key -> new ArrayList<>()).add(pool.submit(() -> packed(seed)));
            work.computeIfAbsent("direct", key -> new ArrayList<>()).add(pool.submit(() -> direct(seed)));
        }
        for (Map.Entry<String, List<Future<Long>>> entry : work.entrySet()) {
            long sum = 0;
            for (Future<Long> future : entry.getValue()) {
                sum += future.get();
            }
            System.out.println(entry.getKey() + " " + sum);
        }
        pool.shutdown();
        System.out.println("short lives " + shortLives());
        System.out.println("words " + IntStream.range(0, 300_000).parallel()
            .mapToObj(i -> Integer.toString(i * 31, 36)).filter(word -> word.contains("a")).distinct().count());
        List<byte[]> garbage = new ArrayList<>();
        long total = 0;
        for (int i = 0; i < 20_000; i++) {
            garbage.add(new byte[i % 3000]);
            if (garbage.size() > 500) {
                garbage.subList(0, 400).clear();
            }
            total += garbage.get(garbage.size() / 2).length;
        }
        System.gc();
        System.out.println("garbage " + total);
    }
}

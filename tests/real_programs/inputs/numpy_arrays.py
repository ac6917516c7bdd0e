"""numpy: large and many small arrays, aligned views, linear algebra in threads.

What is printed is rounded: the order of a sum may follow the alignment of an
array, which is the malloc's to choose.
"""

import ctypes
import threading

import numpy as np


def shown(name, value):
    print(name, "%.6g" % float(value))


def small_arrays(numbers):
    kept = {}
    for i in range(60_000):
        slot = int(numbers.integers(0, 2000))
        kept[slot] = np.full(int(numbers.integers(0, 400)), i % 250, dtype=("u1", "f4", "c16")[i % 3])
    shown("small", sum(abs(array.sum()) for array in kept.values()))


def large_arrays():
    total = 0.0
    for size in (1 << 16, 1 << 18, 1 << 20, 5_000_000):
        for _ in range(4):
            array = np.arange(size, dtype=np.float64)
            array = np.sqrt(array) * 2 + array[::-1]
            array.resize(size * 2, refcheck=False)
            assert not array[size:].any()
            total += array.sum()
            zeros = np.zeros(size)
            assert not zeros.any()
            zeros += 1
    shown("large", total)
    strings = np.array(["pool %d" % i for i in range(100_000)], dtype=object)
    print("objects", sum(len(text) for text in strings[::7]), len(np.unique(strings)))


def aligned():
    for alignment in (32, 64, 128, 4096, 1 << 16, 1 << 21):
        raw = np.empty(100_000 * 8 + alignment, dtype=np.uint8)
        start = -raw.ctypes.data % alignment
        view = raw[start : start + 800_000].view(np.float64)
        assert view.ctypes.data % alignment == 0 and view.flags.aligned
        view[:] = 1.5
        shown("aligned %d" % alignment, view.sum())
    libc = ctypes.CDLL(None)
    libc.aligned_alloc.restype = ctypes.POINTER(ctypes.c_double)
    libc.aligned_alloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    for alignment in (64, 4096, 1 << 20):
        pointer = libc.aligned_alloc(alignment, 1 << 20)
        array = np.ctypeslib.as_array(pointer, ((1 << 20) // 8,))
        assert array.ctypes.data % alignment == 0
        array[:] = alignment
        shown("aligned_alloc", array.sum())
        libc.free(pointer)


def linear_algebra(numbers):
    matrix = numbers.standard_normal((500, 500))
    positive = matrix @ matrix.T + 500 * np.eye(500)
    shown("determinant", np.linalg.slogdet(positive)[1])
    shown("eigenvalues", np.linalg.eigvalsh(positive).sum())
    shown("singular", np.linalg.svd(matrix[:, :200], compute_uv=False).sum())
    shown("solved", np.abs(positive @ np.linalg.solve(positive, matrix) - matrix).max() < 1e-8)
    shown("fft", np.abs(np.fft.rfft(matrix.ravel())).sum())
    sums = [0.0] * 4

    def work(index):
        mine = np.random.default_rng(index)
        for _ in range(15):
            a = mine.standard_normal((150, 300))
            sums[index] += float(np.abs(np.linalg.qr(a @ a.T)[1].diagonal()).sum())

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for value in sums:
        shown("threads", value)


numbers = np.random.default_rng(1)
small_arrays(numbers)
large_arrays()
aligned()
linear_algebra(numbers)

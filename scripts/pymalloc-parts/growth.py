"""Whether what a program had in use grew to its end.

Owns: the constants, which are those of watch/src/why.rs, where each has its reason. What must hold: a start is no growth, so that only the second half of the time counts.
"""

CERTAINTY = 0.8
DOUBLES_WITHIN = 24 * 3600
LEAST_GROWTH = 64 << 10
# Points that a straight line is laid through at least, and the seconds that these must span.
LEAST_POINTS = 5
LEAST_SECONDS = 5


def rate(course):
    """Bytes a second by which it grew, of [time, bytes]; 0 if that was not steady, or little, or too little is known."""
    middle = (course[0][0] + course[-1][0]) / 2 if course else 0
    points = [point for point in course if point[0] >= middle]
    if len(points) < LEAST_POINTS or points[-1][0] - points[0][0] < LEAST_SECONDS:
        return 0.0
    time, used = (sum(point[column] for point in points) / len(points) for column in (0, 1))
    times = sum((point[0] - time) ** 2 for point in points)
    both = sum((point[0] - time) * (point[1] - used) for point in points)
    every = sum((point[1] - used) ** 2 for point in points)
    if times == 0 or every == 0:
        return 0.0
    found = both / times
    is_steady = both**2 / (times * every) >= CERTAINTY and found * (points[-1][0] - points[0][0]) >= LEAST_GROWTH
    return found if is_steady and found * DOUBLES_WITHIN >= points[-1][1] else 0.0

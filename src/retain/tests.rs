//! Tests of the rule, with a clock of their own.

use super::*;

const MEGABYTE: usize = 1 << 20;
const SECOND: Moment = 1_000_000_000;

#[test]
fn what_is_asked_for_again_soon_is_wanted() {
    let mut retained = Retained::nothing();
    retained.ask(MEGABYTE, 0, || unreachable!());
    retained.give_back(100 * MEGABYTE, SECOND);
    retained.ask(60 * MEGABYTE, 0, || SECOND + SECOND / 50);
    assert_eq!(retained.wanted(), 60 * MEGABYTE);
    retained.ask(60 * MEGABYTE, 0, || SECOND + SECOND / 20);
    assert_eq!(retained.wanted(), 100 * MEGABYTE);
    retained.ask(60 * MEGABYTE, 0, || unreachable!());
    assert_eq!(retained.wanted(), 100 * MEGABYTE);
    retained.forget();
}

#[test]
fn what_is_asked_for_late_is_not() {
    let mut retained = Retained::nothing();
    retained.give_back(MEGABYTE, SECOND);
    retained.ask(MEGABYTE, 0, || 2 * SECOND);
    assert_eq!(retained.wanted(), 0);
    // The more it is, the longer is soon.
    retained.give_back(1000 * MEGABYTE, 2 * SECOND);
    retained.ask(MEGABYTE, 0, || 4 * SECOND);
    assert_eq!(retained.wanted(), MEGABYTE);
    retained.forget();
}

#[test]
fn several_repetitions_make_a_part_of_it_resident() {
    let mut retained = Retained::nothing();
    retained.give_back(100 * MEGABYTE, SECOND);
    retained.ask(100 * MEGABYTE, 0, || SECOND);
    for _ in 1..REPETITIONS {
        assert_eq!(
            (retained.resident(), retained.lazy()),
            (0, 100 * MEGABYTE),
            "too few repetitions"
        );
        retained.serve_again(100 * MEGABYTE, 0);
    }
    assert_eq!(retained.resident(), RETAINED_MOST);
    assert_eq!(retained.lazy(), 100 * MEGABYTE - RETAINED_MOST);
    // The more is in use, the more may stay.
    retained.observe(0, 800 * MEGABYTE, SECOND);
    assert_eq!(retained.resident(), 100 * MEGABYTE);
    // Another kind gets no more than the first leaves.
    let mut other = Retained::nothing_resident();
    other.give_back(60 * MEGABYTE, SECOND);
    other.ask(60 * MEGABYTE, 400 * MEGABYTE, || SECOND);
    assert_eq!((other.wanted(), other.resident()), (0, 0));
    // What is lazy is given up first.
    retained.observe(0, 0, SECOND);
    assert_eq!(retained.give_up(50 * MEGABYTE, 0), 0);
    assert_eq!(
        retained.give_up(60 * MEGABYTE, 50 * MEGABYTE),
        50 * MEGABYTE
    );
    assert_eq!(
        (retained.resident(), retained.lazy()),
        (RETAINED_MOST, 18 * MEGABYTE)
    );
    assert_eq!(
        retained.give_up(40 * MEGABYTE, 90 * MEGABYTE),
        40 * MEGABYTE
    );
    assert_eq!((retained.resident(), retained.lazy()), (10 * MEGABYTE, 0));
    retained.forget();
    assert_eq!(retained.give_up(MEGABYTE, MEGABYTE), 0);
}

#[test]
fn what_stays_unused_is_forgotten() {
    let mut retained = Retained::nothing();
    retained.give_back(100 * MEGABYTE, SECOND);
    retained.ask(100 * MEGABYTE, 0, || SECOND);
    // In use at least once in each stretch of time: wanted.
    let mut time = SECOND;
    for _ in 0..30 {
        time += SECOND / 10;
        assert!(!retained.observe(0, 0, time));
        assert!(!retained.observe(100 * MEGABYTE, 0, time));
    }
    assert_eq!(retained.wanted(), 100 * MEGABYTE);
    // 30 of it are not in use at any time.
    for step in 0..20 {
        time += SECOND / 10;
        let least = retained.wanted() - 70 * MEGABYTE;
        retained.observe(
            if step % 2 == 0 {
                least
            } else {
                retained.wanted()
            },
            0,
            time,
        );
    }
    assert_eq!(retained.wanted(), 70 * MEGABYTE);
    // Nothing happens for a while.
    assert!(retained.observe(0, 0, time + 2 * SECOND));
    assert_eq!(retained.wanted(), 0);
}

#[test]
fn a_drop_of_more_than_may_be_retained_is_forgotten() {
    let mut retained = Retained::nothing();
    retained.give_back(10 * MEGABYTE, SECOND);
    retained.ask(10 * MEGABYTE, 0, || SECOND);
    // Some of it is asked for again in between: no drop.
    for _ in 0..10 {
        retained.give_back(RETAINED_MOST / 2, SECOND);
        retained.ask(1, 0, || SECOND);
    }
    assert_eq!(retained.wanted(), 10 * MEGABYTE + 10);
    retained.give_back(RETAINED_MOST, SECOND);
    assert_eq!(retained.wanted(), 10 * MEGABYTE + 10);
    retained.give_back(1, SECOND);
    assert_eq!(retained.wanted(), 0);
}

#[test]
fn what_was_used_between_two_looks_at_the_clock_counts() {
    let mut retained = Retained::nothing();
    retained.give_back(100 * MEGABYTE, SECOND);
    retained.ask(100 * MEGABYTE, 0, || SECOND);
    for step in 1..=3 {
        retained.observe(100 * MEGABYTE, 0, SECOND + step * SECOND / 10);
    }
    for unused in [100, 40, 100] {
        retained.observe_in_turn(unused * MEGABYTE, 0, || unreachable!());
    }
    for step in 4..=6 {
        let mut looks = 0;
        for _ in 0..TURNS {
            retained.observe_in_turn(100 * MEGABYTE, 0, || {
                looks += 1;
                SECOND + step * SECOND / 10
            });
        }
        assert_eq!(looks, 1);
    }
    assert_eq!(retained.wanted(), 60 * MEGABYTE);
    // Eight turns may take longer than what counts as idle.
    for step in 1..100 {
        retained.observe_in_turn(step % 2 * 60 * MEGABYTE, 0, || {
            2 * SECOND + step as Moment * SECOND / 20
        });
    }
    assert_eq!(retained.wanted(), 60 * MEGABYTE);
    retained.forget();
}

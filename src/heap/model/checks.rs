//! The checks: which threads do what at once.

use super::*;

/// Leaves the pool with `in_use` blocks in use, the others free.
fn abandon_with(owner: &Thread, in_use: usize) {
    (in_use..BLOCKS).for_each(|block| owner.free(block));
    owner.end();
}

#[test]
fn loom_remote_frees_into_a_pool_that_fills_a_bin() {
    check(
        2,
        &[
            "abandoned",
            "used by 0",
            "used by 0, a block waits",
            "used by 0, a block waits unseen",
            "used by 1",
            "used by 1, a block waits",
            "used by 1, a block waits unseen",
        ],
        |owner| {
            let freers = [
                owner.start(Some(1), |thread| thread.free(0)),
                owner.start(None, |thread| thread.free(1)),
            ];
            let mut in_use = vec![2, 3];
            in_use.extend(owner.allocate());
            freers.into_iter().for_each(Running::join);
            owner.finish(&in_use);
        },
    );
}

#[test]
fn loom_remote_frees_into_a_used_pool() {
    check(
        2,
        &[
            "used by 0, empty",
            "used by 0, empty, a block waits",
            "used by 0, empty, a block waits unseen",
            "vacant",
        ],
        |owner| {
            let freers = [
                owner.start(Some(1), |thread| {
                    thread.free(0);
                    thread.free(1);
                }),
                owner.start(None, |thread| thread.free(2)),
            ];
            owner.trim();
            owner.free(3);
            freers.into_iter().for_each(Running::join);
            owner.finish(&[]);
        },
    );
}

#[test]
fn loom_full_pool_is_given_up_while_two_free_into_it() {
    check(
        1,
        &[
            "used by 0, a block waits",
            "used by 0, a block waits unseen",
            "used by 1, a block waits",
            "used by 1, a block waits unseen",
            "used by 2, a block waits",
            "used by 2, a block waits unseen",
        ],
        |owner| {
            let freers = [
                owner.start(Some(1), |thread| thread.free(0)),
                owner.start(Some(2), |thread| thread.free(1)),
            ];
            let mut in_use = vec![2, 3];
            in_use.extend(owner.retire_full());
            freers.into_iter().for_each(Running::join);
            owner.finish(&in_use);
        },
    );
}

#[test]
fn loom_former_owner_frees_into_a_full_pool_like_others() {
    check(
        2,
        &[
            "used by 0, empty",
            "used by 0, empty, a block waits",
            "used by 0, empty, a block waits unseen",
            "used by 1, empty, a block waits",
            "used by 1, empty, a block waits unseen",
            "vacant",
        ],
        |owner| {
            let freer = owner.start(Some(1), |thread| thread.free(0));
            let anew = owner.retire_full();
            for block in (1..BLOCKS).chain(anew) {
                owner.free(block);
            }
            freer.join();
            owner.finish(&[]);
        },
    );
}

#[test]
fn loom_full_pool_is_looked_at_while_one_frees_into_it() {
    check(3, &["abandoned", "used by 1"], |owner| {
        assert!(owner.retire_full().is_none());
        let freer = owner.start(Some(1), |thread| thread.free(0));
        // It holds the others, so that the pool stays.
        assert!(!owner.is_free(2));
        freer.join();
        owner.finish(&[1, 2, 3]);
    });
}

/// An owner enters a pool into its slot map while another thread frees into it.
fn enter_while_one_frees(owner: Thread) {
    owner.own_heap().front.map.void(owner.pool);
    let freer = owner.start(None, |thread| thread.free(0));
    owner.free(1);
    freer.join();
    owner.finish(&[2, 3]);
}

#[test]
fn loom_map_shows_no_pool_in_which_a_block_waits_if_its_owner_waits() {
    check(3, &["used by 0", "used by 0, a block waits"], |owner| {
        modelled::compiler_fences_wait();
        enter_while_one_frees(owner);
    });
}

#[test]
fn loom_map_may_show_a_pool_in_which_a_block_waits() {
    check(
        3,
        &[
            "used by 0",
            "used by 0, a block waits",
            "used by 0, a block waits unseen",
        ],
        enter_while_one_frees,
    );
}

#[test]
fn loom_pool_is_abandoned_while_one_frees_and_one_adopts() {
    check(3, &["abandoned", "used by 1", "used by 2"], |owner| {
        let others = [
            owner.start(Some(1), |thread| thread.free(0)),
            owner.start(Some(2), |thread| {
                if let Some(block) = thread.allocate() {
                    thread.free(block);
                }
            }),
        ];
        abandon_with(&owner, 3);
        others.into_iter().for_each(Running::join);
        owner.finish(&[1, 2]);
    });
}

#[test]
fn loom_pool_is_abandoned_while_its_last_blocks_are_freed() {
    check(2, &["vacant"], |owner| {
        let freers = [
            owner.start(None, |thread| thread.free(0)),
            owner.start(None, |thread| thread.free(1)),
        ];
        abandon_with(&owner, 2);
        freers.into_iter().for_each(Running::join);
        owner.finish(&[]);
    });
}

#[test]
fn loom_two_adopt_an_abandoned_pool_while_one_frees_into_it() {
    check(
        3,
        &[
            "abandoned",
            "used by 1",
            "used by 1, a block waits",
            "used by 1, a block waits unseen",
            "used by 2",
            "used by 2, a block waits",
            "used by 2, a block waits unseen",
        ],
        |owner| {
            abandon_with(&owner, 2);
            let adopters = [1, 2].map(|heap| {
                owner.start(Some(heap), |thread| {
                    if let Some(block) = thread.allocate() {
                        thread.free(block);
                    }
                })
            });
            let freer = owner.with(None);
            freer.free(0);
            adopters.into_iter().for_each(Running::join);
            freer.finish(&[1]);
        },
    );
}

#[test]
fn loom_last_block_of_an_adopted_pool_is_freed() {
    check(
        3,
        &[
            "used by 1",
            "used by 1, a block waits",
            "used by 1, a block waits unseen",
            "vacant",
        ],
        |owner| {
            abandon_with(&owner, 1);
            let others = [
                owner.start(Some(1), |thread| {
                    if let Some(block) = thread.allocate() {
                        thread.free(block);
                    }
                }),
                owner.start(None, |thread| thread.free(0)),
            ];
            others.into_iter().for_each(Running::join);
            owner.finish(&[]);
        },
    );
}

#[test]
fn loom_blocks_come_back_from_a_bin_while_others_free() {
    check(
        2,
        &[
            "used by 0, empty, a block waits",
            "used by 0, empty, a block waits unseen",
            "vacant",
        ],
        |owner| {
            owner.widen_bin();
            let freers = [
                owner.start(Some(1), |thread| {
                    thread.free(0);
                    thread.free(1);
                }),
                owner.start(None, |thread| thread.free(2)),
            ];
            owner.free(3);
            owner.trim();
            freers.into_iter().for_each(Running::join);
            owner.finish(&[]);
        },
    );
}

#[test]
fn loom_block_in_a_bin_of_another_thread() {
    check(
        2,
        &[
            "used by 0, empty, a block waits",
            "used by 0, empty, a block waits unseen",
            "used by 1, empty, a block waits",
            "used by 1, empty, a block waits unseen",
            "vacant",
        ],
        |owner| {
            let freer = owner.start(Some(1), |thread| {
                thread.widen_bin();
                thread.free(0);
                thread.trim();
            });
            let anew = owner.retire_full();
            for block in (1..BLOCKS).chain(anew) {
                owner.free(block);
            }
            owner.trim();
            freer.join();
            owner.finish(&[]);
        },
    );
}

#[test]
fn loom_pool_is_scanned_in_hand_while_one_frees_into_it() {
    check(3, &["abandoned", "used by 1"], |owner| {
        owner.free(3);
        let freer = owner.start(Some(1), |thread| thread.free(0));
        owner.scan();
        freer.join();
        owner.finish(&[1, 2]);
    });
}

#[test]
fn loom_former_owner_frees_into_a_pool_that_it_has_scanned() {
    let ends = [
        "used by 0",
        "used by 0, a block waits",
        "used by 1, a block waits",
    ];
    check(1, &ends, |owner| {
        owner.free(3);
        let freer = owner.start(Some(1), |thread| thread.free(0));
        owner.scan();
        owner.free(2);
        freer.join();
        owner.finish(&[1]);
    });
}

#[test]
fn loom_abandoned_pool_is_scanned_while_one_frees_into_it() {
    check(3, &["abandoned", "used by 1"], |owner| {
        abandon_with(&owner, 2);
        let freer = owner.start(Some(1), |thread| thread.free(0));
        owner.scan_abandoned();
        freer.join();
        owner.finish(&[1]);
    });
}

#[test]
fn loom_full_pool_is_looked_at_by_a_thread_that_never_had_it() {
    check(2, &["full"], |owner| {
        let other = owner.start(None, |thread| assert!(!thread.is_free(2)));
        // So that the owner has private fields to publish, which it wrote under its lock: those who look may take that instead.
        owner.with(None).free(3);
        assert_eq!(owner.allocate(), Some(3));
        assert!(owner.retire_full().is_none());
        other.join();
        owner.finish(&[0, 1, 2, 3]);
    });
}

#[test]
fn loom_last_block_is_freed_while_the_owner_sleeps() {
    check(3, &["vacant"], |owner| {
        let freer = owner.start(Some(1), |thread| {
            (0..BLOCKS).for_each(|block| thread.free(block));
        });
        freer.join();
        owner.finish(&[]);
    });
}

/// The owner's frees, which have no event, are ordered with the release by nothing but its countdown.
#[test]
fn loom_owner_frees_without_an_event_while_one_frees_the_others() {
    check_carved(
        3,
        3,
        &[
            "used by 0, empty",
            "used by 0, empty, a block waits",
            "used by 0, empty, a block waits unseen",
            "vacant",
        ],
        |owner| {
            let freer = owner.start(None, |thread| {
                thread.free(0);
                thread.free(1);
            });
            owner.free(2);
            freer.join();
            owner.finish(&[]);
        },
    );
}

#[test]
fn loom_more_is_carved_while_one_frees() {
    check_carved(3, 3, &["used by 0", "used by 0, a block waits"], |owner| {
        let freer = owner.start(None, |thread| thread.free(0));
        let mut in_use = vec![1, 2];
        in_use.extend(owner.allocate());
        freer.join();
        owner.finish(&in_use);
    });
}

/// A thread that is about to free into the pool finds it another heap's when it has the first one's lock.
#[test]
fn loom_pool_changes_its_heap_while_its_last_block_is_freed() {
    let ends = ["used by 1, empty, a block waits unseen", "vacant"];
    check(1, &ends, |owner| {
        let others = owner.start(Some(0), |owner| {
            let anew = owner.retire_full();
            let other = owner.with(Some(1));
            for block in (1..BLOCKS).chain(anew) {
                other.free(block);
            }
        });
        let freer = owner.with(None);
        freer.free(0);
        others.join();
        freer.finish(&[]);
    });
}

/// Takes the pool out, as a scan does, puts it back when `blocks` were freed meanwhile.
fn put_back_after(owner: &Thread, blocks: &'static [usize]) {
    let (heap, pool) = (owner.own_heap(), owner.pool);
    heap.lock().take_out(&heap.front, pool);
    let freer = owner.start(None, |thread| {
        blocks.iter().for_each(|block| thread.free(*block))
    });
    freer.join();
    let mut used = heap.lock();
    used.put_back(&heap.front, pool);
    remote::free_all(owner.heap, heap.unlock(used));
}

#[test]
fn loom_put_back_finds_what_was_freed_while_the_pool_was_in_hand() {
    check(1, &["used by 0"], |owner| {
        put_back_after(&owner, &[0, 1]);
        owner.finish(&[2, 3]);
    });
}

#[test]
fn loom_put_back_gives_a_pool_back_that_was_emptied_while_it_was_in_hand() {
    check(1, &["vacant"], |owner| {
        put_back_after(&owner, &[0, 1, 2, 3]);
        owner.finish(&[]);
    });
}

#[test]
fn loom_map_shows_a_pool_again_whose_blocks_were_collected() {
    check(1, &["used by 0"], |owner| {
        owner.start(None, |thread| thread.free(0)).join();
        assert!(!owner.is_in_map());
        assert_eq!(owner.allocate(), Some(0));
        assert!(owner.is_in_map());
        owner.finish(&[0, 1, 2, 3]);
    });
}

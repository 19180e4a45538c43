//! What a device sees of a queue.

use super::{Chain, QueueError, QueueState, Virtqueue, total_len};
use crate::testing::{Ring, desc, memory};
use crate::{GuestMemory, Segment};
use vm_memory::GuestAddress;

const BASE: u64 = 0x10_0000;

fn queue(event_idx: bool) -> (GuestMemory, Ring, Virtqueue) {
    let memory = memory();
    let ring = Ring::new(&memory, BASE, 16);
    let queue = Virtqueue::new(state(&ring), event_idx, &memory).unwrap();
    (memory, ring, queue)
}

fn state(ring: &Ring) -> QueueState {
    QueueState {
        ready: true,
        size: ring.size,
        desc_table: ring.desc,
        avail_ring: ring.avail,
        used_ring: ring.used,
        ..QueueState::new(256)
    }
}

fn segment(addr: u64, len: u32) -> Segment {
    Segment {
        addr: GuestAddress(addr),
        len,
    }
}

#[test]
fn a_chain_is_split_into_what_is_read_and_what_is_written() {
    let (memory, mut ring, mut queue) = queue(false);
    let head = ring.add(&[desc(1, 2, false), desc(3, 4, false), desc(5, 6, true)]);
    let mut chain = Chain::new();
    assert!(queue.pop(&memory, &mut chain).unwrap());
    assert_eq!(chain.head(), head);
    assert_eq!(chain.readable(), [segment(1, 2), segment(3, 4)]);
    assert_eq!(chain.writable(), [segment(5, 6)]);
    assert_eq!(total_len(chain.readable()), 6);
    assert!(!queue.pop(&memory, &mut chain).unwrap());
    queue.push(&memory, &chain, 6).unwrap();
    assert_eq!(ring.used(), [(head, 6)]);
}

#[test]
fn a_request_that_is_put_back_comes_again() {
    let (memory, mut ring, mut queue) = queue(false);
    ring.add(&[desc(1, 2, false)]);
    let mut chain = Chain::new();
    assert!(queue.pop(&memory, &mut chain).unwrap());
    queue.unpop();
    assert!(queue.pop(&memory, &mut chain).unwrap());
    assert!(!queue.pop(&memory, &mut chain).unwrap());
}

#[test]
fn indirect_tables_may_be_longer_than_the_queue_but_have_a_limit() {
    let (memory, mut ring, mut queue) = queue(false);
    let mut chain = Chain::new();
    let buffers = vec![desc(0x1000, 8, true); 1024];
    ring.add_indirect(0x2_0000, &buffers);
    assert!(queue.pop(&memory, &mut chain).unwrap());
    assert_eq!(chain.writable().len(), 1024);
    let buffers = vec![desc(0x1000, 8, true); 1025];
    ring.add_indirect(0x2_0000, &buffers);
    let error = queue.pop(&memory, &mut chain).unwrap_err();
    assert!(
        matches!(error, QueueError::Chain { head: 1, .. }),
        "{error}"
    );
}

#[test]
fn a_chain_of_more_than_4_gib_is_broken() {
    let (memory, mut ring, mut queue) = queue(false);
    let half = usize::try_from(u32::MAX).unwrap();
    ring.add(&[desc(0, half, true), desc(0, half, true)]);
    let result = queue.pop(&memory, &mut Chain::new());
    assert!(
        matches!(result, Err(QueueError::Chain { .. })),
        "{result:?}"
    );
}

#[test]
fn interrupts_come_as_often_as_the_driver_asks() {
    let (memory, mut ring, mut queue) = queue(true);
    let mut chain = Chain::new();
    let mut serve = |ring: &mut Ring| {
        ring.add(&[desc(1, 2, false)]);
        assert!(queue.pop(&memory, &mut chain).unwrap());
        queue.push(&memory, &chain, 0).unwrap();
        queue.wants_interrupt(&memory).unwrap()
    };
    ring.set_used_event(2);
    assert!(!serve(&mut ring));
    assert!(!serve(&mut ring));
    assert!(serve(&mut ring));
    assert!(!serve(&mut ring));
}

#[test]
fn without_event_idx_the_flag_suppresses_interrupts() {
    let (memory, ring, mut queue) = queue(false);
    assert!(queue.wants_interrupt(&memory).unwrap());
    ring.set_avail_flags(1);
    assert!(!queue.wants_interrupt(&memory).unwrap());
}

#[test]
fn a_queue_that_is_not_ready_is_empty() {
    let memory = memory();
    let mut queue = Virtqueue::new(QueueState::new(16), true, &memory).unwrap();
    let mut chain = Chain::new();
    assert!(!queue.pop(&memory, &mut chain).unwrap());
    assert!(!queue.listen(&memory).unwrap());
    queue.silence(&memory).unwrap();
}

#[test]
fn states_survive_and_bad_ones_are_refused() {
    let (memory, mut ring, mut queue) = queue(true);
    ring.add(&[desc(1, 2, false)]);
    queue.pop(&memory, &mut Chain::new()).unwrap();
    let good = queue.state();
    assert_eq!(good.next_avail, 1);
    assert_eq!(Virtqueue::new(good, true, &memory).unwrap().state(), good);
    let bad = [
        QueueState { size: 0, ..good },
        QueueState { size: 512, ..good },
        QueueState { size: 12, ..good },
        QueueState {
            max_size: 0,
            ..good
        },
        QueueState {
            desc_table: 8,
            ..good
        },
        QueueState {
            avail_ring: 1,
            ..good
        },
        QueueState {
            used_ring: 2,
            ..good
        },
        QueueState {
            avail_ring: 0,
            ..good
        },
        QueueState {
            used_ring: u64::MAX - 3,
            ..good
        },
        QueueState {
            desc_table: 4 << 20,
            ..good
        },
    ];
    for state in bad {
        assert!(Virtqueue::new(state, true, &memory).is_err(), "{state:?}");
    }
}
